//! An ssh server on this machine's loopback, with keys of its own and no password.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{daemon::Daemon, site::free_ports};
use crate::{e2e::world::wait_for, shell};

/// The host's name in the client's configuration.
pub(super) const HOST: &str = "slurm-login";

/// A running server; it ends with this value.
pub(super) struct Sshd {
    daemon: Daemon,
    folder: PathBuf,
}

impl Sshd {
    /// Starts a server whose sessions know this Slurm. Programs: Debian's `openssh-server`.
    pub(super) fn start(folder: &Path, slurm_configuration: &Path) -> anyhow::Result<Self> {
        const PROGRAM: &str = "/usr/sbin/sshd";
        ensure!(
            Path::new(PROGRAM).exists(),
            "`{PROGRAM}` is not there: apt-get install openssh-server"
        );
        fs::create_dir_all(folder)?;
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"]);
            shell::read(command.arg(folder.join(key)))?;
        }
        let port = free_ports(1)?.first().copied().context("no port is free")?;
        let at = folder.display();
        let server = format!(
            "ListenAddress 127.0.0.1:{port}\n\
             HostKey {at}/host\n\
             AuthorizedKeysFile {at}/user.pub\n\
             PidFile none\n\
             StrictModes no\n\
             UsePAM no\n\
             PasswordAuthentication no\n\
             PermitRootLogin prohibit-password\n\
             SetEnv SLURM_CONF={}\n",
            slurm_configuration.display()
        );
        fs::write(folder.join("sshd_config"), server)?;
        let host_key = fs::read_to_string(folder.join("host.pub"))?;
        fs::write(
            folder.join("known_hosts"),
            format!("[127.0.0.1]:{port} {host_key}"),
        )?;
        let client = format!(
            "Host {HOST}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {at}/user\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {at}/known_hosts\n  StrictHostKeyChecking yes\n"
        );
        fs::write(folder.join("ssh_config"), client)?;
        // The server's unprivileged part needs this empty folder, which Debian makes when the machine starts.
        if shell::read(Command::new("id").arg("-u"))?.trim() == "0" {
            fs::create_dir_all("/run/sshd")?;
        }
        let mut command = Command::new(PROGRAM);
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        let mut daemon = Daemon::start("sshd", &mut command, &folder.join("sshd.log"))?;
        let listens = wait_for("sshd listens", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        daemon.expect_alive()?;
        listens?;
        Ok(Self {
            daemon,
            folder: folder.to_owned(),
        })
    }

    /// Writes a program `ssh` into a folder that knows the host, for those who find it by `PATH`.
    pub(super) fn write_client(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let found = shell::read(Command::new("sh").args(["-c", "command -v ssh"]))?;
        let configuration = self.client_configuration();
        let script = format!(
            "#!/bin/sh\nexec {} -F '{}' \"$@\"\n",
            found.trim(),
            configuration.display()
        );
        let program = folder.join("ssh");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// The client's configuration, for `ssh -F`.
    pub(super) fn client_configuration(&self) -> PathBuf {
        self.folder.join("ssh_config")
    }

    /// Ends the server; the connections that it has served go on without it.
    pub(super) fn stop(mut self) {
        self.daemon.end();
    }
}
