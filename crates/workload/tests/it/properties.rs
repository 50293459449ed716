//! What holds for every seed and schedule.

use std::collections::HashSet;

use gipfel_model::{ArrivalProcess, LengthDistribution};
use gipfel_workload::{
    Arrival, Arrivals, Lengths, PromptWriter, Segment, SegmentEnd, Share, count_arrivals, draw_lengths,
};
use proptest::prelude::*;

use crate::{segment, workload};

const SECOND_NS: i64 = 1_000_000_000;

fn processes() -> impl Strategy<Value = ArrivalProcess> {
    prop_oneof![
        Just(ArrivalProcess::Poisson),
        Just(ArrivalProcess::Constant),
        (0.1_f64..20.0).prop_map(|burstiness| ArrivalProcess::Gamma { burstiness }),
    ]
}

fn all(seed: u64, process: ArrivalProcess, segment: &Segment) -> Vec<Arrival> {
    Arrivals::new(seed, process, segment, Share::ALL).collect()
}

/// Everything that one worker sends.
fn requests(
    seed: u64,
    process: ArrivalProcess,
    segment: &Segment,
    share: Share,
) -> Vec<(Arrival, Lengths, String)> {
    let input = LengthDistribution::Normal {
        mean: 8.0,
        std: 4.0,
        min: 1,
        max: 20,
    };
    let output = LengthDistribution::Lognormal {
        median: 30.0,
        sigma: 0.8,
        min: 2,
        max: 500,
    };
    let spec = workload(seed, input, output);
    let prompts = PromptWriter::new(seed, "run");
    Arrivals::new(seed, process, segment, share)
        .map(|arrival| {
            let lengths = draw_lengths(&spec, segment.index, arrival.index);
            let mut prompt = String::new();
            prompts.write(segment.index, arrival.index, lengths.input, &mut prompt);
            (arrival, lengths, prompt)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn workers_share_exactly_the_same_requests(
        seed: u64,
        process in processes(),
        index: u32,
        per_second in 0.5_f64..50.0,
        start_ns in 0_i64..SECOND_NS,
        of in prop::sample::select(vec![1_u32, 2, 3, 4, 7]),
    ) {
        let segment = segment(index, per_second, start_ns, SegmentEnd::At(start_ns + 4 * SECOND_NS));
        let alone = requests(seed, process, &segment, Share::ALL);
        let mut together = Vec::new();
        for worker in 0..of {
            let share = requests(seed, process, &segment, Share { worker, of });
            prop_assert!(share.iter().all(|(arrival, ..)| arrival.index % u64::from(of) == u64::from(worker)));
            together.extend(share);
        }
        together.sort_by_key(|(arrival, ..)| arrival.index);
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn arrivals_lie_within_their_segment_in_order(
        seed: u64,
        process in processes(),
        per_second in 0.01_f64..500.0,
        start_ns in -SECOND_NS..3_600 * SECOND_NS,
        length_ns in 0_i64..10 * SECOND_NS,
    ) {
        let end_ns = start_ns + length_ns;
        let segment = segment(3, per_second, start_ns, SegmentEnd::At(end_ns));
        let arrivals = all(seed, process, &segment);
        prop_assert!(arrivals.iter().all(|arrival| (start_ns..end_ns).contains(&arrival.scheduled_ns)));
        prop_assert!(arrivals.is_sorted_by_key(|arrival| arrival.scheduled_ns));
        prop_assert!(arrivals.iter().enumerate().all(|(index, arrival)| arrival.index == index as u64));
        prop_assert_eq!(count_arrivals(seed, process, &segment), arrivals.len() as u64);
    }

    #[test]
    fn an_end_only_cuts_and_a_start_only_shifts(
        seed: u64,
        process in processes(),
        per_second in 1.0_f64..100.0,
        shift_ns in 0_i64..SECOND_NS,
        count in 0_u64..100,
    ) {
        let open = segment(0, per_second, 0, SegmentEnd::Open);
        let open: Vec<Arrival> = Arrivals::new(seed, process, &open, Share::ALL).take(count as usize).collect();
        let counted = all(seed, process, &segment(0, per_second, 0, SegmentEnd::Count(count)));
        prop_assert_eq!(&open, &counted);
        let cut = all(seed, process, &segment(0, per_second, 0, SegmentEnd::At(SECOND_NS)));
        prop_assert!(cut.iter().zip(&counted).all(|(one, other)| one == other));
        let shifted = all(seed, process, &segment(0, per_second, shift_ns, SegmentEnd::Count(count)));
        prop_assert!(shifted.iter().zip(&counted).all(|(one, other)| one.scheduled_ns - shift_ns == other.scheduled_ns));
    }

    #[test]
    fn the_mean_rate_is_the_rate_asked_for(seed: u64, per_second in 1.0_f64..200.0) {
        let seconds = 100;
        let segment = segment(0, per_second, 0, SegmentEnd::At(seconds * SECOND_NS));
        let expected = per_second * seconds as f64;
        let constant = count_arrivals(seed, ArrivalProcess::Constant, &segment) as f64;
        prop_assert!((constant - expected).abs() <= 1.0, "{} {}", constant, expected);
        let poisson = count_arrivals(seed, ArrivalProcess::Poisson, &segment) as f64;
        prop_assert!((poisson - expected).abs() < 6.0 * expected.sqrt(), "{} {}", poisson, expected);
    }

    #[test]
    fn lengths_stay_within_their_bounds(
        seed: u64,
        segment: u32,
        arrival: u64,
        mean in -1e3_f64..1e4,
        std in 0.0_f64..1e4,
        bounds in (0_u32..5_000, 0_u32..5_000).prop_map(|(one, other)| (one.min(other), one.max(other))),
    ) {
        let (min, max) = bounds;
        for distribution in [
            LengthDistribution::Uniform { min, max },
            LengthDistribution::Normal { mean, std, min, max },
            LengthDistribution::Lognormal { median: mean.abs(), sigma: std, min, max },
        ] {
            let lengths = draw_lengths(&workload(seed, distribution, distribution), segment, arrival);
            prop_assert!((min..=max).contains(&lengths.input) && (min..=max).contains(&lengths.output));
        }
    }

    #[test]
    fn prompts_have_exactly_their_words(seed: u64, segment: u32, arrival in 0_u64..1 << 32, words in 0_u32..300) {
        let mut prompt = "left from before".to_owned();
        PromptWriter::new(seed, "run").write(segment, arrival, words, &mut prompt);
        prop_assert_eq!(prompt.split_whitespace().count(), words.max(1) as usize);
        prop_assert_eq!(prompt.split(' ').count(), words.max(1) as usize);
        prop_assert!(prompt.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()));
    }
}

#[test]
fn gamma_arrivals_come_in_bursts_or_evenly() {
    // The variance of a count over its mean tends to 1 / burstiness.
    let dispersion = |process| {
        let segment = segment(0, 20.0, 0, SegmentEnd::At(20_000 * SECOND_NS));
        let mut counts = vec![0_f64; 1_000];
        for arrival in all(3, process, &segment) {
            counts[(arrival.scheduled_ns / (20 * SECOND_NS)) as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((mean - 400.0).abs() < 4.0, "{mean}");
        variance / mean
    };
    let check = |process, expected: f64| {
        let found = dispersion(process);
        assert!((found / expected - 1.0).abs() < 0.2, "{found} for {expected}");
    };
    check(ArrivalProcess::Poisson, 1.0);
    check(ArrivalProcess::Gamma { burstiness: 0.25 }, 4.0);
    check(ArrivalProcess::Gamma { burstiness: 0.5 }, 2.0);
    check(ArrivalProcess::Gamma { burstiness: 4.0 }, 0.25);
    check(ArrivalProcess::Gamma { burstiness: 20.0 }, 0.05);
}

#[test]
fn a_ramp_rises_in_a_straight_line() {
    for process in [
        ArrivalProcess::Poisson,
        ArrivalProcess::Constant,
        ArrivalProcess::Gamma { burstiness: 2.0 },
    ] {
        let ramp = Segment {
            ramp_ns: 100 * SECOND_NS,
            ..segment(1, 200.0, 5, SegmentEnd::At(150 * SECOND_NS + 5))
        };
        let arrivals = all(11, process, &ramp);
        let before = |seconds: i64| {
            let end_ns = seconds * SECOND_NS + 5;
            arrivals
                .iter()
                .filter(|arrival| arrival.scheduled_ns < end_ns)
                .count() as f64
        };
        // After t seconds of the ramp 200 · t² / 200 are due, and 200 each second after it.
        for (seconds, expected) in [(25, 625.0), (50, 2_500.0), (100, 10_000.0), (150, 20_000.0_f64)] {
            let found = before(seconds);
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{process} {seconds} s: {found}"
            );
        }
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.scheduled_ns));
    }
}

#[test]
fn no_two_prompts_begin_alike() {
    let nonces = |seed, salt| {
        let prompts = PromptWriter::new(seed, salt);
        (0..4_u32)
            .flat_map(|segment| (0..5_000_u64).map(move |arrival| (segment, arrival)))
            .map(move |(segment, arrival)| {
                let mut prompt = String::new();
                prompts.write(segment, arrival, 1, &mut prompt);
                prompt
            })
    };
    let runs = [
        (1, "20260101-000000_m_sim_local_0000"),
        (1, "20260101-000000_m_sim_local_0001"),
        (2, "other"),
    ];
    let all: Vec<String> = runs
        .into_iter()
        .flat_map(|(seed, salt)| nonces(seed, salt))
        .collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    // The beginnings differ too: 60,000 nonces of 26⁶ beginnings coincide about six times by chance.
    let beginnings: HashSet<&str> = all.iter().map(|nonce| &nonce[..6]).collect();
    assert!(beginnings.len() > all.len() - 30, "{}", beginnings.len());
}

#[test]
fn the_words_of_two_prompts_are_unrelated() {
    let prompts = PromptWriter::new(1, "run");
    let words = |segment, arrival| {
        let mut prompt = String::new();
        prompts.write(segment, arrival, 200, &mut prompt);
        prompt.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for (segment, arrival) in [(0, 1), (1, 0)] {
        let equal = words(0, 0)
            .iter()
            .zip(words(segment, arrival))
            .filter(|(one, other)| **one == *other)
            .count();
        assert!(equal < 6, "{equal}");
    }
}

#[test]
fn another_run_of_the_same_seed_differs_by_its_nonces_alone() {
    let prompt = |salt| {
        let mut prompt = String::new();
        PromptWriter::new(7, salt).write(2, 9, 20, &mut prompt);
        prompt
    };
    let (one, other) = (prompt("run-1"), prompt("run-2"));
    assert_ne!(one, other);
    assert_eq!(
        one.split_once(' ').map(|(_, rest)| rest),
        other.split_once(' ').map(|(_, rest)| rest)
    );
}

#[test]
fn a_schedule_does_not_drift() {
    // Thirds of a second, and the last of two hours at a rate whose gap is no whole number of nanoseconds.
    let thirds = segment(0, 3.0, 0, SegmentEnd::Count(7));
    let thirds = all(0, ArrivalProcess::Constant, &thirds);
    assert_eq!(
        thirds.last().map(|arrival| arrival.scheduled_ns),
        Some(2 * SECOND_NS)
    );
    let long = segment(0, 700.0, 5, SegmentEnd::Count(700 * 7_200 + 1));
    let last = Arrivals::new(0, ArrivalProcess::Constant, &long, Share::ALL).last();
    assert_eq!(
        last.map(|arrival| arrival.scheduled_ns),
        Some(7_200 * SECOND_NS + 5)
    );
}

#[test]
fn an_end_is_excluded_and_an_empty_segment_is_empty() {
    let check = |end, count| {
        let segment = segment(0, 10.0, 0, end);
        assert_eq!(all(0, ArrivalProcess::Constant, &segment).len(), count, "{end:?}");
    };
    check(SegmentEnd::At(SECOND_NS), 10);
    check(SegmentEnd::At(SECOND_NS + 1), 11);
    check(SegmentEnd::At(0), 0);
    check(SegmentEnd::At(-SECOND_NS), 0);
    check(SegmentEnd::Count(0), 0);
}

#[test]
fn a_schedule_ends_with_the_clock() {
    let slow = segment(0, 1e-12, 0, SegmentEnd::Open);
    assert_eq!(all(1, ArrivalProcess::Constant, &slow).len(), 1);
    let late = segment(0, 1.0, i64::MAX - SECOND_NS - 1, SegmentEnd::Open);
    assert_eq!(all(1, ArrivalProcess::Constant, &late).len(), 2);
    assert_eq!(count_arrivals(1, ArrivalProcess::Constant, &late), u64::MAX);
}
