//! The bits of a stored request's column `marks`, and what is left out because the rest tells it. The view `request` of
//! the schema turns all of it back.

use gipfel_model::RequestRecord;

use crate::codes::Code;

/// The lowest bit of the phase; below it lies the finish reason.
pub(crate) const PHASE: u32 = 3;
const COUNT_SOURCE: u32 = 5;
const UNCERTAIN: u32 = 6;
/// The lowest bit of the outcome.
pub(crate) const OUTCOME: u32 = 7;
/// The first chunk did not come at the first token's time.
pub(crate) const OTHER_FIRST_CHUNK: i64 = 1 << 11;
/// The first output did not come at the first token's time.
pub(crate) const OTHER_FIRST_OUTPUT: i64 = 1 << 12;
/// The status is not what the answer's head implies.
const OTHER_STATUS: i64 = 1 << 13;

/// The finish reasons that have a number; it is their place here and one.
const FINISH_REASONS: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];
const OTHER_FINISH_REASON: i64 = 7;

/// What is stored of a request in place of what can be told from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked<'a> {
    pub(crate) marks: i64,
    pub(crate) ended_after_ns: i64,
    pub(crate) first_chunk_ns: Option<i64>,
    pub(crate) first_output_ns: Option<i64>,
    pub(crate) http_status: Option<u16>,
    pub(crate) finish_reason: Option<&'a str>,
}

impl<'a> Marked<'a> {
    pub(crate) fn of(record: &'a RequestRecord) -> Self {
        let first = record.first_token_ns;
        let unless_first = |point: Option<i64>, mark: i64| {
            if point == first { (0, None) } else { (mark, point) }
        };
        let (other_chunk, first_chunk_ns) = unless_first(record.first_chunk_ns, OTHER_FIRST_CHUNK);
        let (other_output, first_output_ns) = unless_first(record.first_output_ns, OTHER_FIRST_OUTPUT);
        let (other_status, http_status) = if record.http_status == record.header_ns.map(|_| 200) {
            (0, None)
        } else {
            (OTHER_STATUS, record.http_status)
        };
        let (finish, finish_reason) = finish(record.finish_reason.as_deref());
        Self {
            marks: finish
                | record.phase.code() << PHASE
                | record.count_source.code() << COUNT_SOURCE
                | i64::from(record.first_token_uncertain) << UNCERTAIN
                | record.outcome.code() << OUTCOME
                | other_chunk
                | other_output
                | other_status,
            ended_after_ns: record.end_ns - record.last_token_ns.unwrap_or(0),
            first_chunk_ns,
            first_output_ns,
            http_status,
            finish_reason,
        }
    }
}

/// The number of a finish reason, and its text where the number does not tell it.
fn finish(reason: Option<&str>) -> (i64, Option<&str>) {
    let Some(text) = reason else { return (0, None) };
    match FINISH_REASONS.iter().position(|known| *known == text) {
        Some(place) => (place as i64 + 1, None),
        None => (OTHER_FINISH_REASON, Some(text)),
    }
}
