//! Gipfel's command line and its facade for embedders.
//!
//! [`campaign::Campaign`] carries out a plan; [`main`] is the whole program.

mod accounts;
mod background;
pub mod bundles;
pub mod campaign;
pub mod cli;
mod clusters;
mod commands;
mod data_check;
pub mod display;
mod doctor;
mod download;
mod dry_run;
mod events;
pub mod exit;
pub mod failure;
mod ids;
mod kubernetes;
pub mod load_generator;
pub mod new_file;
pub mod occupancy;
mod only;
mod output;
pub mod peak;
mod phase_words;
mod preflight;
mod program;
mod progress_words;
mod remedy;
mod signals;
mod terminal;
mod view;
mod wiring;
mod wizard;
mod words;

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    cli::{Cli, Command, ConfigCommand, DataCommand, DoctorCommand, ResultsCommand},
    exit::Exit,
    failure::Failure,
    output::print,
};

/// The version, with the commit when it was built from a repository: `0.1.0+1a2b3c4d5e`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("GIPFEL_VERSION_SUFFIX"));

/// Runs the program with its arguments; reports failures on standard error.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed terminal is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    start_logging();
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.render().as_bytes());
            failure.exit.into()
        }
    }
}

/// Logs go to standard error: warnings, or what `GIPFEL_LOG` asks for; the load generator says a little more.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GIPFEL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,kube_client=off,gipfel_loadgen=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    // One provider for every TLS connection of the process; a second call would only find the first one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Peak(arguments) => commands::peak::peak(&arguments),
        Command::Resume(arguments) => commands::run::resume(&arguments),
        Command::Status(arguments) => commands::status::status(&arguments),
        Command::Attach(arguments) => commands::attach::attach(&arguments),
        Command::Cancel(arguments) => commands::cancel::cancel(&arguments),
        Command::Ps(arguments) => commands::ps::ps(&arguments),
        Command::Clean(arguments) => commands::clean::clean(&arguments),
        Command::Connect(arguments) => commands::connect::connect(&arguments),
        Command::Logs(arguments) => commands::logs::logs(&arguments),
        Command::List(arguments) => commands::list::list(&arguments),
        Command::Results(ResultsCommand::Merge {
            sources,
            into,
            results_dir,
        }) => commands::results::merge(sources, into, &results_dir),
        Command::Results(ResultsCommand::Summary {
            database,
            slos,
            json,
            all_levels,
            results_dir,
        }) => {
            let form = commands::results::Form { json, all_levels };
            commands::results::summary(database, &slos, form, &results_dir)
        }
        Command::Results(ResultsCommand::Export(arguments)) => commands::export::export(&arguments),
        Command::Results(ResultsCommand::Compare(arguments)) => commands::compare::run(&arguments),
        Command::Results(ResultsCommand::Report(arguments)) => commands::report::report(&arguments),
        Command::Config(ConfigCommand::Check { file, site }) => commands::config::check(&file, &site),
        Command::Config(ConfigCommand::Show { file, site, json }) => {
            commands::config::show(&file, &site, json)
        }
        Command::Config(ConfigCommand::Reference) => commands::config::reference(),
        Command::Config(ConfigCommand::Schema) => commands::config::schema(),
        Command::New(arguments) => commands::new::new(&arguments),
        Command::Completions { shell } => commands::packaging::completions(shell),
        Command::Man { out } => commands::packaging::man(out.as_deref()),
        Command::Data(DataCommand::Fetch(arguments)) => commands::data::fetch(&arguments),
        Command::Data(DataCommand::List { hf_home }) => commands::data::list(hf_home.as_deref()),
        Command::Doctor(DoctorCommand::Slurm(arguments)) => commands::doctor::slurm(&arguments),
        Command::Doctor(DoctorCommand::K8s(arguments)) => commands::doctor::k8s(&arguments),
        Command::Sim(arguments) => commands::sim::serve(&arguments),
        Command::Loadgen(arguments) => commands::loadgen::loadgen(arguments),
    }
}
