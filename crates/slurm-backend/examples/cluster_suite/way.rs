//! The ways to a Slurm, and how an answer gets lost on each.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use firecrest_client::{AdoptPolicy, Client, RemotePath};
use gipfel_backend::BoxFuture;
use gipfel_slurm_backend::cluster::{
    Cluster,
    contract::ClusterHarness,
    firecrest::{FirecrestCluster, FirecrestOptions},
    shell::{
        LocalShell, Shell, ShellCluster, ShellCommand, ShellError, ShellOutput, ShellPolicy, SshOptions,
        SshShell,
    },
};

use crate::Arguments;

/// A way, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WayName {
    Commands,
    Firecrest,
    Ssh,
}

/// A way to a Slurm.
pub(crate) struct Way {
    cluster: Box<dyn Cluster>,
    directory: RemotePath,
    local: PathBuf,
    prefix: String,
    faults: Faults,
}

/// By what an answer gets lost.
enum Faults {
    Shell(Arc<Losses>),
    /// The simulator is told over its control endpoint, at this address.
    Firecrest(String),
}

/// What happens to the next submission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// It does not arrive.
    Before,
    /// It is carried out, and its answer does not arrive.
    After,
}

#[derive(Default)]
struct Losses(AtomicU8);

/// A shell that loses answers.
struct Lossy<S> {
    shell: S,
    losses: Arc<Losses>,
}

impl<S: Shell> Shell for Lossy<S> {
    fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>> {
        Box::pin(async move {
            let is_submission = command.line.contains("sbatch --parsable");
            let loss = if is_submission {
                self.losses.0.swap(0, Ordering::SeqCst)
            } else {
                0
            };
            let lost = || {
                Err(ShellError::NoAnswer(
                    "the answer is lost, as was wanted".to_owned(),
                ))
            };
            match loss {
                0 => self.shell.run(command).await,
                1 => lost(),
                _ => self.shell.run(command).await.and_then(|_| lost()),
            }
        })
    }
}

/// Looks often enough that a test does not take long.
fn adoption() -> AdoptPolicy {
    AdoptPolicy {
        grace: Duration::from_secs(2),
        looks: 3,
        interval: Duration::from_secs(1),
        total: Duration::from_mins(2),
        ..AdoptPolicy::default()
    }
}

impl Way {
    pub(crate) fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let losses = Arc::new(Losses::default());
        let (cluster, faults): (Box<dyn Cluster>, Faults) = match arguments.way {
            WayName::Commands => (
                lossy("commands", LocalShell::new(), &losses),
                Faults::Shell(losses),
            ),
            WayName::Ssh => {
                let host = arguments.ssh_host.as_deref().context("--ssh-host is missing")?;
                let mut options = SshOptions::default();
                if let Some(path) = &arguments.ssh_config {
                    options.arguments = vec!["-F".into(), path.into()];
                }
                let shell = SshShell::new(host, options)?;
                (lossy(host, shell, &losses), Faults::Shell(losses))
            }
            WayName::Firecrest => {
                let system = arguments.system.as_deref().context("--system is missing")?;
                let url = std::env::var("FIRECREST_URL").context("FIRECREST_URL is missing")?;
                let address = url.trim_start_matches("http://").to_owned();
                let options = FirecrestOptions {
                    adopt: adoption(),
                    transfer_account: Some("a-demo".to_owned()),
                };
                let cluster = FirecrestCluster::new(Client::from_environment()?, system.parse()?, options);
                (Box::new(cluster), Faults::Firecrest(address))
            }
        };
        Ok(Self {
            cluster,
            directory: RemotePath::try_new(arguments.directory.as_str())?.join("suite")?,
            local: arguments.local.clone(),
            prefix: format!("{:?}-", arguments.way).to_lowercase(),
            faults,
        })
    }

    /// Plans what happens to the next submission.
    pub(crate) fn lose_next_submission(&self, loss: Loss) {
        match &self.faults {
            Faults::Shell(losses) => {
                let code = match loss {
                    Loss::Before => 1,
                    Loss::After => 2,
                };
                losses.0.store(code, Ordering::SeqCst);
            }
            Faults::Firecrest(address) => {
                let kind = match loss {
                    Loss::Before => "cut-before",
                    Loss::After => "cut-after",
                };
                plan_failure(address, kind).expect("the simulator takes the order");
            }
        }
    }
}

fn lossy(name: &str, shell: impl Shell + 'static, losses: &Arc<Losses>) -> Box<dyn Cluster> {
    let shell = Lossy {
        shell,
        losses: Arc::clone(losses),
    };
    let policy = ShellPolicy {
        adopt: adoption(),
        ..ShellPolicy::default()
    };
    Box::new(ShellCluster::new(name, Arc::new(shell), policy))
}

/// Tells the simulator to fail at the next submission.
fn plan_failure(address: &str, kind: &str) -> anyhow::Result<()> {
    let body = format!(
        r#"{{"failure": {{"kind": "{kind}"}}, "target": {{"method": "POST", "path": "/compute/*/jobs"}}, "count": 1}}"#
    );
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /_sim/failures HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    Ok(())
}

impl ClusterHarness for Way {
    fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }
    fn directory(&self) -> RemotePath {
        self.directory.clone()
    }
    fn local(&self) -> &Path {
        &self.local
    }
    fn prefix(&self) -> &str {
        &self.prefix
    }
    fn policy(&self) -> AdoptPolicy {
        adoption()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(300)))
    }
}
