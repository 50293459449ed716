//! The command line.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{FileSystemOptions, Options, Running, Simulator, SystemOptions, parse_span};

/// A stateful FirecREST v2 server for tests and demonstrations.
#[derive(Debug, Parser)]
#[command(name = "firecrest-sim", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is interrupted; prints its addresses and credentials as it is ready.
    Serve(Serve),
}

/// Flags change what the configuration, or the demonstration without one, sets.
#[derive(Args, Debug)]
struct Serve {
    /// A TOML file with users, clusters and systems; without it, one user `demo` and one system.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the demonstration's file system; a temporary one without it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    root: Option<PathBuf>,
    /// Callers see the demonstration's file system at its real path, and everybody owns everything in it.
    #[arg(long, requires = "root")]
    real_paths: bool,
    /// The name of the demonstration's system.
    #[arg(long, value_name = "NAME", default_value = "alps", conflicts_with = "config")]
    system: String,
    /// Where the API and the token endpoint listen.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// The life of a token.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    token_life: Option<Duration>,
    /// How often the job of an upload looks for the object; a minute as the real one without it.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    transfer_poll: Option<Duration>,
    /// How long a remote command may run.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    command_timeout: Option<Duration>,
    /// The size of the parts of an upload through the storage.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    part_bytes: Option<u64>,
    /// Jobs go to the Slurm of this machine.
    #[arg(long)]
    slurm: bool,
}

/// Carries the command out, and returns once it was interrupted.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Command::Serve(serve) = arguments.command;
    let mut ends = Ends::new().context("failed to wait for an interrupt")?;
    let folder = tempfile::Builder::new().prefix("firecrest-sim-root-").tempdir();
    let folder = folder.context("failed to make a temporary folder")?;
    let options = serve.options(folder.path())?;
    let shown = options.clone();
    let running = Simulator::start(options)
        .await
        .context("the simulator does not start")?;
    announce(&mut io::stdout().lock(), &shown, &running).context("failed to print the addresses")?;
    ends.first().await;
    running.stop().await;
    Ok(())
}

/// The signals that end it, a closed terminal's included: jobs and folders end with it.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    /// From now on the signals are waited for.
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

impl Serve {
    fn options(&self, temporary: &Path) -> anyhow::Result<Options> {
        let mut options = match &self.config {
            None => self.demonstration(temporary)?,
            Some(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("failed to read the configuration {}", path.display()))?;
                Options::from_toml(&text)
                    .with_context(|| format!("the configuration {} is not right", path.display()))?
            }
        };
        if self.listen.port() != 0 || options.listen.port() == 0 {
            options.listen = self.listen;
        }
        if let Some(life) = self.token_life {
            options.token.life = life;
        }
        let limits = &mut options.limits;
        limits.transfer_poll = self.transfer_poll.unwrap_or(limits.transfer_poll);
        limits.command_timeout = self.command_timeout.unwrap_or(limits.command_timeout);
        limits.part_bytes = self.part_bytes.unwrap_or(limits.part_bytes);
        if self.slurm {
            options
                .clusters
                .iter_mut()
                .for_each(|cluster| cluster.slurm = true);
        }
        Ok(options)
    }

    fn demonstration(&self, temporary: &Path) -> anyhow::Result<Options> {
        let root = self.root.as_deref().unwrap_or(temporary);
        fs::create_dir_all(root).with_context(|| format!("failed to make {}", root.display()))?;
        let root = fs::canonicalize(root).with_context(|| format!("failed to find {}", root.display()))?;
        let mut file_system = FileSystemOptions::scratch(&root);
        if self.real_paths {
            file_system = FileSystemOptions {
                path: root.display().to_string(),
                root: None,
                shared: true,
                ..file_system
            };
        }
        let mut options = Options::demo(&root);
        options.clusters[0].name.clone_from(&self.system);
        options.systems = vec![SystemOptions {
            name: self.system.clone(),
            file_systems: vec![file_system],
            ..SystemOptions::default()
        }];
        Ok(options)
    }
}

/// Prints what a client needs, under the names by which the official client reads it.
fn announce(out: &mut impl Write, options: &Options, running: &Running) -> io::Result<()> {
    writeln!(out, "FIRECREST_URL={}", running.base_url)?;
    writeln!(out, "AUTH_TOKEN_URL={}", running.token_url)?;
    for user in &options.users {
        writeln!(out, "FIRECREST_CLIENT_ID={}", user.client_id)?;
        writeln!(out, "FIRECREST_CLIENT_SECRET={}", user.client_secret.expose())?;
    }
    for system in &options.systems {
        writeln!(out, "FIRECREST_SYSTEM={}", system.name)?;
    }
    out.flush()
}
