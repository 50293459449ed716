//! `cargo xtask e2e`: gipfel as its user runs it, against real programs.

mod adaptive;
mod answer;
mod bundle;
mod chromium;
mod dynamo;
mod faults;
mod firecrest;
mod image;
mod kill;
mod kill_parallel;
mod kubernetes;
mod llamacpp;
mod processes;
mod publish;
mod quickstart;
mod report;
mod service;
mod slurm;
mod verdicts;
mod world;

use clap::Subcommand;

pub(crate) use quickstart::Simulator;
pub(crate) use world::{World, number, pause, query};

/// What to play through.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// The README's first command and `gipfel peak` against a running simulator.
    Quickstart,
    /// The load generators of `cargo xtask bundle`: self-tests, and a level measured by each, one by an emulator.
    Bundle,
    /// A real llama.cpp server with a small model.
    Llamacpp,
    /// Searches for the peak of the same server.
    LlamacppSearch {
        /// How many searches, each against a server of its own.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// What each may take.
        #[arg(long, default_value = "6min")]
        budget: String,
    },
    /// A search against NVIDIA Dynamo's frontend with its mocker.
    Dynamo,
    /// A search in real time that is killed in the middle and resumed.
    Adaptive {
        /// A small server and four minutes.
        #[arg(long)]
        short: bool,
    },
    /// Searches against servers that misbehave, and with a client that gets no CPU.
    Faults {
        /// Only these, separated by commas.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// What each search may take.
        #[arg(long, default_value = "3min")]
        budget: String,
    },
    /// FirecREST's client and simulator: the official client, random failures, large files, the doctor, no secret shown.
    Firecrest {
        /// How many random schedules of failures.
        #[arg(long, default_value_t = 10_000)]
        schedules: u32,
    },
    /// A real Slurm of four nodes, by its commands, over ssh and through `firecrest-sim`, then campaigns on it, and faults.
    Slurm {
        /// Only these, separated by commas.
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "commands,ssh,firecrest,doctor,rendered,campaigns,lives,faults"
        )]
        ways: Vec<String>,
        /// Only these promises, separated by commas; by default all.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Only these campaigns, separated by commas; no way is played then that is not named by `--faults`.
        #[arg(long, value_delimiter = ',')]
        campaigns: Vec<String>,
        /// Only these faults, separated by commas; no way is played then that is not named by `--campaigns`.
        #[arg(long, value_delimiter = ',')]
        faults: Vec<String>,
        /// What fits into CI.
        #[arg(long)]
        short: bool,
        /// How long FirecREST stays away, in seconds.
        #[arg(long, default_value_t = 20)]
        away: u64,
        /// How often gipfel is killed.
        #[arg(long, default_value_t = 3)]
        kills: u32,
        /// Seed of the moments of the kills.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The report of a database in headless Chromium.
    Report {
        /// The database; by default two that are made for it on a simulated clock.
        #[arg(long)]
        database: Option<std::path::PathBuf>,
    },
    /// Campaigns on a Kubernetes cluster, ended in the middle at random moments: on a simulated one with pods as processes,
    /// or on a real one.
    Kubernetes {
        /// How many campaigns; in turn killed and resumed, killed and cancelled, interrupted.
        #[arg(long, default_value_t = 20)]
        rounds: u32,
        /// Seed of the moments and of the API server's failures.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The share of requests that the API server does not answer as it should.
        #[arg(long, default_value_t = 0.03)]
        fail: f64,
        #[command(flatten)]
        real: kubernetes::RealCluster,
    },
    /// The load generator as a service: a client that starts, watches and stops, and Debian's Prometheus.
    Service,
    /// A level below and one above the truth of simulated servers, in real time.
    Verdicts {
        /// Profiles of `examples/servers.toml`, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "8B_slots256")]
        profiles: Vec<String>,
        /// How often each.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// `kill -9` of gipfel, of the load generator and of the server at random moments, then `resume`.
    Kill {
        /// How often each of gipfel and the load generator is killed.
        #[arg(long, default_value_t = 4)]
        rounds: u32,
        /// Seed of the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Three experiments at the same time against three servers; only gipfel is killed, in each round twice.
        #[arg(long)]
        parallel: bool,
    },
    /// `kill -9` of a load generator that publishes, at random moments; each time another machine takes it up.
    Publish {
        /// How often it is killed.
        #[arg(long, default_value_t = 8)]
        rounds: u32,
        /// Seed of the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Builds gipfel where the scenario uses it, or takes the one that the variable `GIPFEL_BINARY` names, and plays the scenario.
pub(crate) fn run(scenario: &Scenario) -> anyhow::Result<()> {
    if !matches!(scenario, Scenario::Slurm { .. }) {
        world::build()?;
    }
    match scenario {
        Scenario::Quickstart => quickstart::play(),
        Scenario::Bundle => bundle::play(),
        Scenario::Llamacpp => llamacpp::play(),
        Scenario::LlamacppSearch { rounds, budget } => llamacpp::search(*rounds, budget),
        Scenario::Dynamo => dynamo::play(),
        Scenario::Adaptive { short } => adaptive::play(*short),
        Scenario::Faults { only, budget } => faults::play(only, budget),
        Scenario::Firecrest { schedules } => firecrest::play(*schedules),
        Scenario::Slurm {
            ways,
            only,
            campaigns,
            faults,
            short,
            away,
            kills,
            seed,
        } => slurm::play(&slurm::Choice {
            ways: if faults.is_empty() && campaigns.is_empty() {
                ways
            } else {
                &[]
            },
            only,
            campaigns,
            faults,
            short: *short,
            extent: slurm::Extent {
                away: std::time::Duration::from_secs(*away),
                kills: *kills,
                seed: *seed,
            },
        }),
        Scenario::Report { database } => report::play(database.as_deref()),
        Scenario::Kubernetes {
            rounds,
            seed,
            fail,
            real,
        } => kubernetes::play(*rounds, *seed, *fail, real),
        Scenario::Service => service::play(),
        Scenario::Verdicts { profiles, rounds } => verdicts::play(profiles, *rounds),
        Scenario::Kill {
            rounds,
            seed,
            parallel: true,
        } => kill_parallel::play(*rounds, *seed),
        Scenario::Publish { rounds, seed } => publish::play(*rounds, *seed),
        Scenario::Kill { rounds, seed, .. } => kill::play(*rounds, *seed),
    }
}
