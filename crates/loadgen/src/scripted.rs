//! The orders of a search carried out by a script, whose every request can be followed into the database.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use gipfel_inference_sim::{Faults, ServerProfile, SimOptions, StepLaw, serve};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, Decided, Evidence, LengthDistribution, LevelState, Outcome, PeakAnswer,
    Phase, Rates, RequestRecord, RunConfig, RunState, SearchProgress, SearchSpec, Second, Slo, Stage,
    record::Decision, run_config::RUN_CONFIG_FORMAT,
};
use gipfel_peak_search::{Directive, Observation};
use gipfel_results_db::ResultsDb;
use hdrhistogram::serialization::Deserializer;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot, task::LocalSet};

use crate::{
    Options,
    adaptive::Strategy,
    controller::{Plan, control},
    database_name,
    messages::Gaps,
    ranks::Place,
};

const S: i64 = 1_000_000_000;

fn rate(per_second: f64) -> ArrivalRate {
    ArrivalRate::per_second(per_second).expect("a rate")
}

/// What the script was told, by level and second.
type Told = BTreeMap<(u32, u32), Second>;

/// A directive at a time after the first one.
type Line = (i64, Directive);

#[derive(Default)]
struct Heard {
    counts: Told,
    ended: usize,
    most_waiting: u64,
}

struct Script {
    start_ns: Option<i64>,
    lines: Vec<Line>,
    heard: Rc<RefCell<Heard>>,
}

impl Strategy for Script {
    fn step(&mut self, observation: &Observation<'_>) -> Vec<Directive> {
        let start_ns = *self.start_ns.get_or_insert(observation.now_ns);
        let mut heard = self.heard.borrow_mut();
        for counted in observation.counts {
            let key = (counted.level, counted.second);
            heard.counts.entry(key).or_default().add(&counted.add);
        }
        heard.ended += observation.e2e_ns.len();
        heard.most_waiting = heard.most_waiting.max(observation.waiting);
        assert!(observation.waiting <= observation.in_flight);
        assert_eq!(observation.oldest_waiting_ns > 0, observation.waiting > 0);
        let due = |line: &mut Line| start_ns + line.0 <= observation.now_ns;
        let due: Vec<Line> = self.lines.extract_if(.., due).collect();
        let placed = due.into_iter().map(|(_, directive)| match directive {
            Directive::Append {
                level,
                phase,
                rate,
                from_ns,
                to_ns,
            } => Directive::Append {
                level,
                phase,
                rate,
                from_ns: start_ns + from_ns,
                to_ns: start_ns + to_ns,
            },
            other => other,
        });
        placed.collect()
    }

    fn invalidate(&mut self, _level: u32) {}

    fn progress(&self) -> SearchProgress {
        SearchProgress {
            stage: Stage::Track,
            estimate: None,
            bracket: None,
            elapsed_s: 0.0,
            budget_s: 1.0,
        }
    }

    fn with_lead(self: Box<Self>, _: Duration) -> Box<dyn Strategy> {
        self
    }
}

/// A server of four places for requests of 0.1 s, which cuts each seventh stream.
fn narrow() -> (ServerProfile, SimOptions) {
    let profile = ServerProfile {
        name: "test-model".to_owned(),
        law: StepLaw {
            base_ns: 5e6,
            token_ns: 1_000.0,
            context_ns: 0.0,
            noise: 0.0,
            token_budget: 8_192,
            max_seqs: 4,
            kv_tokens: 1_000_000,
        },
        input: LengthDistribution::Fixed { value: 8 },
        output: LengthDistribution::Fixed { value: 8 },
        slos: Vec::new(),
        truth: None,
    };
    let faults = Faults {
        cut_every: Some(7),
        ..Faults::default()
    };
    let options = SimOptions {
        faults,
        ..SimOptions::default()
    };
    (profile, options)
}

fn config(url: &str) -> RunConfig {
    let config = serde_json::json!({
        "header": RUN_CONFIG_FORMAT.header(),
        "run_id": "20261122-101500_test-model_sim_external_00aa",
        "campaign_id": "c-20261122-101500_00aa",
        "deployment_id": "d-20261122-101500_test-model_sim_external_00aa",
        "deployment": "external",
        "repeat": 0,
        "model": "test-model",
        "served_model": null,
        "backend": "sim",
        "endpoint": gipfel_model::EndpointSpec::new(url),
        "backend_config": {},
        "dataset_config": {},
        "workload": {
            "arrivals": ArrivalProcess::Constant,
            "input_length": LengthDistribution::Uniform { min: 4, max: 12 },
            "output_length": LengthDistribution::Fixed { value: 20 },
            "seed": 7,
        },
        "schedule": {
            "rates": Rates::Search(SearchSpec::default()),
            "warmup_s": 0.0,
            "measured_s": 1.0,
            "all_levels": true,
            "exact_windows": false,
        },
        "slos": ["ttft p95 <= 300ms", "tpot p95 <= 1s", "error_rate <= 1%"],
        "informational_slos": [],
        "timeouts": gipfel_model::Timeouts::default(),
        "workers": 2,
        "provenance": gipfel_model::Provenance::default(),
        "created_at": "2026-11-22T10:15:00Z",
    });
    serde_json::from_value(config).expect("a run configuration")
}

/// A level of two phases, an overload over its end, two sheds, and time for the rest to end.
fn script() -> Vec<Line> {
    let append = |level, phase, per_second, from_ns, to_ns| Directive::Append {
        level,
        phase,
        rate: rate(per_second),
        from_ns,
        to_ns,
    };
    let begin = |level, per_second| Directive::Begin {
        level,
        stage: Stage::Track,
        rate: rate(per_second),
    };
    let close = |level| Directive::Close {
        level,
        evidence: Evidence {
            settle_s: 1,
            ..Evidence::default()
        },
    };
    vec![
        (0, begin(0, 20.0)),
        (0, append(0, Phase::Warmup, 20.0, S, 2 * S)),
        (S, append(0, Phase::Measured, 20.0, 2 * S, 5 * S / 2)),
        (3 * S / 2, append(0, Phase::Measured, 20.0, 5 * S / 2, 3 * S)),
        (2 * S, begin(1, 200.0)),
        (2 * S, append(1, Phase::Measured, 200.0, 3 * S, 4 * S)),
        (7 * S / 2, Directive::Shed),
        (7 * S / 2, close(0)),
        (9 * S / 2, Directive::Shed),
        (9 * S / 2, close(1)),
        (6 * S, Directive::Done(PeakAnswer::default())),
    ]
}

/// The counts of the requests as they ended.
fn counted(requests: &[RequestRecord], start_ns: i64, slos: &[Slo]) -> BTreeMap<u32, Second> {
    let mut seconds: BTreeMap<u32, Second> = BTreeMap::new();
    for request in requests {
        let second = seconds
            .entry(((request.scheduled_ns - start_ns) / S) as u32)
            .or_default();
        second.arrivals += 1;
        second.input_tokens += u64::from(request.requested_input);
        second.output_tokens += u64::from(request.requested_output);
        second.objectives.resize(slos.len(), Decided::default());
        for (slo, counts) in slos.iter().zip(&mut second.objectives) {
            counts.count(request.decide(slo));
        }
    }
    seconds
}

async fn check(directory: &std::path::Path, heard: &Heard, slos: &[Slo]) {
    let run_id = "20261122-101500_test-model_sim_external_00aa"
        .parse()
        .expect("an id");
    let db = ResultsDb::open_read_only(directory.join(database_name(&run_id)))
        .await
        .expect("a database");
    let run = db.runs().await.expect("a run").remove(0);
    assert_eq!(run.state, RunState::Completed);
    let levels = db.levels(run.key).await.expect("levels");
    let spans: Vec<_> = levels
        .iter()
        .map(|level| (level.state, level.warmup_ns, level.measured_ns))
        .collect();
    let complete = LevelState::Complete;
    assert_eq!(spans, [(complete, S, S), (complete, 0, S)]);
    assert_eq!(levels[1].start_ns - levels[0].start_ns, 2 * S);
    assert_eq!((levels[0].offered_rate, levels[0].sent_rate), (20.0, 20.0));
    assert_eq!((levels[1].offered_rate, levels[1].sent_rate), (200.0, 200.0));
    assert!(
        levels
            .iter()
            .all(|level| level.stage == Stage::Track && level.evidence.is_some())
    );
    let mut all = Vec::new();
    for level in &levels {
        let requests = db.requests(run.key, level.level).await.expect("requests");
        for (second, expected) in counted(&requests, level.start_ns, slos) {
            let told = heard.counts.get(&(level.level, second));
            assert_eq!(told, Some(&expected), "level {} second {second}", level.level);
        }
        let measured = requests.iter().filter(|one| one.phase == Phase::Measured);
        let gaps: u64 = measured.map(|one| u64::from(one.chunks.saturating_sub(1))).sum();
        let [histogram] = &db.gaps(run.key, level.level).await.expect("gaps")[..] else {
            panic!("one histogram")
        };
        let histogram: Gaps = Deserializer::new()
            .deserialize(&mut &histogram[..])
            .expect("a histogram");
        assert_eq!(histogram.len(), gaps, "level {}", level.level);
        all.extend(requests);
    }
    check_requests(&all, heard, slos);
}

fn check_requests(all: &[RequestRecord], heard: &Heard, slos: &[Slo]) {
    assert_eq!(all.len(), 240);
    let of = |outcome| all.iter().filter(move |one| one.outcome == outcome);
    assert!(of(Outcome::Shed).count() > 50, "the overload waits");
    assert!(
        of(Outcome::Shed).all(|one| one.first_token_ns.is_none()),
        "what runs goes on"
    );
    assert_eq!(of(Outcome::Ok).count(), heard.ended);
    assert!(heard.most_waiting > 50);
    // Some had met the first objective before they failed.
    let late_failures = of(Outcome::StreamCut).filter(|one| one.first_token_ns < Some(200_000_000));
    assert!(late_failures.clone().count() > 0);
    assert!(
        late_failures
            .clone()
            .all(|one| one.decide(&slos[0]) == Decision::Violated)
    );
}

#[test]
fn a_script_is_carried_out_to_the_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let (stop, stopped) = oneshot::channel::<()>();
    let (bound, address) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        Runtime::new().expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            bound
                .send(listener.local_addr().expect("an address"))
                .expect("somebody waits");
            let (profile, options) = narrow();
            let until = async {
                let _ = stopped.await;
            };
            serve(listener, profile, options, until)
                .await
                .expect("a simulator");
        });
    });
    let address = address.recv_timeout(Duration::from_secs(30)).expect("an address");
    let config = config(&format!("http://{address}"));
    let path = directory.path().join("run_config.json");
    std::fs::write(&path, serde_json::to_vec(&config).expect("JSON")).expect("a file");
    let options = Options {
        config: path,
        directory: directory.path().to_owned(),
        of: Some(1),
        ..Options::default()
    };
    let heard = Rc::new(RefCell::new(Heard::default()));
    let script = Script {
        start_ns: None,
        lines: script(),
        heard: Rc::clone(&heard),
    };
    let alone = Place { rank: 0, of: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let run = control(&options, alone, |_, _| Plan::Search(Box::new(script)));
    let state = runtime.block_on(LocalSet::new().run_until(run)).expect("a run");
    assert_eq!(state, RunState::Completed);
    runtime.block_on(check(directory.path(), &heard.borrow(), &config.slos));
    drop(stop);
    server.join().expect("a server");
}
