//! `cargo xtask bench loadgen`: the load generator at its limit, beside the least that an open-loop client can do.

mod ours;
mod parts;
mod probe;
mod readings;
mod report;
mod samples;
mod search;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use self::{
    parts::{Bench, Rates},
    probe::Laboratory,
};
use crate::shell;

/// What is measured, and by what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each figure is measured, ours and the bare client's in turn; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Measure only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Also the memory over a million requests in one run, which takes minutes.
    #[arg(long)]
    long: bool,
    /// Another load generator than the one of this workspace, such as a bundle's.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Print the figures as JSON to standard output.
    #[arg(long)]
    json: bool,
    /// Let server and client go before every other process, by `chrt`; for a machine that does something else as well.
    #[arg(long)]
    realtime: bool,
    /// Seconds of each measured window.
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// The rate that ours keeps with all tokens at once, in place of a search when `kept` is not measured.
    #[arg(long, value_name = "RATE")]
    kept_rate: Option<f64>,
    /// The rate that the bare client keeps, likewise.
    #[arg(long, value_name = "RATE")]
    bare_kept_rate: Option<f64>,
    /// The rate that ours keeps with tokens 10 ms apart, likewise for `gap`.
    #[arg(long, value_name = "RATE")]
    gap_kept_rate: Option<f64>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The highest rate that is kept, all tokens at once.
    Kept,
    /// The highest rate that is kept with tokens 10 ms apart.
    Gap,
    /// CPU time for each request and each token.
    Cpu,
    /// How far the client's TTFT is from the server's, at half and at 90 % of the kept rate.
    Error,
    /// The distance of the arrivals at the server to a Poisson process of 5,000/s.
    Ks,
    /// Memory with 500 and with 10,000 open streams.
    Memory,
    /// What the load generator says past its capacity.
    Past,
    /// Memory over a million requests in one run; only when it is asked for.
    Long,
}

impl Part {
    /// In the order in which they are measured: later ones need what earlier ones have found.
    const ALL: [Self; 8] = [
        Self::Kept,
        Self::Gap,
        Self::Cpu,
        Self::Error,
        Self::Ks,
        Self::Memory,
        Self::Past,
        Self::Long,
    ];
    /// All but the long one.
    const USUAL: &[Self] = Self::ALL.split_at(7).0;
}

/// Measures, and prints the table.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        arguments.rounds > 0 && arguments.window > 0.0,
        "at least one round of some seconds is needed"
    );
    let mut bench = Bench {
        laboratory: laboratory(arguments)?,
        rounds: arguments.rounds,
        window: std::time::Duration::try_from_secs_f64(arguments.window)?,
        rates: Rates {
            ours: arguments.kept_rate,
            bare: arguments.bare_kept_rate,
            gap: arguments.gap_kept_rate,
        },
        readings: readings::Readings::default(),
        noise: Vec::new(),
    };
    let chosen = if arguments.only.is_empty() {
        Part::USUAL
    } else {
        &arguments.only
    };
    let mut failed = false;
    for part in Part::ALL {
        let is_chosen = chosen.contains(&part) || (part == Part::Long && arguments.long);
        if is_chosen && let Err(error) = measure(&mut bench, part, chosen) {
            // What was read until then is worth its minutes.
            bench.readings.remarks.push(format!("{part:?} FAILED: {error:#}"));
            failed = true;
        }
    }
    report::print(&bench.readings, &bench.noise, arguments.json)?;
    ensure!(!failed, "a part of the benchmark has failed");
    Ok(())
}

fn measure(bench: &mut Bench, part: Part, chosen: &[Part]) -> anyhow::Result<()> {
    match part {
        Part::Kept => bench.kept(),
        Part::Gap => bench.gap(),
        Part::Cpu => bench.cpu(chosen.contains(&Part::Error)),
        Part::Error => bench.error(),
        Part::Ks => bench.distance(),
        Part::Memory => bench.memory(),
        Part::Past => bench.past(),
        Part::Long => bench.long(),
    }
}

fn laboratory(arguments: &Arguments) -> anyhow::Result<Laboratory> {
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--package",
        "gipfel-loadgen-bench",
    ]))?;
    let built = shell::target().join("release");
    let load_generator = if let Some(program) = &arguments.program {
        fs::canonicalize(program).with_context(|| format!("no program {}", program.display()))?
    } else {
        shell::run(&mut shell::cargo(&[
            "build",
            "--release",
            "--package",
            "gipfel-loadgen",
        ]))?;
        built.join("gipfel-loadgen")
    };
    for tool in ["taskset", "sqlite3"] {
        let mut command = Command::new(tool);
        command.arg("--version").stdin(Stdio::null());
        shell::capture(&mut command)
            .with_context(|| format!("hint: the benchmark needs the program `{tool}`"))?;
    }
    let cores = std::thread::available_parallelism()?.get();
    ensure!(
        cores >= 2,
        "server and client need a core each, and this machine has {cores}"
    );
    let folder = shell::target().join("bench-loadgen");
    fs::create_dir_all(&folder)?;
    Ok(Laboratory {
        folder,
        load_generator,
        server: built.join("reference-server"),
        bare_client: built.join("bare-client"),
        realtime: arguments.realtime,
    })
}
