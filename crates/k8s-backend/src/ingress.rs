//! Asks whether an Ingress leads to its server yet.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// An Ingress that does not answer in this time does not work yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why it is not taken as one that works.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngressError {
    #[error("failed to read the authorities")]
    Read(#[source] io::Error),
    #[error("the authorities are no certificates in PEM")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    #[error("the file of authorities holds no certificate in PEM")]
    NoAuthority,
    #[error("the TLS settings are refused")]
    Tls(#[source] rustls::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it does not answer")]
    Http(#[source] reqwest::Error),
}

/// Asks this URL, with the trust of the load generator: the public authorities and those of the file.
pub(crate) async fn answers(url: &str, ca_file: Option<&Path>) -> Result<(), IngressError> {
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        // The load generator uses none of the environment's either.
        .no_proxy()
        .timeout(PATIENCE)
        .tls_backend_preconfigured(tls(ca_file)?)
        .build()
        .map_err(IngressError::Http)?;
    let answer = client.get(url).send().await.map_err(IngressError::Http)?;
    // A redirection, to a login for instance, is not followed by the load either.
    if answer.status().is_success() {
        return Ok(());
    }
    Err(IngressError::Status(answer.status()))
}

/// Fails where the file of authorities is none, before a server is started that would never be ready.
pub(crate) fn check_authorities(ca_file: &Path) -> Result<(), IngressError> {
    tls(Some(ca_file)).map(drop)
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, IngressError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        let text = fs::read(path).map_err(IngressError::Read)?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(IngressError::Authorities)?;
            roots.add(certificate).map_err(IngressError::Tls)?;
        }
        if roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
            return Err(IngressError::NoAuthority);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(IngressError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../stream-client/tests/it/tls/server.pem");
    const KEY: &[u8] = include_bytes!("../../stream-client/tests/it/tls/server.key");
    const AUTHORITY: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../stream-client/tests/it/tls/authority.pem"
    );

    /// A server whose certificate is of an authority of its own, and which always says this; its URL.
    async fn server(answer: &'static str) -> anyhow::Result<String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE)?],
                PrivateKeyDer::from_pem_slice(KEY)?,
            )?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/health", listener.local_addr()?.port());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // A client that does not trust it goes.
                let Ok(mut stream) = acceptor.accept(tcp).await else {
                    continue;
                };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        Ok(url)
    }

    #[tokio::test]
    async fn an_authority_of_the_sites_own_is_trusted_where_it_is_named() -> anyhow::Result<()> {
        let url = server("200 OK").await?;
        let authority = Path::new(AUTHORITY);
        answers(&url, Some(authority)).await?;
        let unknown = answers(&url, None).await;
        assert!(matches!(unknown, Err(IngressError::Http(_))), "{unknown:?}");
        for answer in ["503 Service Unavailable", "302 Found"] {
            let unready = answers(&server(answer).await?, Some(authority)).await;
            assert!(matches!(unready, Err(IngressError::Status(_))), "{unready:?}");
        }
        Ok(())
    }

    #[test]
    fn a_file_without_authorities_is_refused() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("ca.pem");
        assert!(matches!(check_authorities(&file), Err(IngressError::Read(_))));
        fs::write(&file, "nothing\n")?;
        assert!(matches!(check_authorities(&file), Err(IngressError::NoAuthority)));
        check_authorities(Path::new(AUTHORITY))?;
        Ok(())
    }
}
