//! A load generator and a server on one simulated clock.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::Context;
use gipfel_inference_sim::{Disturbance, ServerProfile, SimClockServer, TokenEvent};
use gipfel_model::{ArrivalRate, Decided, LatencyMetric, Second, Slo, WorkloadSpec, record::Decision};
use gipfel_peak_search::{Counted, decide_in_flight};
use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share, draw_lengths};

pub(crate) const SECOND_NS: i64 = 1_000_000_000;

struct Request {
    level: u32,
    second: u32,
    scheduled_ns: i64,
    input: u32,
    output: u32,
    first_ns: Option<i64>,
    /// For each objective whether its decision was told.
    told: Vec<bool>,
}

/// What happened since it was last asked.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) counts: Vec<Counted>,
    pub(crate) e2e_ns: Vec<i64>,
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
    pub(crate) oldest_waiting_ns: i64,
}

/// The simulated world.
pub(crate) struct World {
    server: SimClockServer,
    workload: WorkloadSpec,
    slos: Vec<Slo>,
    now_ns: i64,
    next_segment: u32,
    next_id: u64,
    /// The begin of each level.
    starts: HashMap<u32, i64>,
    /// Scheduled and not sent yet.
    upcoming: VecDeque<(u64, Request)>,
    in_flight: HashMap<u64, Request>,
    counts: BTreeMap<(u32, u32), Second>,
    e2e_ns: Vec<i64>,
}

impl World {
    pub(crate) fn new(profile: &ServerProfile, seed: u64, disturbance: Disturbance) -> Self {
        Self {
            server: SimClockServer::new(profile.law, seed).with_disturbance(disturbance),
            workload: profile.workload(seed),
            slos: profile.slos.clone(),
            now_ns: 0,
            next_segment: 0,
            next_id: 0,
            starts: HashMap::new(),
            upcoming: VecDeque::new(),
            in_flight: HashMap::new(),
            counts: BTreeMap::new(),
            e2e_ns: Vec::new(),
        }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Offers load of a level.
    pub(crate) fn append(&mut self, level: u32, rate: ArrivalRate, from_ns: i64, to_ns: i64) {
        let start_ns = *self.starts.entry(level).or_insert(from_ns);
        let segment = Segment {
            index: self.next_segment,
            rate,
            ramp_ns: 0,
            start_ns: from_ns,
            end: SegmentEnd::At(to_ns),
        };
        self.next_segment += 1;
        for arrival in Arrivals::new(self.workload.seed, self.workload.arrivals, &segment, Share::ALL) {
            let lengths = draw_lengths(&self.workload, segment.index, arrival.index);
            let request = Request {
                level,
                second: ((arrival.scheduled_ns - start_ns) / SECOND_NS) as u32,
                scheduled_ns: arrival.scheduled_ns,
                input: lengths.input,
                output: lengths.output,
                first_ns: None,
                told: vec![false; self.slos.len()],
            };
            self.upcoming.push_back((self.next_id, request));
            self.next_id += 1;
        }
    }

    /// Lets time pass.
    pub(crate) fn advance_to(&mut self, now_ns: i64) -> anyhow::Result<()> {
        self.now_ns = now_ns;
        while let Some((_, request)) = self.upcoming.front() {
            if request.scheduled_ns >= now_ns {
                break;
            }
            let Some((id, request)) = self.upcoming.pop_front() else {
                break;
            };
            self.server
                .submit(request.scheduled_ns, id, request.input, request.output)
                .context("the server refused a request")?;
            let second = second(&mut self.counts, &self.slos, &request);
            second.arrivals += 1;
            second.input_tokens += u64::from(request.input);
            second.output_tokens += u64::from(request.output);
            self.in_flight.insert(id, request);
        }
        let mut events: Vec<TokenEvent> = Vec::new();
        self.server.advance_to(now_ns, |event| events.push(event));
        for event in events {
            self.take(event);
        }
        for request in self.in_flight.values_mut() {
            decide(&mut self.counts, &self.slos, request, now_ns, None);
        }
        Ok(())
    }

    fn take(&mut self, event: TokenEvent) {
        let Some(request) = self.in_flight.get_mut(&event.id) else {
            return;
        };
        if event.first {
            request.first_ns = Some(event.at_ns);
        }
        if event.last {
            self.e2e_ns.push(event.at_ns - request.scheduled_ns);
            decide(
                &mut self.counts,
                &self.slos,
                request,
                event.at_ns,
                Some(event.at_ns),
            );
            self.in_flight.remove(&event.id);
        }
    }

    /// Cancels what has no first token.
    pub(crate) fn shed(&mut self) {
        let server = &mut self.server;
        self.in_flight.retain(|id, request| {
            if request.first_ns.is_none() {
                server.cancel(*id);
            }
            request.first_ns.is_some()
        });
    }

    /// Cancels everything.
    pub(crate) fn cut(&mut self) {
        self.upcoming.clear();
        for (id, _) in self.in_flight.drain() {
            self.server.cancel(id);
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len() + self.upcoming.len()
    }

    pub(crate) fn look(&mut self) -> Seen {
        let waiting = self
            .in_flight
            .values()
            .filter(|request| request.first_ns.is_none());
        let oldest = waiting.clone().map(|request| request.scheduled_ns).min();
        Seen {
            waiting: waiting.count() as u64,
            oldest_waiting_ns: oldest.map_or(0, |scheduled| self.now_ns - scheduled),
            in_flight: self.in_flight.len() as u64,
            counts: std::mem::take(&mut self.counts)
                .into_iter()
                .map(|((level, second), add)| Counted { level, second, add })
                .collect(),
            e2e_ns: std::mem::take(&mut self.e2e_ns),
        }
    }
}

fn second<'a>(
    counts: &'a mut BTreeMap<(u32, u32), Second>,
    slos: &[Slo],
    request: &Request,
) -> &'a mut Second {
    counts
        .entry((request.level, request.second))
        .or_insert_with(|| Second {
            objectives: vec![Decided::default(); slos.len()],
            ..Second::default()
        })
}

/// Tells the decisions that are certain at `at_ns`; all of them once the last token came.
fn decide(
    counts: &mut BTreeMap<(u32, u32), Second>,
    slos: &[Slo],
    request: &mut Request,
    at_ns: i64,
    last_ns: Option<i64>,
) {
    for (index, slo) in slos.iter().enumerate() {
        if request.told[index] {
            continue;
        }
        let since = |at: i64| at - request.scheduled_ns;
        // What streams is known to have come a token ago.
        let latest_ns = last_ns.or(request.first_ns.map(|_| at_ns));
        let decision = decide_in_flight(
            slo,
            since(at_ns),
            request.first_ns.map(since),
            latest_ns.map(since),
            None,
            request.output,
        );
        let decision = match (decision, last_ns) {
            (Decision::Undecided, Some(last)) => ended(slo, request, last),
            (decision, _) => decision,
        };
        if decision != Decision::Undecided {
            request.told[index] = true;
            second(counts, slos, request).objectives[index].count(decision);
        }
    }
}

/// The decision on a request that ended well and was not certain before.
fn ended(slo: &Slo, request: &Request, last_ns: i64) -> Decision {
    let Slo::Latency { metric, limit, .. } = slo else {
        return Decision::Met;
    };
    let value = match metric {
        LatencyMetric::Tpot => {
            let gaps = i64::from(request.output) - 1;
            if gaps < 1 {
                return Decision::Met;
            }
            (last_ns - request.first_ns.unwrap_or(last_ns)) / gaps
        }
        _ => last_ns - request.scheduled_ns,
    };
    if value <= limit.as_nanos() as i64 {
        Decision::Met
    } else {
        Decision::Violated
    }
}
