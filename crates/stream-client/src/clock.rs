//! The process's one monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A hundred years: an instant so far away that nothing waits for it.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// A monotonic anchor and the wall-clock time at which it was taken.
///
/// All times of the request path are nanoseconds after the anchor. The wall clock is only there to join
/// them with the logs and metrics of other machines; two machines' clocks are never subtracted.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchor_unix_ns: i64,
}

impl Clock {
    /// Takes both anchors together.
    pub fn start() -> Self {
        // The wall clock is read between two monotonic readings, so that a thread that was descheduled in
        // between shifts the pair by half of the pause at most.
        let before = Instant::now();
        let anchor_unix_ns = Self::unix_now_ns();
        let anchor = before + before.elapsed() / 2;
        Self {
            anchor,
            anchor_unix_ns,
        }
    }

    /// Nanoseconds since the anchor.
    #[inline]
    pub fn now_ns(&self) -> i64 {
        nanos(self.anchor.elapsed())
    }

    /// The wall-clock time of the anchor, in nanoseconds after the Unix epoch.
    pub fn anchor_unix_ns(&self) -> i64 {
        self.anchor_unix_ns
    }

    /// The wall-clock time of now, in nanoseconds after the Unix epoch.
    pub fn unix_now_ns() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        }
    }

    /// The instant `ns` after the anchor; the anchor itself for what lies before it, and an instant far
    /// away for what no `Instant` can hold.
    pub fn instant_at(&self, ns: i64) -> Instant {
        let after = Duration::from_nanos(u64::try_from(ns).unwrap_or(0)).min(FAR);
        self.anchor.checked_add(after).unwrap_or(self.anchor)
    }
}

/// A duration as whole nanoseconds; 292 years are the most that fit.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_nanoseconds_agree() {
        let clock = Clock::start();
        let now = clock.now_ns();
        assert!(clock.instant_at(now) <= Instant::now());
        assert!(clock.instant_at(now + 1_000_000_000) > Instant::now());
        assert_eq!(clock.instant_at(-5), clock.instant_at(0));
        assert!(clock.instant_at(i64::MAX) > Instant::now() + Duration::from_hours(24));
    }

    #[test]
    fn the_wall_clock_runs_beside_the_anchor() {
        let clock = Clock::start();
        let wall = Clock::unix_now_ns() - clock.anchor_unix_ns();
        assert!((wall - clock.now_ns()).abs() < 1_000_000_000, "{wall}");
    }
}
