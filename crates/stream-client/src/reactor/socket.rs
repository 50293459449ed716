//! Sockets that do not block.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, sendmsg, socket_with,
    sockopt as options,
};

use crate::received::ask_for_stamps;

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
    use crate::clock::Clock;
    use crate::received::{KernelClock, StampRoom, receive};
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the reader is to be late by a known time"
    )]
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
}
