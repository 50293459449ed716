//! How long troubles that may pass are waited for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::judge::TroubleKind;

/// How long each kind of trouble may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// No node has room.
    pub(crate) place: Duration,
    /// A pod is not made, or a container not started.
    pub(crate) start: Duration,
}

/// Since when one object has been in trouble, by this machine's clock: that of the cluster may differ.
#[derive(Clone, Copy, Debug, Default)]
struct Since(Option<(TroubleKind, Instant)>);

impl Since {
    /// Takes in what was seen, and says whether it has lasted too long.
    fn step(&mut self, trouble: Option<TroubleKind>, now: Instant, limits: Limits) -> bool {
        let Some(kind) = trouble else {
            self.0 = None;
            return false;
        };
        let since = match self.0 {
            Some((known, since)) if known == kind => since,
            _ => now,
        };
        self.0 = Some((kind, since));
        let limit = match kind {
            TroubleKind::Place => limits.place,
            TroubleKind::Refusal | TroubleKind::Start => limits.start,
        };
        now.duration_since(since) >= limit
    }
}

/// The troubles of all objects that this process looks at, by their names.
#[derive(Debug)]
pub(crate) struct Patience {
    limits: Limits,
    troubles: Mutex<BTreeMap<String, Since>>,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            troubles: Mutex::default(),
        }
    }

    /// Whether this trouble of an object has lasted too long now.
    pub(crate) fn is_over(&self, name: &str, trouble: Option<TroubleKind>) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let since = troubles.entry(name.to_owned()).or_default();
        since.step(trouble, Instant::now(), self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_too_long() {
        let limits = Limits {
            place: Duration::from_mins(10),
            start: Duration::from_mins(2),
        };
        let begin = Instant::now();
        let mut since = Since::default();
        let mut check = |second: u64, trouble: Option<TroubleKind>, expected: bool| {
            let now = begin + Duration::from_secs(second);
            assert_eq!(
                since.step(trouble, now, limits),
                expected,
                "{second} s, {trouble:?}"
            );
        };
        let (place, start) = (Some(TroubleKind::Place), Some(TroubleKind::Start));
        check(0, place, false);
        check(599, place, false);
        check(600, place, true);
        check(601, start, false);
        check(720, start, false);
        check(721, start, true);
        check(722, None, false);
        check(723, start, false);
        check(842, start, false);
        check(843, start, true);
    }
}
