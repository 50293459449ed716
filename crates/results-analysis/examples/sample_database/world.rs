//! A load generator and a server on one simulated clock, which leave the records that a run leaves.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;
use gipfel_inference_sim::{ServerProfile, SimClockServer, TokenEvent};
use gipfel_model::{
    ArrivalRate, CountSource, Decided, Outcome, Phase, RequestRecord, ScrapeRecord, Second, Slo,
    WorkloadSpec, record::Decision,
};
use gipfel_peak_search::{Counted, decide_in_flight};
use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share, draw_lengths};

pub(crate) const SECOND_NS: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

/// The way from the server to the client.
const NETWORK_NS: i64 = 1_800_000;

/// A stretch of load.
pub(crate) struct Stretch {
    pub(crate) level: u32,
    pub(crate) phase: Phase,
    pub(crate) rate: ArrivalRate,
    pub(crate) from_ns: i64,
    pub(crate) to_ns: i64,
}

/// A request that has not ended.
struct Live {
    record: RequestRecord,
    /// For each objective whether its decision was told.
    told: Vec<bool>,
}

/// What happened since it was last asked.
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
    /// The begin of each level.
    pub(crate) starts: BTreeMap<u32, i64>,
    upcoming: VecDeque<Live>,
    in_flight: BTreeMap<u64, Live>,
    counts: BTreeMap<(u32, u32), Second>,
    e2e_ns: Vec<i64>,
    pub(crate) ended: Vec<RequestRecord>,
    pub(crate) scrapes: Vec<ScrapeRecord>,
    /// The server's own histogram of TTFT: sum in seconds, and count.
    ttft: (f64, f64),
    output_tokens: f64,
    speculates: bool,
}

impl World {
    pub(crate) fn new(profile: &ServerProfile, seed: u64, speculates: bool) -> Self {
        Self {
            server: SimClockServer::new(profile.law, seed),
            workload: profile.workload(seed),
            slos: profile.slos.clone(),
            now_ns: 0,
            next_segment: 0,
            starts: BTreeMap::new(),
            upcoming: VecDeque::new(),
            in_flight: BTreeMap::new(),
            counts: BTreeMap::new(),
            e2e_ns: Vec::new(),
            ended: Vec::new(),
            scrapes: Vec::new(),
            ttft: (0.0, 0.0),
            output_tokens: 0.0,
            speculates,
        }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.now_ns
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.upcoming.is_empty() && self.in_flight.is_empty()
    }

    /// Offers load.
    pub(crate) fn append(&mut self, stretch: &Stretch) {
        self.starts.entry(stretch.level).or_insert(stretch.from_ns);
        let segment = Segment {
            index: self.next_segment,
            rate: stretch.rate,
            ramp_ns: 0,
            start_ns: stretch.from_ns,
            end: SegmentEnd::At(stretch.to_ns),
        };
        self.next_segment += 1;
        for arrival in Arrivals::new(self.workload.seed, self.workload.arrivals, &segment, Share::ALL) {
            let lengths = draw_lengths(&self.workload, segment.index, arrival.index);
            let number = i64::from(segment.index) << 32 | arrival.index as i64;
            self.upcoming.push_back(Live {
                record: scheduled(
                    stretch,
                    number,
                    arrival.scheduled_ns,
                    (lengths.input, lengths.output),
                ),
                told: vec![false; self.slos.len()],
            });
        }
    }

    /// Lets time pass; `level` is the one that is open.
    pub(crate) fn advance_to(&mut self, now_ns: i64, level: u32) -> anyhow::Result<()> {
        let is_look = now_ns / SECOND_NS > self.now_ns / SECOND_NS;
        self.now_ns = now_ns;
        while let Some(live) = self
            .upcoming
            .pop_front_if(|live| live.record.scheduled_ns < now_ns)
        {
            let record = &live.record;
            let id = record.request as u64;
            self.server
                .submit(
                    record.scheduled_ns,
                    id,
                    record.requested_input,
                    record.requested_output,
                )
                .context("the server refused a request")?;
            let second = second(&mut self.counts, &self.starts, self.slos.len(), record);
            second.arrivals += 1;
            second.input_tokens += u64::from(record.requested_input);
            second.output_tokens += u64::from(record.requested_output);
            self.in_flight.insert(id, live);
        }
        let mut events: Vec<TokenEvent> = Vec::new();
        self.server.advance_to(now_ns, |event| events.push(event));
        for event in events {
            self.take(event);
        }
        self.tell_what_is_certain();
        if is_look {
            self.look_at_the_server(level);
        }
        Ok(())
    }

    fn take(&mut self, event: TokenEvent) {
        let Some(live) = self.in_flight.get_mut(&event.id) else {
            return;
        };
        let record = &mut live.record;
        let after = event.at_ns - record.scheduled_ns;
        if event.first {
            self.ttft.0 += after as f64 / 1e9;
            self.ttft.1 += 1.0;
            record.header_ns = Some(after + NETWORK_NS);
            record.first_chunk_ns = record.header_ns;
            record.first_token_ns = record.header_ns;
            record.first_output_ns = record.header_ns;
        }
        if event.last {
            record.last_token_ns = Some(after + NETWORK_NS);
            record.outcome = Outcome::Ok;
            record.http_status = Some(200);
            record.output_tokens = Some(record.requested_output);
            record.chunks = record.requested_output;
            record.itl_max_ns = Some(35 * MS);
            record.finish_reason = Some("length".to_owned());
            self.output_tokens += f64::from(record.requested_output);
            self.e2e_ns.push(after + NETWORK_NS);
            self.end(event.id, after + NETWORK_NS);
        }
    }

    fn end(&mut self, id: u64, end_ns: i64) {
        let Some(mut live) = self.in_flight.remove(&id) else {
            return;
        };
        live.record.end_ns = end_ns;
        for (index, slo) in self.slos.iter().enumerate() {
            if !live.told[index] {
                let decision = live.record.decide(slo);
                second(&mut self.counts, &self.starts, self.slos.len(), &live.record).objectives[index]
                    .count(decision);
            }
        }
        self.ended.push(live.record);
    }

    fn tell_what_is_certain(&mut self) {
        for live in self.in_flight.values_mut() {
            let record = &live.record;
            let age = self.now_ns - record.scheduled_ns;
            for (index, slo) in self.slos.iter().enumerate() {
                if live.told[index] {
                    continue;
                }
                let latest = record.first_token_ns.map(|_| age);
                let decision = decide_in_flight(
                    slo,
                    age,
                    record.first_token_ns,
                    latest,
                    None,
                    record.requested_output,
                );
                if decision != Decision::Undecided {
                    live.told[index] = true;
                    second(&mut self.counts, &self.starts, self.slos.len(), record).objectives[index]
                        .count(decision);
                }
            }
        }
    }

    fn look_at_the_server(&mut self, level: u32) {
        let load = self.server.load();
        let drafted = self.output_tokens * 1.3;
        let accepted = drafted * 0.71;
        self.scrapes.push(ScrapeRecord {
            level,
            at_ns: self.now_ns,
            requests_running: Some(load.running as f64),
            requests_waiting: Some(load.waiting as f64),
            kv_cache_usage: Some(load.kv_usage),
            preemptions: Some(load.preemptions as f64),
            prefix_cache_queries: Some(self.output_tokens * 2.0),
            prefix_cache_hits: Some(0.0),
            spec_accepted_tokens: self.speculates.then_some(accepted),
            spec_draft_tokens: self.speculates.then_some(drafted),
            ttft_sum_s: Some(self.ttft.0),
            ttft_count: Some(self.ttft.1),
            ..ScrapeRecord::default()
        });
    }

    /// Cancels what has no first token; with `all`, everything.
    pub(crate) fn shed(&mut self, all: bool) {
        if all {
            self.upcoming.clear();
        }
        let cancelled: Vec<(u64, i64)> = self
            .in_flight
            .iter()
            .filter(|(_, live)| all || live.record.first_token_ns.is_none())
            .map(|(id, live)| (*id, self.now_ns - live.record.scheduled_ns))
            .collect();
        for (id, age) in cancelled {
            self.server.cancel(id);
            self.end(id, age);
        }
    }

    pub(crate) fn look(&mut self) -> Seen {
        let waiting = self
            .in_flight
            .values()
            .filter(|live| live.record.first_token_ns.is_none());
        let oldest = waiting.clone().map(|live| live.record.scheduled_ns).min();
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
    starts: &BTreeMap<u32, i64>,
    objectives: usize,
    record: &RequestRecord,
) -> &'a mut Second {
    let start_ns = starts.get(&record.level).copied().unwrap_or_default();
    let second = ((record.scheduled_ns - start_ns) / SECOND_NS) as u32;
    counts.entry((record.level, second)).or_insert_with(|| Second {
        objectives: vec![Decided::default(); objectives],
        ..Second::default()
    })
}

/// A request that waits for its time: what is not known yet is that of a cancelled one.
fn scheduled(
    stretch: &Stretch,
    number: i64,
    scheduled_ns: i64,
    (input, output): (u32, u32),
) -> RequestRecord {
    RequestRecord {
        rank: 0,
        request: number,
        level: stretch.level,
        phase: stretch.phase,
        class: 0,
        session: None,
        turn: 0,
        endpoint: 0,
        outcome: Outcome::Shed,
        http_status: None,
        scheduled_ns,
        connect_ns: None,
        // A healthy client: some tens of microseconds late.
        send_ns: Some(20_000 + number % 97 * 1_000),
        header_ns: None,
        first_chunk_ns: None,
        first_token_ns: None,
        first_token_lag_ns: None,
        first_token_uncertain: false,
        first_output_ns: None,
        last_token_ns: None,
        end_ns: 0,
        input_tokens: Some(input),
        output_tokens: None,
        cached_tokens: None,
        requested_input: input,
        requested_output: output,
        chunks: 0,
        itl_max_ns: None,
        count_source: CountSource::Usage,
        finish_reason: None,
        error: None,
    }
}
