//! Spans of time as a configuration writes them: a number with its unit, such as `250ms`, `5s` or `2min`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A text that is no span of time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{text}` is no span of time; write a number with its unit, such as `250ms`, `5s` or `2min`")]
pub struct SpanError {
    text: String,
}

/// Reads a span of time.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let fault = || SpanError {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    let unit_at = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(fault)?;
    let (number, unit) = trimmed.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| fault())?;
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(fault()),
    };
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| fault())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    parse_span(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(
            parse_span(text).ok(),
            expected.map(Duration::from_millis),
            "{text}"
        );
    }

    #[test]
    fn spans_carry_their_unit() {
        check("250ms", Some(250));
        check(" 5s", Some(5000));
        check("1.5min", Some(90_000));
        check("1h", Some(3_600_000));
        check("5", None);
        check("s", None);
        check("5 parsecs", None);
        check("-5s", None);
    }

    proptest! {
        #[test]
        fn a_span_is_as_long_as_it_says(milliseconds in 0u64..1_000_000_000, text in "[ -~]{0,9}") {
            let span = parse_span(&format!("{milliseconds}ms"));
            prop_assert_eq!(span.ok(), Some(Duration::from_millis(milliseconds)));
            let _ = parse_span(&text);
        }
    }
}
