//! Requests as intervals of time: how many were in flight, and how many tokens came when.

use gipfel_model::{LevelRecord, RequestRecord};

/// What of a request matters beyond its own level: the next level may begin while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flight {
    /// The send, after the run's anchor; the scheduled arrival when it was never sent.
    pub(crate) begin_ns: i64,
    /// The first token, if there was one.
    pub(crate) first_token_ns: Option<i64>,
    /// The last token, if there was one.
    pub(crate) last_token_ns: Option<i64>,
    /// Its end.
    pub(crate) end_ns: i64,
    /// Answer tokens, if the server has counted them.
    pub(crate) output_tokens: Option<u32>,
}

impl Flight {
    pub(crate) fn of(request: &RequestRecord) -> Self {
        let at = |offset: i64| request.scheduled_ns + offset;
        Self {
            begin_ns: at(request.send_ns.unwrap_or(0)),
            first_token_ns: request.first_token_ns.map(at),
            last_token_ns: request.last_token_ns.map(at),
            end_ns: at(request.end_ns),
            output_tokens: request.output_tokens,
        }
    }

    /// From the send to the first token, in seconds.
    pub(crate) fn ttft_s(&self) -> Option<f64> {
        Some((self.first_token_ns? - self.begin_ns) as f64 / 1e9)
    }
}

/// The time-average of the requests in flight within a window.
pub(crate) fn mean_in_flight(flights: &[Flight], (from, to): (i64, i64)) -> Option<f64> {
    let total: i64 = flights
        .iter()
        .map(|flight| overlap((flight.begin_ns, flight.end_ns), (from, to)))
        .sum();
    (to > from).then(|| total as f64 / (to - from) as f64)
}

/// Output tokens per second within a window. A request's tokens are taken as evenly spread between its first and its
/// last one; requests whose tokens nobody counted add nothing. Absent when none was counted.
pub(crate) fn output_token_rate(flights: &[Flight], (from, to): (i64, i64)) -> Option<f64> {
    let mut tokens = None;
    for flight in flights {
        let (Some(first), Some(last), Some(count)) =
            (flight.first_token_ns, flight.last_token_ns, flight.output_tokens)
        else {
            continue;
        };
        let count = f64::from(count);
        let within = if last > first {
            count * overlap((first, last), (from, to)) as f64 / (last - first) as f64
        } else if (from..to).contains(&first) {
            count
        } else {
            0.0
        };
        *tokens.get_or_insert(0.0) += within;
    }
    tokens
        .filter(|_| to > from)
        .map(|tokens| tokens / ((to - from) as f64 / 1e9))
}

/// How many requests were in flight at evenly spaced moments of a window, both ends included.
pub(crate) fn in_flight_at(flights: &[Flight], (from, to): (i64, i64), moments: usize) -> Vec<(i64, f64)> {
    let mut begins: Vec<i64> = flights.iter().map(|flight| flight.begin_ns).collect();
    let mut ends: Vec<i64> = flights.iter().map(|flight| flight.end_ns).collect();
    begins.sort_unstable();
    ends.sort_unstable();
    let steps = moments.max(2) - 1;
    (0..=steps)
        .map(|step| {
            let at = from + ((to - from) as f64 * step as f64 / steps as f64) as i64;
            let begun = begins.partition_point(|begin| *begin <= at);
            let ended = ends.partition_point(|end| *end <= at);
            (at, begun.saturating_sub(ended) as f64)
        })
        .collect()
}

/// What may still be in flight when the level after this one begins.
pub(crate) fn still_in_flight(
    earlier: &[Flight],
    requests: &[RequestRecord],
    record: &LevelRecord,
) -> Vec<Flight> {
    let measured_to = record.start_ns + record.warmup_ns + record.measured_ns;
    earlier
        .iter()
        .copied()
        .chain(requests.iter().map(Flight::of))
        .filter(|flight| flight.end_ns > measured_to)
        .collect()
}

fn overlap((begin, end): (i64, i64), (from, to): (i64, i64)) -> i64 {
    (end.min(to) - begin.max(from)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(begin_ns: i64, first: i64, last: i64, tokens: u32) -> Flight {
        Flight {
            begin_ns,
            first_token_ns: Some(first),
            last_token_ns: Some(last),
            end_ns: last,
            output_tokens: Some(tokens),
        }
    }

    #[test]
    fn windows_cut_what_reaches_beyond_them() {
        let second = 1_000_000_000;
        let flights = [
            flight(0, second, 3 * second, 20),
            flight(2 * second, 2 * second, 2 * second, 1),
            flight(9 * second, 9 * second, 11 * second, 20),
        ];
        let mean = mean_in_flight(&flights, (0, 10 * second)).expect("a mean");
        assert!((mean - 0.4).abs() < 1e-9, "{mean}");
        let rate = output_token_rate(&flights, (0, 10 * second)).expect("a rate");
        assert!((rate - 3.1).abs() < 1e-9, "{rate}");
        assert_eq!(mean_in_flight(&flights, (5, 5)), None);
        assert_eq!(output_token_rate(&[], (0, second)), None);
    }

    #[test]
    fn moments_count_who_is_there() {
        let flights = [flight(0, 1, 10, 1), flight(5, 6, 20, 1)];
        let found = in_flight_at(&flights, (0, 20), 5);
        assert_eq!(found, [(0, 1.0), (5, 2.0), (10, 1.0), (15, 1.0), (20, 0.0)]);
    }
}
