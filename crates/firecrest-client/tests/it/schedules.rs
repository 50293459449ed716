//! Random schedules of faults around submissions: whatever is lost when, no submission starts two jobs, and what
//! the client says is true.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use firecrest_client::{AdoptPolicy, Earlier, JobSpec, Mark, Outcome, Script};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    server::{Reply, Request, Server},
    support::{job_name, path, quick, system},
};

/// How many schedules are tried.
const SCHEDULES: u64 = 300;

/// A submission that hung starts its job within this time, or never.
const LATEST_START: Duration = Duration::from_millis(30);

/// A cluster that loses answers, hangs and is blind at random.
struct Cluster {
    random: StdRng,
    /// The jobs, with the time from which they exist.
    jobs: Vec<(u32, Instant)>,
    /// Whether the list shows the jobs that exist.
    is_listed: bool,
}

impl Cluster {
    fn answer(&mut self, request: &Request) -> Reply {
        let now = Instant::now();
        let last = self
            .jobs
            .iter()
            .rfind(|(_, from)| *from <= now)
            .map(|(id, _)| *id);
        match request.method.as_str() {
            "POST" => self.submit(now),
            _ if self.random.random_bool(0.05) => self.fault(),
            _ if request.path.ends_with("/view") => match last {
                Some(id) => Reply::json(200, &json!({ "output": format!("{id}\n") })),
                None => Reply::refusal(404, "cat: jobid: No such file or directory"),
            },
            _ => {
                let seen = self
                    .jobs
                    .iter()
                    .filter(|(_, from)| self.is_listed && *from <= now);
                let jobs: Vec<Value> = seen
                    .map(|(id, _)| json!({ "jobId": id, "name": "run-1", "status": { "state": "PENDING" } }))
                    .collect();
                Reply::json(200, &json!({ "jobs": jobs }))
            }
        }
    }

    fn submit(&mut self, now: Instant) -> Reply {
        let id = 40 + self.jobs.len() as u32;
        match self.random.random_range(0..7) {
            0 => {
                self.jobs.push((id, now));
                Reply::json(201, &json!({ "jobId": id.to_string() }))
            }
            1 => Reply::refusal(
                500,
                "exit_status:1 std_err:sbatch: error: Batch job submission failed",
            ),
            2 => Reply::refusal(
                503,
                "The scheduler service for the requested system (x) is unhealthy.",
            ),
            3 => self.fault(),
            4 => {
                self.jobs.push((id, now));
                self.fault()
            }
            _ => {
                self.jobs
                    .push((id, now + LATEST_START.mul_f64(self.random.random())));
                self.fault()
            }
        }
    }

    /// An answer that does not tell whether anything happened.
    fn fault(&mut self) -> Reply {
        match self.random.random_range(0..5) {
            0 => Reply::nothing(),
            1 => Reply::refusal(408, "Command execution timeout limit exceeded."),
            2 => Reply::new(502, "<html>bad gateway</html>"),
            3 => Reply::json(201, &json!({ "jobId": "40" })).cut_after(3),
            _ => Reply::refusal(500, "('Channel not open for sending',)"),
        }
    }
}

async fn check(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let is_listed = random.random_bool(0.8);
    let cluster = Arc::new(Mutex::new(Cluster {
        random,
        jobs: Vec::new(),
        is_listed,
    }));
    let answering = Arc::clone(&cluster);
    let server = Server::start(move |request| answering.lock().expect("no panic").answer(request)).await;
    let policy = AdoptPolicy {
        grace: 4 * LATEST_START,
        looks: 3,
        interval: Duration::from_millis(30),
        total: Duration::from_secs(5),
        submits: 3,
        window: None,
    };
    let mut spec = JobSpec::new(
        path("/scratch/run"),
        Script::Inline("#!/bin/bash\ntrue\n".to_owned()),
    );
    spec.name = Some(job_name("run-1"));
    let mark = Mark::new(path("/scratch/run/jobid"));
    let jobs = quick(&server.url()).jobs(&system());
    let outcome = jobs.submit_or_adopt(&spec, &mark, Earlier::Never, &policy).await;
    // A job that starts late would have started by now.
    tokio::time::sleep(LATEST_START).await;
    let started: Vec<String> = cluster
        .lock()
        .expect("no panic")
        .jobs
        .iter()
        .map(|(id, _)| id.to_string())
        .collect();
    assert!(
        started.len() <= 1,
        "seed {seed}: one submission started {started:?}"
    );
    match outcome {
        Ok(submitted) => assert_eq!(started, [submitted.id().as_str()], "seed {seed}"),
        Err(error) => match error.outcome {
            Outcome::NotStarted => assert!(started.is_empty(), "seed {seed}: {error:?} and {started:?}"),
            Outcome::Started(id) => assert_eq!(started, [id.as_str()], "seed {seed}"),
            Outcome::Unknown => {}
        },
    }
}

#[tokio::test]
async fn no_schedule_starts_two_jobs() {
    for seeds in (0..SCHEDULES).collect::<Vec<_>>().chunks(50) {
        futures_util::future::join_all(seeds.iter().map(|seed| check(*seed))).await;
    }
}
