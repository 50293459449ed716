//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::jobs::job::UnixMs;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
pub(crate) fn now_s() -> i64 {
    now_ms() / 1000
}

/// A time of day as the API writes it, in UTC.
pub(crate) fn rfc3339(ms: UnixMs) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{time:.6}")
}

/// A time as `ls` writes it, without its zone.
pub(crate) fn local(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}
