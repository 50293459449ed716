//! How stored requests stand to objectives; the verdict over them is the load generator's own rule, `peak_search::judge`.

use gipfel_model::{Attainment, RequestRecord, Slo, record::Decision};

/// How the measured requests stand to an objective; `scheduled` counts those too of which nothing is recorded.
pub(crate) fn attainment(slo: &Slo, requests: &[RequestRecord], scheduled: u64) -> Attainment {
    let mut decided = 0;
    let mut violated = 0;
    for request in requests {
        match request.decide(slo) {
            Decision::Met => decided += 1,
            Decision::Violated => {
                decided += 1;
                violated += 1;
            }
            Decision::Undecided => {}
        }
    }
    Attainment {
        slo: *slo,
        scheduled,
        decided,
        violated,
        n_eff: None,
        interval: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::Outcome;

    use crate::fixture::{MS, request};

    const TTFT: &str = "ttft p95 <= 500ms";

    #[test]
    fn requests_are_counted_by_their_decision() {
        let slo: Slo = TTFT.parse().expect("an objective");
        let waiting = RequestRecord {
            outcome: Outcome::Shed,
            first_token_ns: None,
            end_ns: 100 * MS,
            ..request(0, 3)
        };
        let requests = [
            request(0, 1),
            RequestRecord {
                outcome: Outcome::HttpError,
                ..request(0, 2)
            },
            waiting,
        ];
        let found = attainment(&slo, &requests, 7);
        assert_eq!((found.scheduled, found.decided, found.violated), (7, 2, 1));
    }
}
