//! The verdict on one level.
//!
//! An objective allows a share of the requests to violate it: 1 − q for the q-quantile of a latency, its limit for an
//! error rate. Requests that failed violate every objective. The rule counts and estimates nothing:
//!
//! - *reject* when more than the allowed share of the decided requests violates;
//! - *accept* when at most that share does, the requests that are still undecided could not change it, and the sample
//!   supports the share: at least five violations would have been allowed, n·(1 − q) ≥ 5;
//! - *unresolved* otherwise.
//!
//! An error rate has no percentile, but a share of one per cent is no better supported by 60 requests than a p99 is, so
//! n·limit ≥ 5 is asked of it as well. No sample supports a share of zero: `error_rate <= 0%` is read as "no measured
//! request failed" and takes any sample.

use gipfel_model::{Attainment, Slo, Validity, Verdict};

/// A tail of fewer expected violations than this is no evidence of meeting an objective.
const MIN_ALLOWED_VIOLATIONS: usize = 5;

/// The verdict of the simple rule, which takes the counts as they are: the answer that other tools give.
pub fn judge_simply(attainments: &[Attainment], validity: &Validity) -> Verdict {
    let counts: Vec<Attainment> = attainments
        .iter()
        .map(|one| Attainment {
            n_eff: None,
            interval: None,
            ..one.clone()
        })
        .collect();
    judge(&counts, validity)
}

/// The final verdict on a level.
///
/// A level whose client did not keep its part is invalid whatever its figures say, so that no fault of the client ever
/// becomes a rejection. Otherwise one rejected objective rejects the level (the worst one is named, by its violating
/// share over its allowed share), and one unresolved objective leaves it unresolved.
pub fn judge(attainments: &[Attainment], validity: &Validity) -> Verdict {
    if let Some(reason) = validity.reason() {
        return Verdict::Invalid { reason };
    }
    if let Some(slo) = worst(attainments, is_rejected) {
        return Verdict::Reject { slo };
    }
    if attainments.is_empty() {
        let reason = "there is no objective to meet".to_owned();
        return Verdict::Unresolved { reason };
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
        let reason = reasons.join("; ");
        Verdict::Unresolved { reason }
    }
}

/// The objective whose violation no further request of the measured window can undo, while the level still runs; the
/// worst when several are.
///
/// It is a reason to end the level early. The verdict still comes from [`judge`], which looks at the client first.
pub fn certain_reject(attainments: &[Attainment]) -> Option<Slo> {
    worst(attainments, |one| match one.interval {
        Some(_) if !forbids_all(&one.slo) => is_rejected(one) && supported(&one.slo, one.decided),
        _ => one.violated > allowed(&one.slo, one.scheduled),
    })
}

/// By the interval where there is one; by the counts where nothing is known of their order.
fn is_rejected(one: &Attainment) -> bool {
    match one.interval {
        Some((low, _)) if !forbids_all(&one.slo) => low > one.slo.allowed_share(),
        _ => one.violated > allowed(&one.slo, one.decided),
    }
}

/// The objective that is violated most among those that are `rejected`; the first one of equals.
fn worst(attainments: &[Attainment], rejected: impl Fn(&Attainment) -> bool) -> Option<Slo> {
    let mut worst: Option<(f64, Slo)> = None;
    for one in attainments.iter().filter(|one| rejected(one)) {
        let severity = one.violating_share().unwrap_or(0.0) / one.slo.allowed_share();
        if worst.is_none_or(|(greatest, _)| severity > greatest) {
            worst = Some((severity, one.slo));
        }
    }
    worst.map(|(_, slo)| slo)
}

/// Why an objective that is not rejected is not accepted either.
fn unresolved(one: &Attainment) -> Option<String> {
    let undecided = one.scheduled.saturating_sub(one.decided);
    if !supported(&one.slo, one.scheduled) {
        return Some(unsupported(&one.slo, one.scheduled));
    }
    if let Some(text) = straddles(one) {
        return Some(text);
    }
    let could_turn = one.violated + undecided > allowed(&one.slo, one.scheduled);
    if could_turn || !supported(&one.slo, one.decided) {
        let Attainment { slo, scheduled, .. } = one;
        return Some(format!(
            "{undecided} of {scheduled} requests are undecided for {slo}"
        ));
    }
    None
}

/// Why the interval allows neither answer.
fn straddles(one: &Attainment) -> Option<String> {
    let (low, high) = one.interval.filter(|_| !forbids_all(&one.slo))?;
    let target = one.slo.allowed_share();
    (high > target).then(|| {
        format!(
            "{:.1} % violate {}, but the 95 % interval {:.1} to {:.1} % holds the {} % that is allowed: violations come in bursts, \
             {} requests are worth {:.0}; a longer window resolves it",
            one.violating_share().unwrap_or(0.0) * 100.0,
            one.slo,
            low * 100.0,
            high * 100.0,
            (target * 1e5).round() / 1e3,
            one.decided,
            one.n_eff.unwrap_or(0.0),
        )
    })
}

fn unsupported(slo: &Slo, n: u64) -> String {
    let support = match slo {
        Slo::Latency { quantile, .. } => format!("supports no {quantile}"),
        Slo::ErrorRate { .. } => format!("does not support {slo}"),
    };
    let needed = needed(slo);
    format!("n = {n} {support}: at least {needed} measured requests are needed")
}

fn supported(slo: &Slo, n: u64) -> bool {
    n >= 1 && (forbids_all(slo) || allowed(slo, n) >= MIN_ALLOWED_VIOLATIONS as u64)
}

/// The smallest sample that supports the objective.
fn needed(slo: &Slo) -> u64 {
    if forbids_all(slo) {
        return 1;
    }
    // The quotient of doubles may be off by one; the count of allowed violations is exact.
    let quotient = (MIN_ALLOWED_VIOLATIONS as f64 / slo.allowed_share()).round() as u64;
    (quotient.saturating_sub(1)..=quotient)
        .find(|n| supported(slo, *n))
        .unwrap_or(quotient.saturating_add(1))
}

fn forbids_all(slo: &Slo) -> bool {
    slo.allowed_share() <= 0.0
}

fn allowed(slo: &Slo, n: u64) -> u64 {
    slo.allowed_violations(n as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::ValidityFault;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    fn attainment(slo: &str, scheduled: u64, decided: u64, violated: u64) -> Attainment {
        let slo = slo.parse().expect("an objective");
        Attainment {
            slo,
            scheduled,
            decided,
            violated,
            n_eff: None,
            interval: None,
        }
    }

    fn check(attainments: &[(&str, u64, u64, u64)]) -> String {
        let attainments: Vec<Attainment> = attainments
            .iter()
            .map(|one| attainment(one.0, one.1, one.2, one.3))
            .collect();
        judge(&attainments, &Validity::default()).to_string()
    }

    const TTFT: &str = "ttft p95 <= 500ms";

    #[test]
    fn the_share_decides() {
        assert_snapshot!(check(&[(TTFT, 600, 600, 0)]), @"accept");
        assert_snapshot!(check(&[(TTFT, 600, 600, 30)]), @"accept");
        assert_snapshot!(check(&[(TTFT, 600, 600, 31)]), @"reject (ttft p95 <= 500ms)");
        assert_snapshot!(check(&[(TTFT, 100, 100, 5)]), @"accept");
        assert_snapshot!(check(&[(TTFT, 60, 60, 60)]), @"reject (ttft p95 <= 500ms)");
        assert_snapshot!(check(&[("ttft p90 <= 1s", 50, 50, 5)]), @"accept");
    }

    #[test]
    fn a_sample_that_is_too_small_is_unresolved() {
        assert_snapshot!(check(&[(TTFT, 60, 60, 0)]), @"unresolved (n = 60 supports no p95: at least 100 measured requests are needed)");
        assert_snapshot!(check(&[(TTFT, 99, 99, 4)]), @"unresolved (n = 99 supports no p95: at least 100 measured requests are needed)");
        assert_snapshot!(check(&[(TTFT, 0, 0, 0)]), @"unresolved (n = 0 supports no p95: at least 100 measured requests are needed)");
        assert_snapshot!(check(&[("e2e p99.9 <= 20s", 4999, 4999, 0)]), @"unresolved (n = 4999 supports no p99.9: at least 5000 measured requests are needed)");
        assert_snapshot!(check(&[("tpot p50 <= 20ms", 9, 9, 1)]), @"unresolved (n = 9 supports no p50: at least 10 measured requests are needed)");
        assert_snapshot!(check(&[]), @"unresolved (there is no objective to meet)");
    }

    #[test]
    fn undecided_requests_count_when_they_could_change_the_answer() {
        assert_snapshot!(check(&[(TTFT, 600, 590, 20)]), @"accept");
        assert_snapshot!(check(&[(TTFT, 600, 589, 20)]), @"unresolved (11 of 600 requests are undecided for ttft p95 <= 500ms)");
        assert_snapshot!(check(&[(TTFT, 101, 99, 0)]), @"unresolved (2 of 101 requests are undecided for ttft p95 <= 500ms)");
        assert_snapshot!(check(&[(TTFT, 600, 0, 0)]), @"unresolved (600 of 600 requests are undecided for ttft p95 <= 500ms)");
        assert_snapshot!(check(&[(TTFT, 600, 300, 16)]), @"reject (ttft p95 <= 500ms)");
    }

    #[test]
    fn an_error_rate_asks_for_the_support_of_its_limit() {
        assert_snapshot!(check(&[("error_rate <= 1%", 500, 500, 5)]), @"accept");
        assert_snapshot!(check(&[("error_rate <= 1%", 500, 500, 6)]), @"reject (error_rate <= 1%)");
        assert_snapshot!(check(&[("error_rate <= 1%", 499, 499, 0)]), @"unresolved (n = 499 does not support error_rate <= 1%: at least 500 measured requests are needed)");
        assert_snapshot!(check(&[("error_rate <= 7%", 60, 60, 0)]), @"unresolved (n = 60 does not support error_rate <= 7%: at least 72 measured requests are needed)");
        assert_snapshot!(check(&[("error_rate <= 0%", 1, 1, 0)]), @"accept");
        assert_snapshot!(check(&[("error_rate <= 0%", 1000, 1000, 1)]), @"reject (error_rate <= 0%)");
        assert_snapshot!(check(&[("error_rate <= 0%", 0, 0, 0)]), @"unresolved (n = 0 does not support error_rate <= 0%: at least 1 measured requests are needed)");
        assert_snapshot!(check(&[("error_rate <= 100%", 5, 5, 5)]), @"accept");
    }

    #[test]
    fn the_worst_objective_names_a_rejection() {
        let e2e = "e2e p99 <= 20s";
        assert_snapshot!(check(&[(TTFT, 600, 600, 60), (e2e, 600, 600, 12)]), @"reject (ttft p95 <= 500ms)");
        assert_snapshot!(check(&[(TTFT, 600, 600, 60), (e2e, 600, 600, 13)]), @"reject (e2e p99 <= 20s)");
        assert_snapshot!(check(&[(TTFT, 600, 600, 600), ("error_rate <= 0%", 600, 600, 1)]), @"reject (error_rate <= 0%)");
        assert_snapshot!(check(&[(TTFT, 60, 60, 0), (e2e, 60, 60, 1)]), @"reject (e2e p99 <= 20s)");
    }

    #[test]
    fn one_unresolved_objective_leaves_the_level_unresolved() {
        let e2e = "e2e p99 <= 20s";
        assert_snapshot!(check(&[(TTFT, 300, 300, 0), (e2e, 300, 300, 0)]), @"unresolved (n = 300 supports no p99: at least 500 measured requests are needed)");
        assert_snapshot!(check(&[(TTFT, 300, 280, 0), (e2e, 300, 300, 0)]), @"unresolved (20 of 300 requests are undecided for ttft p95 <= 500ms; n = 300 supports no p99: at least 500 measured requests are needed)");
        assert_snapshot!(check(&[(TTFT, 60, 60, 0), ("e2e p95 <= 20s", 60, 60, 0)]), @"unresolved (n = 60 supports no p95: at least 100 measured requests are needed)");
    }

    #[test]
    fn a_fault_of_the_client_is_never_a_rejection() {
        let faults = vec![
            ValidityFault::Sockets { count: 3 },
            ValidityFault::Clock { step_ms: 20.0 },
        ];
        let validity = Validity {
            faults,
            ..Validity::default()
        };
        let attainments = [attainment(TTFT, 600, 600, 600)];
        assert_snapshot!(judge(&attainments, &validity), @"invalid (the client ran out of sockets for 3 requests; raise the limit of open files, `ulimit -n`; the wall clock stepped by 20.0 ms during the level)");
    }

    #[test]
    fn a_rejection_is_certain_when_nothing_can_undo_it() {
        let check = |attainments: &[Attainment], expected: Option<&str>| {
            let found = certain_reject(attainments).map(|slo| slo.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check(&[], None);
        check(&[attainment(TTFT, 600, 30, 30)], None);
        check(&[attainment(TTFT, 600, 31, 31)], Some(TTFT));
        check(
            &[
                attainment("error_rate <= 1%", 600, 100, 7),
                attainment(TTFT, 600, 100, 99),
            ],
            Some(TTFT),
        );
    }

    fn slos() -> impl Strategy<Value = Slo> {
        let texts = [
            "ttft p50 <= 1s",
            "ttft p90 <= 1s",
            "ttft p95 <= 1s",
            "ttft p33.3 <= 1s",
            "e2e p99 <= 1s",
            "error_rate <= 0%",
            "error_rate <= 1%",
            "error_rate <= 7%",
        ];
        prop::sample::select(texts.map(|text| text.parse().expect("an objective")).to_vec())
    }

    /// A level as it stands at some time, and as it stands later.
    fn growing() -> impl Strategy<Value = (Attainment, Attainment)> {
        (slos(), 0..2_000_u64, 0.0..=1.0, 0.0..=1.0, 0.0..=1.0, 0.0..=1.0).prop_map(
            |(slo, scheduled, decided, violated, more_decided, more_violated): (_, _, f64, f64, f64, f64)| {
                let part = |of: u64, share: f64| ((of as f64 * share) as u64).min(of);
                let decided = part(scheduled, decided);
                // Squared, so that small shares are frequent.
                let violated = part(decided, violated * violated);
                let more = part(scheduled - decided, more_decided);
                let now = Attainment {
                    slo,
                    scheduled,
                    decided,
                    violated,
                    n_eff: None,
                    interval: None,
                };
                let later = Attainment {
                    decided: decided + more,
                    violated: violated + part(more, more_violated),
                    ..now.clone()
                };
                (now, later)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_certain_is_never_taken_back((now, later) in growing()) {
            let verdict = |one: &Attainment| judge(std::slice::from_ref(one), &Validity::default());
            if certain_reject(std::slice::from_ref(&now)).is_some() {
                prop_assert_eq!(verdict(&later).name(), "reject");
            }
            if verdict(&now) == Verdict::Accept {
                prop_assert_eq!(verdict(&later), Verdict::Accept);
            }
        }

        #[test]
        fn the_sample_that_is_asked_for_is_the_smallest(slo in slos()) {
            let needed = needed(&slo);
            prop_assert!(supported(&slo, needed));
            prop_assert!((0..needed).all(|n| !supported(&slo, n)));
        }

        #[test]
        fn a_level_is_rejected_when_its_order_statistic_is_beyond_the_limit(slo in slos(), n in 1..2_000_u64, violated in 0..200_u64) {
            let one = Attainment { slo, scheduled: n, decided: n, violated: violated.min(n), n_eff: None, interval: None };
            let verdict = judge(std::slice::from_ref(&one), &Validity::default());
            if let Slo::Latency { quantile, .. } = slo {
                let within = n - one.violated;
                let met = within >= quantile.rank(n as usize) as u64;
                prop_assert_eq!(verdict == Verdict::Reject { slo }, !met);
            }
        }

        #[test]
        fn an_invalid_level_is_invalid_whatever_else((now, _) in growing()) {
            let validity = Validity { faults: vec![ValidityFault::RecordsLost { count: 1 }], ..Validity::default() };
            prop_assert_eq!(judge(&[now], &validity).name(), "invalid");
        }
    }
}
