//! What can go wrong before there is an exchange to report on.

use std::io;

/// A base URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a URL at all.
    #[error("`{url}` is not a URL; write it as `http://host:port`")]
    NotAUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// No scheme, or one that is not spoken here.
    #[error("`{url}` does not begin with `http://` or `https://`")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// No host.
    #[error("`{url}` names no host; write it as `http://host:port`")]
    NoHost {
        /// What was given.
        url: String,
    },
    /// A port that is none.
    #[error("the port of `{url}` is no number from 0 to 65535")]
    Port {
        /// What was given.
        url: String,
    },
    /// A user name or password in the URL: it would end up in logs. The URL is not shown for the same reason.
    #[error("the URL carries a user name or password; give the key by its own setting instead")]
    Credentials,
    /// A query or fragment, which a base URL has not.
    #[error("`{url}` has a query or fragment; a base URL ends with its path")]
    Query {
        /// What was given.
        url: String,
    },
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refused its settings.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
    /// The host is no name that a certificate could be checked against.
    #[error("`{host}` is not a valid server name for TLS")]
    ServerName {
        /// The host of the target.
        host: String,
    },
    /// The certificates of own authorities cannot be read.
    #[error("the certificates of the authorities are no PEM text, or hold no certificate")]
    Authorities,
    /// A header of one's own cannot be sent; its value is not shown.
    #[error("the header `{name}` has a name or a value that HTTP cannot carry")]
    Header {
        /// The header's name.
        name: String,
    },
    /// A proxy that is itself spoken to by TLS.
    #[error("the proxy's address begins with `https://`; only proxies behind `http://` are used")]
    ProxyScheme,
    /// The server's name has no address.
    #[error("could not look up `{host}`")]
    Lookup {
        /// The host of the target.
        host: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key has characters that no HTTP header can carry.
    #[error("the API key has characters that an HTTP header cannot carry (a line break at its end?)")]
    Key,
    /// The host has characters that no HTTP header can carry.
    #[error("`{host}` cannot be sent as a `host` header")]
    HostHeader {
        /// The host of the target.
        host: String,
    },
}

/// A `GET` that brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The path is not one that HTTP can carry.
    #[error("`{path}` is not a valid path of a URL")]
    Path {
        /// The path that was asked for.
        path: String,
    },
    /// No connection could be made.
    #[error("could not connect to `{target}`")]
    Connect {
        /// Host and port.
        target: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The answer was not complete in time.
    #[error("no complete answer from `{target}` within {timeout_ms} ms")]
    Timeout {
        /// Host and port.
        target: String,
        /// The limit.
        timeout_ms: u128,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange with `{target}` broke")]
    Broken {
        /// Host and port.
        target: String,
        /// How it broke.
        #[source]
        source: hyper::Error,
    },
    /// The answer is longer than the caller allows.
    #[error("the answer of `{target}` is longer than {max_bytes} bytes")]
    TooLong {
        /// Host and port.
        target: String,
        /// The limit.
        max_bytes: usize,
    },
}
