//! What the storage's callers write and read: ranges, documents and errors.

use http::StatusCode;

use crate::{answer::Answer, storage::unique};

/// An error in the storage's own form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StorageError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl StorageError {
    pub(crate) const EXPIRED: Self = Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired");
    pub(crate) const TOO_LARGE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
    );
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
    pub(crate) const NO_SUCH_KEY: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NoSuchKey",
        "The specified key does not exist.",
    );
    pub(crate) const NO_SUCH_UPLOAD: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NoSuchUpload",
        "The specified upload does not exist.",
    );
    pub(crate) const TWO_MECHANISMS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "InvalidArgument",
        "Only one auth mechanism allowed",
    );
    pub(crate) const UNSIGNED: Self = Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied");
    pub(crate) const WRONG_SIGNATURE: Self = Self::new(
        StatusCode::FORBIDDEN,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    );
    pub(crate) const NO_LENGTH: Self = Self::new(
        StatusCode::LENGTH_REQUIRED,
        "MissingContentLength",
        "You must provide the Content-Length HTTP header.",
    );
    pub(crate) const INVALID_PART: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "InvalidPart",
        "One or more of the parts could not be found.",
    );
    pub(crate) const MALFORMED: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "MalformedXML",
        "The XML you provided was not well-formed.",
    );
    pub(crate) const BAD_DIGEST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "BadDigest",
        "The Content-MD5 you specified did not match.",
    );
    pub(crate) const INVALID_RANGE: Self = Self::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidRange",
        "The requested range is not satisfiable",
    );
    pub(crate) const NOT_ALLOWED: Self = Self::new(
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

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The part of an object that a caller wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// All of it; a header that is no range counts for nothing.
    Whole,
    /// From the first byte to the last.
    Inside { first: u64, last: u64 },
    /// Nothing that is there.
    Outside,
}

pub(crate) fn wanted(text: &str, length: u64) -> Wanted {
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
pub(crate) fn read_parts(text: &str) -> Option<Vec<(u64, String)>> {
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
