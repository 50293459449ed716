//! Writes a database as runs leave it, made on a simulated clock in some seconds: `sample_database FILE [one|many]`.
//!
//! `one` holds an adaptive search against the simulated server `8B_slots256`. `many` adds a repeat of it, a search with
//! two objectives, listed levels of which one is invalid, and a run that failed at once and whose model has a name that
//! would do harm if a page took it for more than a name.

mod world;

use std::time::Duration;

use anyhow::{Context, bail};
use gipfel_inference_sim::{Profiles, ServerProfile};
use gipfel_model::{
    ArrivalRate, BackendKind, ClientHealth, DeploymentKind, EndpointSpec, Evidence, LevelRecord,
    LevelSchedule, LevelState, Phase, Provenance, Rates, RunConfig, RunState, SearchSpec, Slo, Stage,
    Timeouts, Validity, ValidityFault, Verdict, run_config::RUN_CONFIG_FORMAT,
};
use gipfel_peak_search::{AdaptiveSearch, Directive, Observation, attainment, evidence_of, judge};
use gipfel_results_db::{ResultsDb, RunKey};
use world::{SECOND_NS, Stretch, World};

/// How often the search is asked.
const TICK_NS: i64 = SECOND_NS / 4;
/// 2026-11-21, 22:43:12 UTC.
const BEGIN_UNIX_NS: i64 = 1_795_300_992 * SECOND_NS;
const HARMFUL_MODEL: &str = "<script>alert('model')</script>";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, many) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [path] | [path, "one"] => (path, false),
        [path, "many"] => (path, true),
        _ => bail!("usage: sample_database FILE [one|many]"),
    };
    let profiles = Profiles::embedded();
    let db = ResultsDb::create(path).await?;
    let slots = profiles.select(Some("8B_slots256"))?;
    search(&db, slots, &Run::new("swiss-ai/Apertus-8B-Instruct", 0), 1).await?;
    if many {
        search(&db, slots, &Run::new("swiss-ai/Apertus-8B-Instruct", 1), 2).await?;
        search(
            &db,
            profiles.select(Some("8B_tpot"))?,
            &Run::new("swiss-ai/Apertus-8B-2509", 2),
            3,
        )
        .await?;
        listed(
            &db,
            profiles.select(Some("quickstart"))?,
            &Run::new("quickstart", 3),
        )
        .await?;
        failed(&db, slots, &Run::new(HARMFUL_MODEL, 4)).await?;
    }
    db.close().await?;
    Ok(())
}

/// Which run of the database.
struct Run {
    model: &'static str,
    number: u32,
}

impl Run {
    fn new(model: &'static str, number: u32) -> Self {
        Self { model, number }
    }

    fn config(&self, profile: &ServerProfile, rates: Rates, seed: u64) -> anyhow::Result<RunConfig> {
        let mut provenance = Provenance::default();
        for (name, value) in [
            (Provenance::ENGINE_VERSION, "0.32.0"),
            (
                Provenance::IMAGE_DIGEST,
                "sha256:6f0f1c2bd9a64e5f9f5d1d8a6f3f0e7a5b1c9d2e4f60718293a4b5c6d7e8f901",
            ),
            (Provenance::GPU_TYPE, "NVIDIA GH200 120GB"),
            (Provenance::SERVER_NODES, "nid006512"),
            (Provenance::GIPFEL_VERSION, env!("CARGO_PKG_VERSION")),
            (
                Provenance::RENDERED_FILES,
                r#"{"server.sbatch":"9b1e","engine.toml":"77aa"}"#,
            ),
        ] {
            provenance.set(name, value);
        }
        let number = self.number;
        let mut backend_config = serde_json::Map::new();
        backend_config.insert("tensor_parallel_size".to_owned(), 1.into());
        backend_config.insert("max_num_seqs".to_owned(), 256.into());
        Ok(RunConfig {
            header: RUN_CONFIG_FORMAT.header(),
            run_id: format!(
                "20261121-2243{:02}_apertus-8b_vllm_slurm_0a1{number}",
                12 + number
            )
            .parse()?,
            campaign_id: "c-20261121-224312_0a1f".parse()?,
            deployment_id: format!("d-20261121-224312_apertus-8b_vllm_slurm_0b1{number}").parse()?,
            deployment: DeploymentKind::Slurm,
            repeat: u32::from(number == 1),
            model: self.model.to_owned(),
            served_model: None,
            backend: BackendKind::Vllm,
            endpoint: EndpointSpec::new("http://nid006512:8080"),
            backend_config,
            dataset_config: serde_json::Map::new(),
            workload: profile.workload(seed),
            schedule: LevelSchedule {
                rates,
                warmup: Duration::from_secs(10),
                measured: Duration::from_secs(30),
                requests_per_level: None,
                warmup_ramp: false,
                exact_windows: false,
                all_levels: false,
                total_time: None,
            },
            slos: profile.slos.clone(),
            informational_slos: vec!["e2e p95 <= 30s".parse::<Slo>()?],
            timeouts: Timeouts::default(),
            workers: Some(4),
            server_load_time: Some(Duration::from_secs(94)),
            provenance,
            created_at: format!("2026-11-21T22:43:{:02}Z", 12 + number),
        })
    }
}

/// A whole adaptive search.
async fn search(db: &ResultsDb, profile: &ServerProfile, run: &Run, seed: u64) -> anyhow::Result<()> {
    let spec = SearchSpec::default();
    let key = db
        .upsert_run(&run.config(profile, Rates::Search(spec.clone()), seed)?)
        .await?;
    let mut world = World::new(profile, seed, run.number == 0);
    let mut search = AdaptiveSearch::resume(&spec, &profile.slos, &[], 0, Duration::ZERO);
    let mut begun: Vec<(Stage, ArrivalRate)> = Vec::new();
    let mut closed: Vec<(u32, Evidence, i64)> = Vec::new();
    'search: loop {
        let level = begun.len().saturating_sub(1) as u32;
        world.advance_to(world.now_ns() + TICK_NS, level)?;
        let seen = world.look();
        let observation = Observation {
            now_ns: world.now_ns(),
            counts: &seen.counts,
            in_flight: seen.in_flight,
            waiting: seen.waiting,
            oldest_waiting_ns: seen.oldest_waiting_ns,
            e2e_ns: &seen.e2e_ns,
        };
        for directive in search.step(&observation) {
            match directive {
                Directive::Begin { stage, rate, .. } => begun.push((stage, rate)),
                Directive::Append {
                    level,
                    phase,
                    rate,
                    from_ns,
                    to_ns,
                } => world.append(&Stretch {
                    level,
                    phase,
                    rate,
                    from_ns,
                    to_ns,
                }),
                Directive::Shed => world.shed(false),
                Directive::Close { level, evidence } => closed.push((level, evidence, world.now_ns())),
                Directive::Done(_) => break 'search,
            }
        }
        if world.now_ns() > 3 * 3600 * SECOND_NS {
            bail!("the search does not end");
        }
    }
    world.shed(true);
    for (level, evidence, ended_ns) in closed {
        let (stage, rate) = *begun.get(level as usize).context("a level that never began")?;
        let record = step(&world, profile, (level, stage, rate), evidence, ended_ns);
        db.put_level(key, &record).await?;
    }
    finish(db, key, &world).await
}

/// The record of a step of a search.
fn step(
    world: &World,
    profile: &ServerProfile,
    (level, stage, rate): (u32, Stage, ArrivalRate),
    evidence: Evidence,
    ended_ns: i64,
) -> LevelRecord {
    let start_ns = world.starts.get(&level).copied().unwrap_or_default();
    let warmup_ns = i64::from(evidence.settle_s) * SECOND_NS;
    let measured_ns = (evidence.seconds.len() as i64 * SECOND_NS - warmup_ns).max(0);
    let mut record = LevelRecord {
        stage,
        warmup_ns,
        measured_ns,
        ended_unix_ns: Some(BEGIN_UNIX_NS + ended_ns),
        ..blank(level, rate, start_ns)
    };
    let scheduled = offered(world, &mut record);
    record.attainment = profile
        .slos
        .iter()
        .enumerate()
        .map(|(index, slo)| attainment(slo, index, &evidence, scheduled))
        .collect();
    record.evidence = Some(evidence);
    record
}

fn blank(level: u32, rate: ArrivalRate, start_ns: i64) -> LevelRecord {
    LevelRecord {
        level,
        rate,
        stage: Stage::Level,
        state: LevelState::Complete,
        start_ns,
        warmup_ns: 0,
        measured_ns: 0,
        started_unix_ns: BEGIN_UNIX_NS + start_ns,
        ended_unix_ns: None,
        offered_rate: 0.0,
        sent_rate: 0.0,
        completed_rate: 0.0,
        attainment: Vec::new(),
        validity: Validity {
            schedule_delay_p50_ns: 62_000,
            schedule_delay_p99_ns: 115_000,
            schedule_delay_max_ns: 1_410_000,
            faults: Vec::new(),
            client: ClientHealth {
                busiest_thread: Some(0.06 + rate.get() / 400.0),
                run_queue: Some(0.002),
                ..ClientHealth::default()
            },
        },
        verdict: None,
        evidence: None,
    }
}

/// Fills in the rates of the measured window; says how many requests were scheduled in it.
fn offered(world: &World, record: &mut LevelRecord) -> u64 {
    let from = record.start_ns + record.warmup_ns;
    let window = from..from + record.measured_ns;
    let seconds = (record.measured_ns as f64 / 1e9).max(1e-9);
    let within = |at: i64| window.contains(&at);
    let scheduled = world
        .ended
        .iter()
        .filter(|request| request.level == record.level && within(request.scheduled_ns))
        .count();
    let completed = world
        .ended
        .iter()
        .filter(|request| {
            request
                .last_token_ns
                .is_some_and(|last| within(request.scheduled_ns + last))
        })
        .count();
    record.offered_rate = scheduled as f64 / seconds;
    record.sent_rate = record.offered_rate;
    record.completed_rate = completed as f64 / seconds;
    scheduled as u64
}

/// Levels of a list, of which the second one is spoilt by its client.
async fn listed(db: &ResultsDb, profile: &ServerProfile, run: &Run) -> anyhow::Result<()> {
    let rates: Vec<ArrivalRate> = [10.0, 20.0, 30.0, 36.0, 44.0]
        .into_iter()
        .map(ArrivalRate::per_second)
        .collect::<Result<_, _>>()?;
    let key = db
        .upsert_run(&run.config(profile, Rates::Listed(rates.clone()), 4)?)
        .await?;
    let mut world = World::new(profile, 4, false);
    for (level, rate) in rates.into_iter().enumerate() {
        let level = level as u32;
        let start_ns = world.now_ns() + 2 * SECOND_NS;
        let mut record = LevelRecord {
            warmup_ns: 10 * SECOND_NS,
            measured_ns: 30 * SECOND_NS,
            ..blank(level, rate, start_ns)
        };
        offer(&mut world, &record)?;
        record.ended_unix_ns = Some(BEGIN_UNIX_NS + world.now_ns());
        offered(&world, &mut record);
        judge_level(&world, profile, &mut record);
        db.put_level(key, &record).await?;
    }
    finish(db, key, &world).await
}

/// Offers a level's load and waits until it is done, but not for ever.
fn offer(world: &mut World, record: &LevelRecord) -> anyhow::Result<()> {
    let (begin, middle) = (record.start_ns, record.start_ns + record.warmup_ns);
    let end = middle + record.measured_ns;
    for (phase, from_ns, to_ns) in [(Phase::Warmup, begin, middle), (Phase::Measured, middle, end)] {
        world.append(&Stretch {
            level: record.level,
            phase,
            rate: record.rate,
            from_ns,
            to_ns,
        });
    }
    while world.now_ns() < end || (!world.is_idle() && world.now_ns() < end + 20 * SECOND_NS) {
        world.advance_to(world.now_ns() + TICK_NS, record.level)?;
    }
    world.shed(true);
    Ok(())
}

fn judge_level(world: &World, profile: &ServerProfile, record: &mut LevelRecord) {
    if record.level == 1 {
        record.validity.schedule_delay_p99_ns = 31_400_000;
        record.validity.faults = vec![ValidityFault::ScheduleDelay {
            p99_ms: 31.4,
            limit_ms: 10.0,
        }];
    }
    let evidence = evidence_of(record, &world.ended, &profile.slos);
    record.attainment = profile
        .slos
        .iter()
        .enumerate()
        .map(|(index, slo)| attainment(slo, index, &evidence, 0))
        .collect();
    let verdict = judge(&record.attainment, &record.validity);
    record.verdict = Some(match record.validity.reason() {
        Some(reason) => Verdict::Invalid { reason },
        None => verdict,
    });
    record.evidence = Some(evidence);
}

/// A run that never came to a level.
async fn failed(db: &ResultsDb, profile: &ServerProfile, run: &Run) -> anyhow::Result<()> {
    let key = db
        .upsert_run(&run.config(profile, Rates::Search(SearchSpec::default()), 5)?)
        .await?;
    let error = "the server ended before it answered: CUDA out of memory <b>& more</b>";
    db.set_run_state(key, RunState::Failed, Some(error)).await?;
    Ok(())
}

async fn finish(db: &ResultsDb, key: RunKey, world: &World) -> anyhow::Result<()> {
    for requests in world.ended.chunks(5_000) {
        db.append(key, requests, &[]).await?;
    }
    db.append(key, &[], &world.scrapes).await?;
    db.set_run_state(key, RunState::Completed, None).await?;
    Ok(())
}
