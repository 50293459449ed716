//! A port of this machine that leads to a server on a cluster, through a login node.

use std::{
    ffi::OsString,
    fmt, io,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, Command},
};

use crate::cluster::shell::{HostError, check_host};

/// How long a tunnel may take until the server answers through it.
const OPEN: Duration = Duration::from_secs(40);
/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// How much of what ssh says is shown.
const WORDS: u64 = 4096;
/// Between two attempts to open a tunnel anew.
const REOPEN: Duration = Duration::from_secs(3);
/// A tunnel that cannot be opened anew for so long is given up.
const GIVE_UP: Duration = Duration::from_mins(10);

/// A login node, and the host in front of it if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    host: String,
    jump: Option<String>,
}

impl Login {
    /// Hosts by their names in the user's ssh configuration, or as `user@host`.
    pub fn new(host: &str, jump: Option<&str>) -> Result<Self, HostError> {
        check_host(host)?;
        jump.map_or(Ok(()), check_host)?;
        Ok(Self {
            host: host.to_owned(),
            jump: jump.map(str::to_owned),
        })
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match &self.jump {
            Some(jump) => write!(f, " behind {jump}"),
            None => Ok(()),
        }
    }
}

/// Where a server answers on its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

/// A URL that names no host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no URL of a node, such as http://nid001001:8080")]
pub struct TargetError(String);

impl Target {
    /// Reads `http://<node>:<port>`.
    pub fn of_url(url: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        check_host(host).map_err(|_| wrong())?;
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A tunnel as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Through which host.
    pub login: Login,
    /// To which server.
    pub target: Target,
    /// The port of this machine.
    pub port: u16,
}

/// The command as people type it.
impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh -N")?;
        if let Some(jump) = &self.login.jump {
            write!(f, " -J {jump}")?;
        }
        write!(f, " -L {} {}", self.option(), self.login.host)
    }
}

impl Forwarding {
    /// The URL at which the server answers here.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn option(&self) -> String {
        let Target { host, port } = &self.target;
        format!("127.0.0.1:{}:{host}:{port}", self.port)
    }

    /// The arguments of an ssh that ends when its standard input does, and so with this process however that ends.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["-T".to_owned(), "-x".to_owned()];
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "ExitOnForwardFailure=yes",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            // A connection that others share would outlive this one.
            "ControlMaster=no",
            "ControlPath=none",
            "ForwardAgent=no",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "LogLevel=ERROR",
        ];
        for option in options {
            arguments.extend(["-o".to_owned(), option.to_owned()]);
        }
        if let Some(jump) = &self.login.jump {
            arguments.extend(["-J".to_owned(), jump.clone()]);
        }
        arguments.extend([
            "-L".to_owned(),
            self.option(),
            "--".to_owned(),
            self.login.host.clone(),
        ]);
        arguments.push("exec cat >/dev/null".to_owned());
        arguments.into_iter().map(OsString::from).collect()
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// There is no ssh.
    #[error("failed to start ssh")]
    Start(#[source] io::Error),
    /// No port of this machine can be used.
    #[error("no port of this machine is free for the tunnel")]
    Port(#[source] io::Error),
    /// ssh has left.
    #[error("the tunnel `{command}` ended at once: {text}")]
    Refused {
        /// What was tried.
        command: String,
        /// What ssh said.
        text: String,
    },
    /// Nothing answers.
    #[error(
        "nothing answers through `{command}` within {} s: the login node may not reach the server's node, or the server \
         does not answer",
        OPEN.as_secs()
    )]
    Silent {
        /// What was tried.
        command: String,
    },
}

/// An open tunnel; it goes with this value.
pub struct Tunnel {
    forwarding: Forwarding,
    child: Child,
    /// ssh lives as long as this is open.
    _stdin: Option<ChildStdin>,
}

impl Tunnel {
    /// Opens a tunnel and waits until the server answers through it.
    pub async fn open(forwarding: Forwarding) -> Result<Self, TunnelError> {
        let mut command = Command::new("ssh");
        command
            .args(forwarding.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // An interrupt at the terminal is ours alone.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(TunnelError::Start)?;
        let mut tunnel = Self {
            _stdin: child.stdin.take(),
            forwarding,
            child,
        };
        let give_up = Instant::now() + OPEN;
        loop {
            if let Ok(Some(_)) = tunnel.child.try_wait() {
                return Err(TunnelError::Refused {
                    command: tunnel.forwarding.to_string(),
                    text: tunnel.said().await,
                });
            }
            if answers(tunnel.forwarding.port).await {
                return Ok(tunnel);
            }
            if Instant::now() > give_up {
                let command = tunnel.forwarding.to_string();
                return Err(TunnelError::Silent { command });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the tunnel has broken, and says what ssh said.
    pub async fn broken(&mut self) -> String {
        match self.child.wait().await {
            Ok(_) => self.said().await,
            Err(error) => error.to_string(),
        }
    }

    async fn said(&mut self) -> String {
        let mut text = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What cannot be read is not shown.
            let _ = stderr.take(WORDS).read_to_end(&mut text).await;
        }
        let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
        if text.is_empty() {
            "ssh says nothing".to_owned()
        } else {
            text
        }
    }
}

/// What happens to a tunnel that is kept open.
#[derive(Debug)]
pub enum TunnelNews {
    /// It has broken, for this reason; it is being opened anew.
    Broken(String),
    /// It is open again.
    Again,
}

/// Keeps a tunnel open until it is dropped; returns the error when it cannot be opened anew for ten minutes.
pub async fn keep(mut tunnel: Tunnel, tell: impl Fn(&TunnelNews)) -> TunnelError {
    loop {
        let reason = tunnel.broken().await;
        tell(&TunnelNews::Broken(reason));
        let forwarding = tunnel.forwarding.clone();
        // Its port is free only when it is gone.
        drop(tunnel);
        let give_up = Instant::now() + GIVE_UP;
        tunnel = loop {
            match Tunnel::open(forwarding.clone()).await {
                Ok(tunnel) => break tunnel,
                Err(error) if Instant::now() > give_up => return error,
                Err(_) => tokio::time::sleep(REOPEN).await,
            }
        };
        tell(&TunnelNews::Again);
    }
}

/// A free port of this machine: the wanted one, or any if that is taken.
pub async fn free_port(wanted: u16) -> Result<u16, TunnelError> {
    let listener = match TcpListener::bind(("127.0.0.1", wanted)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await,
    };
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(TunnelError::Port)
}

/// Whether anything that speaks HTTP answers at this port; ssh itself takes a connection before it knows.
async fn answers(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut head = [0; 5];
        stream.read_exact(&mut head).await?;
        Ok::<_, io::Error>(head == *b"HTTP/")
    };
    matches!(tokio::time::timeout(ANSWER, asked).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding(jump: Option<&str>) -> Forwarding {
        Forwarding {
            login: Login::new("me@login", jump).expect("a login"),
            target: Target::of_url("http://nid001001:8080").expect("a target"),
            port: 9000,
        }
    }

    #[test]
    fn a_tunnel_is_a_command() {
        let check = |jump: Option<&str>, expected: &str| {
            assert_eq!(forwarding(jump).to_string(), expected);
        };
        check(None, "ssh -N -L 127.0.0.1:9000:nid001001:8080 me@login");
        check(
            Some("me@gate"),
            "ssh -N -J me@gate -L 127.0.0.1:9000:nid001001:8080 me@login",
        );
    }

    #[test]
    fn a_server_is_read_from_its_url() {
        let check = |url: &str, expected: Option<(&str, u16)>| {
            let found = Target::of_url(url).ok();
            let found = found.as_ref().map(|target| (target.host.as_str(), target.port));
            assert_eq!(found, expected, "{url}");
        };
        check("http://nid001001:8080", Some(("nid001001", 8080)));
        check("http://10.0.0.1:1/", Some(("10.0.0.1", 1)));
        check("http://nid001001", None);
        check("https://nid001001:8080", None);
        check("http://a b:80", None);
        check("http://-oProxyCommand=x:80", None);
    }

    #[test]
    fn a_login_is_no_option() {
        assert!(Login::new("-x", None).is_err());
        assert!(Login::new("login", Some("-x")).is_err());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_left() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert_ne!(free_port(port).await.expect("another port"), port);
        // Nobody answers on it.
        drop(taken);
        assert!(!answers(port).await);
    }
}
