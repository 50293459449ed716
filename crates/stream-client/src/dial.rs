//! Making connections.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::connection::{Connection, Open};
use crate::errors::ClientError;
use crate::io::{Stamped, Stamps, Transport};
use crate::target::Target;

pub(crate) struct Dialer {
    clock: Clock,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    /// The host's addresses; looked up at the first connection, for a lookup per connection would measure
    /// the name server.
    addresses: RefCell<Rc<[SocketAddr]>>,
    /// The address that answered last.
    preferred: Cell<usize>,
    open: Rc<Cell<usize>>,
}

impl Dialer {
    pub(crate) fn new(clock: Clock, target: &Target, timeout: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            clock,
            host: target.host().to_owned(),
            port: target.port(),
            tls: if target.is_tls() { Some(tls(target)?) } else { None },
            timeout,
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
    pub(crate) async fn dial(&self) -> io::Result<Box<Connection>> {
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
                Ok(connection) => {
                    self.preferred.set(index);
                    return Ok(connection);
                }
                Err(error) if out_of_sockets(&error) => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn dial_address(
        &self,
        address: SocketAddr,
        share: Duration,
        last: bool,
    ) -> io::Result<Box<Connection>> {
        let connect = TcpStream::connect(address);
        let tcp = if last {
            connect.await?
        } else {
            tokio::time::timeout(share, connect).await??
        };
        tcp.set_nodelay(true)?;
        let open = Open::new(&self.open);
        let stamps = Rc::new(Stamps::new(self.clock));
        let stamped = Stamped::new(tcp, Rc::clone(&stamps));
        let transport = match &self.tls {
            None => Transport::Plain(stamped),
            Some((connector, name)) => {
                Transport::Tls(Box::new(connector.connect(name.clone(), stamped).await?))
            }
        };
        Connection::new(transport, stamps, open)
            .await
            .map_err(io::Error::other)
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

fn tls(target: &Target) -> Result<(TlsConnector, ServerName<'static>), ClientError> {
    let name = ServerName::try_from(target.host().to_owned()).map_err(|_| ClientError::ServerName {
        host: target.host().to_owned(),
    })?;
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(url: &str) -> Result<Dialer, ClientError> {
        Dialer::new(
            Clock::start(),
            &Target::parse(url).unwrap(),
            Duration::from_secs(1),
        )
    }

    #[test]
    fn https_gets_a_connector_for_its_host() {
        let dialer = dialer("https://api.example.org").unwrap();
        let (connector, name) = dialer.tls.as_ref().unwrap();
        assert_eq!(name.to_str(), "api.example.org");
        assert_eq!(connector.config().alpn_protocols, [b"http/1.1".to_vec()]);
        assert_eq!(dialer.port, 443);
    }

    #[test]
    fn http_gets_none() {
        assert!(dialer("http://api.example.org").unwrap().tls.is_none());
        assert!(dialer("https://127.0.0.1:1").unwrap().tls.is_some());
    }

    #[test]
    fn a_host_that_no_certificate_can_name() {
        assert!(matches!(
            dialer("https://a_b..c"),
            Err(ClientError::ServerName { .. })
        ));
    }

    #[test]
    fn errors_of_this_machine() {
        let is = |errno: Errno| out_of_sockets(&io::Error::from(errno));
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::ADDRNOTAVAIL));
        assert!(!is(Errno::CONNREFUSED) && !is(Errno::HOSTUNREACH));
    }
}
