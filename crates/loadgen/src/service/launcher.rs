//! Starts the processes of runs.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::mpsc,
};

use tokio::sync::oneshot;

struct Launch {
    directory: PathBuf,
    done: oneshot::Sender<io::Result<ExitStatus>>,
}

/// Orders the process of a run.
#[derive(Debug)]
pub(super) struct Launcher(mpsc::Sender<Launch>);

/// The orders, for the thread that starts the processes: they inherit its priority.
pub(super) struct Launches(mpsc::Receiver<Launch>);

impl Launcher {
    pub(super) fn new() -> (Self, Launches) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), Launches(receiver))
    }

    /// Carries out the run whose configuration is in its directory.
    pub(super) async fn run(&self, directory: &Path) -> io::Result<ExitStatus> {
        let (done, ended) = oneshot::channel();
        let directory = directory.to_owned();
        let gone = || io::Error::other("the thread that starts runs has ended");
        self.0.send(Launch { directory, done }).map_err(|_| gone())?;
        ended.await.map_err(|_| gone())?
    }
}

impl Launches {
    /// Carries out one run after another until nobody can order any.
    pub(super) fn carry_out(self) -> io::Result<()> {
        let program = std::env::current_exe()?;
        for Launch { directory, done } in self.0 {
            // One process: the ranks that a job's environment names are other services.
            let ended = Command::new(&program)
                .args(["--of", "1", "--config"])
                .arg(directory.join("run_config.json"))
                .arg("--directory")
                .arg(&directory)
                .status();
            // Whoever asked may have left.
            let _ = done.send(ended);
        }
        Ok(())
    }
}
