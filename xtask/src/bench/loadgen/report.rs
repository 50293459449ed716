//! The table for people and the object for programs.

use std::{fmt::Write as _, io::Write};

use serde_json::{Map, Value, json};

use super::{probe::Client, readings::Readings};
use crate::shell;

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
enum Bar {
    /// Nothing is asked; it is there to be known.
    None,
    AtLeastRatio(f64),
    AtMostRatio(f64),
    AtMost(f64),
    /// Ours is at most so much, and at most this part of the bare client's figure of the name.
    AtMostAndShare(f64, &'static str, f64),
    /// At most so many times ours of the name.
    AtMostTimes(&'static str, f64),
    /// Ours is at most so much more than ours of the name.
    AtMostMore(&'static str, f64),
    /// Each reading is 1.
    Always,
}

struct Row {
    name: &'static str,
    text: &'static str,
    bar: Bar,
}

const fn row(name: &'static str, text: &'static str, bar: Bar) -> Row {
    Row { name, text, bar }
}

const ROWS: &[Row] = &[
    row(
        "kept_rps",
        "kept, all tokens at once, req/s",
        Bar::AtLeastRatio(0.53),
    ),
    row(
        "gap_kept_rps",
        "kept, tokens 10 ms apart, req/s",
        Bar::AtLeastRatio(0.95),
    ),
    row("gap_kept_rps_server_share", "server's core beyond it", Bar::None),
    row("cpu_rate", "CPU time at, req/s", Bar::None),
    row("cpu_us_per_request", "CPU a request, µs", Bar::AtMostRatio(2.5)),
    row("cpu_token_rate", "CPU time of tokens apart at, req/s", Bar::None),
    row(
        "cpu_us_per_token",
        "CPU a token 10 ms apart, µs",
        Bar::AtMostRatio(1.1),
    ),
    row(
        "ttft_error_half_p50",
        "TTFT error at half, p50, ms",
        Bar::AtMost(0.1),
    ),
    row("ttft_error_half_p95", "TTFT error at half, p95, ms", Bar::None),
    row(
        "ttft_error_half_p99",
        "TTFT error at half, p99, ms",
        Bar::AtMost(0.5),
    ),
    row(
        "ttft_error_90_p50",
        "TTFT error at 90 %, p50, ms",
        Bar::AtMost(0.3),
    ),
    row("ttft_error_90_p95", "TTFT error at 90 %, p95, ms", Bar::None),
    row(
        "ttft_error_90_p99",
        "TTFT error at 90 %, p99, ms",
        Bar::AtMostAndShare(5.0, "ttft_error_own_90_p99", 0.5),
    ),
    row(
        "ttft_error_own_half_p50",
        "bare at half of its own, p50, ms",
        Bar::None,
    ),
    row(
        "ttft_error_own_half_p99",
        "bare at half of its own, p99, ms",
        Bar::None,
    ),
    row(
        "ttft_error_own_90_p50",
        "bare at 90 % of its own, p50, ms",
        Bar::None,
    ),
    row(
        "ttft_error_own_90_p99",
        "bare at 90 % of its own, p99, ms",
        Bar::None,
    ),
    row(
        "token_delay_half_p99",
        "first token − server's write at half, p99, ms",
        Bar::None,
    ),
    row(
        "token_delay_90_p99",
        "first token − server's write at 90 %, p99, ms",
        Bar::AtMostTimes("token_delay_half_p99", 2.0),
    ),
    row("ks_5000", "KS distance of Poisson at 5,000/s", Bar::AtMost(0.12)),
    row(
        "schedule_delay_half_p50",
        "schedule delay at half, p50, ms",
        Bar::None,
    ),
    row(
        "schedule_delay_half_p99",
        "schedule delay at half, p99, ms",
        Bar::AtMost(0.5),
    ),
    row(
        "schedule_delay_half_max",
        "schedule delay at half, max, ms",
        Bar::None,
    ),
    row("streams_500", "streams open at once, some 500", Bar::None),
    row("rss_mb_500_streams", "memory with them, MiB", Bar::AtMost(60.0)),
    row(
        "rss_most_mb_500_streams",
        "the most memory of that run, MiB",
        Bar::None,
    ),
    row("streams_10k", "streams open at once, some 10,000", Bar::None),
    row("rss_mb_10k_streams", "memory with them, MiB", Bar::AtMost(250.0)),
    row(
        "rss_most_mb_10k_streams",
        "the most memory of that run, MiB",
        Bar::None,
    ),
    row(
        "rss_mb_100k_requests",
        "memory after 100,000 requests, MiB",
        Bar::None,
    ),
    row(
        "rss_mb_1m_requests",
        "memory after 1,000,000 requests, MiB",
        Bar::AtMostMore("rss_mb_100k_requests", 16.0),
    ),
    row(
        "database_bytes",
        "database a request, tokens at once, bytes",
        Bar::AtMost(100.0),
    ),
    row(
        "database_bytes_apart",
        "database a request, tokens apart, bytes",
        Bar::None,
    ),
    row(
        "database_bytes_long",
        "database a request of a million, bytes",
        Bar::None,
    ),
    row("past_1.2_invalid", "invalid at 1.2 × the kept rate", Bar::Always),
    row("past_1.2_connections", "connections then", Bar::None),
    row("past_2_invalid", "invalid at 2 × the kept rate", Bar::Always),
    row("past_2_connections", "connections then", Bar::None),
    row("past_10_invalid", "invalid at 10 × the kept rate", Bar::Always),
    row("past_10_connections", "connections then", Bar::None),
];

/// Prints the table to standard error and, if it is wanted, the object to standard output.
pub(super) fn print(readings: &Readings, noise: &[f64], as_json: bool) -> anyhow::Result<()> {
    shell::say(&table(readings));
    for remark in &readings.remarks {
        shell::say(remark);
    }
    let disturbed = noise.iter().filter(|share| **share > super::parts::QUIET).count();
    if disturbed > 0 {
        shell::say(&format!(
            "THE MACHINE WAS NOT QUIET: others disturbed {disturbed} of {} probes",
            noise.len()
        ));
    }
    if as_json {
        let text = serde_json::to_string_pretty(&object(readings, noise))?;
        writeln!(std::io::stdout(), "{text}")?;
    }
    Ok(())
}

fn table(readings: &Readings) -> String {
    let mut table = format!(
        "\n{:46} {:>34} {:>34} {:>7}  {:28} {}\n",
        "figure", "ours (all rounds)", "bare (all rounds)", "ratio", "bar", "met"
    );
    for row in ROWS {
        let (ours, bare) = (
            cell(readings, row.name, Client::Ours),
            cell(readings, row.name, Client::Bare),
        );
        if ours.is_empty() && bare.is_empty() {
            continue;
        }
        let ratio = readings
            .ratio(row.name)
            .map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let met = match is_met(readings, row) {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{:46} {ours:>34} {bare:>34} {ratio:>7}  {:28} {met}",
            row.text,
            describe(row.bar)
        );
    }
    table
}

fn cell(readings: &Readings, name: &str, client: Client) -> String {
    let Some(median) = readings.median(name, client) else {
        return String::new();
    };
    let all: Vec<String> = readings.all(name, client).iter().copied().map(short).collect();
    match all.len() {
        1 => short(median),
        _ => format!("{} ({})", short(median), all.join(", ")),
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn describe(bar: Bar) -> String {
    match bar {
        Bar::None => String::new(),
        Bar::AtLeastRatio(least) => format!("≥ {least} × bare"),
        Bar::AtMostRatio(most) => format!("≤ {most} × bare"),
        Bar::AtMost(most) => format!("≤ {most}"),
        Bar::AtMostAndShare(most, _, share) => format!("≤ {most}, ≤ {share} × bare's own"),
        Bar::AtMostTimes(_, times) => format!("≤ {times} × that at half"),
        Bar::AtMostMore(_, more) => format!("≤ that before + {more}"),
        Bar::Always => "each time".to_owned(),
    }
}

/// Whether the bar is met; nothing if there is none, or what it needs was not measured.
fn is_met(readings: &Readings, row: &Row) -> Option<bool> {
    let ours = readings.median(row.name, Client::Ours)?;
    Some(match row.bar {
        Bar::None => return None,
        Bar::AtLeastRatio(least) => readings.ratio(row.name)? >= least,
        Bar::AtMostRatio(most) => readings.ratio(row.name)? <= most,
        Bar::AtMost(most) => ours <= most,
        Bar::AtMostAndShare(most, other, share) => {
            ours <= most && ours <= share * readings.median(other, Client::Bare)?
        }
        Bar::AtMostTimes(other, times) => ours <= times * readings.median(other, Client::Ours)?,
        Bar::AtMostMore(other, more) => ours <= more + readings.median(other, Client::Ours)?,
        Bar::Always => readings
            .all(row.name, Client::Ours)
            .iter()
            .all(|value| *value > 0.5),
    })
}

fn object(readings: &Readings, noise: &[f64]) -> Value {
    let ours = |name: &str| json!(readings.median(name, Client::Ours));
    let ratio = |name: &str| json!(readings.ratio(name));
    let error = |rate: &str| {
        let at = |quantile| ours(&format!("ttft_error_{rate}_{quantile}"));
        json!({ "p50": at("p50"), "p95": at("p95"), "p99": at("p99") })
    };
    let all: Map<String, Value> = ROWS
        .iter()
        .map(|row| {
            let all = |client| readings.all(row.name, client);
            (
                row.name.to_owned(),
                json!({ "ours": all(Client::Ours), "bare": all(Client::Bare), "met": is_met(readings, row) }),
            )
        })
        .collect();
    json!({
        "kept_rps": ours("kept_rps"),
        "bare_kept_rps": readings.median("kept_rps", Client::Bare),
        "kept_ratio": ratio("kept_rps"),
        "cpu_us_per_request": ours("cpu_us_per_request"),
        "cpu_ratio": ratio("cpu_us_per_request"),
        "cpu_us_per_token": ours("cpu_us_per_token"),
        "token_cpu_ratio": ratio("cpu_us_per_token"),
        "ttft_error_half_ms": error("half"),
        "ttft_error_90_ms": error("90"),
        "ks_5000": ours("ks_5000"),
        "schedule_delay_half_p99_ms": ours("schedule_delay_half_p99"),
        "rss_mb_10k_streams": ours("rss_mb_10k_streams"),
        "readings": all,
        "remarks": readings.remarks,
        "foreign_cores": noise,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_met_by_medians_and_by_ratios_of_rounds() {
        let mut readings = Readings::default();
        for (ours, bare) in [(5.0, 10.0), (6.0, 10.0), (1.0, 10.0)] {
            readings.add("x", Client::Ours, ours);
            readings.add("x", Client::Bare, bare);
            readings.add("y", Client::Ours, 2.0);
        }
        let check =
            |name, bar, expected| assert_eq!(is_met(&readings, &row(name, "", bar)), expected, "{bar:?}");
        check("x", Bar::None, None);
        check("z", Bar::AtMost(1.0), None);
        check("x", Bar::AtLeastRatio(0.5), Some(true));
        check("x", Bar::AtLeastRatio(0.51), Some(false));
        check("x", Bar::AtMostRatio(0.5), Some(true));
        check("y", Bar::AtMostRatio(0.5), None);
        check("x", Bar::AtMost(4.9), Some(false));
        check("x", Bar::AtMostAndShare(5.0, "x", 0.5), Some(true));
        check("x", Bar::AtMostAndShare(5.0, "x", 0.4), Some(false));
        check("x", Bar::AtMostTimes("y", 2.5), Some(true));
        check("x", Bar::AtMostMore("y", 2.9), Some(false));
        check("x", Bar::Always, Some(true));
    }

    #[test]
    fn the_object_has_the_names_that_others_look_for() {
        let mut readings = Readings::default();
        readings.add("ttft_error_half_p99", Client::Ours, 0.4);
        readings.add("cpu_us_per_token", Client::Ours, 6.0);
        readings.add("cpu_us_per_token", Client::Bare, 4.0);
        let object = object(&readings, &[0.1]);
        for name in [
            "kept_rps",
            "bare_kept_rps",
            "kept_ratio",
            "cpu_us_per_request",
            "cpu_ratio",
            "ks_5000",
            "schedule_delay_half_p99_ms",
            "rss_mb_10k_streams",
        ] {
            assert_eq!(object.get(name), Some(&Value::Null), "{name}");
        }
        assert_eq!(object["ttft_error_half_ms"]["p99"], json!(0.4));
        assert_eq!(object["ttft_error_90_ms"]["p50"], Value::Null);
        assert_eq!(object["token_cpu_ratio"], json!(1.5));
    }
}
