//! What a level's requests say of load and throughput.

use gipfel_model::{LevelRecord, Outcome, RequestRecord, Slo, record::Decision};

use crate::summary::{AnswerLengths, Goodput, InFlight};

/// Requests that meet every objective; of `scheduled`, those too of which nothing is recorded.
pub(crate) fn goodput(
    record: &LevelRecord,
    measured: &[RequestRecord],
    scheduled: u64,
    slos: &[Slo],
) -> Goodput {
    let attains = |request: &&RequestRecord| slos.iter().all(|slo| request.decide(slo) == Decision::Met);
    let attained = measured.iter().filter(attains).count() as u64;
    Goodput {
        attained,
        scheduled,
        per_second: attained as f64 / seconds(record),
    }
}

fn overlap(first: i64, last: i64, from: i64, to: i64) -> f64 {
    (last.min(to) - first.max(from)).max(0) as f64
}

/// How long the answers became that are complete and counted.
pub(crate) fn answer_lengths(measured: &[RequestRecord]) -> AnswerLengths {
    let mut lengths = AnswerLengths::default();
    for request in measured.iter().filter(|request| request.outcome == Outcome::Ok) {
        let Some(tokens) = request.output_tokens else {
            continue;
        };
        lengths.counted += 1;
        lengths.short += u64::from(tokens < request.requested_output);
        lengths.tokens += u64::from(tokens);
        lengths.requested_tokens += u64::from(request.requested_output);
    }
    lengths
}

/// Requests in flight, over the measured window and over its parts.
pub(crate) fn in_flight(record: &LevelRecord, requests: &[RequestRecord]) -> InFlight {
    let (from, to) = window(record);
    let third = (to - from) / 3;
    let mean = |from: i64, to: i64| {
        let busy: f64 = requests
            .iter()
            .map(|request| {
                overlap(
                    request.scheduled_ns,
                    request.scheduled_ns + request.end_ns,
                    from,
                    to,
                )
            })
            .sum();
        busy / (to - from).max(1) as f64
    };
    InFlight {
        mean: mean(from, to),
        middle_third: mean(from + third, to - third),
        last_third: mean(to - third, to),
    }
}

pub(crate) fn window(record: &LevelRecord) -> (i64, i64) {
    let from = record.start_ns + record.warmup_ns;
    (from, from + record.measured_ns)
}

fn seconds(record: &LevelRecord) -> f64 {
    record.measured_ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MS, level, request, slo};

    /// Ten requests a second for ten seconds, each of 100 ms to the first token and 400 ms to the last one.
    fn requests() -> Vec<RequestRecord> {
        (0..100)
            .map(|number| RequestRecord {
                scheduled_ns: 10_000 * MS + i64::from(number) * 100 * MS,
                ..request(0, number)
            })
            .collect()
    }

    #[test]
    fn goodput_counts_what_meets_everything() {
        let mut requests = requests();
        requests[0].outcome = Outcome::HttpError;
        requests[1].last_token_ns = Some(900 * MS);
        let slos = [slo("ttft p95 <= 500ms"), slo("e2e p95 <= 500ms")];
        let record = level(0, 10.0, &slos, &requests);
        let found = goodput(&record, &requests, 110, &slos);
        assert_eq!((found.attained, found.scheduled), (98, 110));
        assert!((found.per_second - 9.8).abs() < 1e-9);
    }

    #[test]
    fn requests_in_flight_are_averaged() {
        let requests = requests();
        let found = in_flight(&level(0, 10.0, &[], &requests), &requests);
        assert!((found.middle_third - 4.01).abs() < 0.1, "{found:?}");
        assert!((found.last_third - 4.01).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn short_answers_are_counted() {
        let mut requests = requests();
        requests[0].output_tokens = Some(5);
        requests[1].output_tokens = None;
        requests[2].outcome = Outcome::StreamCut;
        let found = answer_lengths(&requests);
        assert_eq!((found.counted, found.short), (98, 1));
        assert_eq!((found.tokens, found.requested_tokens), (98 * 11 - 6, 98 * 11));
    }
}
