//! The model on a simulated clock that its user moves: for load that depends on what the server did.

use std::collections::VecDeque;

use crate::{
    disturbance::Disturbance,
    model::{EngineModel, Load, StepLaw, SubmitError},
};

/// The first or the last token of a request; with a single token both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEvent {
    /// The request, as submitted.
    pub id: u64,
    /// When the token came, on the axis of the submissions.
    pub at_ns: i64,
    /// It is the request's first token.
    pub first: bool,
    /// It is the request's last token.
    pub last: bool,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    at_ns: i64,
    id: u64,
    input: u32,
    output: u32,
}

/// A server whose clock stands where [`advance_to`](Self::advance_to) has left it.
///
/// It gives each request the same times as [`simulate()`](crate::simulate()) does: one that arrives during a step takes
/// part from the next one on, and one that arrives at an idle engine starts a step at once.
#[derive(Clone, Debug)]
pub struct SimClockServer {
    model: EngineModel,
    disturbance: Disturbance,
    /// The first arrival: the origin of the disturbance.
    origin_ns: Option<i64>,
    now_ns: i64,
    /// The end of the step in progress, or of the latest one.
    boundary_ns: i64,
    in_step: bool,
    /// The tokens that the step in progress emits at its end; their time is the boundary.
    emitted: Vec<TokenEvent>,
    arrivals: VecDeque<Arrival>,
    /// To be removed from the engine before the next step.
    cancelled: Vec<u64>,
}

impl SimClockServer {
    /// An idle server at time 0; equal seeds give equal noise.
    pub fn new(law: StepLaw, seed: u64) -> Self {
        Self {
            model: EngineModel::new(law, seed),
            disturbance: Disturbance::default(),
            origin_ns: None,
            now_ns: 0,
            boundary_ns: 0,
            in_step: false,
            emitted: Vec::new(),
            arrivals: VecDeque::new(),
            cancelled: Vec::new(),
        }
    }

    /// The same server with a disturbance.
    #[must_use]
    pub fn with_disturbance(self, disturbance: Disturbance) -> Self {
        Self { disturbance, ..self }
    }

    /// A request that arrives at `at_ns`: in order of time, and not before now. Ids are the caller's; they must differ
    /// among the requests that live.
    pub fn submit(&mut self, at_ns: i64, id: u64, input: u32, output: u32) -> Result<(), SubmitError> {
        self.model.law().check(input, output)?;
        debug_assert!(
            at_ns >= self.arrivals.back().map_or(self.now_ns, |latest| latest.at_ns),
            "requests come in order of time"
        );
        self.origin_ns.get_or_insert(at_ns);
        self.arrivals.push_back(Arrival {
            at_ns,
            id,
            input,
            output,
        });
        Ok(())
    }

    /// Removes a request that has not ended; no event of it comes any more. It leaves the engine with the end of the
    /// step in progress.
    pub fn cancel(&mut self, id: u64) {
        if let Some(at) = self.arrivals.iter().position(|arrival| arrival.id == id) {
            self.arrivals.remove(at);
            return;
        }
        if self.in_step {
            self.emitted.retain(|event| event.id != id);
            self.cancelled.push(id);
        } else {
            self.model.cancel(id);
        }
    }

    /// Moves the clock on to `now_ns`; `on_event` gets the first and last tokens that come until then, in order.
    pub fn advance_to(&mut self, now_ns: i64, mut on_event: impl FnMut(TokenEvent)) {
        self.now_ns = self.now_ns.max(now_ns);
        loop {
            if self.in_step {
                if self.boundary_ns > now_ns {
                    return;
                }
                self.end_step(&mut on_event);
            }
            // A request may still be submitted that arrives just now, so no step begins just now.
            if self.boundary_ns >= now_ns {
                return;
            }
            self.take_arrivals();
            if !self.begin_step() {
                match self.arrivals.front() {
                    Some(arrival) if arrival.at_ns < now_ns => self.boundary_ns = arrival.at_ns,
                    _ => return,
                }
            }
        }
    }

    /// What the server holds now. The requests that the step in progress ends are gone already.
    pub fn load(&self) -> Load {
        let mut load = self.model.load();
        load.waiting += self
            .arrivals
            .iter()
            .take_while(|arrival| arrival.at_ns <= self.now_ns)
            .count();
        load
    }

    fn end_step(&mut self, on_event: &mut impl FnMut(TokenEvent)) {
        self.in_step = false;
        for event in self.emitted.drain(..) {
            on_event(TokenEvent {
                at_ns: self.boundary_ns,
                ..event
            });
        }
        for id in self.cancelled.drain(..) {
            self.model.cancel(id);
        }
    }

    fn take_arrivals(&mut self) {
        let boundary_ns = self.boundary_ns;
        while let Some(arrival) = self.arrivals.pop_front_if(|arrival| arrival.at_ns <= boundary_ns) {
            let taken = self.model.submit(arrival.id, arrival.input, arrival.output);
            debug_assert!(taken.is_ok(), "the lengths were checked");
        }
    }

    fn begin_step(&mut self) -> bool {
        let emitted = &mut self.emitted;
        let step = self.model.step(|token| {
            if token.number == 1 || token.last {
                emitted.push(TokenEvent {
                    id: token.request,
                    at_ns: 0,
                    first: token.number == 1,
                    last: token.last,
                });
            }
        });
        let Some(step) = step else { return false };
        let origin_ns = self.origin_ns.unwrap_or_default();
        let begin_ns = self.boundary_ns - origin_ns;
        self.boundary_ns = origin_ns + self.disturbance.end_ns(begin_ns, step.duration_ns);
        self.in_step = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        disturbance::Slowdown,
        model::tests::law,
        simulate::{Scheduled, simulate},
    };

    /// First and last token of each request, with the clock moved on by `stride_ns` and requests submitted in time.
    fn times(server: &mut SimClockServer, schedule: &[Scheduled], stride_ns: i64) -> Vec<(i64, i64)> {
        let mut times = vec![(0, 0); schedule.len()];
        let mut missing = schedule.len();
        let mut next = 0;
        let mut now_ns = 0;
        while missing > 0 {
            while let Some(request) = schedule.get(next).filter(|request| request.arrival_ns <= now_ns) {
                server
                    .submit(request.arrival_ns, next as u64, request.input, request.output)
                    .expect("the requests fit");
                next += 1;
            }
            // The clock may go as far as the next request.
            let horizon_ns = schedule.get(next).map_or(i64::MAX, |request| request.arrival_ns);
            now_ns = (now_ns + stride_ns).min(horizon_ns);
            server.advance_to(now_ns, |event| {
                let entry = &mut times[event.id as usize];
                if event.first {
                    entry.0 = event.at_ns;
                }
                if event.last {
                    entry.1 = event.at_ns;
                    missing -= 1;
                }
            });
        }
        times
    }

    proptest! {
        #[test]
        fn the_times_are_those_of_the_whole_simulation(
            gaps in prop::collection::vec((0_i64..3000, 1_u32..60, 1_u32..40), 1..80),
            stride_ns in 1_i64..5000,
            seed in 0_u64..4,
        ) {
            let mut arrival_ns = 0;
            let schedule: Vec<Scheduled> = gaps
                .iter()
                .map(|&(gap_ns, input, output)| {
                    arrival_ns += gap_ns;
                    Scheduled { arrival_ns, input, output }
                })
                .collect();
            let law = StepLaw { noise: 0.05, kv_tokens: 300, ..law() };
            let expected = simulate(law, seed, &schedule).expect("the requests fit");
            let expected: Vec<_> = expected.iter().map(|r| (r.first_token_ns, r.last_token_ns)).collect();
            prop_assert_eq!(times(&mut SimClockServer::new(law, seed), &schedule, stride_ns), expected);
        }
    }

    #[test]
    fn a_cancelled_request_is_heard_of_no_more() {
        let mut server = SimClockServer::new(law(), 1);
        for id in 0..3 {
            server.submit(0, id, 10, 5).expect("the request fits");
        }
        server.submit(9000, 3, 10, 1).expect("the request fits");
        let mut heard = Vec::new();
        // A step of 30 tokens of prompt lasts 1330 ns.
        server.advance_to(1400, |event| heard.push((event.id, event.at_ns)));
        assert_eq!(heard, [(0, 1330), (1, 1330), (2, 1330)]);
        server.cancel(1);
        server.cancel(3);
        heard.clear();
        server.advance_to(i64::MAX, |event| heard.push((event.id, event.at_ns)));
        assert_eq!(heard.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(server.load(), Load::default());
    }

    #[test]
    fn requests_that_have_just_arrived_wait() {
        let mut server = SimClockServer::new(law(), 1);
        server.submit(10, 0, 10, 5).expect("the request fits");
        server.submit(20, 1, 10, 5).expect("the request fits");
        server.advance_to(20, |_| {});
        let load = server.load();
        assert_eq!((load.running, load.waiting), (1, 1));
    }

    #[test]
    fn the_disturbance_counts_from_the_first_request() {
        let disturbance = Disturbance {
            slower: Some(Slowdown {
                after_ns: 5000,
                share: 0.5,
            }),
            stall: None,
        };
        let mut server = SimClockServer::new(law(), 1).with_disturbance(disturbance);
        let schedule = [4000, 9100].map(|arrival_ns| Scheduled {
            arrival_ns,
            input: 10,
            output: 1,
        });
        let found = times(&mut server, &schedule, 100);
        assert_eq!(found, [(5110, 5110), (11320, 11320)]);
    }
}
