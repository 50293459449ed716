//! The parts of the benchmark: which probes each takes, and what is read from them.

use std::time::Duration;

use gipfel_loadgen_bench::probe::Percentiles;

use super::{
    ours::Report,
    probe::{Client, Laboratory, Seen, Setting},
    readings::Readings,
    search::Search,
};
use crate::shell;

const BOTH: [Client; 2] = [Client::Ours, Client::Bare];
/// Tokens of each answer.
const TOKENS: u32 = 128;
const FIRST_TOKEN: Duration = Duration::from_millis(50);
const GAP: Duration = Duration::from_millis(10);
/// What is asked of a level's TTFT; five percent of it is what the load generator may be late before a level is invalid.
const OBJECTIVE: Duration = Duration::from_millis(500);
/// One that no level violates, so that none is cut short.
const NO_OBJECTIVE: Duration = Duration::from_mins(1);
/// The share of the streams that must have been open for a figure of memory to count.
const OPEN: f64 = 0.95;
const WARMUP: Duration = Duration::from_secs(1);
/// Long enough for the first streams with gaps to end.
const GAP_WARMUP: Duration = Duration::from_secs(2);
/// By how much what the server saw may differ from what was offered in the same window. It sees too much when a client
/// catches up in it with what was due before.
const KEPT_WITHIN: f64 = 0.005;
/// Others may take so much of a core before a probe counts as disturbed.
pub(super) const QUIET: f64 = 0.15;
/// A disturbed probe whose rate was not kept is repeated so often.
const REPEATS: u32 = 1;
/// The rate at which the arrivals' distribution is looked at.
const DISTRIBUTION_RATE: f64 = 5000.0;

/// The rates that are kept, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) ours: Option<f64>,
    pub(super) bare: Option<f64>,
    pub(super) gap: Option<f64>,
}

/// The benchmark as far as it has come.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) laboratory: Laboratory,
    pub(super) rounds: u32,
    pub(super) window: Duration,
    pub(super) rates: Rates,
    pub(super) readings: Readings,
    /// The foreign share of each probe.
    pub(super) noise: Vec<f64>,
}

impl Bench {
    /// All tokens at once after 50 ms.
    fn at_once(&self, rate: f64, round: u32) -> Setting {
        Setting {
            rate,
            warmup: WARMUP,
            measured: self.window,
            tokens: TOKENS,
            first_token: FIRST_TOKEN,
            gap: Duration::ZERO,
            objective: OBJECTIVE,
            seed: u64::from(round) + 1,
        }
    }

    /// A token each 10 ms.
    fn apart(&self, rate: f64, round: u32) -> Setting {
        Setting {
            warmup: GAP_WARMUP,
            gap: GAP,
            ..self.at_once(rate, round)
        }
    }

    fn probe(&mut self, client: Client, setting: &Setting) -> anyhow::Result<Seen> {
        let seen = self.laboratory.probe(client, setting)?;
        self.noise.push(seen.foreign_share);
        if seen.foreign_share > QUIET {
            shell::say(&format!(
                "     NOT QUIET: other processes took {:.0} % of a core during this probe",
                seen.foreign_share * 100.0
            ));
        }
        Ok(seen)
    }

    /// Whether the client keeps the rate, and the server's share of a core; a probe that others disturbed is repeated
    /// before it says no.
    fn is_kept(&mut self, client: Client, setting: &Setting) -> anyhow::Result<(bool, f64)> {
        let mut server_share = 0.0;
        for repeat in 0..=REPEATS {
            let setting = Setting {
                seed: setting.seed + 1000 * u64::from(repeat),
                ..*setting
            };
            let seen = self.probe(client, &setting)?;
            server_share = seen.server_share;
            let is_kept = (seen.figures.kept() - 1.0).abs() <= KEPT_WITHIN;
            if is_kept || seen.foreign_share <= QUIET {
                return Ok((is_kept, server_share));
            }
        }
        Ok((false, server_share))
    }

    /// Looks for the kept rate, which is a reading of this name, from that of the round before if there was one.
    fn search(
        &mut self,
        name: &str,
        client: Client,
        guess: f64,
        setting: impl Fn(&Self, f64) -> Setting,
    ) -> anyhow::Result<f64> {
        let before = self.readings.all(name, client).last().filter(|kept| **kept > 0.0);
        let mut search = before.map_or_else(|| Search::new(guess, 1.3), |kept| Search::new(*kept, 1.1));
        while let Some(rate) = search.next() {
            let setting = setting(self, rate);
            match self.is_kept(client, &setting) {
                Ok((is_kept, server_share)) => search.tell(rate, is_kept, server_share),
                // A client that fails beyond a rate that it kept has not kept this one; else something else is wrong.
                Err(error) if search.kept() > 0.0 => {
                    shell::say(&format!("{} fails at {rate:.0}/s: {error:#}", client.name()));
                    search.tell(rate, false, 0.0);
                }
                Err(error) => return Err(error),
            }
        }
        let (kept, full) = (search.kept(), search.server_share_when_lost());
        shell::say(&format!("{} keeps {kept:.0}/s", client.name()));
        self.readings.add(name, client, kept);
        self.readings.add(&format!("{name}_server_share"), client, full);
        Ok(kept)
    }

    /// The kept rate with all tokens at once.
    pub(super) fn kept(&mut self) -> anyhow::Result<()> {
        for round in 0..self.rounds {
            for client in BOTH {
                self.search_at_once(client, round)?;
            }
        }
        self.rates.ours = self.readings.median("kept_rps", Client::Ours);
        self.rates.bare = self.readings.median("kept_rps", Client::Bare);
        Ok(())
    }

    fn search_at_once(&mut self, client: Client, round: u32) -> anyhow::Result<f64> {
        let guess = match client {
            Client::Ours => 4000.0,
            Client::Bare => 12_000.0,
        };
        self.search("kept_rps", client, guess, |bench, rate| {
            bench.at_once(rate, round)
        })
    }

    /// The kept rate with tokens apart; where the bare client stops, the server is full.
    pub(super) fn gap(&mut self) -> anyhow::Result<()> {
        for round in 0..self.rounds {
            for client in BOTH {
                self.search("gap_kept_rps", client, 1000.0, |bench, rate| {
                    bench.apart(rate, round)
                })?;
            }
        }
        self.rates.gap = self.readings.median("gap_kept_rps", Client::Ours);
        Ok(())
    }

    /// The rate that ours keeps; it is looked for if nobody knows it.
    fn kept_by_ours(&mut self) -> anyhow::Result<f64> {
        let known = self.rates.ours;
        let kept = known.map_or_else(|| self.search_at_once(Client::Ours, 0), Ok)?;
        self.rates.ours = Some(kept);
        Ok(kept)
    }

    fn kept_by_bare(&mut self) -> anyhow::Result<f64> {
        let known = self.rates.bare;
        let kept = known.map_or_else(|| self.search_at_once(Client::Bare, 0), Ok)?;
        self.rates.bare = Some(kept);
        Ok(kept)
    }

    /// CPU time at half of what ours keeps; with `errors`, the errors of the same probes too.
    pub(super) fn cpu(&mut self, errors: bool) -> anyhow::Result<()> {
        let half = self.kept_by_ours()? / 2.0;
        let gap_half = match self.rates.gap {
            Some(gap) => gap / 2.0,
            None => 500.0,
        };
        for round in 0..self.rounds {
            for client in BOTH {
                let seen = self.probe(client, &self.at_once(half, round))?;
                self.readings.add("cpu_rate", client, half);
                self.readings
                    .add("cpu_us_per_request", client, seen.cpu_us_per_request);
                self.add_database("database_bytes", &seen);
                if errors {
                    self.add_errors("half", client, &seen);
                }
            }
            for client in BOTH {
                let seen = self.probe(client, &self.apart(gap_half, round))?;
                self.readings.add("cpu_token_rate", client, gap_half);
                self.readings
                    .add("cpu_us_per_token", client, seen.cpu_us_per_token());
                self.add_database("database_bytes_apart", &seen);
            }
        }
        Ok(())
    }

    fn add_database(&mut self, name: &str, seen: &Seen) {
        if let Some(report) = &seen.report {
            self.readings.add(name, Client::Ours, report.database_bytes);
        }
    }

    fn add_errors(&mut self, rate: &str, client: Client, seen: &Seen) {
        let figures = &seen.figures;
        let mut add = |name: &str, percentiles: Percentiles| {
            let Percentiles { p50, p95, p99, max } = percentiles;
            for (quantile, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("max", max)] {
                self.readings
                    .add(&format!("{name}_{rate}_{quantile}"), client, value);
            }
        };
        add("ttft_error", figures.ttft_error);
        add("token_delay", figures.token_delay);
        add("schedule_delay", figures.schedule_delay);
    }

    /// The error of the TTFT at half and at 90 % of what ours keeps, for both, and of what the bare client keeps, for it.
    pub(super) fn error(&mut self) -> anyhow::Result<()> {
        let (ours, bare) = (self.kept_by_ours()?, self.kept_by_bare()?);
        for round in 0..self.rounds {
            for client in BOTH {
                // The probes for the CPU time were at half as well.
                if self.readings.all("ttft_error_half_p50", client).len() <= round as usize {
                    let seen = self.probe(client, &self.at_once(ours / 2.0, round))?;
                    self.add_errors("half", client, &seen);
                }
            }
            for client in BOTH {
                let seen = self.probe(client, &self.at_once(ours * 0.9, round))?;
                self.add_errors("90", client, &seen);
            }
            for (name, share) in [("own_half", 0.5), ("own_90", 0.9)] {
                let seen = self.probe(Client::Bare, &self.at_once(bare * share, round))?;
                self.add_errors(name, Client::Bare, &seen);
            }
        }
        Ok(())
    }

    /// The distance of the arrivals at the server to a Poisson process.
    pub(super) fn distance(&mut self) -> anyhow::Result<()> {
        for round in 0..self.rounds {
            for client in BOTH {
                let seen = self.probe(client, &self.at_once(DISTRIBUTION_RATE, round))?;
                self.readings.add("ks_5000", client, seen.figures.distance);
            }
        }
        Ok(())
    }

    /// Memory with many open streams, whose tokens come slowly.
    pub(super) fn memory(&mut self) -> anyhow::Result<()> {
        // Ten thousand streams have 50,000 tokens a second then, which is half of what the server can write.
        for (name, streams, gap_ms) in [("500", 500.0, 100), ("10k", 10_000.0, 200)] {
            for client in BOTH {
                let mut setting = Setting {
                    gap: Duration::from_millis(gap_ms),
                    objective: NO_OBJECTIVE,
                    ..self.at_once(1.0, 0)
                };
                let stream_time = setting.stream_time();
                setting.rate = streams / stream_time.as_secs_f64();
                setting.warmup = stream_time + WARMUP;
                let seen = self.probe(client, &setting)?;
                let open = seen.server.most_streams as f64;
                if open < OPEN * streams {
                    let text = format!(
                        "memory of {}: {open} streams of {streams} were open",
                        client.name()
                    );
                    self.readings.remarks.push(text);
                    continue;
                }
                self.readings.add(&format!("streams_{name}"), client, open);
                let resident = seen.samples.resident_mib(seen.span_ns);
                self.readings
                    .add(&format!("rss_mb_{name}_streams"), client, resident);
                self.readings.add(
                    &format!("rss_most_mb_{name}_streams"),
                    client,
                    seen.samples.most_mib(),
                );
            }
        }
        Ok(())
    }

    /// What the load generator says at rates that it cannot keep.
    pub(super) fn past(&mut self) -> anyhow::Result<()> {
        let kept = self.kept_by_ours()?;
        for factor in [1.2, 2.0, 10.0] {
            for round in 0..self.rounds {
                let seen = self.probe(Client::Ours, &self.at_once(kept * factor, round))?;
                if let Some(report) = &seen.report {
                    self.add_past(factor, &seen, report);
                }
            }
        }
        Ok(())
    }

    fn add_past(&mut self, factor: f64, seen: &Seen, report: &Report) {
        let rate = seen.setting.rate;
        let read_rate = seen.figures.seen as f64 / seen.window_s();
        let connections = seen.server.connections;
        self.readings.remarks.push(format!(
            "{factor} × the kept rate, {rate:.0}/s: it says {}; sent by its word {:.0}/s, the server read {read_rate:.0}/s \
             within the window, {connections} connections",
            report.verdict, report.sent_rate,
        ));
        let mut add = |name: &str, value: f64| {
            self.readings
                .add(&format!("past_{factor}_{name}"), Client::Ours, value);
        };
        add("invalid", if report.is_invalid { 1.0 } else { 0.0 });
        add("sent_rate", report.sent_rate);
        add("connections", connections as f64);
    }

    /// Memory after 100,000 and after 1,000,000 requests of one run.
    pub(super) fn long(&mut self) -> anyhow::Result<()> {
        const FEW: usize = 100_000;
        const MANY: usize = 1_000_000;
        let rate = self.kept_by_ours()? / 2.0;
        let setting = Setting {
            measured: Duration::from_secs_f64(1.02 * MANY as f64 / rate),
            objective: NO_OBJECTIVE,
            ..self.at_once(rate, 0)
        };
        let seen = self.probe(Client::Ours, &setting)?;
        for (name, requests) in [("rss_mb_100k_requests", FEW), ("rss_mb_1m_requests", MANY)] {
            let Some(row) = seen.server.rows.get(requests - 1) else {
                continue;
            };
            let resident = seen.samples.at(row.read_ns, |sample| sample.client.resident_mib);
            self.readings.add(name, Client::Ours, resident);
        }
        self.add_database("database_bytes_long", &seen);
        Ok(())
    }
}
