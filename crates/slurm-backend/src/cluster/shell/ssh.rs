//! A shell of another host, over one ssh connection that all lines share.

use std::{
    ffi::{OsStr, OsString},
    io,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use gipfel_backend::BoxFuture;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::{Mutex, Semaphore},
};

use super::{
    frame::{self, Framed},
    local::{Ended, run},
    transport::{Shell, ShellCommand, ShellError, ShellOutput},
};

/// How ssh is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshOptions {
    /// The program.
    pub program: OsString,
    /// Its arguments before ours, such as `-F` and a configuration in place of the user's own.
    pub arguments: Vec<OsString>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How many lines run at once: servers take ten sessions of a connection unless their site says otherwise.
    pub at_once: usize,
}

impl Default for SshOptions {
    /// The user's own ssh, 20 s to connect, four lines at once.
    fn default() -> Self {
        Self {
            program: "ssh".into(),
            arguments: Vec::new(),
            connect: Duration::from_secs(20),
            at_once: 4,
        }
    }
}

/// A text that is no host for ssh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host: write a name of your ssh configuration, a host's name, or user@host")]
pub struct HostError(String);

/// Fails for a text that ssh would take for something else than a host.
pub(crate) fn check_host(host: &str) -> Result<(), HostError> {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%".contains(c);
    if host.is_empty() || host.starts_with('-') || !host.chars().all(is_taken) {
        return Err(HostError(host.to_owned()));
    }
    Ok(())
}

/// `sh` on another host. The user's own ssh configuration is obeyed; ssh asks no questions.
///
/// The connection is kept by a master that ends with this process, however that ends: its remote command reads from a
/// pipe that nobody else holds. One that has died is replaced.
pub struct SshShell {
    host: String,
    options: SshOptions,
    permits: Semaphore,
    master: Mutex<Option<Master>>,
}

/// A connection that lines share.
struct Master {
    child: Child,
    /// Lines hold it, too, so that a socket goes only with its last line.
    socket: Arc<Socket>,
}

/// The folder of a master's socket, which only this user can enter.
struct Socket(TempDir);

impl Socket {
    /// A path of a socket is short: the limit is about a hundred bytes, to which ssh adds some while it connects.
    fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("gipfel-").tempdir_in("/tmp")?;
        Ok(Self(folder))
    }

    fn option(&self) -> OsString {
        let mut option = OsString::from("ControlPath=");
        option.push(self.0.path().join("s"));
        option
    }
}

/// What a master prints once the host has let it in.
const READY: &str = "gipfel-ready";

impl SshShell {
    /// A host, by its name in the user's ssh configuration. Nothing is connected yet.
    pub fn new(host: &str, options: SshOptions) -> Result<Self, HostError> {
        check_host(host)?;
        Ok(Self {
            host: host.to_owned(),
            permits: Semaphore::new(options.at_once.max(1)),
            options,
            master: Mutex::new(None),
        })
    }

    /// An ssh that uses this socket, with what we want of every one.
    fn program(&self, socket: &Socket, control: &str) -> Command {
        let mut program = Command::new(&self.options.program);
        let seconds = self.options.connect.as_secs().max(1);
        program.args(&self.options.arguments).args(["-T", "-x"]);
        let options = [
            "BatchMode=yes".to_owned(),
            format!("ConnectTimeout={seconds}"),
            "ConnectionAttempts=1".to_owned(),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=3".to_owned(),
            format!("ControlMaster={control}"),
            "ControlPersist=no".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "ForwardAgent=no".to_owned(),
            "PermitLocalCommand=no".to_owned(),
            "RemoteCommand=none".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ];
        for option in options {
            program.arg("-o").arg(option);
        }
        program.arg("-o").arg(socket.option());
        program
    }

    /// The socket of a master that lives; one is started if there is none.
    async fn socket(&self) -> Result<Arc<Socket>, ShellError> {
        let mut master = self.master.lock().await;
        if let Some(alive) = master.as_mut()
            && matches!(alive.child.try_wait(), Ok(None))
        {
            return Ok(Arc::clone(&alive.socket));
        }
        // Its folder goes with its last line.
        *master = None;
        let started = self.start().await?;
        let socket = Arc::clone(&started.socket);
        *master = Some(started);
        Ok(socket)
    }

    async fn start(&self) -> Result<Master, ShellError> {
        let failed = |program: &OsStr| {
            let program = program.to_string_lossy().into_owned();
            |source| ShellError::NoProgram { program, source }
        };
        let socket = Socket::new().map_err(failed(OsStr::new("a socket for ssh")))?;
        let mut program = self.program(&socket, "yes");
        program.args(["--", &self.host]);
        program.arg(format!(
            "exec sh -c {}",
            frame::quoted(&format!("echo {READY}; exec cat >/dev/null"))
        ));
        program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = program.spawn().map_err(failed(&self.options.program))?;
        // The host's own files may take a while to be read, beyond the connection.
        let time = 2 * self.options.connect;
        match tokio::time::timeout(time, become_ready(&mut child)).await {
            Ok(Ok(())) => Ok(Master {
                child,
                socket: Arc::new(socket),
            }),
            Ok(Err(text)) => Err(self.not_let_in(&text)),
            Err(_) => Err(self.not_let_in(&format!("no answer within {} s", time.as_secs()))),
        }
    }

    /// The error of an ssh that did not come to run a line.
    fn not_let_in(&self, text: &str) -> ShellError {
        let (host, text) = (self.host.clone(), text.trim().to_owned());
        if REFUSALS.iter().any(|words| text.contains(words)) {
            ShellError::Refused { host, text }
        } else {
            ShellError::Unreachable { host, text }
        }
    }

    async fn run_line(&self, command: &ShellCommand) -> Result<ShellOutput, ShellError> {
        let closed = |_| ShellError::NoAnswer("the connection is closed".to_owned());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let socket = self.socket().await?;
        let mut program = self.program(&socket, "no");
        program.args(["--", &self.host]);
        program.arg(format!(
            "exec sh -c {}",
            frame::quoted(&frame::framed(&command.line))
        ));
        let ended = run(program, &self.options.program.to_string_lossy(), command).await?;
        self.read(ended)
    }

    fn read(&self, ended: Ended) -> Result<ShellOutput, ShellError> {
        match frame::read(&ended.stdout) {
            Framed::Whole(code, stdout) => Ok(ShellOutput {
                code,
                stdout,
                stderr: ended.stderr,
            }),
            Framed::Nothing if never_began(&ended) => Err(self.not_let_in(&ended.stderr)),
            Framed::Begun | Framed::Nothing => Err(ShellError::NoAnswer(ended.reason())),
        }
    }
}

/// What ssh says of a host that does not let the user in.
const REFUSALS: &[&str] = &[
    "Permission denied",
    "Host key verification failed",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Too many authentication failures",
    "No supported authentication methods",
    "Bad configuration option",
];

/// What ssh says before the host has let the user in.
const BEFORE: &[&str] = &[
    "connect to host",
    "Could not resolve hostname",
    "Session open refused by peer",
    "banner exchange",
    "kex_exchange_identification",
];

/// Whether ssh says by its exit and its words that no line was begun.
fn never_began(ended: &Ended) -> bool {
    let says = |known: &[&str]| known.iter().any(|words| ended.stderr.contains(words));
    ended.status == Ok(Some(255)) && (says(REFUSALS) || says(BEFORE))
}

/// Waits until the master is ready; the error is what it said when it ended before.
async fn become_ready(child: &mut Child) -> Result<(), String> {
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // The host's login may print lines of its own.
            if line.ends_with(READY) {
                return Ok(());
            }
        }
    }
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let read = stderr.take(4096).read_to_end(&mut text).await;
        read.map_err(|error| error.to_string())?;
    }
    Err(String::from_utf8_lossy(&text).into_owned())
}

impl Shell for SshShell {
    fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>> {
        Box::pin(self.run_line(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        let check = |host: &str, expected: bool| {
            assert_eq!(
                SshShell::new(host, SshOptions::default()).is_ok(),
                expected,
                "{host}"
            );
        };
        check("clariden", true);
        check("me@login-1.example.org", true);
        check("", false);
        check("-oProxyCommand=x", false);
        check("a b", false);
        check("a;b", false);
    }

    #[test]
    fn what_never_began_is_known() {
        let check = |status: Result<Option<i32>, &'static str>, stderr: &str, expected: bool| {
            let ended = Ended {
                stdout: Vec::new(),
                stderr: stderr.to_owned(),
                status,
            };
            assert_eq!(never_began(&ended), expected, "{stderr}");
        };
        check(
            Ok(Some(255)),
            "ssh: connect to host h port 22: Connection refused",
            true,
        );
        check(Ok(Some(255)), "me@h: Permission denied (publickey).", true);
        check(
            Ok(Some(255)),
            "mux_client_request_session: read from master failed: Broken pipe",
            false,
        );
        check(Ok(Some(255)), "Connection to h closed by remote host.", false);
        check(Err("its time was up"), "", false);
    }
}
