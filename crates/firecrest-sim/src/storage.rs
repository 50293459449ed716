//! Storage in the manner of S3: presigned addresses, uploads by parts, downloads by ranges.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use md5::Md5;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::{
    answer::{Answer, AnswerBody},
    call::Call,
    clock::now_s,
    files::operations::hex,
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

/// The storage and the key that signs its addresses.
pub(crate) struct Storage {
    pub(crate) url: String,
    host: String,
    folder: PathBuf,
    key: Secret,
}

/// An error in the storage's own form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StorageError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl StorageError {
    pub(crate) const EXPIRED: Self = Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired");
    pub(crate) const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "We encountered an internal error. Please try again.",
    );
    pub(crate) const SLOW_DOWN: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "SlowDown",
        "Please reduce your request rate.",
    );
    const NO_SUCH_KEY: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NoSuchKey",
        "The specified key does not exist.",
    );
    const NO_SUCH_UPLOAD: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NoSuchUpload",
        "The specified upload does not exist.",
    );
    const TWO_MECHANISMS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "InvalidArgument",
        "Only one auth mechanism allowed",
    );
    const UNSIGNED: Self = Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied");
    const WRONG_SIGNATURE: Self = Self::new(
        StatusCode::FORBIDDEN,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    );
    const NO_LENGTH: Self = Self::new(
        StatusCode::LENGTH_REQUIRED,
        "MissingContentLength",
        "You must provide the Content-Length HTTP header.",
    );
    const INVALID_PART: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "InvalidPart",
        "One or more of the parts could not be found.",
    );
    const MALFORMED: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "MalformedXML",
        "The XML you provided was not well-formed.",
    );
    const BAD_DIGEST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "BadDigest",
        "The Content-MD5 you specified did not match.",
    );
    const INVALID_RANGE: Self = Self::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidRange",
        "The requested range is not satisfiable",
    );
    const NOT_ALLOWED: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
    );

    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
        }
    }

    pub(crate) fn into_answer(self, path: &str) -> Answer {
        let key = path
            .trim_start_matches('/')
            .split_once('/')
            .map_or("", |(_, key)| key);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><Key>{}</Key>\
             <RequestId>{}</RequestId><HostId>sim</HostId></Error>",
            self.code,
            self.message,
            escaped(key),
            unique(),
        );
        Answer::text(self.status, "application/xml", text)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A new name, in the form of a UUID.
pub(crate) fn unique() -> String {
    let digits = format!("{:032x}", rand::random::<u128>());
    let part = |from: usize, to: usize| &digits[from..to];
    format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

impl Storage {
    pub(crate) fn new(host: String, folder: PathBuf, key: Secret) -> Self {
        Self {
            url: format!("http://{host}"),
            host,
            folder,
            key,
        }
    }

    /// The bucket and key of a new object for a file.
    pub(crate) fn key(user: &str, path: &str) -> String {
        format!(
            "{user}/{}/{}",
            unique(),
            path.rsplit('/').next().unwrap_or("file")
        )
    }

    /// Where the object of a key lies.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.folder.join("objects").join(key)
    }

    pub(crate) fn make_folder(&self, key: &str) -> io::Result<()> {
        fs::create_dir_all(self.object(key).parent().unwrap_or(&self.folder))
    }

    /// Begins an upload by parts.
    pub(crate) fn begin(&self, key: &str) -> io::Result<String> {
        self.make_folder(key)?;
        let upload = unique().replace('-', "");
        fs::create_dir_all(self.parts(&upload))?;
        Ok(upload)
    }

    fn parts(&self, upload: &str) -> PathBuf {
        self.folder.join("uploads").join(upload)
    }

    pub(crate) fn part_url(&self, key: &str, upload: &str, number: u64) -> String {
        let number = number.to_string();
        self.presign("PUT", key, &[("uploadId", upload), ("partNumber", &number)])
    }

    pub(crate) fn complete_url(&self, key: &str, upload: &str) -> String {
        self.presign("POST", key, &[("uploadId", upload)])
    }

    pub(crate) fn download_url(&self, key: &str) -> String {
        self.presign("GET", key, &[])
    }

    fn presign(&self, method: &str, key: &str, own: &[(&str, &str)]) -> String {
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
            "{}{path}?{}&X-Amz-Signature={signature}",
            self.url,
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
    fn authorise(&self, call: &Call) -> Result<(), StorageError> {
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

    /// Answers a call; `path` is as the caller wrote it, decoded.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        self.handle(call)
            .unwrap_or_else(|error| error.into_answer(&call.path))
    }

    fn handle(&self, call: &Call) -> Result<Answer, StorageError> {
        self.authorise(call)?;
        let key = call.path.trim_start_matches('/');
        if key.split('/').any(|part| part == ".." || part.is_empty()) {
            return Err(StorageError::NO_SUCH_KEY);
        }
        let upload = call.parameter("uploadId");
        match (call.method.as_str(), upload, call.parameter("partNumber")) {
            ("PUT", Some(upload), Some(number)) => self.put_part(call, upload, number),
            ("POST", Some(upload), None) => self.complete(call, key, upload),
            ("GET", None, None) => self.get(call, key),
            _ => Err(StorageError::NOT_ALLOWED),
        }
    }

    fn existing_parts(&self, upload: &str) -> Result<PathBuf, StorageError> {
        let is_name = upload.chars().all(|c| c.is_ascii_alphanumeric());
        let folder = self.parts(upload);
        if is_name && folder.is_dir() {
            Ok(folder)
        } else {
            Err(StorageError::NO_SUCH_UPLOAD)
        }
    }

    fn put_part(&self, call: &Call, upload: &str, number: &str) -> Result<Answer, StorageError> {
        let folder = self.existing_parts(upload)?;
        if call.header("content-length").is_none() {
            return Err(StorageError::NO_LENGTH);
        }
        let number: u64 = number.parse().map_err(|_| StorageError::INVALID_PART)?;
        let digest = Md5::digest(&call.body);
        if call
            .header("content-md5")
            .is_some_and(|given| given != STANDARD.encode(digest))
        {
            return Err(StorageError::BAD_DIGEST);
        }
        let write = || {
            let partial = folder.join(format!("{number}.{}", unique()));
            fs::write(&partial, &call.body)?;
            fs::write(folder.join(format!("{number}.etag")), hex(&digest))?;
            fs::rename(partial, folder.join(number.to_string()))
        };
        write().map_err(|_: io::Error| StorageError::INTERNAL)?;
        let answer = Answer::text(StatusCode::OK, "text/html; charset=utf-8", Bytes::new());
        Ok(answer.header("etag", format!("\"{}\"", hex(&digest))))
    }

    fn complete(&self, call: &Call, key: &str, upload: &str) -> Result<Answer, StorageError> {
        let folder = self.existing_parts(upload)?;
        let text = str::from_utf8(&call.body).map_err(|_| StorageError::MALFORMED)?;
        let parts = read_parts(text).ok_or(StorageError::MALFORMED)?;
        let etag = self.join(&folder, key, &parts)?;
        let (bucket, name) = key.split_once('/').unwrap_or((key, ""));
        let (bucket, name) = (escaped(bucket), escaped(name));
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<CompleteMultipartUploadResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Location>{}/{bucket}/{name}</Location>\
             <Bucket>{bucket}</Bucket><Key>{name}</Key><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>",
            self.url
        );
        Ok(Answer::text(StatusCode::OK, "application/xml", text))
    }

    /// Makes the object of its parts; a second call with the same parts makes it again.
    fn join(&self, folder: &Path, key: &str, parts: &[(u64, String)]) -> Result<String, StorageError> {
        let mut digests = Md5::new();
        for (number, etag) in parts {
            let written = fs::read_to_string(folder.join(format!("{number}.etag")));
            if written.ok().as_deref() != Some(etag.as_str()) {
                return Err(StorageError::INVALID_PART);
            }
            for at in (0..etag.len()).step_by(2) {
                digests.update([u8::from_str_radix(&etag[at..at + 2], 16).unwrap_or_default()]);
            }
        }
        let join = || {
            let whole = folder.join("whole");
            let mut file = fs::File::create(&whole)?;
            for (number, _) in parts {
                io::copy(&mut fs::File::open(folder.join(number.to_string()))?, &mut file)?;
            }
            fs::rename(whole, self.object(key))
        };
        join().map_err(|_: io::Error| StorageError::INTERNAL)?;
        Ok(format!("{}-{}", hex(&digests.finalize()), parts.len()))
    }

    fn get(&self, call: &Call, key: &str) -> Result<Answer, StorageError> {
        let path = self.object(key);
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
        let metadata = metadata.ok_or(StorageError::NO_SUCH_KEY)?;
        let length = metadata.len();
        // The parts of an object that a job brought are not known; its tag is one of its name and size.
        let tag = hex(&Md5::digest(format!("{key} {length}")));
        let range = call
            .header("range")
            .map_or(Wanted::Whole, |range| wanted(range, length));
        let (status, first, count) = match range {
            Wanted::Whole => (StatusCode::OK, 0, length),
            Wanted::Inside { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Wanted::Outside => return Err(StorageError::INVALID_RANGE),
        };
        let mut answer = Answer::new(status)
            .header("content-type", "binary/octet-stream")
            .header("accept-ranges", "bytes")
            .header("etag", format!("\"{tag}-1\""))
            .body(AnswerBody::File {
                path,
                start: first,
                length_bytes: count,
            });
        if let Wanted::Inside { first, last } = range {
            answer = answer.header("content-range", format!("bytes {first}-{last}/{length}"));
        }
        Ok(answer)
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

/// The part of an object that a caller wants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    /// All of it; a header that is no range counts for nothing.
    Whole,
    /// From the first byte to the last.
    Inside { first: u64, last: u64 },
    /// Nothing that is there.
    Outside,
}

fn wanted(text: &str, length: u64) -> Wanted {
    let (start, end) = match text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    {
        Some(("", suffix)) => match suffix.parse() {
            Ok(0) => return Wanted::Outside,
            Ok(suffix) => (length.saturating_sub(suffix), u64::MAX),
            Err(_) => return Wanted::Whole,
        },
        Some((start, end)) => {
            let end = if end.is_empty() { Ok(u64::MAX) } else { end.parse() };
            match (start.parse::<u64>(), end) {
                (Ok(start), Ok(end)) => (start, end),
                _ => return Wanted::Whole,
            }
        }
        None => return Wanted::Whole,
    };
    match length.checked_sub(1) {
        Some(last) if start <= last && start <= end => Wanted::Inside {
            first: start,
            last: end.min(last),
        },
        _ => Wanted::Outside,
    }
}

/// The numbers and tags of the parts in the order of the document.
fn read_parts(text: &str) -> Option<Vec<(u64, String)>> {
    let element = |text: &str, name: &str| {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        let end = text[start..].find(&format!("</{name}>"))? + start;
        Some(
            text[start..end]
                .trim()
                .replace("&quot;", "\"")
                .replace("&#34;", "\""),
        )
    };
    let parts: Option<Vec<(u64, String)>> = text
        .split("<Part>")
        .skip(1)
        .map(|part| {
            let number = element(part, "PartNumber")?.parse().ok()?;
            Some((number, element(part, "ETag")?.trim_matches('"').to_owned()))
        })
        .collect();
    let parts = parts?;
    let in_order = parts.is_sorted_by(|one, next| one.0 < next.0);
    (in_order && !parts.is_empty() && text.contains("CompleteMultipartUpload")).then_some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_read_in_either_order_of_their_fields() {
        let check = |text: &str, expected: Option<&[(u64, &str)]>| {
            let expected = expected.map(|parts| {
                parts
                    .iter()
                    .map(|&(number, tag)| (number, tag.to_owned()))
                    .collect()
            });
            assert_eq!(read_parts(text), expected, "{text}");
        };
        let whole = |parts: &str| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let one = "<Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>";
        let two = "<Part><ETag>&quot;b&quot;</ETag><PartNumber>2</PartNumber></Part>";
        check(&whole(&format!("{one}{two}")), Some(&[(1, "a"), (2, "b")]));
        check(&whole(&format!("{two}{one}")), None);
        check(&whole(""), None);
        check(
            &whole("<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>"),
            None,
        );
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let check = |text, length, expected| assert_eq!(wanted(text, length), expected, "{text} of {length}");
        let inside = |first, last| Wanted::Inside { first, last };
        check("bytes=0-99", 1000, inside(0, 99));
        check("bytes=990-", 1000, inside(990, 999));
        check("bytes=990-5000", 1000, inside(990, 999));
        check("bytes=-10", 1000, inside(990, 999));
        check("bytes=1000-", 1000, Wanted::Outside);
        check("bytes=0-0", 0, Wanted::Outside);
        check("lines=0-1", 10, Wanted::Whole);
    }

    #[test]
    fn only_our_own_addresses_are_good_for_their_method() {
        let storage = Storage::new("h:1".to_owned(), PathBuf::from("/nonexistent"), Secret::new("k"));
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
            }
        };
        let url = storage.download_url("tester/1/a b");
        assert_eq!(storage.authorise(&call(http::Method::GET, &url)), Ok(()));
        let refused = Err(StorageError::WRONG_SIGNATURE);
        assert_eq!(storage.authorise(&call(http::Method::PUT, &url)), refused);
        let other = url.replace("/tester/", "/other/");
        assert_eq!(storage.authorise(&call(http::Method::GET, &other)), refused);
        let mut with_token = call(http::Method::GET, &url);
        with_token
            .headers
            .insert("authorization", http::HeaderValue::from_static("Bearer x"));
        assert_eq!(storage.authorise(&with_token), Err(StorageError::TWO_MECHANISMS));
    }

    proptest! {
        #[test]
        fn no_document_panics_the_reader(text in "(<Part>|<ETag>|</ETag>|<PartNumber>|</PartNumber>|1|\"|é){0,12}") {
            let _ = read_parts(&text);
        }

        #[test]
        fn a_range_lies_inside(start in 0u64..20, end in 0u64..20, length in 0u64..20) {
            if let Wanted::Inside { first, last } = wanted(&format!("bytes={start}-{end}"), length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
