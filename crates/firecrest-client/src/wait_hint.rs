//! How long a server asks its clients to wait.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// The wait that a server asks for, as it said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitHint {
    /// `Retry-After` in seconds.
    For(Duration),
    /// `Retry-After` as a date, or a gateway's next access time.
    Until(Timestamp),
}

/// Longer waits than this are no hint but a fault.
const LONGEST: Duration = Duration::from_hours(24 * 7);

impl WaitHint {
    /// Reads the header `Retry-After`: seconds, or a date.
    pub(crate) fn from_header(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds)
                .ok()
                .map(|wait| Self::For(wait.min(LONGEST)));
        }
        jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()
            .map(Self::Until)
    }

    /// Reads the next access time in the body of a gateway's 429.
    pub(crate) fn from_body(body: &Value) -> Option<Self> {
        let text = body
            .get("nextAccessTime")
            .or_else(|| body.get("next_access_time"))?
            .as_str()?;
        let text = text.trim().trim_end_matches("UTC").trim();
        let named_month =
            jiff::fmt::strtime::parse("%Y-%b-%d %H:%M:%S%z", text).and_then(|time| time.to_timestamp());
        named_month
            .or_else(|_| text.parse::<Timestamp>())
            .ok()
            .map(Self::Until)
    }

    /// The wait from `now` on; nothing is left of a time that has passed.
    pub fn from(self, now: Timestamp) -> Duration {
        match self {
            Self::For(wait) => wait,
            Self::Until(time) => Duration::try_from(time.duration_since(now))
                .unwrap_or_default()
                .min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let check = |text: &str, expected: Option<u64>| {
            let found = WaitHint::from_header(text).map(|hint| hint.from(now).as_secs());
            assert_eq!(found, expected, "{text}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("1.5", Some(1));
        check("Sun, 22 Nov 2026 12:00:30 GMT", Some(30));
        check("Sun, 22 Nov 2026 11:00:00 GMT", Some(0));
        check("-3", None);
        check("1e300", None);
        check("soon", None);
    }

    #[test]
    fn bodies_are_read() {
        let now: Timestamp = "2025-06-26T03:59:30Z".parse().expect("a time");
        let check = |text: &str, expected: Option<u64>| {
            let body = serde_json::json!({ "code": "900802", "nextAccessTime": text });
            assert_eq!(
                WaitHint::from_body(&body).map(|hint| hint.from(now).as_secs()),
                expected,
                "{text}"
            );
        };
        check("2025-Jun-26 04:00:00+0000 UTC", Some(30));
        check("2025-06-26T04:00:00Z", Some(30));
        check("tomorrow", None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,60}") {
            let _ = WaitHint::from_header(&text);
            let _ = WaitHint::from_body(&serde_json::json!({ "nextAccessTime": text }));
        }
    }
}
