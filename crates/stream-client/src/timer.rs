//! Waiting for a deadline, finer than the millisecond wheel of the runtime.
//!
//! All code that differs between platforms stands here.

use std::io;

use crate::clock::Clock;

#[cfg(target_os = "linux")]
use linux::Alarm;
#[cfg(not(target_os = "linux"))]
use portable::Alarm;

/// So many deadlines in the past are let through before the other tasks of the thread get their turn.
const LATE_IN_A_ROW: u32 = 8;

/// Waits for absolute deadlines, one after another.
///
/// On Linux the kernel's timer wakes the thread (a `timerfd` on the monotonic clock); elsewhere the
/// runtime's timer covers all but the last two milliseconds.
#[derive(Debug)]
pub struct DeadlineTimer {
    clock: Clock,
    alarm: Alarm,
    late: u32,
}

impl DeadlineTimer {
    /// A timer on `clock`, registered with the runtime that is current.
    ///
    /// # Errors
    /// The system gives no further timer (out of file descriptors).
    pub fn new(clock: Clock) -> io::Result<Self> {
        Ok(Self {
            clock,
            alarm: Alarm::new(clock)?,
            late: 0,
        })
    }

    /// Returns when the clock shows `deadline_ns` or later.
    ///
    /// A deadline in the past returns at once, but each eighth of them in a row yields first: a scheduler
    /// that is behind must not starve the tasks that read the answers.
    pub async fn until(&mut self, deadline_ns: i64) {
        if self.clock.now_ns() < deadline_ns {
            self.late = 0;
            self.alarm.until(self.clock, deadline_ns).await;
            return;
        }
        self.late += 1;
        if self.late >= LATE_IN_A_ROW {
            self.late = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
        timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::portable;
    use crate::clock::Clock;

    const SECOND: i64 = 1_000_000_000;

    #[derive(Debug)]
    pub(super) struct Alarm {
        timer: AsyncFd<OwnedFd>,
        /// What `CLOCK_MONOTONIC` shows at the clock's anchor.
        anchor_ns: i64,
    }

    impl Alarm {
        pub(super) fn new(clock: Clock) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe for the sake of types that may change their \
                descriptor under way; an owned descriptor cannot"
            )]
            let timer = AsyncFd::new(timer)?;
            Ok(Self {
                timer,
                anchor_ns: monotonic_anchor(clock),
            })
        }

        pub(super) async fn until(&mut self, clock: Clock, deadline_ns: i64) {
            if self.wait(clock, deadline_ns).await.is_err() {
                portable::until(clock, deadline_ns).await;
            }
        }

        async fn wait(&mut self, clock: Clock, deadline_ns: i64) -> io::Result<()> {
            let at = self.anchor_ns.saturating_add(deadline_ns);
            let it_value = Timespec {
                tv_sec: at / SECOND,
                tv_nsec: at % SECOND,
            };
            let once = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value,
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
            while clock.now_ns() < deadline_ns {
                let mut ready = self.timer.readable().await?;
                let mut expirations = [0; 8];
                // `WouldBlock` is the readiness of an alarm set earlier; the guard forgets it.
                if let Ok(read) = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                    read?;
                }
            }
            Ok(())
        }
    }

    /// `Instant` is `CLOCK_MONOTONIC` on Linux, so the two differ by a constant. It is read as the tightest
    /// of a few pairs of readings, for the thread may be descheduled between the two of one pair.
    fn monotonic_anchor(clock: Clock) -> i64 {
        let mut best = (i64::MAX, 0);
        for _ in 0..8 {
            let before = clock.now_ns();
            let shown = clock_gettime(ClockId::Monotonic);
            let width = clock.now_ns() - before;
            if width < best.0 {
                best = (width, shown.tv_sec * SECOND + shown.tv_nsec - before - width / 2);
            }
        }
        best.1
    }
}

#[cfg_attr(
    target_os = "linux",
    expect(dead_code, reason = "only its function is used where the kernel has an alarm")
)]
mod portable {
    use std::io;
    use std::time::Duration;

    use crate::clock::Clock;

    /// The runtime's timer rounds up to a millisecond, so it has to be left this long before the deadline.
    const COARSE_NS: i64 = 2_000_000;

    #[derive(Debug)]
    pub(super) struct Alarm;

    impl Alarm {
        #[expect(
            clippy::unnecessary_wraps,
            reason = "the alarm of the other platform can fail"
        )]
        pub(super) fn new(_: Clock) -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn until(&mut self, clock: Clock, deadline_ns: i64) {
            until(clock, deadline_ns).await;
        }
    }

    pub(super) async fn until(clock: Clock, deadline_ns: i64) {
        let left = deadline_ns - clock.now_ns();
        if left > COARSE_NS {
            tokio::time::sleep(Duration::from_nanos((left - COARSE_NS) as u64)).await;
        }
        while clock.now_ns() < deadline_ns {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn never_early() {
        run(async {
            let clock = Clock::start();
            let mut timer = DeadlineTimer::new(clock).unwrap();
            for step in [0, 50_000, 300_000, 1_000_000, 2_500_000] {
                let deadline = clock.now_ns() + step;
                timer.until(deadline).await;
                let late = clock.now_ns() - deadline;
                assert!((0..500_000_000).contains(&late), "{late} ns late after {step} ns");
            }
        });
    }

    #[test]
    fn finer_than_a_millisecond() {
        run(async {
            let clock = Clock::start();
            let mut timer = DeadlineTimer::new(clock).unwrap();
            let mut best = i64::MAX;
            for _ in 0..50 {
                let deadline = clock.now_ns() + 200_000;
                timer.until(deadline).await;
                best = best.min(clock.now_ns() - deadline);
            }
            assert!(best < 500_000, "the best of 50 was {best} ns late");
        });
    }

    #[test]
    fn the_portable_wait_keeps_its_deadline_too() {
        run(async {
            let clock = Clock::start();
            for step in [-5, 100_000, 3_000_000] {
                let deadline = clock.now_ns() + step;
                portable::until(clock, deadline).await;
                assert!(clock.now_ns() >= deadline);
            }
        });
    }

    #[test]
    fn a_late_scheduler_lets_others_run() {
        run(async {
            let local = tokio::task::LocalSet::new();
            local
                .run_until(async {
                    let mut timer = DeadlineTimer::new(Clock::start()).unwrap();
                    let reader = tokio::task::spawn_local(async {});
                    for _ in 0..LATE_IN_A_ROW * 4 {
                        timer.until(i64::MIN).await;
                    }
                    assert!(reader.is_finished());
                })
                .await;
        });
    }
}
