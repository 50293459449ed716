//! The Helm chart: linted, rendered, and compared with what it rendered before.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::shell;

/// Where a Python may be that has Helm's engine; the first is what `.ci/run` makes.
const PYTHONS: &[&str] = &[
    "target/helm/bin/python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3",
];

/// Checks the chart where Helm's engine is there; elsewhere says that it does not.
pub(crate) fn check() -> anyhow::Result<()> {
    // A name without a folder is looked for in the search path.
    let place = |python: &str| {
        if python.contains('/') {
            shell::root().join(python)
        } else {
            PathBuf::from(python)
        }
    };
    let mut pythons = PYTHONS.iter().map(|python| place(python));
    let Some(python) = pythons.find(|python| has_engine(python)) else {
        shell::say("the chart was not checked: no Python 3.12 or later has the package helm-python-sdk");
        return Ok(());
    };
    shell::run(Command::new(python).arg(shell::root().join("deploy/helm/check.py")))
}

fn has_engine(python: &Path) -> bool {
    let mut command = Command::new(python);
    let asked = command.args(["-c", "import helm_python"]);
    asked
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
