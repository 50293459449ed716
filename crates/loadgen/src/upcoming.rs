//! The worker's share of the load, in the order of the schedule, prepared ahead of its time.

use std::collections::VecDeque;

use bytes::Bytes;
use gipfel_engine::{Engine, Message};
use gipfel_model::{ArrivalProcess, WorkloadSpec};
use gipfel_workload::{Arrival, Arrivals, Lengths, Requests, Segment, Share, draw_endpoint};

use crate::{compose::Planned, messages::Append};

/// How many requests are rendered ahead, so that none is rendered between its deadline and its send.
const LOOKAHEAD: usize = 32;

/// What every request of a run has in common.
pub(crate) struct Renderer {
    pub(crate) engine: &'static Engine,
    pub(crate) model: String,
    pub(crate) workload: WorkloadSpec,
    pub(crate) requests: Requests,
    pub(crate) rank: u32,
    /// How many servers there are.
    pub(crate) endpoints: u32,
}

/// A request that waits for its time.
pub(crate) struct Prepared {
    pub(crate) planned: Planned,
    pub(crate) body: Bytes,
}

/// The requests that a worker still has to send, whatever levels they belong to.
pub(crate) struct Upcoming {
    seed: u64,
    process: ArrivalProcess,
    pieces: VecDeque<(Append, Segment, Share)>,
    current: Option<(Append, u32, Arrivals)>,
    ready: VecDeque<Prepared>,
}

impl Upcoming {
    pub(crate) fn new(workload: &WorkloadSpec) -> Self {
        Self {
            seed: workload.seed,
            process: workload.arrivals,
            pieces: VecDeque::new(),
            current: None,
            ready: VecDeque::with_capacity(LOOKAHEAD),
        }
    }

    /// Sends this share of the piece after those before it.
    pub(crate) fn append(&mut self, piece: Append, share: Share) {
        if let Some(segment) = piece.segment {
            self.pieces.push_back((piece, segment, share));
        }
    }

    /// Sends no more.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.current = None;
        self.ready.clear();
    }

    /// The next request's scheduled time; renders it if it is not ready.
    pub(crate) fn next_deadline(&mut self, renderer: &Renderer) -> Option<i64> {
        if self.ready.is_empty() {
            self.prepare(renderer);
        }
        self.ready.front().map(|prepared| prepared.planned.scheduled_ns)
    }

    /// Takes the next request if it is due.
    pub(crate) fn pop_due(&mut self, now_ns: i64) -> Option<Prepared> {
        let due = self.ready.front()?.planned.scheduled_ns <= now_ns;
        if due { self.ready.pop_front() } else { None }
    }

    /// Whether no request is ready.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_unprepared(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether the request after the next one is ready.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_next_but_one(&self) -> bool {
        self.ready.len() > 1
    }

    /// Whether one more request should be rendered when there is time.
    pub(crate) fn wants_more(&self) -> bool {
        self.ready.len() < LOOKAHEAD && (self.current.is_some() || !self.pieces.is_empty())
    }

    /// Renders one more request.
    pub(crate) fn prepare(&mut self, renderer: &Renderer) {
        if let Some((piece, segment, arrival)) = self.next_arrival() {
            let number = piece.first_request + arrival.index;
            // Rank 0 ends the run before its prompts are used up; only a tail may ask for more, and goes without.
            let Some(request) = renderer.requests.get(segment, arrival.index, number) else {
                return;
            };
            let Lengths { input, output } = request.lengths;
            let planned = Planned {
                rank: renderer.rank,
                level: piece.level,
                phase: piece.phase,
                request: request_number(segment, arrival.index),
                scheduled_ns: arrival.scheduled_ns,
                second: second(arrival.scheduled_ns - piece.seconds_from_ns),
                input,
                output,
                endpoint: draw_endpoint(self.seed, segment, arrival.index, renderer.endpoints),
            };
            let messages = request.messages.iter();
            let conversation: Vec<Message<'_>> = messages
                .map(|message| Message {
                    role: &message.role,
                    content: &message.content,
                })
                .collect();
            let bytes: usize = conversation.iter().map(|message| message.content.len()).sum();
            let mut body = Vec::with_capacity(bytes + 256);
            renderer.engine.write_body(
                renderer.workload.requests,
                &renderer.model,
                &conversation,
                output,
                &mut body,
            );
            self.ready.push_back(Prepared {
                planned,
                body: Bytes::from(body),
            });
        }
    }

    fn next_arrival(&mut self) -> Option<(Append, u32, Arrival)> {
        loop {
            if let Some((piece, segment, arrivals)) = &mut self.current {
                if let Some(arrival) = arrivals.next() {
                    return Some((*piece, *segment, arrival));
                }
                self.current = None;
            }
            let (piece, segment, share) = self.pieces.pop_front()?;
            let arrivals = Arrivals::new(self.seed, self.process, &segment, share);
            self.current = Some((piece, segment.index, arrivals));
        }
    }
}

/// The whole seconds of a time after a level's start.
fn second(after_ns: i64) -> u32 {
    u32::try_from(after_ns / 1_000_000_000).unwrap_or(0)
}

/// A request's number: unique within run and rank, since no segment index is used twice.
pub(crate) fn request_number(segment: u32, arrival: u64) -> i64 {
    (i64::from(segment) << 32) | arrival as i64
}
