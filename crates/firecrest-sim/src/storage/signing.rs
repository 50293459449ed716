//! Presigned addresses, by signature version 4.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::{
    call::Call,
    clock::now_s,
    files::operations::hex,
    storage::protocol::StorageError,
    token::{Secret, hmac_sha256},
};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

const ACCESS_KEY: &str = "sim";
const EXPIRES_S: i64 = 604_800;

/// Signs addresses of a storage and checks them.
pub(crate) struct Signing {
    pub(crate) host: String,
    pub(crate) key: Secret,
}

impl Signing {
    /// The address of a key for one method, with the storage's `own` parameters.
    pub(crate) fn presign(&self, method: &str, key: &str, own: &[(&str, &str)]) -> String {
        let date = date(now_s());
        let scope = format!("{ACCESS_KEY}/{}/us-east-1/s3/aws4_request", &date[..8]);
        let expires = EXPIRES_S.to_string();
        let mut query: Vec<(String, String)> = own
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in [
            ("Algorithm", "AWS4-HMAC-SHA256"),
            ("Credential", &scope),
            ("Date", &date),
            ("Expires", &expires),
            ("SignedHeaders", "host"),
        ] {
            query.push((format!("X-Amz-{name}"), value.to_owned()));
        }
        let path = format!("/{key}");
        let signature = self.signature(method, &path, &query, &self.host);
        let encoded: Vec<String> = query
            .iter()
            .map(|(name, value)| encoded_pair(name, value))
            .collect();
        let path = utf8_percent_encode(&path, PATH);
        format!(
            "http://{}{path}?{}&X-Amz-Signature={signature}",
            self.host,
            encoded.join("&")
        )
    }

    /// The signature of version 4 over everything but the body.
    fn signature(&self, method: &str, path: &str, query: &[(String, String)], host: &str) -> String {
        let value = |wanted: &str| {
            query
                .iter()
                .find(|(name, _)| name == wanted)
                .map_or("", |(_, value)| value.as_str())
        };
        let mut pairs: Vec<String> = query
            .iter()
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| encoded_pair(name, value))
            .collect();
        pairs.sort();
        let path = utf8_percent_encode(path, PATH);
        let canonical = format!(
            "{method}\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD",
            pairs.join("&")
        );
        let date = value("X-Amz-Date");
        let scope = value("X-Amz-Credential")
            .split_once('/')
            .map_or("", |(_, scope)| scope);
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let first = format!("AWS4{}", self.key.expose()).into_bytes();
        let key = scope
            .split('/')
            .fold(first, |key, part| hmac_sha256(&key, part.as_bytes()));
        hex(&hmac_sha256(&key, text.as_bytes()))
    }

    /// Whether the address of a call was signed by us, for this method, and not too long ago.
    pub(crate) fn authorise(&self, call: &Call) -> Result<(), StorageError> {
        if call.headers.contains_key("authorization") {
            return Err(StorageError::TWO_MECHANISMS);
        }
        let given = call.parameter("X-Amz-Signature").ok_or(StorageError::UNSIGNED)?;
        let host = call.header("host").unwrap_or_default();
        if given != self.signature(call.method.as_str(), &call.path, &call.query, host) {
            return Err(StorageError::WRONG_SIGNATURE);
        }
        let signed_s = call
            .parameter("X-Amz-Date")
            .and_then(date_s)
            .ok_or(StorageError::UNSIGNED)?;
        if now_s() > signed_s + EXPIRES_S {
            Err(StorageError::EXPIRED)
        } else {
            Ok(())
        }
    }
}

fn encoded_pair(name: &str, value: &str) -> String {
    format!(
        "{}={}",
        utf8_percent_encode(name, UNRESERVED),
        utf8_percent_encode(value, UNRESERVED)
    )
}

fn date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn date_s(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_our_own_addresses_are_good_for_their_method() {
        let signing = Signing {
            host: "h:1".to_owned(),
            key: Secret::new("k"),
        };
        let call = |method: http::Method, url: &str| {
            let (path, query) = url
                .trim_start_matches("http://h:1")
                .split_once('?')
                .expect("a query");
            let path = percent_encoding::percent_decode_str(path)
                .decode_utf8_lossy()
                .into_owned();
            let mut headers = http::HeaderMap::new();
            headers.insert("host", http::HeaderValue::from_static("h:1"));
            let query = crate::call::pairs(query);
            Call {
                method,
                path,
                query,
                headers,
                body: Bytes::new(),
                is_too_large: false,
            }
        };
        let url = signing.presign("GET", "tester/1/a b", &[]);
        assert_eq!(signing.authorise(&call(http::Method::GET, &url)), Ok(()));
        let refused = Err(StorageError::WRONG_SIGNATURE);
        assert_eq!(signing.authorise(&call(http::Method::PUT, &url)), refused);
        let other = url.replace("/tester/", "/other/");
        assert_eq!(signing.authorise(&call(http::Method::GET, &other)), refused);
        let mut with_token = call(http::Method::GET, &url);
        with_token
            .headers
            .insert("authorization", http::HeaderValue::from_static("Bearer x"));
        assert_eq!(signing.authorise(&with_token), Err(StorageError::TWO_MECHANISMS));
    }
}
