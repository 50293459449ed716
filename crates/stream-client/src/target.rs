//! Where the server is.

use std::fmt;

use crate::errors::TargetError;

/// A base URL: scheme, host, port and a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

impl Target {
    /// Reads `http://host[:port][/prefix]` or the same with `https`.
    pub fn parse(base_url: &str) -> Result<Self, TargetError> {
        let base_url = base_url.trim();
        let shown = || base_url.to_owned();
        let authority_end = base_url.find("://").map_or(0, |at| at + 3);
        let rest = &base_url[authority_end..];
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        if base_url.contains(['?', '#']) {
            return Err(TargetError::Query { url: shown() });
        }
        if authority_end == 0 {
            return Err(TargetError::Scheme { url: shown() });
        }
        if rest.is_empty() || rest.starts_with(['/', ':']) {
            return Err(TargetError::NoHost { url: shown() });
        }
        let uri: http::Uri = base_url
            .parse()
            .map_err(|source| TargetError::NotAUrl { url: shown(), source })?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(TargetError::Scheme { url: shown() }),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| TargetError::NoHost { url: shown() })?;
        let port = match (
            authority
                .rsplit_once(':')
                .filter(|(_, port)| !port.ends_with(']')),
            uri.port_u16(),
        ) {
            (_, Some(port)) => port,
            (None, None) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            (Some(_), None) => return Err(TargetError::Port { url: shown() }),
        };
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 80 or 443 if the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, without the port if it is the scheme's own: the value of the `host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// `host:port`, always with the port.
    pub(crate) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The URL of a path on the wire.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path(path))
    }

    /// The path on the wire of an API path such as `/v1/models`.
    ///
    /// Base URLs are often given with the `/v1` that the API paths begin with too; it is not doubled.
    pub fn path(&self, path: &str) -> String {
        let prefix = match self.prefix.strip_suffix("/v1") {
            Some(shorter) if path == "/v1" || path.starts_with("/v1/") => shorter,
            _ => &self.prefix,
        };
        format!("{prefix}{path}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &str) {
        let shown = match Target::parse(url) {
            Ok(target) => format!("{target} | {} {}", target.authority(), target.path("/v1/models")),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{url}");
    }

    #[test]
    fn base_urls() {
        check(
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000 | 127.0.0.1:8000 /v1/models",
        );
        check("http://node-1/", "http://node-1 | node-1 /v1/models");
        check(
            "https://api.example.org/v1/",
            "https://api.example.org/v1 | api.example.org /v1/models",
        );
        check(
            "https://h:8443/llm/v1",
            "https://h:8443/llm/v1 | h:8443 /llm/v1/models",
        );
        check("http://h/llm", "http://h/llm | h /llm/v1/models");
        check("http://[::1]:81", "http://[::1]:81 | [::1]:81 /v1/models");
        check("http://[::1]", "http://[::1] | [::1] /v1/models");
    }

    #[test]
    fn refusals() {
        check(
            "localhost:8000",
            "error: `localhost:8000` does not begin with `http://` or `https://`",
        );
        check(
            "ftp://h",
            "error: `ftp://h` does not begin with `http://` or `https://`",
        );
        check(
            "http://",
            "error: `http://` names no host; write it as `http://host:port`",
        );
        check(
            "http://:80",
            "error: `http://:80` names no host; write it as `http://host:port`",
        );
        check(
            "http://h h",
            "error: `http://h h` is not a URL; write it as `http://host:port`",
        );
        check(
            "http://h:80a",
            "error: the port of `http://h:80a` is no number from 0 to 65535",
        );
        check(
            "http://[::1]:70000",
            "error: the port of `http://[::1]:70000` is no number from 0 to 65535",
        );
        check(
            "http://h:",
            "error: the port of `http://h:` is no number from 0 to 65535",
        );
        check(
            "http://h/?a=b",
            "error: `http://h/?a=b` has a query or fragment; a base URL ends with its path",
        );
        let secret =
            "error: the URL carries a user name or password; give the key by its own setting instead";
        check("http://me:secret@h", secret);
        check("me:secret@h:80", secret);
    }
}
