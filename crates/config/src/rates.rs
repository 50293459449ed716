//! Which rates are offered: listed, doubling, or searched.

use gipfel_model::{ArrivalRate, Rates};

use crate::{field::Field, search::SearchSettings, section::Section};

const ALLOWED_RATE: &str = "a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`";

/// What one level of the file says of the rates.
#[derive(Clone, Debug)]
pub(crate) enum RateSettings {
    /// They are fixed beforehand.
    Fixed(Rates),
    /// They are searched.
    Search(SearchSettings),
}

impl RateSettings {
    /// Takes `rate_levels`, `first_rate` or `search`.
    pub(crate) fn take(section: &mut Section<'_>) -> Option<Self> {
        section.exclusive(
            "rate_levels",
            "first_rate",
            "it is the first of the doubling rates, which listed ones replace",
        );
        let searched = "a search chooses its own rates";
        section.exclusive("rate_levels", "search", searched);
        section.exclusive("first_rate", "search", searched);
        let levels = section.take("rate_levels");
        let first = section.take("first_rate");
        let search = section.take("search");
        let first = read_rate(&first).map(|first| Rates::Doubling { first });
        let fixed = read_levels(&levels).map(Rates::Listed).or(first).map(Self::Fixed);
        fixed.or(SearchSettings::read(&search).map(Self::Search))
    }

    /// Another kind of rates replaces the defaults'; a search is filled in key by key.
    pub(crate) fn or(own: Option<Self>, defaults: Option<&Self>) -> Option<Self> {
        match (own, defaults) {
            (Some(Self::Search(own)), Some(Self::Search(defaults))) => Some(Self::Search(own.or(defaults))),
            (own, defaults) => own.or_else(|| defaults.cloned()),
        }
    }
}

fn read_levels(field: &Field<'_>) -> Option<Vec<ArrivalRate>> {
    let allowed = "a list of rates, such as `[5, 10, 90/min]`";
    let items = field.as_list(allowed)?;
    if items.is_empty() {
        field.fault("an empty list; without the key, the peak is searched");
        return None;
    }
    let mut rates: Vec<ArrivalRate> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(rate) = read_rate(item) else { continue };
        if rates.contains(&rate) {
            item.fault(format!("the rate {rate} is listed twice"));
        }
        rates.push(rate);
    }
    if !rates.is_sorted() {
        rates.sort_by(|a, b| a.get().total_cmp(&b.get()));
        field.reading.warn(
            &field.place(),
            "the rates were sorted: levels are measured in ascending order",
        );
    }
    Some(rates)
}

pub(crate) fn read_rate(field: &Field<'_>) -> Option<ArrivalRate> {
    match field.as_text(ALLOWED_RATE)?.parse() {
        Ok(rate) => Some(rate),
        Err(_) => field.refuse(ALLOWED_RATE),
    }
}
