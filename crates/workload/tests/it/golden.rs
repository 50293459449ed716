//! What version 1 of the algorithm sends. A change here is a new version.

use gipfel_model::{ArrivalProcess, LengthDistribution};
use gipfel_workload::{
    ALGORITHM_VERSION, Arrivals, PromptWriter, Segment, SegmentEnd, Share, count_arrivals, draw_lengths,
    first_gap,
};
use insta::assert_snapshot;

use crate::{segment, workload};

fn arrivals(seed: u64, process: ArrivalProcess, index: u32, per_second: f64) -> String {
    let segment = segment(index, per_second, 1_000, SegmentEnd::Count(8));
    let scheduled: Vec<String> = Arrivals::new(seed, process, &segment, Share::ALL)
        .map(|arrival| arrival.scheduled_ns.to_string())
        .collect();
    scheduled.join(" ")
}

#[test]
fn the_version_is_the_one_that_is_pinned_here() {
    assert_eq!(ALGORITHM_VERSION, 1);
}

#[test]
fn poisson_arrivals() {
    assert_snapshot!(arrivals(42, ArrivalProcess::Poisson, 0, 10.0), @"272193185 477121174 701752854 899986176 1043480395 1444624019 1839105864 1939182187");
    assert_snapshot!(arrivals(42, ArrivalProcess::Poisson, 1, 10.0), @"357443257 418367591 478524169 531420408 691200328 736262257 836107117 1332975460");
    assert_snapshot!(arrivals(u64::MAX, ArrivalProcess::Poisson, u32::MAX, 0.3), @"6433242125 6913446174 12079276967 15197067157 16009344135 22386974037 29640611772 35187244831");
}

#[test]
fn constant_arrivals() {
    assert_snapshot!(arrivals(42, ArrivalProcess::Constant, 0, 10.0), @"1000 100001000 200001000 300001000 400001000 500001000 600001000 700001000");
    assert_snapshot!(arrivals(7, ArrivalProcess::Constant, 3, 3.0), @"1000 333334333 666667667 1000001000 1333334333 1666667667 2000001000 2333334333");
}

#[test]
fn gamma_arrivals() {
    let gamma = |burstiness| ArrivalProcess::Gamma { burstiness };
    assert_snapshot!(arrivals(42, gamma(0.25), 0, 10.0), @"1000 502565 27212138 27609415 62223230 67851720 68295728 75623640");
    assert_snapshot!(arrivals(42, gamma(3.0), 0, 10.0), @"1000 208452003 305664531 326226309 496886413 591155088 789066355 942532885");
    assert_snapshot!(arrivals(7, gamma(0.5), 9, 0.3), @"1000 4306520696 4353360565 4824019985 4859702595 6306942163 9165566476 10705430273");
    assert_snapshot!(format!("{:.12} {:.12}", first_gap(42, 0.25, 0), first_gap(42, 3.0, 1)), @"0.000000000003 0.801624083625");
}

#[test]
fn ramps() {
    let ramp = |process| {
        let segment = Segment {
            ramp_ns: 1_000_000_000,
            ..segment(2, 10.0, 1_000, SegmentEnd::Count(8))
        };
        let arrivals = Arrivals::new(42, process, &segment, Share::ALL);
        let scheduled: Vec<String> = arrivals.map(|arrival| arrival.scheduled_ns.to_string()).collect();
        scheduled.join(" ")
    };
    assert_snapshot!(ramp(ArrivalProcess::Poisson), @"350007323 362508373 668921934 885607888 893997705 897661647 1063664032 1238198261");
    assert_snapshot!(ramp(ArrivalProcess::Constant), @"1000 447214595 632456532 774597669 894428191 1000001000 1100001000 1200001000");
    assert_snapshot!(ramp(ArrivalProcess::Gamma { burstiness: 0.5 }), @"1000 194211700 239856573 504144793 584576344 631784846 636273646 875021310");
}

#[test]
fn an_hour_of_poisson_arrivals() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let segment = segment(0, 300.0, 0, SegmentEnd::At(HOUR_NS));
    assert_eq!(count_arrivals(42, ArrivalProcess::Poisson, &segment), 1_080_697);
    let last = Arrivals::new(42, ArrivalProcess::Poisson, &segment, Share::ALL).last();
    assert_eq!(last.map(|arrival| arrival.scheduled_ns), Some(3_599_999_684_085));
}

#[test]
fn lengths() {
    let check = |distribution: LengthDistribution| {
        let spec = workload(42, distribution, distribution);
        let drawn: Vec<String> = (0..8)
            .map(|arrival| draw_lengths(&spec, 5, arrival))
            .map(|lengths| format!("{}/{}", lengths.input, lengths.output))
            .collect();
        drawn.join(" ")
    };
    assert_snapshot!(check(LengthDistribution::Fixed { value: 512 }), @"512/512 512/512 512/512 512/512 512/512 512/512 512/512 512/512");
    assert_snapshot!(check(LengthDistribution::Uniform { min: 8, max: 16 }), @"16/9 15/16 12/15 12/13 8/9 13/9 14/13 16/12");
    assert_snapshot!(check(LengthDistribution::Normal { mean: 512.0, std: 200.0, min: 16, max: 600 }), @"449/600 466/588 269/466 273/412 481/600 329/600 344/600 598/600");
    assert_snapshot!(check(LengthDistribution::Lognormal { median: 256.0, sigma: 1.0, min: 100, max: 4096 }), @"186/1395 203/375 100/204 100/155 219/1295 103/1828 110/699 393/428");
}

#[test]
fn prompts() {
    let check = |seed, salt, segment, arrival, words| {
        let mut prompt = "replaced".to_owned();
        PromptWriter::new(seed, salt).write(segment, arrival, words, &mut prompt);
        prompt
    };
    assert_snapshot!(check(42, "run-1", 0, 0, 8), @"tiojchkgaeuanf rice coffee name bottom series image note");
    assert_snapshot!(check(42, "run-1", 0, 1, 8), @"dhvkggpnmeukrd eat kitchen poem game call student family");
    assert_snapshot!(check(42, "run-2", 0, 0, 8), @"jwseqbfkpgithc rice coffee name bottom series image note");
    assert_snapshot!(check(u64::MAX, "", u32::MAX, u64::from(u32::MAX), 8), @"sjmwveuxhaaord stop hand spot move line dinner street");
    assert_snapshot!(check(42, "run-1", 0, 0, 1), @"tiojchkgaeuanf");
    assert_snapshot!(check(42, "run-1", 0, 0, 0), @"tiojchkgaeuanf");
}
