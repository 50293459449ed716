//! What is written of each request, level and scrape.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    deployment::names,
    search::{Evidence, Stage},
    slo::{LatencyMetric, Slo},
    units::ArrivalRate,
    verdict::{Attainment, Validity, Verdict},
};

names! {
    /// Which part of its level a request belongs to.
    Phase {
        /// Before the measured window.
        Warmup = "warmup",
        /// In the measured window: the only requests that count.
        Measured = "measured",
        /// After it: unmeasured load that keeps the server busy until the measured requests are decided.
        Tail = "tail",
    }
}

names! {
    /// How a request ended. The states exclude each other.
    Outcome {
        /// HTTP 200, no error event, a finish reason, the end of the stream.
        Ok = "ok",
        /// A status other than 200.
        HttpError = "http_error",
        /// No connection, or one that broke before the answer's head.
        ConnectError = "connect_error",
        /// No connection within the limit.
        TimeoutConnect = "timeout_connect",
        /// No token within the limit.
        TimeoutFirstToken = "timeout_first_token",
        /// A gap between tokens beyond the limit.
        TimeoutBetweenTokens = "timeout_between_tokens",
        /// Not finished within the limit.
        TimeoutTotal = "timeout_total",
        /// The stream ended without a finish reason.
        StreamCut = "stream_cut",
        /// An error event on HTTP 200.
        StreamError = "stream_error",
        /// An answer that is not of the documented form.
        ParseError = "parse_error",
        /// Cancelled by the load generator; censored at that time.
        Shed = "shed",
    }
}

names! {
    /// Where token counts come from.
    CountSource {
        /// The server's `usage`.
        Usage = "usage",
        /// Nothing said them; never derived from the number of chunks.
        None = "none",
    }
}

names! {
    /// How far a level came.
    LevelState {
        /// Being measured, or broken off without a word (kill -9).
        Open = "open",
        /// Measured to its end.
        Complete = "complete",
        /// Broken off; kept, and measured anew as another level.
        Broken = "broken",
    }
}

/// A latency in nanoseconds, with failure and absence told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Measured.
    Finite(i64),
    /// The request failed: beyond every limit.
    Infinite,
    /// The metric does not exist for this request (TPOT of a single token), or the request was shed while undecided.
    Undefined,
}

/// Whether a request meets an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Within the limit.
    Met,
    /// Beyond it, or failed.
    Violated,
    /// Not known, or not defined.
    Undecided,
}

/// One request. Clock points are nanoseconds after the scheduled arrival, which is itself nanoseconds after the
/// run's monotonic anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The load generator's rank.
    pub rank: u32,
    /// Unique within run and rank: `segment index << 32 | arrival index`.
    pub request: i64,
    /// The level's index, counting every attempt.
    pub level: u32,
    /// The part of the level.
    pub phase: Phase,
    /// The class of a mixed workload; 0 without one.
    pub class: u32,
    /// The session, if the workload has sessions.
    pub session: Option<i64>,
    /// The turn within the session.
    pub turn: u32,
    /// The endpoint's index.
    pub endpoint: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status, if there was an answer.
    pub http_status: Option<u16>,
    /// The scheduled arrival, after the run's anchor.
    pub scheduled_ns: i64,
    /// Time spent on dialling for this request; absent on a reused or pre-dialled connection.
    pub connect_ns: Option<i64>,
    /// First byte handed to the socket.
    pub send_ns: Option<i64>,
    /// The answer's head.
    pub header_ns: Option<i64>,
    /// The first chunk that is not the role chunk.
    pub first_chunk_ns: Option<i64>,
    /// The first chunk that bears a token of any channel (content, reasoning, refusal, tool call).
    pub first_token_ns: Option<i64>,
    /// How much later than that the first token was read: of a first token that the kernel has stamped, the reader's lag.
    /// Absent without such a stamp.
    pub first_token_lag_ns: Option<i64>,
    /// Whether more came in one read with the first token, so that its stamp may be that of what came after it.
    pub first_token_uncertain: bool,
    /// The first chunk that bears content or a tool call.
    pub first_output_ns: Option<i64>,
    /// The last chunk that bears a token.
    pub last_token_ns: Option<i64>,
    /// `[DONE]`, the end of the stream, the error, the timeout or the cancellation.
    pub end_ns: i64,
    /// Prompt tokens by the server's count.
    pub input_tokens: Option<u32>,
    /// Answer tokens by the server's count.
    pub output_tokens: Option<u32>,
    /// Prompt tokens that the server had cached.
    pub cached_tokens: Option<u32>,
    /// Prompt tokens asked for.
    pub requested_input: u32,
    /// Answer tokens asked for.
    pub requested_output: u32,
    /// Chunks that bore tokens.
    pub chunks: u32,
    /// The largest gap between token-bearing chunks.
    pub itl_max_ns: Option<i64>,
    /// Where the token counts come from.
    pub count_source: CountSource,
    /// The server's finish reason.
    pub finish_reason: Option<String>,
    /// What went wrong, without secrets.
    pub error: Option<String>,
}

impl RequestRecord {
    /// The metric of this request, from the scheduled arrival.
    ///
    /// TTFT = first token − scheduled; E2E = last token − scheduled; TPOT = (last − first) / (output tokens − 1),
    /// undefined for fewer than two tokens; ITL = the largest gap between token-bearing chunks. A failed request is
    /// infinite in every metric. A shed one keeps what it had already shown and is otherwise undefined.
    pub fn latency(&self, metric: LatencyMetric) -> Latency {
        match self.outcome {
            Outcome::Ok => {}
            Outcome::Shed => {
                return match (metric, self.first_token_ns) {
                    (LatencyMetric::Ttft, Some(first)) => Latency::Finite(first),
                    _ => Latency::Undefined,
                };
            }
            _ => return Latency::Infinite,
        }
        let value = match metric {
            LatencyMetric::Ttft => self.first_token_ns,
            LatencyMetric::E2e => self.last_token_ns,
            LatencyMetric::Itl => self.itl_max_ns,
            LatencyMetric::Tpot => self.tpot_ns(),
        };
        value.map_or(Latency::Undefined, Latency::Finite)
    }

    /// TTFT from the actual send, as other tools report it.
    pub fn ttft_from_send(&self) -> Latency {
        match (self.outcome, self.first_token_ns, self.send_ns) {
            (Outcome::Ok | Outcome::Shed, Some(first), Some(send)) => Latency::Finite(first - send),
            (Outcome::Ok | Outcome::Shed, _, _) => Latency::Undefined,
            _ => Latency::Infinite,
        }
    }

    fn tpot_ns(&self) -> Option<i64> {
        let gaps = i64::from(self.output_tokens?) - 1;
        let span = self.last_token_ns? - self.first_token_ns?;
        (gaps > 0).then(|| span / gaps)
    }

    /// Whether this ended request meets `slo`.
    ///
    /// A shed request violates when what it had shown, or its age at the cancellation, is already beyond the limit;
    /// otherwise it is undecided. A completed request without a gap meets TPOT and ITL, since nothing in it was late;
    /// one whose tokens nobody counted leaves TPOT undecided;
    /// one without any token violates TTFT and E2E, since an empty answer is no fast one.
    pub fn decide(&self, slo: &Slo) -> Decision {
        match *slo {
            Slo::ErrorRate { .. } => match self.outcome {
                Outcome::Ok => Decision::Met,
                Outcome::Shed => Decision::Undecided,
                _ => Decision::Violated,
            },
            Slo::Latency { metric, limit, .. } => {
                let limit = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
                match self.latency(metric) {
                    Latency::Finite(value) if value <= limit => Decision::Met,
                    Latency::Finite(_) | Latency::Infinite => Decision::Violated,
                    Latency::Undefined if self.outcome == Outcome::Ok => match metric {
                        LatencyMetric::Itl => Decision::Met,
                        LatencyMetric::Tpot if self.output_tokens.is_some_and(|tokens| tokens < 2) => {
                            Decision::Met
                        }
                        LatencyMetric::Tpot => Decision::Undecided,
                        LatencyMetric::Ttft | LatencyMetric::E2e => Decision::Violated,
                    },
                    Latency::Undefined => self.decide_shed(metric, limit),
                }
            }
        }
    }

    fn decide_shed(&self, metric: LatencyMetric, limit: i64) -> Decision {
        let beyond = match metric {
            LatencyMetric::Ttft | LatencyMetric::E2e => self.end_ns > limit,
            LatencyMetric::Itl => self.itl_max_ns.is_some_and(|gap| gap > limit),
            LatencyMetric::Tpot => match self.first_token_ns {
                Some(first) => tpot_exceeds(self.end_ns - first, self.requested_output, limit),
                None => false,
            },
        };
        if beyond {
            Decision::Violated
        } else {
            Decision::Undecided
        }
    }
}

/// Whether a TPOT above `limit_ns` is certain after `elapsed_ns` of decoding towards `output_tokens` tokens.
pub fn tpot_exceeds(elapsed_ns: i64, output_tokens: u32, limit_ns: i64) -> bool {
    let gaps = i64::from(output_tokens) - 1;
    gaps > 0 && elapsed_ns / gaps > limit_ns
}

/// One attempt at a rate level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelRecord {
    /// Counts every attempt, from 0.
    pub level: u32,
    /// The offered rate λ that was asked for.
    pub rate: ArrivalRate,
    /// What it was offered for.
    pub stage: Stage,
    /// How far it came.
    pub state: LevelState,
    /// The start of the warm-up, after the run's anchor.
    pub start_ns: i64,
    /// The warm-up's length.
    pub warmup_ns: i64,
    /// The measured window's length.
    pub measured_ns: i64,
    /// Unix time at the start of the level.
    pub started_unix_ns: i64,
    /// Unix time at its end; absent while open.
    pub ended_unix_ns: Option<i64>,
    /// Requests scheduled in the measured window, per second.
    pub offered_rate: f64,
    /// Requests sent in the measured window, per second.
    pub sent_rate: f64,
    /// Requests whose last token came within the measured window, per second.
    pub completed_rate: f64,
    /// One entry for each objective, in the run configuration's order.
    pub attainment: Vec<Attainment>,
    /// Whether the client kept its part.
    pub validity: Validity,
    /// The answer; absent while open, and for the steps of a search, whose answer stands for all of them.
    pub verdict: Option<Verdict>,
    /// What the estimate of the peak takes from it; absent while open, and in databases of version 1.
    pub evidence: Option<Evidence>,
}

impl LevelRecord {
    /// From its start to its end; absent while open.
    pub fn duration(&self) -> Option<std::time::Duration> {
        let nanos = self.ended_unix_ns? - self.started_unix_ns;
        Some(std::time::Duration::from_nanos(nanos.max(0) as u64))
    }
}

/// One look at the server's `/metrics`. Absent values are not exported by the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeRecord {
    /// The load generator's rank.
    pub rank: u32,
    /// The endpoint's index.
    pub endpoint: u32,
    /// The level that was open.
    pub level: u32,
    /// After the run's anchor.
    pub at_ns: i64,
    /// Requests that the server is working on.
    pub requests_running: Option<f64>,
    /// Requests that wait in the server's queue.
    pub requests_waiting: Option<f64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_cache_usage: Option<f64>,
    /// Preemptions since the server's start.
    pub preemptions: Option<f64>,
    /// Prefix cache queries since the server's start, in tokens.
    pub prefix_cache_queries: Option<f64>,
    /// Prefix cache hits since the server's start, in tokens.
    pub prefix_cache_hits: Option<f64>,
    /// Draft tokens that were accepted since the server's start.
    pub spec_accepted_tokens: Option<f64>,
    /// Draft tokens proposed since the server's start.
    pub spec_draft_tokens: Option<f64>,
    /// The sum of the server's own TTFT histogram since its start, in seconds.
    pub ttft_sum_s: Option<f64>,
    /// The number of requests in it.
    pub ttft_count: Option<f64>,
    /// The sum of the server's own histogram of queueing times since its start, in seconds.
    pub queue_sum_s: Option<f64>,
    /// The number of requests in it.
    pub queue_count: Option<f64>,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(nanos) => write!(f, "{:.1} ms", *nanos as f64 / 1e6),
            Self::Infinite => f.write_str("∞"),
            Self::Undefined => f.write_str("–"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn record(outcome: Outcome) -> RequestRecord {
        RequestRecord {
            rank: 0,
            request: 0,
            level: 0,
            phase: Phase::Measured,
            class: 0,
            session: None,
            turn: 0,
            endpoint: 0,
            outcome,
            http_status: Some(200),
            scheduled_ns: 0,
            connect_ns: None,
            send_ns: Some(MS),
            header_ns: Some(2 * MS),
            first_chunk_ns: Some(100 * MS),
            first_token_ns: Some(100 * MS),
            first_token_lag_ns: None,
            first_token_uncertain: false,
            first_output_ns: Some(100 * MS),
            last_token_ns: Some(400 * MS),
            end_ns: 401 * MS,
            input_tokens: Some(10),
            output_tokens: Some(11),
            cached_tokens: None,
            requested_input: 10,
            requested_output: 11,
            chunks: 11,
            itl_max_ns: Some(50 * MS),
            count_source: CountSource::Usage,
            finish_reason: Some("length".to_owned()),
            error: None,
        }
    }

    #[test]
    fn metrics_count_from_the_schedule() {
        let record = record(Outcome::Ok);
        let check = |metric, nanos| assert_eq!(record.latency(metric), Latency::Finite(nanos));
        check(LatencyMetric::Ttft, 100 * MS);
        check(LatencyMetric::E2e, 400 * MS);
        check(LatencyMetric::Tpot, 30 * MS);
        check(LatencyMetric::Itl, 50 * MS);
        assert_eq!(record.ttft_from_send(), Latency::Finite(99 * MS));
    }

    #[test]
    fn one_token_has_no_tpot_and_violates_none() {
        let record = RequestRecord {
            output_tokens: Some(1),
            ..record(Outcome::Ok)
        };
        assert_eq!(record.latency(LatencyMetric::Tpot), Latency::Undefined);
        assert_eq!(
            record.decide(&"tpot p95 <= 1ms".parse().expect("an objective")),
            Decision::Met
        );
    }

    #[test]
    fn an_empty_answer_is_no_fast_one() {
        let empty = RequestRecord {
            first_token_ns: None,
            last_token_ns: None,
            output_tokens: Some(0),
            itl_max_ns: None,
            ..record(Outcome::Ok)
        };
        let check = |slo: &str, decision| {
            assert_eq!(
                empty.decide(&slo.parse().expect("an objective")),
                decision,
                "{slo}"
            );
        };
        check("ttft p95 <= 1h", Decision::Violated);
        check("e2e p95 <= 1h", Decision::Violated);
        check("tpot p95 <= 1ms", Decision::Met);
        check("itl p95 <= 1ms", Decision::Met);
    }

    #[test]
    fn tokens_that_nobody_counted_decide_no_tpot() {
        let uncounted = RequestRecord {
            output_tokens: None,
            ..record(Outcome::Ok)
        };
        let slo = "tpot p95 <= 1h".parse().expect("an objective");
        assert_eq!(uncounted.decide(&slo), Decision::Undecided);
    }

    #[test]
    fn failures_violate_and_shed_requests_are_censored() {
        let check = |record: &RequestRecord, slo: &str, decision| {
            assert_eq!(
                record.decide(&slo.parse().expect("an objective")),
                decision,
                "{slo} {:?}",
                record.outcome
            );
        };
        for slo in [
            "ttft p95 <= 1h",
            "tpot p95 <= 1h",
            "itl p95 <= 1h",
            "e2e p95 <= 1h",
            "error_rate <= 1%",
        ] {
            check(&record(Outcome::StreamCut), slo, Decision::Violated);
        }
        let shed = record(Outcome::Shed);
        check(&shed, "ttft p95 <= 100ms", Decision::Met);
        check(&shed, "ttft p95 <= 99ms", Decision::Violated);
        check(&shed, "e2e p95 <= 1s", Decision::Undecided);
        check(&shed, "e2e p95 <= 400ms", Decision::Violated);
        check(&shed, "tpot p95 <= 30ms", Decision::Violated);
        check(&shed, "tpot p95 <= 31ms", Decision::Undecided);
        check(&shed, "error_rate <= 1%", Decision::Undecided);
        let waiting = RequestRecord {
            first_token_ns: None,
            last_token_ns: None,
            ..shed
        };
        check(&waiting, "ttft p95 <= 401ms", Decision::Undecided);
        check(&waiting, "ttft p95 <= 400ms", Decision::Violated);
    }
}
