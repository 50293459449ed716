//! Which rates are offered.

use gipfel_model::{ArrivalRate, Rates};

use crate::{field::Field, section::Section};

const ALLOWED: &str = "a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`";

/// Takes `rate_levels` or `first_rate`.
pub(crate) fn take_rates(section: &mut Section<'_>) -> Option<Rates> {
    section.exclusive(
        "rate_levels",
        "first_rate",
        "it is the first of the doubling rates, which listed ones replace",
    );
    let levels = section.take("rate_levels");
    let first = section.take("first_rate");
    let first = read_rate(&first).map(|first| Rates::Doubling { first });
    read_levels(&levels).map(Rates::Listed).or(first)
}

fn read_levels(field: &Field<'_>) -> Option<Vec<ArrivalRate>> {
    let allowed = "a list of rates, such as `[5, 10, 90/min]`";
    let items = field.as_list(allowed)?;
    if items.is_empty() {
        field.fault("an empty list; without the key, rates double from 1 req/s");
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

fn read_rate(field: &Field<'_>) -> Option<ArrivalRate> {
    match field.as_text(ALLOWED)?.parse() {
        Ok(rate) => Some(rate),
        Err(_) => field.refuse(ALLOWED),
    }
}

/// What is offered when no level names a rate.
pub(crate) fn default_rates() -> Rates {
    let first = ArrivalRate::per_second(1.0).expect("one request per second is a rate");
    Rates::Doubling { first }
}
