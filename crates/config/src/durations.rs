//! Durations: with a unit, or as a bare number of seconds under a key that ends in `_s`.

use std::time::Duration;

use gipfel_model::{format_duration, parse_duration};

use crate::{field::Field, section::Section};

/// Longer spans are typing errors; up to here nanoseconds survive a number of seconds in floating point.
const MOST: Duration = Duration::from_hours(31 * 24);

/// A duration under both of its keys.
pub(crate) struct DurationKey {
    /// The key that takes a unit.
    pub(crate) name: &'static str,
    /// The key that takes bare seconds.
    pub(crate) seconds: &'static str,
    /// Whether nothing at all is a sensible value.
    pub(crate) may_be_zero: bool,
}

impl DurationKey {
    /// Takes both keys; giving both is a fault.
    pub(crate) fn take(&self, section: &mut Section<'_>) -> Option<Duration> {
        section.exclusive(self.name, self.seconds, "give one of the two forms");
        let with_unit = section.take(self.name);
        let seconds = section.take(self.seconds);
        let with_unit = self.read_with_unit(&with_unit);
        self.read_seconds(&seconds).or(with_unit)
    }

    fn read_with_unit(&self, field: &Field<'_>) -> Option<Duration> {
        let allowed = format!(
            "a duration with its unit, {}, such as `500ms`, `30s` or `2min` (bare seconds go under `{}`)",
            self.range(),
            self.seconds
        );
        let duration = parse_duration(field.as_text(&allowed)?);
        match duration {
            Ok(duration) if self.contains(duration) => Some(duration),
            _ => field.refuse(allowed),
        }
    }

    fn read_seconds(&self, field: &Field<'_>) -> Option<Duration> {
        let allowed = format!(
            "a number of seconds, {} (a duration with its unit goes under `{}`)",
            self.range(),
            self.name
        );
        let seconds = field.as_number(&allowed, |_| true)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if self.contains(duration) => Some(duration),
            _ => field.refuse(allowed),
        }
    }

    fn contains(&self, duration: Duration) -> bool {
        duration <= MOST && (self.may_be_zero || !duration.is_zero())
    }

    fn range(&self) -> String {
        let least = if self.may_be_zero {
            "from 0"
        } else {
            "greater than 0"
        };
        format!("{least}, at most {}", format_duration(MOST))
    }
}
