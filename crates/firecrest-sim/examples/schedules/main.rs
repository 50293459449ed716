//! Random schedules of failures between the client and the simulator.
//!
//! `cargo run --release -p firecrest-sim --example schedules -- --count 10000`
//!
//! After each schedule the simulator's own jobs and files are looked at: never two jobs for one submission, never a
//! job without an owner, every transfer whole or an error, every call ends in its time.

#![expect(clippy::print_stdout, reason = "a program prints what it finds")]

mod schedule;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use schedule::{Mutation, Report};
use tokio::task::JoinSet;

/// Runs random schedules of failures.
#[derive(Parser)]
struct Arguments {
    /// How many schedules.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// This seed alone, with all that happens in it.
    #[arg(long, conflicts_with_all = ["count", "seed"])]
    only: Option<u64>,
    /// How many schedules run at once.
    #[arg(long, default_value_t = 16)]
    parallel: usize,
    /// A fault put in on purpose: the program succeeds if it is seen.
    #[arg(long, hide = true)]
    mutate: Option<Mutation>,
}

/// What all schedules together came to.
#[derive(Default)]
struct Total {
    schedules: usize,
    failed_seeds: Vec<u64>,
    good: usize,
    failed: usize,
    failures: BTreeMap<String, usize>,
    steps: BTreeMap<&'static str, usize>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.schedules += 1;
        if !report.violations.is_empty() {
            self.failed_seeds.push(report.seed);
        }
        self.good += report.good;
        self.failed += report.failed;
        for (kind, count) in &report.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
        for (step, count) in &report.steps {
            *self.steps.entry(step).or_default() += count;
        }
    }

    fn print(&self, spent: Duration) {
        println!("calls by kind: {:?}", self.steps);
        println!("failures that happened: {:?}", self.failures);
        println!(
            "{} schedules in {spent:.0?}: {} calls went well, {} failed and said so, {} schedules broke a rule {:?}",
            self.schedules,
            self.good,
            self.failed,
            self.failed_seeds.len(),
            self.failed_seeds
        );
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seeds = match arguments.only {
        Some(seed) => seed..seed + 1,
        None => arguments.seed..arguments.seed + arguments.count,
    };
    let begun = Instant::now();
    let (mut total, mut running) = (Total::default(), JoinSet::new());
    let mut seeds = seeds.into_iter();
    loop {
        while running.len() < arguments.parallel.max(1)
            && let Some(seed) = seeds.next()
        {
            running.spawn(schedule::run(seed, arguments.mutate));
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let report = ended??;
        total.add(&report);
        if !report.violations.is_empty() || arguments.only.is_some() {
            print!("{}", report.story());
        }
        if total.schedules.is_multiple_of(500) {
            println!("{} schedules in {:.0?}", total.schedules, begun.elapsed());
        }
        if arguments.mutate.is_some() && !total.failed_seeds.is_empty() {
            break;
        }
    }
    total.print(begun.elapsed());
    let is_good = total.failed_seeds.is_empty() != arguments.mutate.is_some();
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
