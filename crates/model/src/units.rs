//! Quantities that carry their unit and their invariant.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A number that is outside the range of its unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A rate that is not finite and greater than zero.
    #[error("a rate must be finite and greater than 0 requests per second, found `{0}`")]
    Rate(String),
    /// A fraction outside 0 to 1.
    #[error("a fraction must lie between 0 and 1, found `{0}`")]
    Fraction(String),
}

/// An offered request rate λ, in requests per second.
///
/// Invariant: finite and greater than zero, so a mean gap `1/λ` always exists.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct ArrivalRate(f64);

impl ArrivalRate {
    /// A rate of `per_second` requests per second.
    pub fn per_second(per_second: f64) -> Result<Self, UnitError> {
        if per_second.is_finite() && per_second > 0.0 && (1.0 / per_second).is_finite() {
            Ok(Self(per_second))
        } else {
            Err(UnitError::Rate(per_second.to_string()))
        }
    }

    /// Requests per second.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Twice this rate, or the largest finite one.
    pub fn doubled(self) -> Self {
        Self((self.0 * 2.0).min(f64::MAX))
    }
}

impl TryFrom<f64> for ArrivalRate {
    type Error = UnitError;

    fn try_from(value: f64) -> Result<Self, UnitError> {
        Self::per_second(value)
    }
}

impl From<ArrivalRate> for f64 {
    fn from(rate: ArrivalRate) -> f64 {
        rate.0
    }
}

impl FromStr for ArrivalRate {
    type Err = UnitError;

    /// Reads `40`, `2.5/s` or `90/min`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let (number, per) = if let Some(number) = text.strip_suffix("/min") {
            (number, 60.0)
        } else {
            (text.strip_suffix("/s").unwrap_or(text), 1.0)
        };
        let number: f64 = number
            .trim()
            .parse()
            .map_err(|_| UnitError::Rate(text.to_owned()))?;
        Self::per_second(number / per)
    }
}

impl fmt::Display for ArrivalRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} req/s", self.0)
    }
}

/// A rate with three significant digits, which is finer than any peak is known: `25.2`.
pub fn format_rate(per_second: f64) -> String {
    format!("{per_second:.*}", rate_decimals(per_second))
}

/// The decimals that give a rate three significant digits.
pub fn rate_decimals(per_second: f64) -> usize {
    match per_second.abs() {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.9995 => 2,
        _ => 3,
    }
}

/// A number between 0 and 1, both included.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(f64);

impl Fraction {
    /// Checks that `value` lies between 0 and 1.
    pub fn try_new(value: f64) -> Result<Self, UnitError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(UnitError::Fraction(value.to_string()))
        }
    }

    /// The number itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = UnitError;

    fn try_from(value: f64) -> Result<Self, UnitError> {
        Self::try_new(value)
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> f64 {
        fraction.0
    }
}

/// A text that is no duration with a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a number with a unit (ns, us, ms, s, min or m, h), found `{0}`")]
pub struct DurationError(pub String);

/// Reads a duration with its unit, such as `500ms`, `1.5 s`, `2min`, `1h30m` or `0`.
///
/// A bare number is refused, except zero, so that no unit is ever guessed.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fault = || DurationError(text.to_owned());
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(fault());
    }
    let mut total_seconds = 0.0_f64;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(fault)?;
        let number: f64 = rest[..number_end].parse().map_err(|_| fault())?;
        rest = rest[number_end..].trim_start();
        let unit_end = rest.find(|c: char| !(c.is_alphabetic())).unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(fault()),
        };
        total_seconds += number * seconds;
        rest = rest[unit_end..].trim_start();
    }
    // Whole nanoseconds, so that `500ms` is exactly 500,000,000 ns.
    let nanos = (total_seconds * 1e9).round();
    if nanos.is_finite() && nanos < 9.0e18 {
        Ok(Duration::from_nanos(nanos as u64))
    } else {
        Err(fault())
    }
}

/// Writes a duration with the largest unit that keeps it short: `500ms`, `1.5s`, `2min`, `1h30min`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
            n if n >= 1_000_000 => format!("{}ms", f64::from(n) / 1e6),
            n if n % 1000 == 0 => format!("{}us", n / 1000),
            n => format!("{n}ns"),
        };
    }
    if nanos != 0 || seconds < 60 {
        return format!("{}s", duration.as_secs_f64());
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    for (value, unit) in [(hours, "h"), (minutes, "min"), (rest, "s")] {
        if value > 0 {
            text += &value.to_string();
            text += unit;
        }
    }
    text
}

/// Serde for a [`Duration`] as a JSON number of seconds; the field's name ends in `_s`.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes seconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    /// Reads seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_units() {
        let check = |text: &str, nanos: Option<u64>| {
            assert_eq!(
                parse_duration(text).ok(),
                nanos.map(Duration::from_nanos),
                "{text}"
            );
        };
        check("500ms", Some(500_000_000));
        check("1.5 s", Some(1_500_000_000));
        check("2min", Some(120_000_000_000));
        check("1h30m", Some(5_400_000_000_000));
        check("29us", Some(29_000));
        check("0", Some(0));
        check("500", None);
        check("", None);
        check("ms", None);
        check("5 parsecs", None);
        check("-5s", None);
        check("1e400s", None);
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in [
            "500ms", "1.5s", "2min", "1h30min", "29us", "0s", "90.5s", "1min30s",
        ] {
            let duration = parse_duration(text).unwrap_or_default();
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn rates_are_positive_and_finite() {
        let check = |text: &str, rate: Option<f64>| {
            assert_eq!(
                text.parse::<ArrivalRate>().ok().map(ArrivalRate::get),
                rate,
                "{text}"
            );
        };
        check("40", Some(40.0));
        check("2.5/s", Some(2.5));
        check("90/min", Some(1.5));
        check("0", None);
        check("-1", None);
        check("NaN", None);
        check("inf", None);
    }
}
