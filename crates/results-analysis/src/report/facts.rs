//! What the report draws of a level beside its summary: computed from its rows, small whatever their number.

use gipfel_model::{LevelRecord, RequestRecord, ScrapeRecord, Slo, record::Decision};

use super::series::{self, Series};
use crate::{
    flight::{self, Flight},
    level::grown,
};

/// What is computed for one level.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LevelFacts {
    /// From the begin of the run's first level to this one's begin, in seconds of the wall clock.
    pub(crate) begin_s: f64,
    /// To its end; to its last trace when it has none.
    pub(crate) end_s: f64,
    /// How the requests stand to the objective in focus, by the time at which they were scheduled.
    pub(crate) shares: Vec<Share>,
    /// Output tokens per second in the measured window, those of requests of earlier levels included.
    pub(crate) output_tokens_per_s: Option<f64>,
    /// What the server's metrics said in the measured window.
    pub(crate) server: ServerFacts,
    /// The mean number of requests in flight in the measured window, as the client saw it.
    pub(crate) in_flight: Option<f64>,
    /// TTFT as the server and as the client see it.
    pub(crate) views: Option<Views>,
    /// The level over time, for the levels that are shown so.
    pub(crate) series: Option<Series>,
}

/// A stretch of time with its requests counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// Its begin, in seconds after the level's.
    pub(crate) at_s: f64,
    pub(crate) decided: u64,
    pub(crate) violated: u64,
}

impl Share {
    pub(crate) fn violating(&self) -> Option<f64> {
        (self.decided > 0).then(|| self.violated as f64 / self.decided as f64)
    }
}

/// Means over the measured window; absent where the server exports nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerFacts {
    pub(crate) running: Option<f64>,
    pub(crate) waiting: Option<f64>,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv_cache: Option<f64>,
    /// The largest share seen.
    pub(crate) kv_cache_max: Option<f64>,
    /// Accepted over proposed draft tokens, 0 to 1.
    pub(crate) speculation: Option<f64>,
}

/// Means over the same requests as far as that can be: those whose first token came between the first and the last look
/// at the server's counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Views {
    /// By the server's histogram, in seconds.
    pub(crate) server_ttft_s: f64,
    pub(crate) server_count: f64,
    /// The time that the requests spent in the server's queue, if it says so.
    pub(crate) server_queue_s: Option<f64>,
    /// From send to first token, in seconds.
    pub(crate) client_ttft_s: f64,
    pub(crate) client_count: u64,
}

/// Where a level stands within its run.
pub(crate) struct Place<'a> {
    /// Unix time of the begin of the run's first level.
    pub(crate) origin_unix_ns: i64,
    /// The length of a stretch of [`LevelFacts::shares`], in seconds.
    pub(crate) stretch_s: f64,
    /// The objective in focus.
    pub(crate) focus: Option<&'a Slo>,
    /// Requests of earlier levels that may still be in flight.
    pub(crate) earlier: &'a [Flight],
    /// Whether the rows carry times; those of imported runs do not.
    pub(crate) has_times: bool,
    pub(crate) with_series: bool,
    /// Requests that are drawn one by one; more are drawn as stretches of time.
    pub(crate) most_dots: usize,
}

/// Computes a level's facts from all its requests, those of warm-up and tail included, and its scrapes.
pub(crate) fn of_level(
    record: &LevelRecord,
    requests: &[RequestRecord],
    scrapes: &[ScrapeRecord],
    place: &Place<'_>,
) -> LevelFacts {
    let begin_s = (record.started_unix_ns - place.origin_unix_ns) as f64 / 1e9;
    let length_s = length(record, requests);
    let mut facts = LevelFacts {
        begin_s,
        end_s: begin_s + length_s,
        server: server_facts(record, scrapes, place.has_times),
        ..LevelFacts::default()
    };
    if !place.has_times {
        facts.output_tokens_per_s = counted_tokens(record, requests);
        return facts;
    }
    let mut flights = place.earlier.to_vec();
    flights.extend(requests.iter().map(Flight::of));
    let window = measured_window(record);
    if let Some(slo) = place.focus {
        facts.shares = shares(record, requests, slo, place.stretch_s);
    }
    facts.output_tokens_per_s = flight::output_token_rate(&flights, window);
    facts.in_flight = flight::mean_in_flight(&flights, window);
    facts.views = views(scrapes, &flights);
    if place.with_series {
        facts.series = Some(series::of_level(
            record, length_s, requests, scrapes, &flights, place,
        ));
    }
    facts
}

/// Begin and end of the measured window, after the run's anchor; of a level without one, such as a step of a ramp, its
/// second half.
fn measured_window(record: &LevelRecord) -> (i64, i64) {
    let end = record.start_ns + record.warmup_ns + record.measured_ns;
    let warmup_ns = if record.measured_ns > 0 {
        record.warmup_ns
    } else {
        record.warmup_ns / 2
    };
    (record.start_ns + warmup_ns, end)
}

fn length(record: &LevelRecord, requests: &[RequestRecord]) -> f64 {
    if let Some(duration) = record.duration() {
        return duration.as_secs_f64();
    }
    let last = requests
        .iter()
        .map(|request| request.scheduled_ns - record.start_ns);
    last.max().unwrap_or(0).max(0) as f64 / 1e9
}

fn shares(record: &LevelRecord, requests: &[RequestRecord], slo: &Slo, stretch_s: f64) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for request in requests {
        let after_s = (request.scheduled_ns - record.start_ns).max(0) as f64 / 1e9;
        let index = (after_s / stretch_s) as usize;
        while shares.len() <= index {
            shares.push(Share {
                at_s: shares.len() as f64 * stretch_s,
                decided: 0,
                violated: 0,
            });
        }
        let share = &mut shares[index];
        match request.decide(slo) {
            Decision::Met => share.decided += 1,
            Decision::Violated => {
                share.decided += 1;
                share.violated += 1;
            }
            Decision::Undecided => {}
        }
    }
    shares
}

/// Tokens of an imported level, whose rows carry no times: all of them over the measured window.
fn counted_tokens(record: &LevelRecord, requests: &[RequestRecord]) -> Option<f64> {
    let counts: Vec<f64> = requests
        .iter()
        .filter_map(|request| request.output_tokens.map(f64::from))
        .collect();
    (!counts.is_empty() && record.measured_ns > 0)
        .then(|| counts.iter().sum::<f64>() / (record.measured_ns as f64 / 1e9))
}

fn server_facts(record: &LevelRecord, scrapes: &[ScrapeRecord], has_times: bool) -> ServerFacts {
    let (from, to) = measured_window(record);
    let measured: Vec<ScrapeRecord> = scrapes
        .iter()
        .filter(|scrape| !has_times || (from..to).contains(&scrape.at_ns))
        .cloned()
        .collect();
    let [running, waiting] = [
        summed(&measured, |scrape| scrape.requests_running),
        summed(&measured, |scrape| scrape.requests_waiting),
    ];
    let kv: Vec<f64> = measured
        .iter()
        .filter_map(|scrape| scrape.kv_cache_usage)
        .collect();
    let accepted = grown(&measured, |scrape| scrape.spec_accepted_tokens);
    let drafted = grown(&measured, |scrape| scrape.spec_draft_tokens);
    ServerFacts {
        running,
        waiting,
        kv_cache: mean(&kv),
        kv_cache_max: kv.iter().copied().reduce(f64::max),
        speculation: accepted
            .zip(drafted)
            .and_then(|(accepted, drafted)| (drafted > 0.0).then(|| accepted / drafted)),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The endpoints that the first rank looked at: every rank looks at the same servers.
fn endpoints(scrapes: &[ScrapeRecord]) -> impl Iterator<Item = u32> {
    let rank = scrapes.first().map(|scrape| scrape.rank);
    let mut seen: Vec<u32> = scrapes
        .iter()
        .filter(|scrape| Some(scrape.rank) == rank)
        .map(|scrape| scrape.endpoint)
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen.into_iter()
}

fn of_endpoint(scrapes: &[ScrapeRecord], endpoint: u32) -> impl Iterator<Item = &ScrapeRecord> {
    let rank = scrapes.first().map_or(0, |scrape| scrape.rank);
    scrapes
        .iter()
        .filter(move |scrape| scrape.rank == rank && scrape.endpoint == endpoint)
}

/// The mean of a gauge, summed over the endpoints.
fn summed(scrapes: &[ScrapeRecord], gauge: impl Fn(&ScrapeRecord) -> Option<f64>) -> Option<f64> {
    let means: Vec<f64> = endpoints(scrapes)
        .filter_map(|endpoint| {
            let values: Vec<f64> = of_endpoint(scrapes, endpoint).filter_map(&gauge).collect();
            mean(&values)
        })
        .collect();
    (!means.is_empty()).then(|| means.iter().sum())
}

fn views(scrapes: &[ScrapeRecord], flights: &[Flight]) -> Option<Views> {
    let counted: Vec<ScrapeRecord> = scrapes
        .iter()
        .filter(|scrape| scrape.ttft_count.is_some() && scrape.ttft_sum_s.is_some())
        .cloned()
        .collect();
    let (from, to) = (counted.first()?.at_ns, counted.last()?.at_ns);
    let server_count = grown(&counted, |scrape| scrape.ttft_count).filter(|count| *count > 0.0)?;
    let server_sum_s = grown(&counted, |scrape| scrape.ttft_sum_s)?;
    let seen: Vec<f64> = flights
        .iter()
        .filter(|flight| {
            flight
                .first_token_ns
                .is_some_and(|first| first > from && first <= to)
        })
        .filter_map(Flight::ttft_s)
        .collect();
    let queued = grown(&counted, |scrape| scrape.queue_sum_s)
        .zip(grown(&counted, |scrape| scrape.queue_count))
        .and_then(|(sum, count)| (count > 0.0).then(|| sum / count));
    Some(Views {
        server_ttft_s: server_sum_s / server_count,
        server_count,
        server_queue_s: queued,
        client_ttft_s: mean(&seen)?,
        client_count: seen.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, MS};

    const SECOND: i64 = 1_000 * MS;

    fn scrape(at_s: i64, endpoint: u32, counter: f64) -> ScrapeRecord {
        ScrapeRecord {
            endpoint,
            at_ns: at_s * SECOND,
            requests_running: Some(counter),
            ttft_sum_s: Some(counter * 0.1),
            ttft_count: Some(counter),
            spec_accepted_tokens: Some(counter * 3.0),
            spec_draft_tokens: Some(counter * 4.0),
            ..ScrapeRecord::default()
        }
    }

    #[test]
    fn gauges_are_summed_over_the_endpoints() {
        let scrapes = [
            scrape(1, 0, 10.0),
            scrape(1, 1, 100.0),
            scrape(2, 0, 20.0),
            scrape(2, 1, 140.0),
        ];
        assert_eq!(summed(&scrapes, |scrape| scrape.requests_running), Some(135.0));
        assert_eq!(summed(&scrapes, |scrape| scrape.requests_waiting), None);
    }

    #[test]
    fn both_views_are_of_the_same_requests() {
        let scrapes = [scrape(1, 0, 10.0), scrape(3, 0, 12.0)];
        let flights: Vec<Flight> = [(900, 1_000), (1_900, 2_150), (2_900, 2_950), (2_950, 3_100)]
            .into_iter()
            .map(|(begin, first)| Flight {
                begin_ns: begin * MS,
                first_token_ns: Some(first * MS),
                last_token_ns: None,
                end_ns: 5 * SECOND,
                output_tokens: None,
            })
            .collect();
        let found = views(&scrapes, &flights).expect("views");
        assert_eq!((found.server_count, found.client_count), (2.0, 2));
        assert!((found.server_ttft_s - 0.1).abs() < 1e-9);
        assert!((found.client_ttft_s - 0.15).abs() < 1e-9);
        assert_eq!(views(&scrapes[..1], &flights), None);
    }

    #[test]
    fn shares_are_counted_by_the_time_of_arrival() {
        let slo = fixture::slo("ttft p95 <= 150ms");
        let mut requests = fixture::requests(0, 4, 100);
        for (request, at_s) in requests.iter_mut().zip([0, 1, 5, 6]) {
            request.scheduled_ns = at_s * SECOND;
        }
        let record = fixture::level(0, 10.0, &[slo], &requests);
        let found = shares(&record, &requests, &slo, 5.0);
        let counts: Vec<_> = found
            .iter()
            .map(|share| (share.decided, share.violated))
            .collect();
        assert_eq!(counts, [(2, 1), (2, 2)]);
        assert_eq!(found[0].violating(), Some(0.5));
    }
}
