//! The end of the job's time: what was measured must be published before it.

use std::time::Duration;

use anyhow::Context;
use gipfel_model::format_duration;
use tokio::{sync::watch, time::Instant};

use crate::{
    publication::Status,
    stop::{StopReason, Stopper},
};

/// Slurm's word for the end of a job, in seconds since 1970.
const SLURM_END: &str = "SLURM_JOB_END_TIME";
/// What is left for the end at least: to cut the load, to write the last rows and to publish them.
const LEAST_RESERVE: Duration = Duration::from_secs(15);
/// To cut the load and to write the last rows.
const CUT: Duration = Duration::from_secs(5);
/// A publication may take so many times what the longest one took.
const MARGIN: u32 = 3;
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// When the job ends.
#[derive(Clone, Debug)]
pub(crate) struct TimeLimit {
    end: Instant,
    publication: Option<watch::Receiver<Status>>,
}

impl TimeLimit {
    /// The end that the command line names, else the one that Slurm's environment does; in seconds since 1970.
    pub(crate) fn find(
        end_at: Option<u64>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<u64>> {
        if end_at.is_some() {
            return Ok(end_at);
        }
        let parse = |text: String| {
            text.parse()
                .with_context(|| format!("`{SLURM_END}` is `{text}`, which is no number of seconds"))
        };
        environment(SLURM_END).map(parse).transpose()
    }

    /// A job that ends at `end_at`, while it is `now_unix_ns`. What the wall clock does later is of no account.
    pub(crate) fn new(end_at: u64, now_unix_ns: i64, publication: Option<watch::Receiver<Status>>) -> Self {
        let now = Duration::from_nanos(now_unix_ns.max(0).unsigned_abs());
        let left = Duration::from_secs(end_at).saturating_sub(now);
        Self {
            // A time that no clock of this machine can name is no limit that matters.
            end: Instant::now()
                .checked_add(left)
                .unwrap_or_else(|| Instant::now() + Duration::from_hours(24 * 365)),
            publication,
        }
    }

    /// What is left of the job's time.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// What is left for measuring.
    fn left_to_measure(&self) -> Duration {
        self.left().saturating_sub(self.reserve())
    }

    fn reserve(&self) -> Duration {
        let longest = self.publication.as_ref().map(|status| status.borrow().longest);
        reserve(longest.unwrap_or_default())
    }

    /// Refuses a level that takes so long and could not end in time.
    pub(crate) fn admit(&self, rate: impl std::fmt::Display, takes: Duration) -> Result<(), StopReason> {
        let left = self.left_to_measure();
        if takes <= left {
            return Ok(());
        }
        Err(StopReason::TimeUp(format!(
            "the job's time is nearly up: a level at {rate} takes {} and {} are left for it; a further job can go on with the run",
            whole_seconds(takes),
            whole_seconds(left)
        )))
    }

    /// Stops the run when the time for measuring is up.
    pub(crate) async fn watch(self, stopper: Stopper) {
        loop {
            let left = self.left_to_measure();
            if left.is_zero() {
                let reason = format!(
                    "the job's time is nearly up: {} are left to publish the results; a further job can go on with the run",
                    whole_seconds(self.left())
                );
                tracing::warn!("{reason}");
                stopper.stop(StopReason::TimeUp(reason));
                return;
            }
            // The reserve grows when publications take longer.
            tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }
}

/// The time to end well after publications that took at most so long.
fn reserve(longest_publication: Duration) -> Duration {
    (CUT + MARGIN * longest_publication).max(LEAST_RESERVE)
}

fn whole_seconds(duration: Duration) -> String {
    format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stop;

    #[test]
    fn the_end_is_found() {
        let check = |end_at, slurm: Option<&str>, expected: Result<Option<u64>, &str>| {
            let environment = |name: &str| slurm.filter(|_| name == SLURM_END).map(str::to_owned);
            let found = TimeLimit::find(end_at, environment).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(None, None, Ok(None));
        check(None, Some("1763836000"), Ok(Some(1_763_836_000)));
        check(Some(7), Some("1763836000"), Ok(Some(7)));
        check(
            None,
            Some("NONE"),
            Err("`SLURM_JOB_END_TIME` is `NONE`, which is no number of seconds"),
        );
    }

    #[test]
    fn a_slow_publication_gets_more_time() {
        let check = |longest_s, expected_s| {
            assert_eq!(
                reserve(Duration::from_secs(longest_s)),
                Duration::from_secs(expected_s)
            );
        };
        check(0, 15);
        check(3, 15);
        check(20, 65);
    }

    const SECOND_NS: i64 = 1_000_000_000;

    #[tokio::test(start_paused = true)]
    async fn no_level_begins_that_cannot_end() {
        let limit = TimeLimit::new(1_100, 1_000 * SECOND_NS, None);
        assert_eq!(limit.admit("5 req/s", Duration::from_secs(85)), Ok(()));
        let refused = limit.admit("5 req/s", Duration::from_secs(86));
        let expected = "the job's time is nearly up: a level at 5 req/s takes 1min26s and 1min25s are left for it; \
                        a further job can go on with the run";
        assert_eq!(refused, Err(StopReason::TimeUp(expected.to_owned())));
        for end_at in [0, 999, u64::MAX] {
            let limit = TimeLimit::new(end_at, 1_000 * SECOND_NS, None);
            assert_eq!(
                limit.admit("5 req/s", Duration::from_secs(1)).is_ok(),
                end_at > 1_000
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_is_stopped_in_time() {
        let begin = Instant::now();
        let limit = TimeLimit::new(1_100, 1_000 * SECOND_NS, None);
        let (stopper, stop) = Stop::new();
        limit.watch(stopper).await;
        assert_eq!(begin.elapsed().as_secs(), 85);
        let expected = "the job's time is nearly up: 15s are left to publish the results; a further job can go on with the run";
        assert_eq!(stop.check(), Err(StopReason::TimeUp(expected.to_owned())));
    }
}
