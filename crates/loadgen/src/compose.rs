//! From what the request path saw to a record.

use gipfel_model::{CountSource, Outcome, Phase, RequestRecord};
use gipfel_stream_client::{Ending, Exchange, Watch};

/// What the schedule says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) rank: u32,
    pub(crate) level: u32,
    pub(crate) phase: Phase,
    pub(crate) request: i64,
    pub(crate) scheduled_ns: i64,
    /// The level's second in which it is scheduled.
    pub(crate) second: u32,
    pub(crate) input: u32,
    pub(crate) output: u32,
    /// The index of the server that it is sent to.
    pub(crate) endpoint: u32,
}

/// The record of an exchange that ended by itself.
pub(crate) fn ended(planned: &Planned, watch: &Watch, exchange: Exchange) -> RequestRecord {
    let counted = exchange.output_tokens.is_some();
    RequestRecord {
        outcome: outcome(exchange.ending),
        http_status: exchange.http_status,
        connect_ns: exchange.connect_ns,
        end_ns: exchange.end_ns - planned.scheduled_ns,
        input_tokens: exchange.input_tokens,
        output_tokens: exchange.output_tokens,
        cached_tokens: exchange.cached_tokens,
        count_source: if counted {
            CountSource::Usage
        } else {
            CountSource::None
        },
        finish_reason: exchange.finish_reason,
        error: exchange.error,
        ..shed(planned, watch, exchange.end_ns)
    }
}

/// The record of a request that the load generator cancels at `now_ns`: what it had shown until then.
pub(crate) fn shed(planned: &Planned, watch: &Watch, now_ns: i64) -> RequestRecord {
    let offset = |at: i64| (at >= 0).then(|| at - planned.scheduled_ns);
    let chunks = watch.chunks.get();
    RequestRecord {
        rank: planned.rank,
        request: planned.request,
        level: planned.level,
        phase: planned.phase,
        class: 0,
        session: None,
        turn: 0,
        endpoint: planned.endpoint,
        outcome: Outcome::Shed,
        http_status: Some(watch.http_status.get()).filter(|status| *status != 0),
        scheduled_ns: planned.scheduled_ns,
        connect_ns: None,
        send_ns: offset(watch.send_ns.get()),
        header_ns: offset(watch.header_ns.get()),
        first_chunk_ns: offset(watch.first_chunk_ns.get()),
        first_token_ns: offset(watch.first_token_ns.get()),
        first_token_lag_ns: lag_ns(watch),
        first_token_uncertain: watch.first_token_coalesced.get(),
        first_output_ns: offset(watch.first_output_ns.get()),
        last_token_ns: offset(watch.last_token_ns.get()),
        end_ns: now_ns - planned.scheduled_ns,
        input_tokens: None,
        output_tokens: None,
        cached_tokens: None,
        requested_input: planned.input,
        requested_output: planned.output,
        chunks,
        itl_max_ns: (chunks > 1).then(|| watch.itl_max_ns.get()),
        count_source: CountSource::None,
        finish_reason: None,
        error: None,
    }
}

/// What the reader lagged behind the kernel's stamp of the first token. Without a stamp the read's time stands for both.
fn lag_ns(watch: &Watch) -> Option<i64> {
    let (stamped, read) = (watch.first_token_ns.get(), watch.first_token_read_ns.get());
    (read >= 0 && read != stamped).then(|| read - stamped)
}

fn outcome(ending: Ending) -> Outcome {
    match ending {
        Ending::Ok => Outcome::Ok,
        Ending::HttpError => Outcome::HttpError,
        Ending::ConnectError | Ending::OutOfSockets => Outcome::ConnectError,
        Ending::TimeoutConnect => Outcome::TimeoutConnect,
        Ending::TimeoutFirstToken => Outcome::TimeoutFirstToken,
        Ending::TimeoutBetweenTokens => Outcome::TimeoutBetweenTokens,
        Ending::TimeoutTotal => Outcome::TimeoutTotal,
        Ending::StreamCut => Outcome::StreamCut,
        Ending::StreamError => Outcome::StreamError,
        Ending::ParseError => Outcome::ParseError,
    }
}
