//! When the kernel received what a read brings.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::clock::Clock;

const SECOND: i64 = 1_000_000_000;
/// So long the distance between the two clocks is used before it is looked at again.
const OFFSET_LASTS_NS: i64 = 1_000_000;

/// The way from the kernel's stamps, which are wall-clock times, to the process's clock.
#[derive(Debug)]
pub(crate) struct KernelClock {
    clock: Clock,
    /// Wall clock minus the process's clock.
    offset_ns: i64,
    sampled_ns: i64,
}

impl KernelClock {
    pub(crate) fn new(clock: Clock) -> Self {
        let mut kernel_clock = Self {
            clock,
            offset_ns: 0,
            sampled_ns: 0,
        };
        kernel_clock.sample();
        kernel_clock
    }

    fn sample(&mut self) {
        let before = self.clock.now_ns();
        let wall = Clock::unix_now_ns();
        self.sampled_ns = self.clock.now_ns();
        self.offset_ns = wall - i64::midpoint(before, self.sampled_ns);
    }

    /// When the bytes of a read that returned at `read_ns` were received: what the kernel says, else the read itself.
    #[inline]
    pub(crate) fn received_ns(&mut self, stamp_unix_ns: Option<i64>, read_ns: i64) -> i64 {
        let Some(stamp) = stamp_unix_ns else {
            return read_ns;
        };
        if read_ns - self.sampled_ns > OFFSET_LASTS_NS {
            self.sample();
        }
        (stamp - self.offset_ns).min(read_ns)
    }
}

/// Has the kernel stamp what the socket receives, if it can: without stamps the time of the read stands for them.
pub(crate) fn ask_for_stamps(socket: &impl AsFd) {
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
}

/// Room for the one message beside the data that is asked for.
#[derive(Debug)]
pub(crate) struct StampRoom(Vec<u8>);

impl StampRoom {
    pub(crate) fn new() -> Self {
        Self(nix::cmsg_space!(nix::sys::time::TimeSpec))
    }
}

/// Reads what is there. The time is when the last segment of it was received, in nanoseconds after the Unix epoch.
#[inline]
pub(crate) fn receive(
    socket: &impl AsFd,
    buffer: &mut [u8],
    room: &mut StampRoom,
) -> io::Result<(usize, Option<i64>)> {
    let mut pieces = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &mut pieces,
        Some(&mut room.0),
        MsgFlags::empty(),
    )?;
    let mut stamp = None;
    if let Ok(messages) = message.cmsgs() {
        for one in messages {
            if let ControlMessageOwned::ScmTimestampns(time) = one {
                stamp = Some(time.tv_sec() * SECOND + time.tv_nsec());
            }
        }
    }
    Ok((message.bytes, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stamp_is_later_than_its_read() {
        let mut clock = KernelClock {
            clock: Clock::start(),
            offset_ns: 1_000,
            sampled_ns: i64::MAX,
        };
        assert_eq!(clock.received_ns(None, 50), 50);
        assert_eq!(clock.received_ns(Some(1_040), 50), 40);
        assert_eq!(clock.received_ns(Some(1_060), 50), 50);
    }
}
