//! `firecrest-sim` in front of a real Slurm.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{e2e::world::wait_for, shell};

/// A load generator of this machine's release profile is larger than a bundle's; it is brought directly all the same.
const MOST_DIRECT: u64 = 10 * 1024 * 1024;

/// The account that jobs are charged to.
pub(super) const ACCOUNT: &str = "a-e2e";
/// The system's name.
pub(super) const SYSTEM: &str = "alps";

/// The user's secret.
pub(super) const SECRET: &str = "e2e-secret";

/// A running simulator, and what it says of itself.
pub(super) struct Firecrest {
    child: Child,
    pub(super) variables: BTreeMap<String, String>,
}

impl Firecrest {
    /// Starts a simulator whose files are those of a folder, at its own path, and whose jobs go to this Slurm as the user
    /// who runs this.
    pub(super) fn start(root: &Path, slurm_configuration: &Path) -> anyhow::Result<Self> {
        Self::start_at(root, slurm_configuration, None, &[])
    }

    /// The same at a port, with further options.
    pub(super) fn start_at(
        root: &Path,
        slurm_configuration: &Path,
        port: Option<u16>,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let configuration = root.with_file_name("firecrest.toml");
        fs::write(&configuration, site(root)?)?;
        let mut command = Command::new(shell::target().join("debug/firecrest-sim"));
        command
            .args(["serve", "--transfer-poll", "1s", "--config"])
            .arg(configuration)
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", port.unwrap_or(0)))
            .args(options)
            .env("SLURM_CONF", slurm_configuration)
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start firecrest-sim")?;
        let stdout = child.stdout.take().context("the simulator has no output")?;
        let mut started = Self {
            child,
            variables: BTreeMap::new(),
        };
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let (name, value) = line.split_once('=').context("the simulator prints no variable")?;
            started.variables.insert(name.to_owned(), value.to_owned());
            if name == "FIRECREST_SYSTEM" {
                break;
            }
        }
        Ok(started)
    }

    /// Where it listens.
    pub(super) fn port(&self) -> anyhow::Result<u16> {
        let url = self
            .variables
            .get("FIRECREST_URL")
            .context("the simulator tells no address")?;
        let port = url
            .rsplit(':')
            .next()
            .and_then(|port| port.trim_end_matches('/').parse().ok());
        port.with_context(|| format!("no port in {url}"))
    }

    /// Orders a failure, by the simulator's control endpoint.
    pub(super) fn fail(&self, order: &serde_json::Value) -> anyhow::Result<()> {
        let body = order.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port()?))?;
        write!(
            stream,
            "POST /_sim/failures HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.starts_with("HTTP/1.1 2"),
            "the simulator refuses the order {body}: {answer}"
        );
        Ok(())
    }

    /// `kill -9`: whatever it was doing is cut.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a terminal would.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        shell::run(Command::new("kill").arg(self.child.id().to_string()))?;
        wait_for("the simulator leaves", Duration::from_secs(20), || {
            self.child.try_wait().ok().flatten()
        })?;
        Ok(())
    }
}

impl Drop for Firecrest {
    fn drop(&mut self) {
        // It has ended by itself, unless a step failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site of one user, who is known to this machine, since Slurm asks it.
fn site(root: &Path) -> anyhow::Result<String> {
    let id = |option: &str| -> anyhow::Result<String> {
        Ok(shell::read(Command::new("id").arg(option))?.trim().to_owned())
    };
    let (user, uid, group, gid) = (id("-un")?, id("-u")?, id("-gn")?, id("-g")?);
    let root = root.display();
    Ok(format!(
        "[[users]]\nname = \"{user}\"\nuid = {uid}\ngroups = [{{ name = \"{group}\", id = {gid} }}]\n\
         accounts = [\"{ACCOUNT}\"]\nclient_id = \"e2e\"\nclient_secret = \"{SECRET}\"\n\n\
         [limits]\nops_bytes = {MOST_DIRECT}\n\n\
         [[clusters]]\nname = \"{SYSTEM}\"\nslurm = true\n\n\
         [[systems]]\nname = \"{SYSTEM}\"\n\n\
         [[systems.file_systems]]\npath = \"{root}\"\nshared = true\ndefault_work_dir = true\n"
    ))
}
