//! Sockets that do not block, and when the kernel received what they bring.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, sendmsg, socket_with,
    sockopt as options,
};

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

/// A socket that has begun to connect, and whose reads tell when the kernel received what they bring.
pub(super) fn dial(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    options::set_tcp_nodelay(&socket, true)?;
    ask_for_stamps(&socket);
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
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

/// Sends what the socket takes of some buffers, of which `from` bytes have gone before.
pub(super) fn send(socket: &OwnedFd, pieces: [&[u8]; 3], mut from: usize) -> io::Result<usize> {
    let left = pieces.map(|piece| {
        let gone = from.min(piece.len());
        from -= gone;
        IoSlice::new(&piece[gone..])
    });
    let nothing = &mut SendAncillaryBuffer::default();
    Ok(sendmsg(socket, &left, nothing, SendFlags::NOSIGNAL)?)
}

/// How the attempt to connect ended.
pub(super) fn connected(socket: &OwnedFd) -> io::Result<()> {
    options::socket_error(socket)??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn what_came_before_the_reader_is_stamped_when_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = dial(listener.local_addr().expect("an address")).expect("a socket");
        let (mut peer, _) = listener.accept().expect("a connection");
        connected(&socket).expect("it is connected");
        assert_eq!(send(&socket, [b"ab", b"", b"cd"], 3).expect("room"), 1);

        let clock = Clock::start();
        let mut kernel_clock = KernelClock::new(clock);
        let mut room = StampRoom::new();
        let mut buffer = [0; 16];
        // The kernel begins to stamp a little after the first socket has asked for it.
        let error = receive(&socket, &mut buffer, &mut room).expect_err("nothing is there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut best = i64::MAX;
        for _ in 0..20 {
            peer.write_all(b"x").expect("it is sent");
            let sent_ns = clock.now_ns();
            std::thread::sleep(Duration::from_millis(20));
            let (length, stamp) = receive(&socket, &mut buffer, &mut room).expect("it is there");
            let read_ns = clock.now_ns();
            assert_eq!(length, 1);
            if stamp.is_some() {
                best = best.min((kernel_clock.received_ns(stamp, read_ns) - sent_ns).abs());
            }
        }
        assert!(
            best < 5_000_000,
            "the reader came 20 ms late, the best stamp {best} ns"
        );
    }

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
