//! A real Slurm of four nodes on this machine: its own munge, one controller, one daemon for each node.
//!
//! Everything runs as the user who runs this, from a folder, on free ports of 127.0.0.1; nothing of the machine's own Slurm,
//! if it has one, is read or changed. Programs: Debian's `slurm-wlm` and `munge`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::daemon::{Daemon, end_all_of, end_all_with};
use crate::{
    e2e::world::{pause, wait_for},
    shell,
};

/// The nodes, which are all this machine.
pub(crate) const NODES: [&str; 4] = ["nid001001", "nid001002", "nid001003", "nid001004"];

/// What a cluster is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteOptions {
    /// Whether a job that asks for more than its partition gives is refused, or pends for ever.
    pub(crate) refuses_beyond_limits: bool,
    /// How long the controller remembers a job that has ended.
    pub(crate) remembers: Duration,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            refuses_beyond_limits: true,
            remembers: Duration::from_mins(5),
        }
    }
}

/// A running Slurm; it ends with this value, with all its jobs.
pub(crate) struct Site {
    folder: PathBuf,
    daemons: Vec<Daemon>,
}

impl Site {
    /// Starts a Slurm in a folder that is empty or not there, and waits until all nodes are idle.
    pub(crate) fn start(folder: &Path, options: SiteOptions) -> anyhow::Result<Self> {
        let version = version()?;
        shell::say(&format!(
            "Slurm {}.{:02} of four nodes in {}",
            version.0,
            version.1,
            folder.display()
        ));
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        for name in ["munge", "state", "logs", "gpus"] {
            fs::create_dir(folder.join(name))?;
        }
        for node in NODES {
            fs::create_dir_all(folder.join("spool").join(node))?;
        }
        for gpu in 0..4 {
            fs::write(folder.join(format!("gpus/nvidia{gpu}")), "")?;
        }
        let ports = free_ports(1 + NODES.len())?;
        fs::write(
            folder.join("slurm.conf"),
            configuration(&folder, &ports, &user()?, options),
        )?;
        fs::write(
            folder.join("gres.conf"),
            format!("Name=gpu Type=gh200 File={}/gpus/nvidia[0-3]\n", folder.display()),
        )?;
        fs::write(folder.join("cgroup.conf"), cgroup_configuration(version))?;
        // Whatever fails from here on, what was started ends with the value.
        let mut site = Self {
            folder,
            daemons: Vec::new(),
        };
        site.start_munge()?;
        site.start_daemon(
            "slurmctld",
            Command::new("slurmctld")
                .args(["-D", "-f"])
                .arg(site.configuration()),
        )?;
        for node in NODES {
            let mut command = Command::new("slurmd");
            command.args(["-D", "-N", node, "-f"]).arg(site.configuration());
            site.start_daemon(node, &mut command)?;
        }
        site.wait_until_idle(Duration::from_mins(1))?;
        Ok(site)
    }

    /// The folder, in which `logs` keeps what the daemons say.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `SLURM_CONF` names.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// A command that knows this Slurm.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    /// The jobs that have not ended, one a line with their states.
    pub(crate) fn jobs(&self) -> anyhow::Result<String> {
        shell::read(
            self.command("squeue")
                .args(["--noheader", "--format=%i %j %T %r"]),
        )
    }

    /// Fails if a job has not ended a while from now.
    pub(crate) fn expect_no_jobs(&self) -> anyhow::Result<()> {
        let mut left = String::new();
        let is_empty = wait_for("no job is left", Duration::from_secs(30), || {
            left = self.jobs().ok()?;
            left.trim().is_empty().then_some(())
        });
        is_empty.with_context(|| format!("jobs are left:\n{left}"))
    }

    fn start_munge(&mut self) -> anyhow::Result<()> {
        let munge = self.folder.join("munge");
        let key = munge.join("key");
        fs::write(&key, random_key()?)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let option = |name: &str, file: &str| format!("--{name}={}", munge.join(file).display());
        let mut command = Command::new("munged");
        // The folder's parents may be writable for others; nobody else uses this key.
        command
            .args(["--foreground", "--force", "--num-threads=2"])
            .args([
                option("key-file", "key"),
                option("socket", "socket"),
                option("pid-file", "pid"),
                option("log-file", "log"),
                option("seed-file", "seed"),
            ]);
        self.start_daemon("munged", &mut command)?;
        let socket = munge.join("socket");
        wait_for("munge listens", Duration::from_secs(20), || {
            socket.exists().then_some(())
        })
    }

    fn start_daemon(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        command.env("SLURM_CONF", self.configuration());
        let log = self.folder.join("logs").join(format!("{name}.out"));
        self.daemons.push(Daemon::start(name, command, &log)?);
        Ok(())
    }

    fn wait_until_idle(&mut self, limit: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            for daemon in &mut self.daemons {
                daemon.expect_alive()?;
            }
            let idle = shell::capture(self.command("sinfo").args(["-h", "-t", "idle", "-o", "%D"]))?;
            if String::from_utf8_lossy(&idle.stdout).trim() == NODES.len().to_string() {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let nodes = shell::capture(self.command("sinfo").args(["-N", "-l"]))?;
                let text = String::from_utf8_lossy(&nodes.stdout).into_owned();
                bail!("the nodes are not idle within {} s:\n{text}", limit.as_secs());
            }
            pause(Duration::from_millis(50));
        }
    }

    /// Sends a daemon a signal, by their names.
    pub(super) fn signal(&self, daemon: &str, signal: &str) -> anyhow::Result<()> {
        let found = self.daemons.iter().find(|one| one.name() == daemon);
        let found = found.with_context(|| format!("no daemon is called {daemon}"))?;
        let number = format!("-{signal}");
        shell::read(Command::new("kill").args([&number, &found.pid().to_string()]))?;
        Ok(())
    }

    /// Takes a node down, or gives it back.
    pub(super) fn set_node(&self, node: &str, state: &str) -> anyhow::Result<()> {
        let (node, state) = (format!("nodename={node}"), format!("state={state}"));
        shell::read(
            self.command("scontrol")
                .args(["update", &node, &state, "reason=e2e"]),
        )?;
        Ok(())
    }

    /// Ends by force what a job has on the nodes.
    pub(super) fn kill_job(&self, job: &str) {
        end_all_with(&[
            format!("SLURM_CONF={}", self.configuration().display()),
            format!("SLURM_JOB_ID={job}"),
        ]);
    }

    /// Ends all jobs, as far as the controller still answers.
    pub(super) fn end_jobs(&self) {
        let Ok(user) = user() else {
            return;
        };
        // On the way out, after a failure perhaps: what the controller does not end is ended below.
        let _ = shell::capture(self.command("scancel").args(["--user", &user]));
        let _ = wait_for("the jobs end", Duration::from_secs(10), || {
            self.jobs().ok()?.trim().is_empty().then_some(())
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end_jobs();
        // The nodes first, munge last: the others need it.
        while let Some(mut daemon) = self.daemons.pop() {
            daemon.end();
        }
        end_all_of(&self.configuration());
    }
}

/// The year and month of the Slurm that is installed.
fn version() -> anyhow::Result<(u32, u32)> {
    for program in ["slurmctld", "slurmd", "munged", "sbatch"] {
        ensure!(
            shell::capture(Command::new("sh").args(["-c", &format!("command -v {program}")]))?
                .status
                .success(),
            "`{program}` is not there: apt-get install slurm-wlm munge"
        );
    }
    let text = shell::read(Command::new("slurmctld").arg("-V"))?;
    parse_version(&text).with_context(|| format!("no version in `{}`", text.trim()))
}

/// `slurm-wlm 22.05.8` is of May 2022.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().last()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Nothing here uses control groups. Slurm can be told so from 23.11 on; before, its first plugin does the least.
fn cgroup_configuration(version: (u32, u32)) -> &'static str {
    if version >= (23, 11) {
        "CgroupPlugin=disabled\n"
    } else {
        "CgroupPlugin=cgroup/v1\n"
    }
}

fn user() -> anyhow::Result<String> {
    Ok(shell::read(Command::new("id").arg("-un"))?.trim().to_owned())
}

fn random_key() -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut key = vec![0; 128];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Ports that nothing listens on, found together so that they differ.
pub(super) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let ports: Result<Vec<u16>, _> = listeners?
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect();
    Ok(ports?)
}

/// `slurm.conf`: nodes like those of Alps, of which this machine has not enough and claims them all the same.
fn configuration(folder: &Path, ports: &[u16], user: &str, options: SiteOptions) -> String {
    let folder = folder.display();
    let enforces = if options.refuses_beyond_limits {
        "ALL"
    } else {
        "NO"
    };
    let remembers = options.remembers.as_secs();
    let (controller, of_nodes) = ports
        .split_first()
        .map_or((0, [].as_slice()), |(first, rest)| (*first, rest));
    // Jobs take ports by their numbers: those of another Slurm on this machine shall be others.
    let first_job = 1 + controller % 9000;
    let mut text = format!(
        "ClusterName=e2e\n\
         FirstJobId={first_job}\n\
         SlurmctldHost=localhost(127.0.0.1)\n\
         SlurmctldPort={controller}\n\
         SlurmUser={user}\n\
         SlurmdUser={user}\n\
         AuthType=auth/munge\n\
         AuthInfo=socket={folder}/munge/socket\n\
         CredType=cred/munge\n\
         CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
         StateSaveLocation={folder}/state\n\
         SlurmdSpoolDir={folder}/spool/%n\n\
         SlurmctldPidFile={folder}/slurmctld.pid\n\
         SlurmdPidFile={folder}/slurmd-%n.pid\n\
         SlurmctldLogFile={folder}/logs/slurmctld.log\n\
         SlurmdLogFile={folder}/logs/%n.log\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         MpiDefault=none\n\
         JobAcctGatherType=jobacct_gather/none\n\
         AccountingStorageType=accounting_storage/none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_CPU\n\
         SlurmdParameters=config_overrides\n\
         ReturnToService=2\n\
         MinJobAge={remembers}\n\
         KillWait=5\n\
         SchedulerParameters=bf_interval=5,sched_interval=5\n\
         EnforcePartLimits={enforces}\n\
         GresTypes=gpu\n"
    );
    text.extend(NODES.iter().zip(of_nodes).map(|(node, port)| {
        format!(
            "NodeName={node} NodeAddr=127.0.0.1 NodeHostName=localhost Port={port} CPUs=288 Sockets=4 \
             CoresPerSocket=72 ThreadsPerCore=1 RealMemory=800000 Gres=gpu:gh200:4 State=UNKNOWN\n"
        )
    }));
    text + "PartitionName=normal Default=YES Nodes=ALL OverSubscribe=EXCLUSIVE MaxTime=24:00:00 State=UP\n\
            PartitionName=debug Nodes=ALL OverSubscribe=EXCLUSIVE MaxTime=01:30:00 State=UP\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let check = |text: &str, expected| assert_eq!(parse_version(text), expected, "{text}");
        check("slurm-wlm 22.05.8\n", Some((22, 5)));
        check("slurm 24.11.5", Some((24, 11)));
        check("slurm", None);
    }

    #[test]
    fn every_node_has_a_port_of_its_own() {
        let text = configuration(Path::new("/f"), &[1, 2, 3, 4, 5], "me", SiteOptions::default());
        let ports: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(" Port="))
            .map(|(_, rest)| rest)
            .collect();
        assert_eq!(ports.len(), 4);
        assert!(ports[3].starts_with("5 "), "{ports:?}");
        assert!(text.contains("SlurmctldPort=1\n"), "{text}");
    }
}
