//! What is done to a Slurm behind a client's back.

use std::{path::PathBuf, process::Command};

use firecrest_client::JobId;

/// Whoever runs the Slurm.
pub(crate) struct Operator {
    configuration: PathBuf,
}

impl Operator {
    pub(crate) fn new(configuration: PathBuf) -> Self {
        Self { configuration }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        output.unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
    }

    /// What a command prints, or its error.
    fn output(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", &self.configuration)
            .output()
            .expect("the operator's command starts");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Ends a job by hand.
    pub(crate) fn cancel(&self, id: &JobId) {
        self.run("scancel", &[id.as_str()]);
    }

    /// Takes a node down, with what runs on it.
    pub(crate) fn take_down(&self, node: &str) {
        let node = format!("NodeName={node}");
        self.run("scontrol", &["update", &node, "State=DOWN", "Reason=test"]);
    }

    /// Brings a node back; it may have come back by itself.
    pub(crate) fn bring_back(&self, node: &str) {
        let is_down = || {
            let state = self.run("sinfo", &["--noheader", "--nodes", node, "--format=%T"]);
            state.contains("down")
        };
        let update = ["update", &format!("NodeName={node}"), "State=RESUME"];
        if is_down() && self.output("scontrol", &update).is_err() {
            assert!(!is_down(), "{node} does not come back");
        }
    }

    /// How many jobs of a name there are, those that have ended included.
    pub(crate) fn count(&self, name: &str) -> usize {
        let name = format!("--name={name}");
        self.run("squeue", &["--noheader", "--states=all", "--format=%i", &name])
            .lines()
            .count()
    }

    /// Sends a signal to the controller.
    pub(crate) fn signal_controller(&self, signal: &str) {
        let file = self.configuration.with_file_name("slurmctld.pid");
        let pid = std::fs::read_to_string(file).expect("the controller has a file with its number");
        self.run("kill", &["-s", signal, pid.trim()]);
    }
}
