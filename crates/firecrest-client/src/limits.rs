//! How many calls are in flight, how many begin in a minute, and when none does.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// A number of which zero makes no sense, and counts as one.
pub(crate) const fn at_least_one(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

/// The window of a quota.
const MINUTE: Duration = Duration::from_mins(1);

/// The times of the last calls.
#[derive(Debug)]
pub(crate) struct Quota {
    calls: NonZeroUsize,
    window: Duration,
    begun: VecDeque<Instant>,
}

impl Quota {
    fn new(calls: NonZeroUsize, window: Duration) -> Self {
        Self {
            calls,
            window,
            begun: VecDeque::new(),
        }
    }

    /// Begins a call now, or tells when one may begin. A call that is given up meanwhile takes no place.
    fn begin(&mut self, now: Instant) -> Result<(), Instant> {
        if self.begun.len() >= self.calls.get()
            && let Some(oldest) = self.begun.front()
        {
            let free = *oldest + self.window;
            if free > now {
                return Err(free);
            }
            self.begun.pop_front();
        }
        self.begun.push_back(now);
        Ok(())
    }
}

/// The limits that all clones of a client share.
#[derive(Debug)]
pub(crate) struct Limits {
    in_flight: Semaphore,
    quota: Option<Mutex<Quota>>,
    /// A gateway that throttles one call throttles them all: until then none is made.
    pause: Mutex<Option<Instant>>,
    longest_pause: Duration,
}

impl Limits {
    /// A pause that is longer than `longest_pause` is left to each call, which then fails at once.
    pub(crate) fn new(
        in_flight: NonZeroUsize,
        per_minute: Option<NonZeroUsize>,
        longest_pause: Duration,
    ) -> Self {
        Self {
            in_flight: Semaphore::new(in_flight.get().min(Semaphore::MAX_PERMITS)),
            quota: per_minute.map(|calls| Mutex::new(Quota::new(calls, MINUTE))),
            pause: Mutex::new(None),
            longest_pause,
        }
    }

    /// Makes no call for so long.
    pub(crate) fn pause(&self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(end, |earlier| earlier.max(end)));
    }

    /// Waits until a call may begin; the call is in flight until the permit is dropped.
    pub(crate) async fn begin(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is a permit.
        let permit = self.in_flight.acquire().await.ok();
        // A pause may have begun while the quota was waited for.
        while let Some(at) = self.held_until(Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
        permit
    }

    /// Until when no call may begin; nothing once the call has begun.
    fn held_until(&self, now: Instant) -> Option<Instant> {
        let pause = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = pause.filter(|end| *end > now && *end - now <= self.longest_pause);
        pause.or_else(|| {
            let mut quota = self
                .quota
                .as_ref()?
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            quota.begin(now).err()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_call_that_is_given_up_takes_no_place() {
        let mut quota = Quota::new(NonZeroUsize::MIN, MINUTE);
        let now = Instant::now();
        assert_eq!(quota.begin(now), Ok(()));
        for _ in 0..10 {
            assert_eq!(quota.begin(now), Err(now + MINUTE));
        }
        assert_eq!(quota.begin(now + MINUTE), Ok(()));
    }

    proptest! {
        /// No window of a minute ever holds more calls than the quota, and no call waits without need.
        #[test]
        fn quotas_hold(calls in 1usize..6, gaps in proptest::collection::vec(0u64..40_000, 1..60)) {
            let mut quota = Quota::new(NonZeroUsize::new(calls).expect("not zero"), MINUTE);
            let mut now = Instant::now();
            let mut times: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wanted = now;
                let mut at = now;
                while let Err(free) = quota.begin(at) {
                    prop_assert!(free > at);
                    at = free;
                }
                now = at;
                let earlier = times.len().checked_sub(calls).map(|index| times[index]);
                let soonest = earlier.map_or(wanted, |earlier| wanted.max(earlier + MINUTE));
                prop_assert_eq!(at, soonest);
                times.push(at);
            }
        }
    }
}
