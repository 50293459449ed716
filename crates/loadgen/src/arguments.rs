//! The load generator's command line, which `gipfel loadgen` has as well.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use gipfel_model::parse_duration;

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
    /// Which of several processes on one run directory this one is, from 0; unless `--of` is 1, Slurm's `SLURM_PROCID`,
    /// else an indexed Job's `JOB_COMPLETION_INDEX`.
    #[arg(long, value_name = "RANK")]
    pub rank: Option<u32>,
    /// How many processes send together, each with `--rank` of its own; Slurm's `SLURM_NTASKS`, else in an indexed Job
    /// `GIPFEL_RANKS`, else 1.
    #[arg(long, value_name = "PROCESSES")]
    pub of: Option<u32>,
    /// Write the database in this directory of the machine itself and publish it into `--directory`, which may be on a
    /// shared file system then.
    #[arg(long, value_name = "DIRECTORY")]
    pub work: Option<PathBuf>,
    /// Wait for this file and send to the URL in it, one line `http://HOST:PORT`.
    #[arg(long, value_name = "FILE")]
    pub endpoint_file: Option<PathBuf>,
    /// How long to wait for it; 15 minutes by default.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "endpoint_file")]
    pub endpoint_timeout: Option<Duration>,
    /// The server is gone when this file stays as it is for a while.
    #[arg(long, value_name = "FILE")]
    pub heartbeat_file: Option<PathBuf>,
    /// How long it may stay as it is; one minute by default.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "heartbeat_file")]
    pub heartbeat_timeout: Option<Duration>,
    /// Be over, with everything published, by this time, in seconds since 1970; Slurm's `SLURM_JOB_END_TIME` by default.
    #[arg(long, value_name = "SECONDS")]
    pub end_at: Option<u64>,
    /// Try out what a run needs of this machine, print what was found, and measure nothing.
    #[arg(long, conflicts_with_all = ["config", "rank", "of", "work", "endpoint_file", "heartbeat_file", "end_at"])]
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
                work: self.work,
                endpoint_file: self.endpoint_file,
                endpoint_timeout: self.endpoint_timeout,
                heartbeat_file: self.heartbeat_file,
                heartbeat_timeout: self.heartbeat_timeout,
                end_at: self.end_at,
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
    use clap::Parser;

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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_run_is_what_its_arguments_say() {
        let check = |line: &str, expected: Options| {
            let line = Line::try_parse_from(line.split(' ')).expect("a command line");
            assert_eq!(line.arguments.task(), Ok(Task::Run(expected)));
        };
        let alone = Options {
            config: "c".into(),
            directory: "d".into(),
            ..Options::default()
        };
        check("gipfel-loadgen --config c --directory d", alone.clone());
        check(
            "gipfel-loadgen --config c --directory d --rank 1 --of 2 --work w --endpoint-file e --endpoint-timeout 900s \
             --heartbeat-file h --heartbeat-timeout 1min --end-at 1763836000",
            Options {
                rank: Some(1),
                of: Some(2),
                work: Some("w".into()),
                endpoint_file: Some("e".into()),
                endpoint_timeout: Some(Duration::from_mins(15)),
                heartbeat_file: Some("h".into()),
                heartbeat_timeout: Some(Duration::from_mins(1)),
                end_at: Some(1_763_836_000),
                ..alone
            },
        );
    }

    #[test]
    fn limits_without_their_file_are_refused() {
        for line in [
            "x --endpoint-timeout 1s",
            "x --heartbeat-timeout 1s",
            "x --end-at 10s",
            "x --self-test --work w",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
