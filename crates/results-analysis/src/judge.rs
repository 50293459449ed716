//! Judging by other objectives than those of the run: the rule of the load generator, over the stored requests.

use gipfel_model::{Attainment, RequestRecord, Slo, Validity, Verdict, record::Decision};

use crate::support;

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
    }
}

/// The verdict: reject when more than the allowed share of the decided requests violates; accept when at most that
/// share does, the undecided could not change it and the sample supports it; unresolved otherwise. An invalid level
/// stays invalid.
pub(crate) fn verdict(attainments: &[Attainment], validity: &Validity) -> Verdict {
    if let Some(reason) = validity.reason() {
        return Verdict::Invalid { reason };
    }
    if let Some(slo) = worst_rejected(attainments) {
        return Verdict::Reject { slo };
    }
    if attainments.is_empty() {
        return Verdict::Unresolved {
            reason: "there is no objective to meet".to_owned(),
        };
    }
    let mut reasons: Vec<String> = Vec::new();
    for reason in attainments.iter().filter_map(unresolved) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() {
        Verdict::Accept
    } else {
        Verdict::Unresolved {
            reason: reasons.join("; "),
        }
    }
}

/// The rejected objective with the largest violating share over its allowed share.
fn worst_rejected(attainments: &[Attainment]) -> Option<Slo> {
    let severity = |one: &Attainment| one.violating_share().unwrap_or(0.0) / one.slo.allowed_share();
    attainments
        .iter()
        .filter(|one| one.violated > allowed(&one.slo, one.decided))
        .reduce(|worst, one| {
            if severity(one) > severity(worst) {
                one
            } else {
                worst
            }
        })
        .map(|one| one.slo)
}

fn unresolved(one: &Attainment) -> Option<String> {
    let Attainment {
        slo,
        scheduled,
        decided,
        violated,
    } = one;
    let undecided = scheduled.saturating_sub(*decided);
    if !supported(slo, *scheduled) {
        return Some(unsupported(slo, *scheduled));
    }
    (violated + undecided > allowed(slo, *scheduled) || !supported(slo, *decided))
        .then(|| format!("{undecided} of {scheduled} requests are undecided for {slo}"))
}

fn unsupported(slo: &Slo, n: u64) -> String {
    let support = match slo {
        Slo::Latency { quantile, .. } => format!("supports no {quantile}"),
        Slo::ErrorRate { .. } => format!("does not support {slo}"),
    };
    let needed = if forbids_all(slo) {
        1
    } else {
        support::needed(slo.allowed_share(), |n| slo.allowed_violations(n))
    };
    format!("n = {n} {support}: at least {needed} measured requests are needed")
}

fn supported(slo: &Slo, n: u64) -> bool {
    n > 0 && (forbids_all(slo) || support::is_supported(slo.allowed_violations(n as usize)))
}

/// No sample supports a share of zero: it is read as "none at all" and takes any sample.
fn forbids_all(slo: &Slo) -> bool {
    slo.allowed_share() <= 0.0
}

fn allowed(slo: &Slo, n: u64) -> u64 {
    slo.allowed_violations(n as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::{Outcome, ValidityFault};

    use crate::fixture::{MS, request};

    fn check(attainments: &[(&str, u64, u64, u64)], expected: &str) {
        let attainments: Vec<Attainment> = attainments
            .iter()
            .map(|(slo, scheduled, decided, violated)| Attainment {
                slo: slo.parse().expect("an objective"),
                scheduled: *scheduled,
                decided: *decided,
                violated: *violated,
            })
            .collect();
        assert_eq!(verdict(&attainments, &Validity::default()).to_string(), expected);
    }

    const TTFT: &str = "ttft p95 <= 500ms";

    #[test]
    fn the_share_decides() {
        check(&[(TTFT, 100, 100, 5)], "accept");
        check(&[(TTFT, 100, 100, 6)], "reject (ttft p95 <= 500ms)");
        check(&[(TTFT, 60, 60, 4)], "reject (ttft p95 <= 500ms)");
        check(
            &[(TTFT, 99, 99, 0)],
            "unresolved (n = 99 supports no p95: at least 100 measured requests are needed)",
        );
        check(
            &[(TTFT, 0, 0, 0)],
            "unresolved (n = 0 supports no p95: at least 100 measured requests are needed)",
        );
        check(&[(TTFT, 600, 590, 20)], "accept");
        check(
            &[(TTFT, 600, 589, 20)],
            "unresolved (11 of 600 requests are undecided for ttft p95 <= 500ms)",
        );
        check(&[("error_rate <= 0%", 1, 1, 0)], "accept");
        check(
            &[("error_rate <= 0%", 1000, 1000, 1)],
            "reject (error_rate <= 0%)",
        );
        check(
            &[("error_rate <= 1%", 499, 499, 0)],
            "unresolved (n = 499 does not support error_rate <= 1%: at least 500 measured requests are needed)",
        );
        check(
            &[(TTFT, 600, 600, 60), ("e2e p99 <= 20s", 600, 600, 13)],
            "reject (e2e p99 <= 20s)",
        );
        check(
            &[(TTFT, 60, 60, 0), ("e2e p95 <= 20s", 60, 60, 0)],
            "unresolved (n = 60 supports no p95: at least 100 measured requests are needed)",
        );
        check(&[], "unresolved (there is no objective to meet)");
    }

    #[test]
    fn an_invalid_level_stays_invalid() {
        let validity = Validity {
            faults: vec![ValidityFault::Sockets { count: 3 }],
            ..Validity::default()
        };
        let expected = "invalid (the client ran out of sockets for 3 requests)";
        assert_eq!(verdict(&[], &validity).to_string(), expected);
    }

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
