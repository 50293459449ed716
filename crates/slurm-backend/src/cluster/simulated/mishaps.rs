//! What goes wrong with calls, by plan.

use super::super::ClusterErrorKind;

/// A call of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as the methods of the trait are")]
pub enum Call {
    Facts,
    MakeDirectory,
    Write,
    Put,
    Read,
    Tail,
    Stat,
    List,
    Fetch,
    Remove,
    Submit,
    Adopt,
    Jobs,
    Job,
    Cancel,
    Offers,
    TryOut,
    Free,
}

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The cluster is away: the call does not arrive. A submission tells that its effect is unknown.
    LostBefore,
    /// The call has its effect, and its answer is lost. A submission tells that its effect is unknown.
    LostAfter,
    /// The answer of a submission is lost, and its job comes after so many calls of `adopt`, which find nothing settled until
    /// then. With other calls it is `LostBefore`.
    LostLate(u32),
    /// The cluster refuses, in these words, and nothing happens.
    Refused(ClusterErrorKind, String),
    /// The list of jobs lacks the youngest one. Other calls are carried out.
    LostEntry,
}

/// A mishap of the next calls.
#[derive(Debug)]
pub(super) struct Plan {
    calls: Vec<Call>,
    mishap: Mishap,
    times: u32,
}

impl Plan {
    pub(super) fn new(calls: &[Call], mishap: Mishap, times: u32) -> Self {
        Self {
            calls: calls.to_vec(),
            mishap,
            times,
        }
    }
}

/// Takes the mishap of a call from the plans, the oldest first.
pub(super) fn take(plans: &mut Vec<Plan>, call: Call) -> Option<Mishap> {
    let plan = plans
        .iter_mut()
        .find(|plan| plan.times > 0 && (plan.calls.is_empty() || plan.calls.contains(&call)))?;
    plan.times -= 1;
    let mishap = plan.mishap.clone();
    plans.retain(|plan| plan.times > 0);
    Some(mishap)
}
