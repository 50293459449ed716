//! Commands in pods and ways to their ports, over websockets as an API server speaks them.

use std::{
    io,
    process::{Output, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{
        CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    },
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{
    processes::InPod,
    watches::{Body, whole},
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// The only form that is spoken here; clients offer it beside the fifth.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// What a websocket is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A command in a pod; what it says may be cut before its end.
    Exec { command: InPod, is_cut: bool },
    /// A way to this port of a pod.
    Forward(u16),
}

/// Accepts the upgrade and goes on beside the answer.
pub(super) fn accept(mut request: Request<Incoming>, purpose: Purpose) -> Response<Body> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let mut response = Response::new(whole(String::new()));
    let Some(key) = key else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accepted = derive_accept_key(key.as_bytes());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    if let Ok(accepted) = HeaderValue::from_str(&accepted) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else {
            return;
        };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        match purpose {
            Purpose::Exec { command, is_cut } => exec(socket, command, is_cut).await,
            Purpose::Forward(port) => forward(socket, port).await,
        }
    });
    response
}

fn on(channel: u8, bytes: &[u8]) -> Message {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    Message::binary(message)
}

/// Runs the command to its end, with what the client writes as its input.
async fn output(socket: &mut Socket, command: InPod) -> io::Result<Output> {
    let (program, arguments) = command
        .command
        .split_first()
        .ok_or_else(|| io::Error::other("no command"))?;
    let input = if command.has_input {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(&command.environment)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take();
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    loop {
        let message = tokio::select! {
            output = &mut ended => return output,
            message = socket.next() => message,
        };
        match (message, &mut stdin) {
            (Some(Ok(Message::Binary(bytes))), Some(stdin)) if bytes.first() == Some(&STDIN) => {
                // A command need not read it all.
                let _ = stdin.write_all(&bytes[1..]).await;
            }
            (Some(Ok(_)), _) => {}
            (Some(Err(_)) | None, _) => return Err(io::Error::other("the client has gone")),
        }
    }
}

async fn exec(mut socket: Socket, command: InPod, is_cut: bool) {
    let output = output(&mut socket, command).await;
    let status = match output {
        Ok(output) if is_cut => {
            let half = &output.stdout[..output.stdout.len() / 2];
            let _ = socket.send(on(STDOUT, half)).await;
            return;
        }
        Ok(output) => {
            for (channel, bytes) in [(STDOUT, &output.stdout), (STDERR, &output.stderr)] {
                for piece in bytes.chunks(32 << 10) {
                    if socket.send(on(channel, piece)).await.is_err() {
                        return;
                    }
                }
            }
            match output.status.code() {
                Some(0) => json!({ "metadata": {}, "status": "Success" }),
                code => json!({
                    "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                    "message": "command terminated with non-zero exit code",
                    "details": { "causes": [{ "reason": "ExitCode", "message": code.unwrap_or(137).to_string() }] }
                }),
            }
        }
        Err(error) => {
            json!({ "metadata": {}, "status": "Failure", "reason": "InternalError", "message": error.to_string() })
        }
    };
    // A client that has gone needs no status.
    let _ = socket.send(on(STATUS, status.to_string().as_bytes())).await;
    let _ = socket.close(None).await;
}

/// Leads the one stream of a websocket to the port.
async fn forward(mut socket: Socket, port: u16) {
    for channel in [0, 1] {
        if socket.send(on(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let stream = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = socket.send(on(1, error.to_string().as_bytes())).await;
            let _ = socket.close(None).await;
            return;
        }
    };
    let _ = stream.set_nodelay(true);
    let (mut from_server, mut to_server) = stream.into_split();
    let (mut sink, mut source) = socket.split();
    let upwards = async {
        while let Some(Ok(message)) = source.next().await {
            let written = match message {
                Message::Binary(bytes) if bytes.first() == Some(&0) => to_server.write_all(&bytes[1..]).await,
                Message::Close(_) => break,
                _ => Ok(()),
            };
            if written.is_err() {
                break;
            }
        }
    };
    let downwards = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if sink.send(on(0, &buffer[..read])).await.is_err() {
                break;
            }
        }
        let _ = sink.close().await;
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
    }
}
