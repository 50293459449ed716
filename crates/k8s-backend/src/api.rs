//! Calls to an API server: each with a deadline, and each failure with its class.

use std::{future::Future, path::PathBuf, time::Duration};

use crate::{exec::not_upgraded, patience::Limits};
use kube::{
    Client, Config,
    client::UpgradeConnectionError,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How often a call that does no harm twice is made.
const TRIES: u32 = 4;

/// Before the second try; longer before further ones.
const PAUSE: Duration = Duration::from_millis(250);

/// How the API server is found.
#[derive(Clone, Debug)]
pub enum Connection {
    /// By a kubeconfig.
    Kubeconfig {
        /// The file; absent: where kubectl looks.
        file: Option<PathBuf>,
        /// The context; absent: the current one.
        context: Option<String>,
    },
    /// By its URL, without credentials.
    Url(String),
}

impl Connection {
    pub(crate) fn context(&self) -> Option<&str> {
        match self {
            Self::Kubeconfig { context, .. } => context.as_deref(),
            Self::Url(_) => None,
        }
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the client with its credentials, which a program of the user's may have to fetch.
    pub connect: Duration,
    /// For one call.
    pub call: Duration,
    /// For the end of all objects of a server.
    pub end: Duration,
    /// How long the API server may keep one watch open.
    pub watch: Duration,
    /// How long no node may have room for a pod: others may leave until then.
    pub place: Duration,
    /// How long a pod may not be made, or its container not started, for a reason that may pass.
    pub trouble: Duration,
}

impl Deadlines {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            place: self.place,
            start: self.trouble,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_mins(1),
            call: Duration::from_secs(30),
            // Less than who ends waits for an answer.
            end: Duration::from_secs(100),
            watch: Duration::from_mins(4),
            place: Duration::from_mins(10),
            trouble: Duration::from_mins(2),
        }
    }
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("there is no such object: {0}")]
    Missing(String),
    /// The cluster does not know this kind of object.
    #[error("the cluster does not know this kind of object")]
    MissingKind,
    /// Another object or another manager is in the way.
    #[error("it conflicts with what is there: {0}")]
    Conflict(String),
    /// The credentials are not accepted, also after they were fetched anew.
    #[error("the credentials are not accepted: {0}")]
    Credentials(String),
    /// Refused; trying again cannot help.
    #[error("refused ({code}): {message}")]
    Refused {
        /// HTTP's status, 0 where the body hides it.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server could not now.
    #[error("the API server could not answer ({code}): {message}")]
    Unavailable {
        /// HTTP's status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The answer did not come; the call may have had its effect.
    #[error("no answer came")]
    Lost(#[source] kube::Error),
    /// The deadline passed; the call may have had its effect.
    #[error("no answer came within {} s", .0.as_secs())]
    Late(Duration),
    /// The kubeconfig or the credentials cannot be had.
    #[error("the kubeconfig cannot be used")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Lost(_) | Self::Late(_))
    }

    /// Whether the call may have had its effect all the same.
    pub(crate) fn may_have_acted(&self) -> bool {
        self.is_retryable()
    }
}

/// The class of an error's status, by code, reason and words.
pub(crate) fn classify(error: kube::Error) -> ApiError {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            return classify(not_upgraded(code.as_u16()));
        }
        // An answer that cannot be read, or a stream that is not opened as it should be, may have been cut.
        kube::Error::Service(_)
        | kube::Error::HyperError(_)
        | kube::Error::ReadEvents(_)
        | kube::Error::SerdeError(_)
        | kube::Error::FromUtf8(_)
        | kube::Error::UpgradeConnection(_) => return ApiError::Lost(error),
        other => return ApiError::Connect(Box::new(other)),
    };
    let (code, message) = (status.code, status.message.clone());
    // Server-side apply answers a field that it does not know with 500.
    let is_typo = [
        "failed to create typed patch object",
        "failed to convert new object",
    ]
    .iter()
    .any(|words| message.contains(words));
    match code {
        401 => ApiError::Credentials(message),
        // The body was read as a status that lacks its code.
        0 if message == "Unauthorized" => ApiError::Credentials(message),
        404 if status.reason == "NotFound" => ApiError::Missing(message),
        404 => ApiError::MissingKind,
        409 => ApiError::Conflict(message),
        500 if is_typo => ApiError::Refused { code, message },
        0 | 429 | 500..=599 => ApiError::Unavailable { code, message },
        _ => ApiError::Refused { code, message },
    }
}

/// An API server, reached by one client that is made when it is first needed.
pub(crate) struct ApiServer {
    connection: Connection,
    deadlines: Deadlines,
    client: Mutex<Option<Held>>,
}

/// A client, and the number of its credentials.
#[derive(Clone)]
struct Held {
    number: u64,
    client: Client,
}

impl ApiServer {
    pub(crate) fn new(connection: Connection, deadlines: Deadlines) -> Self {
        Self {
            connection,
            deadlines,
            client: Mutex::new(None),
        }
    }

    /// One call. Credentials that are not accepted are fetched anew once.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Client) -> F + Send) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        let held = self.client(0).await?;
        match self.attempt(&call, held.client).await {
            Err(ApiError::Credentials(_)) => {
                // Another call may have fetched them since.
                let held = self.client(held.number + 1).await?;
                self.attempt(&call, held.client).await
            }
            outcome => outcome,
        }
    }

    /// As [`ApiServer::call`], for what does no harm when it is done twice: what may pass is tried again some times.
    pub(crate) async fn call_surely<T, F>(
        &self,
        call: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.call(&call).await {
                // Who has waited for a whole deadline has waited enough.
                Err(error @ (ApiError::Unavailable { .. } | ApiError::Lost(_))) if tries < TRIES => {
                    tracing::debug!(%error, tries, "a call is made again");
                    sleep(PAUSE * tries).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// As [`ApiServer::call`]; an object that is not there is none.
    pub(crate) async fn find<T, F>(&self, call: impl Fn(Client) -> F + Send) -> Result<Option<T>, ApiError>
    where
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        match self.call(call).await {
            Ok(found) => Ok(Some(found)),
            Err(ApiError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn attempt<T, F>(&self, call: &(impl Fn(Client) -> F + Send), client: Client) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        match timeout(self.deadlines.call, call(client)).await {
            Ok(outcome) => outcome.map_err(classify),
            Err(_) => Err(ApiError::Late(self.deadlines.call)),
        }
    }

    /// A client whose credentials have at least this number.
    async fn client(&self, number: u64) -> Result<Held, ApiError> {
        let mut held = self.client.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.number >= number) {
            return Ok(held.clone());
        }
        let connection = self.connection.clone();
        // Programs that fetch credentials are waited for by blocking.
        let runtime = tokio::runtime::Handle::current();
        let connecting = spawn_blocking(move || runtime.block_on(connect(connection)));
        let client = match timeout(self.deadlines.connect, connecting).await {
            Ok(Ok(client)) => client.map_err(ApiError::Connect)?,
            Ok(Err(panic)) => return Err(ApiError::Connect(Box::new(panic))),
            Err(_) => {
                let limit = self.deadlines.connect.as_secs();
                let message = format!(
                    "the credentials did not come within {limit} s; does their program ask for something?"
                );
                return Err(ApiError::Connect(message.into()));
            }
        };
        let number = held.as_ref().map_or(0, |held| held.number + 1);
        let fresh = Held { number, client };
        *held = Some(fresh.clone());
        Ok(fresh)
    }
}

async fn connect(connection: Connection) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = match connection {
        Connection::Url(url) => Config::new(url.parse()?),
        Connection::Kubeconfig { file, context } => {
            let options = KubeConfigOptions {
                context,
                ..KubeConfigOptions::default()
            };
            match file {
                Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
                None => Config::from_kubeconfig(&options).await?,
            }
        }
    };
    // Its waits would add up to minutes before an error is seen.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn answers_have_a_class() {
        let check = |code: u16, reason: &str, message: &str, expected: fn(&ApiError) -> bool| {
            let mut status = Status::failure(message, reason);
            status.code = code;
            let found = classify(kube::Error::Api(Box::new(status)));
            assert!(expected(&found), "{code} {message}: {found:?}");
        };
        check(404, "NotFound", "pods \"p\" not found", |e| {
            matches!(e, ApiError::Missing(_))
        });
        check(404, "Failed to parse error data", "404 page not found", |e| {
            matches!(e, ApiError::MissingKind)
        });
        check(409, "AlreadyExists", "exists", |e| {
            matches!(e, ApiError::Conflict(_))
        });
        check(401, "Failed to parse error data", "must authenticate", |e| {
            matches!(e, ApiError::Credentials(_))
        });
        check(0, "", "Unauthorized", |e| matches!(e, ApiError::Credentials(_)));
        check(0, "", "elsewhere", ApiError::is_retryable);
        check(503, "ServiceUnavailable", "later", ApiError::is_retryable);
        check(504, "Timeout", "etcd", ApiError::is_retryable);
        check(500, "", "internal", ApiError::is_retryable);
        check(
            500,
            "",
            "failed to create typed patch object (ml/bad; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema",
            |e| !e.is_retryable(),
        );
        check(403, "Forbidden", "exceeded quota", |e| !e.is_retryable());
        check(422, "Invalid", "immutable", |e| !e.is_retryable());
    }
}
