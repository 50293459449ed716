//! Making connections.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::TcpStream;

use crate::client::ClientOptions;
use crate::clock::Clock;
use crate::connection::{Connection, Open};
use crate::errors::ClientError;
use crate::io::{Stamped, Stamps, Transport};
use crate::session::Session;
use crate::target::Target;
use crate::tls::Tls;
use crate::tunnel;

/// What was made.
pub(crate) enum Dialled {
    /// For one exchange at a time.
    Connection(Box<Connection>),
    /// For many at a time.
    Session(Rc<Session>),
}

pub(crate) struct Dialer {
    clock: Clock,
    /// Of the server, or of the proxy before it.
    host: String,
    port: u16,
    /// The server's host and port, which a proxy is asked for a tunnel to.
    tunnel: Option<String>,
    tls: Option<Tls>,
    http2: bool,
    timeout: Duration,
    /// The host's addresses; looked up at the first connection, for a lookup per connection would measure
    /// the name server.
    addresses: RefCell<Rc<[SocketAddr]>>,
    /// The address that answered last.
    preferred: Cell<usize>,
    open: Rc<Cell<usize>>,
}

impl Dialer {
    pub(crate) fn new(clock: Clock, target: &Target, options: &ClientOptions) -> Result<Self, ClientError> {
        let first = options.proxy.as_ref().unwrap_or(target);
        let is_tunnelled = options.proxy.is_some() && (target.is_tls() || options.http2);
        let authorities = options.authorities.as_deref();
        let tls = target
            .is_tls()
            .then(|| Tls::new(target, authorities, options.http2))
            .transpose()?;
        Ok(Self {
            clock,
            host: first.host().to_owned(),
            port: first.port(),
            tunnel: is_tunnelled.then(|| target.host_and_port()),
            tls,
            http2: options.http2,
            timeout: options.connect_timeout,
            addresses: RefCell::new(Rc::new([])),
            preferred: Cell::new(0),
            open: Rc::new(Cell::new(0)),
        })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.get()
    }

    /// Makes a connection. The caller keeps the time limit; it is only shared among the addresses here, so
    /// that one that does not answer leaves time for the next.
    pub(crate) async fn dial(&self) -> io::Result<Dialled> {
        let started = Instant::now();
        let addresses = self.addresses().await?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for attempt in 0..addresses.len() {
            let index = (self.preferred.get() + attempt) % addresses.len();
            let left = self.timeout.saturating_sub(started.elapsed()) / (addresses.len() - attempt) as u32;
            match self
                .dial_address(addresses[index], left, attempt + 1 == addresses.len())
                .await
            {
                Ok(dialled) => {
                    self.preferred.set(index);
                    return Ok(dialled);
                }
                Err(error) if out_of_sockets(&error) => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn dial_address(&self, address: SocketAddr, share: Duration, last: bool) -> io::Result<Dialled> {
        let connect = TcpStream::connect(address);
        let tcp = if last {
            connect.await?
        } else {
            tokio::time::timeout(share, connect).await??
        };
        tcp.set_nodelay(true)?;
        let open = Open::new(&self.open);
        let stamps = Rc::new(Stamps::new(self.clock));
        let mut stamped = Stamped::new(tcp, Rc::clone(&stamps));
        if let Some(authority) = &self.tunnel {
            tunnel::open(&mut stamped, authority).await?;
        }
        let transport = match &self.tls {
            None => Transport::Plain(stamped),
            Some(tls) => Transport::Tls(Box::new(tls.over(stamped).await?)),
        };
        let made = if self.http2 {
            Session::new(transport, open).await.map(Dialled::Session)
        } else {
            Connection::http1(transport, stamps, open)
                .await
                .map(Dialled::Connection)
        };
        made.map_err(io::Error::other)
    }

    async fn addresses(&self) -> io::Result<Rc<[SocketAddr]>> {
        let known = Rc::clone(&self.addresses.borrow());
        if !known.is_empty() {
            return Ok(known);
        }
        let found: Rc<[SocketAddr]> = match self.host.parse::<IpAddr>() {
            Ok(address) => Rc::new([SocketAddr::new(address, self.port)]),
            Err(_) => tokio::net::lookup_host((self.host.as_str(), self.port))
                .await?
                .collect(),
        };
        self.addresses.replace(Rc::clone(&found));
        Ok(found)
    }
}

/// Whether this machine, not the server, is why there is no connection.
pub(crate) fn out_of_sockets(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine() {
        let is = |errno: Errno| out_of_sockets(&io::Error::from(errno));
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::ADDRNOTAVAIL));
        assert!(!is(Errno::CONNREFUSED) && !is(Errno::HOSTUNREACH));
    }
}
