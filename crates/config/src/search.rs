//! The adaptive search: `search: true`, or a map of what bounds it.

use std::time::Duration;

use gipfel_model::{ArrivalRate, SearchSpec, format_duration};

use crate::{
    durations::DurationKey,
    field::Field,
    rates::read_rate,
    section::{Misplaced, Section},
};

const BUDGET: DurationKey = DurationKey {
    name: "budget",
    seconds: "budget_s",
    may_be_zero: false,
};

/// The keys of the map, as they are mistaken for settings.
const KEYS: &[&str] = &["min_rate", "max_rate", "precision", BUDGET.name, BUDGET.seconds];

/// An interval wider than the rate itself would be no answer.
const COARSEST: f64 = 0.5;

/// What one level of the file says of a search; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchSettings {
    min_rate: Option<ArrivalRate>,
    max_rate: Option<ArrivalRate>,
    precision: Option<f64>,
    budget: Option<Duration>,
}

impl SearchSettings {
    /// Reads the value of `search`.
    pub(crate) fn read(field: &Field<'_>) -> Option<Self> {
        if !field.is_map() {
            let allowed = "true, or a map of min_rate, max_rate, precision, budget";
            return match field.as_text(allowed)? {
                "true" | "True" | "TRUE" => Some(Self::default()),
                _ => field.refuse(allowed),
            };
        }
        let mut section = field.as_section()?;
        let min_rate = section.take("min_rate");
        let max_rate = section.take("max_rate");
        let mut settings = Self {
            min_rate: read_rate(&min_rate),
            max_rate: read_rate(&max_rate),
            precision: read_precision(&section.take("precision")),
            budget: BUDGET.take(&mut section),
        };
        if let Some(problem) = settings.crossed().filter(|_| settings.min_rate.is_some()) {
            max_rate.fault(problem);
            settings.max_rate = None;
        }
        section.finish(&[]);
        Some(settings)
    }

    /// Fills what is left open.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            min_rate: self.min_rate.or(defaults.min_rate),
            max_rate: self.max_rate.or(defaults.max_rate),
            precision: self.precision.or(defaults.precision),
            budget: self.budget.or(defaults.budget),
        }
    }

    /// The search; faults that only show between two levels of the file are reported at `section`.
    pub(crate) fn resolve(&self, section: &Section<'_>, total_time: Option<Duration>) -> SearchSpec {
        for problem in [self.crossed(), self.overlong(total_time)].into_iter().flatten() {
            section.reading.fault(section.place_of_key("search"), problem);
        }
        let defaults = SearchSpec::default();
        SearchSpec {
            min_rate: self.min_rate.unwrap_or(defaults.min_rate),
            max_rate: self.max_rate,
            precision: self.precision.unwrap_or(defaults.precision),
            budget: self.budget.or(total_time),
        }
    }

    /// Why the budget does not fit.
    fn overlong(&self, total_time: Option<Duration>) -> Option<String> {
        let (budget, total) = (self.budget?, total_time?);
        (budget > total).then(|| {
            format!(
                "the budget of {} is longer than the total_time of {}; one of the two is enough",
                format_duration(budget),
                format_duration(total)
            )
        })
    }

    /// What is wrong with the bounds.
    fn crossed(&self) -> Option<String> {
        let (min, whose) = match self.min_rate {
            Some(min) => (min, ""),
            None => (SearchSpec::default().min_rate, " by default"),
        };
        let max = self.max_rate.filter(|max| *max <= min)?;
        Some(format!(
            "the highest rate {max} is not above the lowest one, {min}{whose}"
        ))
    }
}

/// Keys of the map that stand beside it.
pub(crate) fn misplaced() -> Misplaced {
    Misplaced {
        keys: KEYS.to_vec(),
        sentence: "belongs under `search`".to_owned(),
    }
}

fn read_precision(field: &Field<'_>) -> Option<f64> {
    let allowed = "a share of the rate such as `2%` or `0.02`, greater than 0, at most 50%";
    match parse_precision(field.as_text(allowed)?) {
        Some(share) => Some(share),
        None => field.refuse(allowed),
    }
}

/// Reads the precision of a search, a share of the rate: `2%` or `0.02`, greater than 0, at most 50 %.
pub fn parse_precision(text: &str) -> Option<f64> {
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| *share > 0.0 && *share <= COARSEST)
}
