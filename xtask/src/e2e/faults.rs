//! Servers and clients that misbehave: each search ends with the right warning, and never with a rate that is too high.

use std::process::{Child, Command, Stdio};

use anyhow::{bail, ensure};

use super::{answer::Answer, processes, quickstart::Simulator, world::World};
use crate::shell;

/// The highest rate of the undisturbed server (`examples/servers.toml`).
const TRUTH: f64 = 40.84;
/// An answer may be this much above what the disturbed server sustains.
const TOLERANCE: f64 = 0.10;

/// One thing that goes wrong.
struct Case {
    name: &'static str,
    /// `gipfel sim --fault …`; without it the client gets next to no CPU.
    fault: Option<&'static str>,
    /// What the server sustains in spite of it, as a share of the truth.
    sustains: f64,
    /// One of these codes stands beside the answer, also beside `unresolved`; none: no code is asked for.
    warns: &'static [&'static str],
}

const CASES: &[Case] = &[
    // Three of the five per cent that may violate the objective fail anyway.
    Case {
        name: "errors",
        fault: Some("errors=3%"),
        sustains: 1.0,
        warns: &["W6"],
    },
    Case {
        name: "many-errors",
        fault: Some("errors=10%"),
        sustains: 0.0,
        warns: &["W6"],
    },
    Case {
        name: "cut",
        fault: Some("cut=1%"),
        sustains: 1.0,
        warns: &["W6"],
    },
    // Two of thirty seconds are more than five per cent of the requests, at any rate.
    Case {
        name: "stalls",
        fault: Some("stall=2s/every=30s"),
        sustains: 0.0,
        warns: &[],
    },
    Case {
        name: "slower",
        fault: Some("slower=0.7@1min"),
        sustains: 0.7,
        warns: &[],
    },
    Case {
        name: "prefix-cache",
        fault: Some("prefix-cache=60%"),
        sustains: 1.0,
        warns: &["W4"],
    },
    // Answers are a quarter shorter than asked for.
    Case {
        name: "short",
        fault: Some("short=50%"),
        sustains: 1.0 / 0.75,
        warns: &["W5"],
    },
    Case {
        name: "starved",
        fault: None,
        sustains: 1.0,
        warns: &["W3", "W8"],
    },
];

/// Plays the named cases, or all of them.
pub(crate) fn play(only: &[String], budget: &str) -> anyhow::Result<()> {
    if let Some(unknown) = only
        .iter()
        .find(|name| CASES.iter().all(|case| case.name != **name))
    {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("there is no fault `{unknown}`, only {}", known.join(", "));
    }
    let mut wrong = Vec::new();
    for case in CASES {
        if !only.is_empty() && only.iter().all(|name| name != case.name) {
            continue;
        }
        let answer = search(case, budget)?;
        shell::say(&format!("{}: {}", case.name, answer.describe()));
        if let Err(error) = judge(case, &answer) {
            shell::say(&format!("{}: WRONG: {error:#}", case.name));
            wrong.push(case.name);
        }
    }
    ensure!(wrong.is_empty(), "wrong: {}", wrong.join(", "));
    Ok(())
}

fn judge(case: &Case, answer: &Answer) -> anyhow::Result<()> {
    let warned = answer
        .warnings
        .iter()
        .any(|code| case.warns.contains(&code.as_str()));
    ensure!(
        warned || case.warns.is_empty(),
        "nothing is warned of by {}",
        case.warns.join(" or ")
    );
    let highest = case.sustains * TRUTH * (1.0 + TOLERANCE);
    let qps = answer.peak.map_or(0.0, |peak| peak.qps);
    ensure!(qps <= highest, "{qps:.2} req/s is above {highest:.2}");
    Ok(())
}

fn search(case: &Case, budget: &str) -> anyhow::Result<Answer> {
    let world = World::new(&format!("faults-{}", case.name))?;
    let mut arguments = vec!["--profile", "quickstart"];
    if let Some(fault) = case.fault {
        arguments.extend(["--fault", fault]);
    }
    let simulator = Simulator::start(&world, &arguments)?;
    world.write("faults.yaml", &configuration(&simulator.url, budget))?;
    let output = if case.fault.is_some() {
        shell::capture(&mut world.gipfel(&["run", "faults.yaml", "--no-live"]))?
    } else {
        let _busy = BusyCore::occupy(12)?;
        shell::capture(&mut pinned(world.gipfel(&["run", "faults.yaml", "--no-live"])))?
    };
    let answer = Answer::only(&world, &output)?;
    processes::expect_none(&world.results())?;
    Ok(answer)
}

/// The ramp begins at half the truth, which leaves the more of the time to the rest.
fn configuration(url: &str, budget: &str) -> String {
    format!(
        "defaults:
  search: {{min_rate: 20, budget: {budget}}}
  slos: [ttft p95 <= 200ms]
dataset:
  input_length: {{distribution: normal, mean: 64, std: 16, min: 16, max: 128}}
  output_length: {{distribution: normal, mean: 48, std: 12, min: 8, max: 96}}
experiments:
  - model: quickstart
    backend: sim
    deployment: external
    url: {url}
"
    )
}

/// The same command on the last core, which its children inherit.
fn pinned(command: Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &last_core()]);
    pinned.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        pinned.current_dir(folder);
    }
    pinned
}

fn last_core() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores - 1).to_string()
}

/// Processes that do nothing but keep the last core busy; they end with this value.
struct BusyCore(Vec<Child>);

impl BusyCore {
    fn occupy(processes: usize) -> anyhow::Result<Self> {
        let mut busy = Self(Vec::new());
        for _ in 0..processes {
            let loop_forever = ["--cpu-list", &last_core(), "sh", "-c", "while :; do :; done"];
            let mut command = Command::new("taskset");
            busy.0
                .push(command.args(loop_forever).stdin(Stdio::null()).spawn()?);
        }
        Ok(busy)
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
