//! Epoll with deadlines in nanoseconds, and the clock that they are of.

use std::{
    io,
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    thread,
    time::{ClockId, clock_gettime},
};

/// What is waited for on a file, as epoll names it.
pub type Interest = EventFlags;

const SECOND_NS: i64 = 1_000_000_000;

/// An epoll object and the events of its last wait.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// One that takes so many events at once. The thread's waits end as exactly as the kernel can: by default it lets
    /// each be 50 µs late.
    pub fn new(events: usize) -> io::Result<Self> {
        thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(events),
        })
    }

    /// Waits for a file as well, under a name.
    pub fn add(&self, file: impl AsFd, name: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, file, EventData::new_u64(name), interest)?)
    }

    /// Waits for something else on a file that was added.
    pub fn change(&self, file: impl AsFd, name: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            file,
            EventData::new_u64(name),
            interest,
        )?)
    }

    /// Waits until `deadline_ns` of the monotonic clock or for an event, and says how many there are.
    pub fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<usize> {
        let timeout = deadline_ns.map(|deadline_ns| {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns()) as i64;
            Timespec {
                tv_sec: left_ns / SECOND_NS,
                tv_nsec: left_ns % SECOND_NS,
            }
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The name and the state of the file of an event of the last wait.
    pub fn event(&self, index: usize) -> (u64, Interest) {
        let event = self.events[index];
        (event.data.u64(), event.flags)
    }
}

/// The monotonic clock, which all processes of a machine share.
pub fn monotonic_ns() -> u64 {
    nanos(ClockId::Monotonic) as u64
}

/// By how much the wall clock is ahead of the monotonic one.
pub fn wall_offset_ns() -> i64 {
    let before = nanos(ClockId::Monotonic);
    let wall = nanos(ClockId::Realtime);
    let after = nanos(ClockId::Monotonic);
    wall - (before + (after - before) / 2)
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * SECOND_NS + time.tv_nsec
}
