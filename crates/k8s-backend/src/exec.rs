//! Commands in a pod, over the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client,
    api::{Api, AttachParams},
    core::Status,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::api::{ApiError, ApiServer};

/// What standard error may say.
const STDERR_BYTES: u64 = 16 * 1024;

/// What lies between the stream and whoever reads it.
const BUFFER_BYTES: usize = 256 * 1024;

/// A command in a container of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
    pub(crate) words: [&'a str; 3],
    /// Written to its standard input, which stays open: the command has to know where it ends.
    pub(crate) input: Option<Vec<u8>>,
    /// What it may say at most.
    pub(crate) most_bytes: u64,
}

/// What a command has said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// A command of which nothing is known, or which failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error(transparent)]
    Call(#[from] ApiError),
    #[error("the connection to the pod broke off")]
    Broken,
    #[error("it said more than {0} bytes")]
    TooLong(u64),
    #[error("it ended with {code}: {stderr}")]
    Failed { code: i32, stderr: String },
}

impl ExecError {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Call(error) => error.is_retryable(),
            Self::Broken => true,
            Self::TooLong(_) | Self::Failed { .. } => false,
        }
    }
}

/// Runs a command to its end, within the deadline of a call; one that fails is an error.
pub(crate) async fn run(server: &ApiServer, command: Command<'_>) -> Result<Vec<u8>, ExecError> {
    let output = output(server, &command).await?;
    if output.code == 0 {
        Ok(output.stdout)
    } else {
        Err(ExecError::Failed {
            code: output.code,
            stderr: output.stderr.trim_end().to_owned(),
        })
    }
}

async fn output(server: &ApiServer, command: &Command<'_>) -> Result<Output, ExecError> {
    server.call(|client| attached(client, command.clone())).await?
}

async fn attached(client: Client, command: Command<'_>) -> Result<Result<Output, ExecError>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client, command.namespace);
    let parameters = AttachParams::default()
        .container(command.container)
        .stdin(command.input.is_some())
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(BUFFER_BYTES)
        .max_stdout_buf_size(BUFFER_BYTES);
    let mut process = pods.exec(command.pod, command.words, &parameters).await?;
    let (mut stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let status = process.take_status();
    let write = async {
        // Closing it would close all streams in the older of the protocols.
        if let (Some(stdin), Some(input)) = (&mut stdin, command.input) {
            // A command that does not read it all says so by its status.
            let _ = stdin.write_all(&input).await;
        }
    };
    let most = command.most_bytes;
    let ((), stdout, stderr) = tokio::join!(write, bounded(stdout, most), bounded(stderr, STDERR_BYTES));
    if stdout.len() as u64 > most {
        return Ok(Err(ExecError::TooLong(most)));
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    Ok(status
        .and_then(|status| code(&status))
        .map_or(Err(ExecError::Broken), |code| {
            Ok(Output {
                stdout,
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
                code,
            })
        }))
}

/// What comes, or one byte more than allowed. A stream that breaks off has no status, which tells.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let _ = stream.take(most + 1).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The exit code in the status by which the kubelet ends a command; nothing if it did not run.
fn code(status: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_ref()?.parse().ok()
}

/// A refusal to open a stream, by the status that HTTP had.
pub(crate) fn not_upgraded(code: u16) -> kube::Error {
    let (reason, message) = match code {
        404 => ("NotFound", "the pod is not there"),
        _ => ("", "the stream to the pod was not opened"),
    };
    let mut status = Status::failure(message, reason);
    status.code = code;
    kube::Error::Api(Box::new(status))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_exit_code_is_in_the_status() {
        let check = |status: Value, expected: Option<i32>| {
            let read = serde_json::from_value(status.clone()).expect("a status");
            assert_eq!(code(&read), expected, "{status}");
        };
        check(json!({"metadata": {}, "status": "Success"}), Some(0));
        let causes = json!([{"reason": "ExitCode", "message": "137"}]);
        check(
            json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}),
            Some(137),
        );
        check(
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": "no such container"}),
            None,
        );
    }
}
