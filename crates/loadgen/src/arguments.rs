//! The load generator's command line, which `gipfel loadgen` has as well.

use std::path::PathBuf;

use clap::Args;

use crate::Options;

/// What the load generator is told on its command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// The run's `run_config.json`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the database, `progress.json` and the log are written.
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Which of several processes on one run directory this one is, from 0; Slurm's `SLURM_PROCID` unless `--of` is given.
    #[arg(long, value_name = "RANK")]
    pub rank: Option<u32>,
    /// How many processes send together, each with `--rank` of its own; Slurm's `SLURM_NTASKS`, else 1.
    #[arg(long, value_name = "PROCESSES")]
    pub of: Option<u32>,
    /// Try out what a run needs of this machine, print what was found, and measure nothing.
    #[arg(long, conflicts_with_all = ["config", "rank", "of"])]
    pub self_test: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Carry out a run.
    Run(Options),
    /// Look at this machine.
    SelfTest {
        /// Where the database is tried out.
        directory: PathBuf,
    },
}

/// The command line says too little.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run needs {}; `--self-test` needs neither", missing.join(" and "))]
pub struct MissingArguments {
    missing: Vec<&'static str>,
}

impl Arguments {
    /// What they ask for.
    pub fn task(self) -> Result<Task, MissingArguments> {
        if self.self_test {
            let directory = self.directory.unwrap_or_else(std::env::temp_dir);
            return Ok(Task::SelfTest { directory });
        }
        match (self.config, self.directory) {
            (Some(config), Some(directory)) => Ok(Task::Run(Options {
                config,
                directory,
                rank: self.rank,
                of: self.of,
            })),
            (config, directory) => {
                let wanted = [
                    ("--config FILE", config.is_none()),
                    ("--directory DIRECTORY", directory.is_none()),
                ];
                let missing = wanted
                    .into_iter()
                    .filter_map(|(name, missing)| missing.then_some(name));
                Err(MissingArguments {
                    missing: missing.collect(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_what_is_missing() {
        let check = |config: Option<&str>, directory: Option<&str>, expected: &str| {
            let arguments = Arguments {
                config: config.map(PathBuf::from),
                directory: directory.map(PathBuf::from),
                ..Arguments::default()
            };
            let found = arguments.task().map_err(|error| error.to_string());
            assert_eq!(found.err().as_deref(), Some(expected));
        };
        check(
            None,
            None,
            "a run needs --config FILE and --directory DIRECTORY; `--self-test` needs neither",
        );
        check(
            Some("c"),
            None,
            "a run needs --directory DIRECTORY; `--self-test` needs neither",
        );
        check(
            None,
            Some("d"),
            "a run needs --config FILE; `--self-test` needs neither",
        );
    }

    #[test]
    fn a_run_is_what_its_arguments_say() {
        let arguments = Arguments {
            config: Some("c".into()),
            directory: Some("d".into()),
            rank: Some(1),
            of: Some(2),
            self_test: false,
        };
        let options = Options {
            config: "c".into(),
            directory: "d".into(),
            rank: Some(1),
            of: Some(2),
        };
        assert_eq!(arguments.task(), Ok(Task::Run(options)));
    }
}
