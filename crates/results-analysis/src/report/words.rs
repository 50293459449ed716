//! Numbers as people read them.

pub(crate) use crate::shown::{interval, rate};

/// Milliseconds, with a decimal where it still says something.
pub(crate) fn ms(value: f64) -> String {
    let decimals = usize::from(value.abs() < 100.0);
    grouped(&format!("{value:.decimals$}"))
}

/// A share between 0 and 1 in per cent, without the sign.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        p if p <= 0.0 || p >= 100.0 => 0,
        p if !(1.0..=99.0).contains(&p) => 2,
        _ => 1,
    };
    format!("{percent:.decimals$}")
}

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A time of day's length: `48 s`, `10 min 40 s`, `1 h 5 min`.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let parts = [(whole / 3600, "h"), (whole / 60 % 60, "min"), (whole % 60, "s")];
    let kept = if whole >= 3600 { &parts[..2] } else { &parts[..] };
    let text: Vec<String> = kept
        .iter()
        .filter(|(value, _)| *value > 0)
        .map(|(value, unit)| format!("{value} {unit}"))
        .collect();
    text.join(" ")
}

/// `1 level`, `3 levels`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A sentence begins with a capital and ends with a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.trim_end().chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().collect::<String>())
        .unwrap_or_default();
    let mut text = first + characters.as_str();
    if !text.is_empty() && !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// Commas between the thousands of a number of five digits or more.
/// A piece of a text, as it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) is_code: bool,
    pub(crate) text: String,
}

/// A text with its names in backticks apart, which a page sets as code.
pub(crate) fn spans(text: &str) -> Vec<Span> {
    text.split('`')
        .enumerate()
        .filter(|(_, piece)| !piece.is_empty())
        .map(|(index, piece)| Span {
            is_code: index % 2 == 1,
            text: piece.to_owned(),
        })
        .collect()
}

fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, rest) = number
        .find('.')
        .map_or((number, ""), |point| number.split_at(point));
    if whole.len() < 5 {
        return format!("{sign}{whole}{rest}");
    }
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_what_tells_them_from_all_and_none() {
        for (share, expected) in [
            (0.0, "0"),
            (0.000_4, "0.04"),
            (0.05, "5.0"),
            (0.5, "50.0"),
            (0.999_8, "99.98"),
            (1.0, "100"),
        ] {
            assert_eq!(percent(share), expected);
        }
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        for (seconds, expected) in [
            (0.25, "0.2 s"),
            (48.2, "48 s"),
            (640.0, "10 min 40 s"),
            (600.0, "10 min"),
            (3900.0, "1 h 5 min"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn thousands_are_apart() {
        for (number, expected) in [
            (999, "999"),
            (9999, "9999"),
            (27_408, "27,408"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
        assert_eq!(ms(12_345.6), "12,346");
        assert_eq!(ms(99.94), "99.9");
    }

    #[test]
    fn names_in_backticks_are_code() {
        let check = |text: &str, expected: &[(bool, &str)]| {
            let found = spans(text);
            let found: Vec<_> = found
                .iter()
                .map(|span| (span.is_code, span.text.as_str()))
                .collect();
            assert_eq!(found, expected);
        };
        check("plain", &[(false, "plain")]);
        check(
            "more `workers`.",
            &[(false, "more "), (true, "workers"), (false, ".")],
        );
        check("`a`", &[(true, "a")]);
    }

    #[test]
    fn sentences_begin_and_end() {
        assert_eq!(sentence("too few samples"), "Too few samples.");
        assert_eq!(sentence("Why?"), "Why?");
        assert_eq!(sentence(""), "");
    }
}
