//! What the system tells of this process: how much of a processor it gets, what it has open, how its clocks go.

use std::time::Duration;

use gipfel_stream_client::Clock;

use crate::messages::{ProcessLook, ThreadTime};

/// A look at two clocks that took longer was interrupted between them.
const UNDISTURBED_NS: i64 = 20_000;

/// A look at this process; `slowest_commit` is what the disk took since the last one.
pub(crate) fn of_this_process(clock: Clock, slowest_commit: Duration) -> ProcessLook {
    ProcessLook {
        at_ns: clock.now_ns(),
        run_ns: system::run_ns(),
        raw_offset_ns: beside(clock, system::raw_ns),
        wall_offset_ns: beside(clock, || Some(Clock::unix_now_ns())),
        open_files: system::open_files(),
        commit_ns: crate::board::nanos(slowest_commit),
    }
}

/// Another clock minus the monotonic one: of a few looks the one that was disturbed least, unless all were.
fn beside(clock: Clock, other: impl Fn() -> Option<i64>) -> Option<i64> {
    let look = |_| {
        let before = clock.now_ns();
        let there = other()?;
        let after = clock.now_ns();
        Some((after - before, there - i64::midpoint(before, after)))
    };
    let best = (0..4).filter_map(look).min()?;
    (best.0 <= UNDISTURBED_NS).then_some(best.1)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    fn nanos(time: Timespec) -> Option<i64> {
        time.tv_sec.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec)
    }

    pub(super) fn run_ns() -> Option<i64> {
        nanos(clock_gettime(ClockId::ProcessCPUTime))
    }

    pub(super) fn raw_ns() -> Option<i64> {
        nanos(clock_gettime(ClockId::MonotonicRaw))
    }

    /// Linux 6.2 and later tell their number as the directory's size.
    pub(super) fn open_files() -> Option<u64> {
        let directory = std::fs::metadata("/proc/self/fd").ok()?;
        Some(directory.len()).filter(|count| *count > 0)
    }
}

/// Other systems have no such figures.
#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn run_ns() -> Option<i64> {
        None
    }

    pub(super) fn raw_ns() -> Option<i64> {
        None
    }

    pub(super) fn open_files() -> Option<u64> {
        None
    }
}

/// The calling thread's time on a core and in the queue for one; absent where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn of_this_thread(at_ns: i64) -> Option<ThreadTime> {
    parse(
        &std::fs::read_to_string("/proc/thread-self/schedstat").ok()?,
        at_ns,
    )
}

/// Other systems have no such figure.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_this_thread(_at_ns: i64) -> Option<ThreadTime> {
    None
}

/// Nanoseconds on a core, nanoseconds ready without one, number of time slices.
#[cfg(any(target_os = "linux", test))]
fn parse(text: &str, at_ns: i64) -> Option<ThreadTime> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    let run_ns = fields.next()?.ok()?;
    let wait_ns = fields.next()?.ok()?;
    Some(ThreadTime {
        at_ns,
        run_ns,
        wait_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_looks_at_itself() {
        let clock = Clock::start();
        let look = of_this_process(clock, Duration::from_millis(3));
        assert!(look.run_ns > Some(0) && look.commit_ns == 3_000_000, "{look:?}");
    }

    #[test]
    fn the_systems_figures_are_read() {
        let check = |text, expected: Option<(u64, u64)>| {
            assert_eq!(parse(text, 1).map(|time| (time.run_ns, time.wait_ns)), expected);
        };
        check("3000 40 7\n", Some((3000, 40)));
        check("3000\n", None);
        check("", None);
        check("a b c", None);
    }
}
