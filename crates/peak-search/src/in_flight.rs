//! What is certain of a request that still runs.

use gipfel_model::{
    LatencyMetric, Slo,
    record::{Decision, tpot_exceeds},
};

/// Decides a running request without waiting for its end. All points are nanoseconds after its scheduled arrival.
///
/// - TTFT: met once the first token came in time; violated once it came late, or has not come and is late already.
/// - E2E: violated once a token came beyond the limit, or none has come and the limit has passed.
/// - TPOT: violated once the tokens that came took longer than all `requested_output` tokens may take.
/// - ITL: violated once a gap between two tokens exceeded the limit.
/// - Error rate: undecided until the end.
///
/// A violation is final: whatever the request does next, `RequestRecord::decide` finds it violated. It therefore rests on
/// tokens that have come, not on the silence since the last one: that may have been the answer's last token, with the
/// end of the stream still to come. The next token decides, or the timeout if there is none, so a request that stalls
/// stays undecided no longer than that. (A complete answer is taken to have a token.)
///
/// A TTFT that is met stays met unless the request fails later, for a failed request violates every objective.
pub fn decide_in_flight(
    slo: &Slo,
    age_ns: i64,
    first_token_ns: Option<i64>,
    last_token_ns: Option<i64>,
    itl_max_ns: Option<i64>,
    requested_output: u32,
) -> Decision {
    let Slo::Latency { metric, limit, .. } = slo else {
        return Decision::Undecided;
    };
    let limit_ns = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
    let beyond = |value: i64| value > limit_ns;
    let violated = match metric {
        LatencyMetric::Ttft => match first_token_ns {
            Some(first) if first <= limit_ns => return Decision::Met,
            first => beyond(first.unwrap_or(age_ns)),
        },
        LatencyMetric::E2e => beyond(last_token_ns.or(first_token_ns).unwrap_or(age_ns)),
        LatencyMetric::Itl => itl_max_ns.is_some_and(beyond),
        LatencyMetric::Tpot => match (first_token_ns, last_token_ns) {
            (Some(first), Some(last)) => tpot_exceeds(last - first, requested_output, limit_ns),
            _ => false,
        },
    };
    if violated {
        Decision::Violated
    } else {
        Decision::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::{CountSource, Outcome, Phase, RequestRecord};
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    /// What has been seen of a request, in milliseconds.
    #[derive(Clone, Copy)]
    struct Seen {
        age: i64,
        first: Option<i64>,
        last: Option<i64>,
        gap: Option<i64>,
    }

    fn check(slo: &str, seen: Seen, expected: Decision) {
        let slo = slo.parse().expect("an objective");
        let nanos = |value: Option<i64>| value.map(|value| value * MS);
        let found = decide_in_flight(
            &slo,
            seen.age * MS,
            nanos(seen.first),
            nanos(seen.last),
            nanos(seen.gap),
            11,
        );
        assert_eq!(found, expected, "{slo}");
    }

    #[test]
    fn a_request_without_tokens_is_violated_by_its_age() {
        let waiting = Seen {
            age: 500,
            first: None,
            last: None,
            gap: None,
        };
        let late = Seen { age: 501, ..waiting };
        for slo in ["ttft p95 <= 500ms", "e2e p95 <= 500ms"] {
            check(slo, waiting, Decision::Undecided);
            check(slo, late, Decision::Violated);
        }
        for slo in ["tpot p95 <= 1ms", "itl p95 <= 1ms", "error_rate <= 0%"] {
            check(slo, late, Decision::Undecided);
        }
    }

    #[test]
    fn a_request_with_tokens_is_judged_by_them() {
        let decoding = Seen {
            age: 900,
            first: Some(500),
            last: Some(800),
            gap: Some(40),
        };
        check("ttft p95 <= 500ms", decoding, Decision::Met);
        check("ttft p95 <= 499ms", decoding, Decision::Violated);
        check("e2e p95 <= 799ms", decoding, Decision::Violated);
        check("e2e p95 <= 800ms", decoding, Decision::Undecided);
        check("tpot p95 <= 29ms", decoding, Decision::Violated);
        check("tpot p95 <= 30ms", decoding, Decision::Undecided);
        check("itl p95 <= 39ms", decoding, Decision::Violated);
        check("itl p95 <= 40ms", decoding, Decision::Undecided);
        check("error_rate <= 0%", decoding, Decision::Undecided);
    }

    #[test]
    fn the_wait_for_the_end_of_a_complete_answer_is_no_violation() {
        // The last token came at 380 ms; the end of the stream is late.
        let ending = Seen {
            age: 5_000,
            first: Some(80),
            last: Some(380),
            gap: Some(30),
        };
        for slo in ["e2e p95 <= 400ms", "tpot p95 <= 30ms", "itl p95 <= 30ms"] {
            check(slo, ending, Decision::Undecided);
        }
    }

    /// A request's whole life: the arrivals of its chunks, how it ends, and when.
    #[derive(Clone, Debug)]
    struct Life {
        chunks: Vec<i64>,
        output_tokens: u32,
        requested_output: u32,
        outcome: Outcome,
        end_ns: i64,
    }

    impl Life {
        fn until(&self, now: i64) -> &[i64] {
            &self.chunks[..self.chunks.partition_point(|at| *at <= now)]
        }

        fn decide_at(&self, slo: &Slo, now: i64) -> Decision {
            let chunks = self.until(now);
            let (first, last) = (chunks.first().copied(), chunks.last().copied());
            decide_in_flight(slo, now, first, last, largest_gap(chunks), self.requested_output)
        }

        fn record(&self) -> RequestRecord {
            let chunks = self.until(self.end_ns);
            let complete = self.outcome == Outcome::Ok;
            RequestRecord {
                rank: 0,
                request: 0,
                level: 0,
                phase: Phase::Measured,
                class: 0,
                session: None,
                turn: 0,
                endpoint: 0,
                outcome: self.outcome,
                http_status: Some(200),
                scheduled_ns: 0,
                connect_ns: None,
                send_ns: Some(0),
                header_ns: chunks.first().copied(),
                first_chunk_ns: chunks.first().copied(),
                first_token_ns: chunks.first().copied(),
                first_token_lag_ns: None,
                first_token_uncertain: false,
                first_output_ns: chunks.first().copied(),
                last_token_ns: chunks.last().copied(),
                end_ns: self.end_ns,
                input_tokens: None,
                output_tokens: complete.then_some(self.output_tokens),
                cached_tokens: None,
                requested_input: 1,
                requested_output: self.requested_output,
                chunks: chunks.len() as u32,
                itl_max_ns: largest_gap(chunks),
                count_source: CountSource::Usage,
                finish_reason: None,
                error: None,
            }
        }
    }

    fn largest_gap(chunks: &[i64]) -> Option<i64> {
        chunks.windows(2).map(|pair| pair[1] - pair[0]).max()
    }

    /// Times are small whole numbers, so that limits are met exactly as often as they are missed.
    fn lives() -> impl Strategy<Value = Life> {
        let outcomes = prop::sample::select(Outcome::ALL);
        let gaps = prop::collection::vec(0_i64..20, 1..8);
        (gaps, 0_u32..3, 0_u32..3, outcomes, 0_i64..100).prop_map(
            |(gaps, in_one_chunk, missing, outcome, end)| {
                let arrive = |at: &mut i64, gap: &i64| {
                    *at += gap;
                    Some(*at)
                };
                let chunks: Vec<i64> = gaps.iter().scan(0, arrive).collect();
                let last = chunks.last().copied().unwrap_or(0);
                let output_tokens = chunks.len() as u32 + in_one_chunk;
                Life {
                    output_tokens,
                    requested_output: output_tokens + missing,
                    outcome,
                    // A complete answer ends after its last chunk, any other one at any time.
                    end_ns: if outcome == Outcome::Ok { last + end } else { end },
                    chunks,
                }
            },
        )
    }

    fn slos() -> impl Strategy<Value = Slo> {
        let latency =
            (prop::sample::select(LatencyMetric::ALL), 1_u64..60).prop_map(|(metric, limit)| Slo::Latency {
                metric,
                quantile: gipfel_model::Quantile::P95,
                limit: std::time::Duration::from_nanos(limit),
            });
        prop_oneof![4 => latency, 1 => Just("error_rate <= 1%".parse().expect("an objective"))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_end_contradicts_what_was_certain(life in lives(), slo in slos(), part in 0.0..=1.0) {
            let now = (life.end_ns as f64 * part) as i64;
            let last_word = life.record().decide(&slo);
            match life.decide_at(&slo, now) {
                Decision::Violated => prop_assert_eq!(last_word, Decision::Violated),
                Decision::Met if matches!(life.outcome, Outcome::Ok | Outcome::Shed) => {
                    prop_assert_eq!(last_word, Decision::Met);
                }
                // A failure violates every objective, also one that had been met.
                Decision::Met => prop_assert_eq!(last_word, Decision::Violated),
                Decision::Undecided => {}
            }
        }

        #[test]
        fn the_last_token_of_a_full_answer_tells_a_violation(life in lives(), slo in slos()) {
            let life = Life { outcome: Outcome::Ok, requested_output: life.output_tokens, ..life };
            let last = life.chunks.last().copied().unwrap_or(0);
            let life = Life { end_ns: life.end_ns.max(last), ..life };
            let violated = life.record().decide(&slo) == Decision::Violated;
            prop_assert_eq!(life.decide_at(&slo, last) == Decision::Violated, violated);
        }
    }
}
