//! Values that cannot be printed.

use std::fmt;

/// What stands where a secret would stand.
pub(crate) const MASK: &str = "<secret>";

/// A client secret, an API key or an access token: it has no `Display`, and its `Debug` shows a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret out of the reach of logs and messages.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A presigned URL of the staging storage: whoever holds it may read or write the object, so only its
/// host and path are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(reqwest::Url);

impl PresignedUrl {
    /// Reads a URL as the server gave it.
    ///
    /// The error says what is wrong without the URL.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url =
            reqwest::Url::parse(text).map_err(|error| format!("a presigned URL is malformed: {error}"))?;
        if matches!(url.scheme(), "http" | "https") {
            Ok(Self(url))
        } else {
            Err(format!(
                "a presigned URL has the scheme `{}` where http or https is expected",
                url.scheme()
            ))
        }
    }

    /// The URL itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &reqwest::Url {
        &self.0
    }

    /// Scheme, host and path: what may be shown.
    pub fn shown(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        // A URL that cannot have user information has none to hide.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.into()
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}?{MASK}", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(format!("{:?}", Secret::new("swordfish")), "<secret>");
        let url = PresignedUrl::parse("https://user:pass@s3.example/b/k?X-Amz-Signature=abc&partNumber=1#f");
        assert_eq!(format!("{url:?}"), "Ok(https://s3.example/b/k?<secret>)");
    }

    #[test]
    fn faults_of_presigned_urls_do_not_show_them() {
        let check = |text: &str, expected: &str| {
            assert_eq!(PresignedUrl::parse(text).unwrap_err(), expected);
        };
        check(
            "not a url?X-Amz-Signature=abc",
            "a presigned URL is malformed: relative URL without a base",
        );
        check(
            "file:///etc/passwd?sig=abc",
            "a presigned URL has the scheme `file` where http or https is expected",
        );
    }
}
