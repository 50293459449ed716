//! Whether the server still lives: a dead one must not be judged.

use std::{io, time::Duration};

use futures_util::future::join_all;
use gipfel_engine::Engine;
use gipfel_stream_client::{Client, GetError};
use tokio::time::Instant;

/// Refused connections in succession after which the server is gone.
const REFUSALS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a look under load may take: the answer may well wait behind the load, and is not needed then.
const QUICK: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 1 << 20;

/// What a look at the server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Answers,
    /// Nobody listens at its address.
    Refuses,
    /// No answer in time, or one of a proxy or an engine that has lost its server.
    Silent,
}

/// Looks at the server beside the load.
#[derive(Clone)]
pub(crate) struct Probe {
    /// In the order of the endpoints.
    pub(crate) clients: Vec<Client>,
    pub(crate) engine: &'static Engine,
}

impl Probe {
    /// Whether nobody listens any more at one of the addresses. An overloaded server, which is only slow to answer, is
    /// not gone.
    pub(crate) async fn is_gone(&self) -> bool {
        let gone = join_all(self.clients.iter().map(|client| self.is_one_gone(client)));
        gone.await.contains(&true)
    }

    async fn is_one_gone(&self, client: &Client) -> bool {
        for refusal in 1..=REFUSALS {
            if self.look(client, QUICK).await != Health::Refuses {
                return false;
            }
            if refusal < REFUSALS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        true
    }

    /// Whether every server, whose load is gone, answers within `limit`.
    pub(crate) async fn answers(&self, limit: Duration) -> bool {
        let answer = join_all(self.clients.iter().map(|client| self.one_answers(client, limit)));
        !answer.await.contains(&false)
    }

    async fn one_answers(&self, client: &Client, limit: Duration) -> bool {
        let give_up = Instant::now() + limit;
        let mut refusals = 0;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.look(client, left.min(PATIENT)).await {
                Health::Answers => return true,
                Health::Refuses => refusals += 1,
                Health::Silent => refusals = 0,
            }
            if refusals >= REFUSALS || Instant::now() >= give_up {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look(&self, client: &Client, timeout: Duration) -> Health {
        match client.get(self.engine.health_path(), timeout, MAX_BYTES).await {
            // Any other status is the word of a server that lives, also if it knows no such path.
            Ok((status, _)) if status < 500 => Health::Answers,
            Err(GetError::TooLong { .. }) => Health::Answers,
            Err(GetError::Connect { source, .. }) if nobody_listens(&source) => Health::Refuses,
            Ok(_) | Err(_) => Health::Silent,
        }
    }
}

/// Errors that the other side causes; a shortage of sockets on this side is none of them.
fn nobody_listens(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_engine::engine;
    use gipfel_model::BackendKind;
    use gipfel_stream_client::{ClientOptions, Clock, Target};
    use std::net::TcpListener;

    fn probe(listener: &TcpListener) -> Probe {
        let address = listener.local_addr().expect("an address");
        let target = Target::parse(&format!("http://{address}")).expect("a URL");
        Probe {
            clients: vec![Client::new(Clock::start(), target, ClientOptions::default()).expect("a client")],
            engine: engine(BackendKind::Sim),
        }
    }

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_server_that_is_only_slow_is_not_gone_and_does_not_answer() {
        // The system accepts, nobody reads.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let probe = probe(&listener);
        assert!(!probe.is_gone().await);
        assert!(!probe.answers(SHORT).await);
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let probe = probe(&listener);
        drop(listener);
        assert!(probe.is_gone().await);
        assert!(!probe.answers(Duration::from_mins(10)).await);
    }
}
