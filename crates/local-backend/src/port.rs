//! Ports of the loopback interface.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// How often another port is tried.
const ATTEMPTS: u32 = 100;

/// A port that is free now and was not given away before. Another program may take it until the engine does.
pub(crate) fn pick(given: &mut BTreeSet<u16>) -> io::Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port is left"))
}

/// Whether somebody listens on a port. Binding alone does not tell everywhere: some systems allow it beside a
/// listener on all interfaces.
pub(crate) fn is_taken(port: u16) -> io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        // A connection can meet itself when the system gives it that very port.
        return Ok(stream.local_addr()? != address);
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_apart() {
        let mut given = BTreeSet::new();
        let (first, second) = (pick(&mut given).unwrap(), pick(&mut given).unwrap());
        assert_ne!(first, second);
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(is_taken(listener.local_addr().unwrap().port()).unwrap());
    }
}
