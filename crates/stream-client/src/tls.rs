//! TLS towards the server.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::errors::ClientError;
use crate::io::Stamped;
use crate::target::Target;

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// How connections to one server are encrypted.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    http2: bool,
}

impl Tls {
    /// `authorities` are PEM certificates that are trusted beside the public ones.
    pub(crate) fn new(target: &Target, authorities: Option<&[u8]>, http2: bool) -> Result<Self, ClientError> {
        let name = ServerName::try_from(target.host().to_owned()).map_err(|_| ClientError::ServerName {
            host: target.host().to_owned(),
        })?;
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(pem) = authorities {
            add(&mut roots, pem)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 { HTTP2.to_vec() } else { HTTP1.to_vec() }];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
            http2,
        })
    }

    /// Encrypts a connection.
    pub(crate) async fn over(&self, stream: Stamped) -> io::Result<TlsStream<Stamped>> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the server does not agree to HTTP/2",
            ));
        }
        Ok(stream)
    }
}

/// How many public authorities are trusted; an error when no encrypted connection could be set up.
///
/// # Errors
/// The cryptography of this build does not work.
pub fn trusted_roots() -> Result<usize, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?;
    Ok(webpki_roots::TLS_SERVER_ROOTS.len())
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), ClientError> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| ClientError::Authorities)?;
        roots.add(certificate).map_err(ClientError::Tls)?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(ClientError::Authorities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(url: &str, authorities: Option<&[u8]>) -> Result<Tls, ClientError> {
        Tls::new(&Target::parse(url).unwrap(), authorities, false)
    }

    #[test]
    fn a_connector_is_for_its_host() {
        let tls = tls("https://api.example.org", None).unwrap();
        assert_eq!(tls.name.to_str(), "api.example.org");
        assert_eq!(tls.connector.config().alpn_protocols, [HTTP1.to_vec()]);
    }

    #[test]
    fn what_cannot_be_used() {
        let check = |url: &str, authorities: Option<&[u8]>, expected: &str| {
            let error = tls(url, authorities).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(expected));
        };
        check(
            "https://a_b..c",
            None,
            "`a_b..c` is not a valid server name for TLS",
        );
        let none = "the certificates of the authorities are no PEM text, or hold no certificate";
        check("https://h", Some(b"no certificate"), none);
        check(
            "https://h",
            Some(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"),
            none,
        );
    }
}
