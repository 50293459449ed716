//! A results directory, simulated servers, and gipfel as its user runs it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

/// A folder of its own.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("it is written");
    }

    pub(crate) fn gipfel(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipfel"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs gipfel to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.gipfel(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    }

    /// Runs gipfel and expects this exit code and these words on standard error; gives standard output.
    pub(crate) fn check(&self, arguments: &[&str], code: i32, stderr: &str) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(stderr), "{arguments:?}: `{text}` lacks `{stderr}`");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until `gipfel status` says what is expected.
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause between two looks of a bounded wait"
    )]
    pub(crate) fn wait_for_status(&self, what: &str, expected: impl Fn(&Value) -> bool) {
        let give_up = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if expected(&status) {
                return;
            }
            assert!(Instant::now() < give_up, "waited for `{what}`: {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `gipfel status` says.
    pub(crate) fn status(&self) -> Value {
        let text = self.check(&["status", "--json"], 0, "");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for World {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.gipfel(&["cancel"]).output();
    }
}

/// A simulated server of its own port, which ends with this value.
pub(crate) struct Sim {
    child: Child,
    pub(crate) url: String,
}

impl Sim {
    pub(crate) fn start(world: &World, model: &str) -> Self {
        let mut child = world
            .gipfel(&["sim", "--port", "0", "--model", model])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where");
        let url = line
            .rsplit(" on ")
            .next()
            .expect("it says where")
            .trim()
            .to_owned();
        Self { child, url }
    }

    /// As if it had crashed.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.kill();
    }
}
