//! The Helm chart: linted, rendered, and compared with what it rendered before.

use std::process::{Command, Stdio};

use crate::shell;

/// Where a Python may be that has Helm's engine.
const PYTHONS: &[&str] = &["python3.14", "python3.13", "python3.12", "python3"];

/// Checks the chart where Helm's engine is there; elsewhere says that it does not.
pub(crate) fn check() -> anyhow::Result<()> {
    let Some(python) = PYTHONS.iter().find(|python| has_engine(python)) else {
        shell::say("the chart was not checked: no Python 3.12 or later has the package helm-python-sdk");
        return Ok(());
    };
    shell::run(Command::new(python).arg(shell::root().join("deploy/helm/check.py")))
}

fn has_engine(python: &str) -> bool {
    let mut command = Command::new(python);
    let asked = command.args(["-c", "import helm_python"]);
    asked
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
