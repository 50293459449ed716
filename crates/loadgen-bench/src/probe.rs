//! The figures of one probe: what the server saw of a client's schedule, and how far the client's times are from the
//! server's.

use crate::{
    statistics::{distance_to_exponential, percentile},
    tables::{ClientRow, ServerTable},
};

const SECOND_NS: f64 = 1e9;
const MILLISECOND_NS: f64 = 1e6;

/// What a client says of a measured window; times are of the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Begin and end.
    pub span_ns: [u64; 2],
    /// Arrivals that were scheduled in it.
    pub offered: u64,
    /// The requests that were scheduled in it and are recorded.
    pub rows: Vec<ClientRow>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest one.
    pub max: f64,
}

/// What a probe has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests that were scheduled in the window.
    pub offered: u64,
    /// Requests whose last byte the server read within it.
    pub seen: u64,
    /// Requests of the window that both sides know.
    pub joined: usize,
    /// (first token − scheduled) − (first write of a token − read of the request).
    pub ttft_error: Percentiles,
    /// First token at the client − first write of a token.
    pub token_delay: Percentiles,
    /// Sent − scheduled.
    pub schedule_delay: Percentiles,
    /// First write of a token − read of the request, of what the server read within the window.
    pub server_ttft: Percentiles,
    /// The Kolmogorov–Smirnov distance of the gaps between the server's reads to the exponential distribution.
    pub distance: f64,
}

impl Figures {
    /// Compares what the client says with what the server saw of requests at `rate` per second.
    pub fn new(window: &Window, server: &ServerTable, rate: f64) -> Self {
        let [from_ns, to_ns] = window.span_ns;
        let within = |at_ns: u64| (from_ns..to_ns).contains(&at_ns);
        let seen = || server.rows.iter().filter(|row| within(row.read_ns));
        let reads: Vec<u64> = seen().map(|row| row.read_ns).collect();
        let server_ttft = seen().filter_map(|row| Some(difference(row.first_token_ns?, row.read_ns)));
        let joined: Vec<Joined> = window
            .rows
            .iter()
            .filter_map(|row| Joined::new(row, server))
            .collect();
        let delays = window
            .rows
            .iter()
            .filter_map(|row| Some(difference(row.sent_ns?, row.scheduled_ns)));
        Self {
            offered: window.offered,
            seen: reads.len() as u64,
            joined: joined.len(),
            ttft_error: Percentiles::new(joined.iter().map(|one| one.ttft_error_ns).collect()),
            token_delay: Percentiles::new(joined.iter().map(|one| one.token_delay_ns).collect()),
            schedule_delay: Percentiles::new(delays.collect()),
            server_ttft: Percentiles::new(server_ttft.collect()),
            distance: distance(&reads, rate),
        }
    }

    /// The share of what was offered that the server saw in time.
    pub fn kept(&self) -> f64 {
        self.seen as f64 / (self.offered.max(1)) as f64
    }
}

struct Joined {
    ttft_error_ns: i64,
    token_delay_ns: i64,
}

impl Joined {
    fn new(row: &ClientRow, server: &ServerTable) -> Option<Self> {
        let index = usize::try_from(row.serial?.checked_sub(1)?).ok()?;
        let seen = server.rows.get(index)?;
        let (at_client, at_server) = (row.first_token_ns?, seen.first_token_ns?);
        Some(Self {
            ttft_error_ns: difference(at_client, row.scheduled_ns) - difference(at_server, seen.read_ns),
            token_delay_ns: difference(at_client, at_server),
        })
    }
}

fn difference(later_ns: u64, earlier_ns: u64) -> i64 {
    later_ns.wrapping_sub(earlier_ns) as i64
}

fn distance(reads: &[u64], rate: f64) -> f64 {
    let gap = |pair: &[u64]| difference(pair[1], pair[0]) as f64 / SECOND_NS;
    let mut gaps: Vec<f64> = reads.windows(2).map(gap).collect();
    distance_to_exponential(&mut gaps, rate)
}

impl Percentiles {
    /// Of differences in nanoseconds; all 0 when there are none.
    pub fn new(mut differences_ns: Vec<i64>) -> Self {
        differences_ns.sort_unstable();
        let at = |thousandths| percentile(&differences_ns, thousandths).unwrap_or(0) as f64 / MILLISECOND_NS;
        Self {
            p50: at(500),
            p95: at(950),
            p99: at(990),
            max: at(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::ServerRow;

    const MS: u64 = 1_000_000;

    fn client(serial: u64, scheduled: u64, first: Option<u64>) -> ClientRow {
        ClientRow {
            serial: Some(serial),
            scheduled_ns: scheduled * MS,
            sent_ns: Some((scheduled + 1) * MS),
            first_token_ns: first.map(|at| at * MS),
        }
    }

    fn server(rows: &[(u64, u64)]) -> ServerTable {
        let row = |(read, first): &(u64, u64)| ServerRow {
            read_ns: read * MS,
            first_token_ns: Some(first * MS),
            last_token_ns: None,
        };
        ServerTable {
            rows: rows.iter().map(row).collect(),
            ..ServerTable::default()
        }
    }

    #[test]
    fn rows_are_joined_by_the_serial_number() {
        let window = Window {
            span_ns: [0, 100 * MS],
            offered: 4,
            // The second request of the schedule was the server's first one; the last two it does not know.
            rows: vec![
                client(2, 10, Some(65)),
                client(1, 11, Some(64)),
                client(3, 12, None),
                client(9, 13, Some(20)),
            ],
        };
        let server = server(&[(12, 62), (13, 64), (100, 150)]);
        let figures = Figures::new(&window, &server, 100.0);
        assert_eq!((figures.offered, figures.seen, figures.joined), (4, 2, 2));
        assert_eq!((figures.ttft_error.p50, figures.ttft_error.max), (3.0, 4.0));
        assert_eq!((figures.token_delay.p50, figures.token_delay.max), (1.0, 2.0));
        assert_eq!(
            (figures.schedule_delay.p50, figures.schedule_delay.max),
            (1.0, 1.0)
        );
        assert_eq!((figures.server_ttft.p50, figures.server_ttft.max), (50.0, 51.0));
        assert!((figures.kept() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_seen_is_nothing_kept() {
        let figures = Figures::new(
            &Window {
                offered: 5,
                ..Window::default()
            },
            &server(&[]),
            1.0,
        );
        assert!(figures.kept() < 1e-12);
        assert_eq!(figures.ttft_error, Percentiles::default());
    }
}
