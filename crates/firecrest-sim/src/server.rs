//! The two HTTP servers: the API with its token endpoint, and the storage.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited, channel::Channel};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    answer::{Answer, AnswerBody, Outcome, Problem},
    call::{Call, pairs},
    clock::now_ms,
    control,
    failures::{Failure, Service},
    identity,
    journal::CallRecord,
    mishap::{self, After, Before},
    route::Route,
    state::{Context, Overrides, State},
    status,
    storage::{protocol::StorageError, unique},
};

/// No direct upload is as large; what is, is refused as the real server refuses it.
const MAX_BODY_BYTES: usize = 64 << 20;

/// After a failed accept, such as with no file descriptor left, before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The pieces in which a file is sent.
const PIECE_BYTES: usize = 256 << 10;

type ServerBody = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// The connection ends here, by a failure on demand.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on demand")]
struct Cut;

/// Which of the servers a listener is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Face {
    Api,
    Storage,
}

/// Serves one of the faces until it is dropped.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>, face: Face) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&state), face));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, face: Face) {
    // Without the option, answers are only later.
    let _ = stream.set_nodelay(true);
    let broken = Arc::new(AtomicBool::new(false));
    let service = service_fn(move |request| {
        let (state, broken) = (Arc::clone(&state), Arc::clone(&broken));
        async move {
            // After some errors the real server leaves the connection dead without saying so.
            if broken.load(Ordering::Relaxed) {
                return Err(Cut);
            }
            respond(&state, face, &broken, request).await
        }
    });
    // The error is the client's end, or ours on demand.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    state: &Arc<State>,
    face: Face,
    broken: &AtomicBool,
    request: Request<Incoming>,
) -> Result<Response<ServerBody>, Cut> {
    let mut record = begin_record(face, &request);
    let prefix = state.options.base_path.trim_end_matches('/');
    let (call, raw_path) = read(request, face, prefix, state).await?;
    if face == Face::Api && raw_path.starts_with("/_sim/") {
        return Ok(to_response(
            control::answer(state, &call, &raw_path).await,
            None,
            false,
        ));
    }
    record.service = match face {
        Face::Storage => Service::Storage,
        Face::Api if identity::is_token_path(&raw_path) => Service::Token,
        Face::Api => Service::Api,
    };
    record.path.clone_from(&call.path);
    // A caller that leaves does not end what it began, as with the real server.
    let handled = state.work.spawn(handle(Arc::clone(state), call, record));
    let (sent, record) = handled.await.ok().flatten().ok_or(Cut)?;
    let (answer, half) = match sent {
        After::Send(answer) => (answer, false),
        After::SendHalf(answer) => (answer, true),
        After::Cut => return Err(Cut),
    };
    broken.store(answer.breaks_connection, Ordering::Relaxed);
    let is_api = record.service == Service::Api;
    let shown = is_api.then_some((&record, state.options.version.as_str()));
    Ok(to_response(answer, shown, half))
}

/// Carries a call out with the failure that is meant for it, and writes it down.
async fn handle(state: Arc<State>, call: Call, mut record: CallRecord) -> (After, CallRecord) {
    let service = record.service;
    let failure = state.failures().decide(service, call.method.as_str(), &call.path);
    record.failure = failure.as_ref().map(|failure| failure.name().to_owned());
    let sent = carry_out(&state, service, &call, failure.as_ref(), &mut record).await;
    record.status = match &sent {
        After::Send(answer) | After::SendHalf(answer) => Some(answer.status.as_u16()),
        After::Cut => None,
    };
    state.journal.call(record.clone());
    (sent, record)
}

fn begin_record(face: Face, request: &Request<Incoming>) -> CallRecord {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.map_or_else(|| unique().replace('-', ""), str::to_owned)
    };
    let query = if face == Face::Storage {
        None
    } else {
        request.uri().query()
    };
    CallRecord {
        at_ms: now_ms(),
        service: Service::Api,
        method: request.method().to_string(),
        path: String::new(),
        query: query.unwrap_or_default().to_owned(),
        user: None,
        status: None,
        failure: None,
        request_id: header("x-request-id"),
        correlation_id: header("x-correlation-id"),
    }
}

/// Reads a request whole; a caller that leaves has none.
async fn read(
    request: Request<Incoming>,
    face: Face,
    prefix: &str,
    state: &State,
) -> Result<(Call, String), Cut> {
    let (parts, body) = request.into_parts();
    let decoded = percent_decode_str(parts.uri.path())
        .decode_utf8_lossy()
        .into_owned();
    let raw_path = match face {
        Face::Storage => decoded,
        // A path outside of the base has no route.
        Face::Api if decoded.starts_with("/_sim/") || identity::is_token_path(&decoded) => decoded,
        Face::Api => decoded.strip_prefix(prefix).unwrap_or_default().to_owned(),
    };
    let limit = match face {
        Face::Api => MAX_BODY_BYTES,
        Face::Storage => usize::try_from(state.options.limits.part_bytes).unwrap_or(usize::MAX),
    };
    let (body, is_too_large) = match Limited::new(body, limit).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(_) => return Err(Cut),
    };
    let call = Call {
        method: parts.method,
        path: if face == Face::Api {
            raw_path.to_lowercase()
        } else {
            raw_path.clone()
        },
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        is_too_large,
    };
    Ok((call, raw_path))
}

async fn carry_out(
    state: &Arc<State>,
    service: Service,
    call: &Call,
    failure: Option<&Failure>,
    record: &mut CallRecord,
) -> After {
    match mishap::before(failure, service, call) {
        Before::Cut => return After::Cut,
        Before::Answer(answer) => return After::Send(answer),
        Before::Go(delay) => tokio::time::sleep(delay).await,
    }
    let answer = match service {
        Service::Storage if call.is_too_large => StorageError::TOO_LARGE.into_answer(&call.path),
        Service::Token | Service::Api if call.is_too_large => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "File to upload is too large.").into_answer(None)
        }
        Service::Token => identity::token(state, call),
        Service::Storage if state.storage_is_down() => return After::Cut,
        Service::Storage => storage(state, call).await,
        Service::Api => {
            let outcome = api(state, call, mishap::overrides(failure), record).await;
            outcome.unwrap_or_else(|problem| problem.into_answer(record.user.as_deref()))
        }
    };
    mishap::after(failure, service, call, answer)
}

/// The storage works on files, and so beside the tasks.
async fn storage(state: &Arc<State>, call: &Call) -> Answer {
    let (state, call, held) = (Arc::clone(state), call.clone(), state.work.hold());
    let answer = tokio::task::spawn_blocking(move || {
        let _held = held;
        state.storage.answer(&call)
    });
    let answer = answer.await;
    answer.unwrap_or_else(|error| Problem::server_error(error.to_string()).into_answer(None))
}

async fn api(state: &Arc<State>, call: &Call, overrides: Overrides, record: &mut CallRecord) -> Outcome {
    let route = Route::find(call)?;
    if route == Route::Liveness {
        return Ok(status::liveness(state));
    }
    if route == Route::LivenessWithoutSlash {
        let location = format!("{}/status/liveness/", state.base_url);
        return Ok(Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", location));
    }
    let user = identity::authenticate(state, call)?;
    record.user = Some(user.name.clone());
    let Route::System { system, call: wanted } = route else {
        return Ok(status::systems(state));
    };
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "System not found");
    let system = Arc::clone(state.systems.get(&system).ok_or_else(unknown)?);
    let request_id = record.request_id.clone();
    let context = Context {
        state: Arc::clone(state),
        system,
        user,
        overrides,
        request_id,
    };
    wanted.answer(&context, call).await
}

fn to_response(answer: Answer, record: Option<(&CallRecord, &str)>, half: bool) -> Response<ServerBody> {
    let length = match &answer.body {
        AnswerBody::Bytes(bytes) => bytes.len() as u64,
        AnswerBody::File { length_bytes, .. } => *length_bytes,
    };
    let body = match (answer.body, half) {
        (AnswerBody::Bytes(bytes), false) => Either::Left(Full::new(bytes)),
        (AnswerBody::Bytes(bytes), true) => {
            let (mut sender, channel) = Channel::new(1);
            tokio::spawn(async move {
                // A caller that has left misses nothing.
                let _ = sender.send_data(bytes.slice(..bytes.len() / 2)).await;
                sender.abort(io::ErrorKind::ConnectionAborted.into());
            });
            Either::Right(channel)
        }
        (
            AnswerBody::File {
                path,
                start,
                length_bytes,
            },
            half,
        ) => {
            let (sender, channel) = Channel::new(1);
            let wanted = if half { length_bytes / 2 } else { length_bytes };
            tokio::spawn(send_file(path, start, wanted, half, sender));
            Either::Right(channel)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        // A value that is no header's, such as a token of strange bytes, is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if answer.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some((record, version)) = record {
        let timestamp = format!("{:.3}", now_ms() as f64 / 1000.0);
        let own = [
            ("f7t-appversion", version),
            ("f7t-timestamp", &timestamp),
            ("x-request-id", &record.request_id),
            ("x-correlation-id", &record.correlation_id),
        ];
        let user = record
            .user
            .as_ref()
            .map(|user| ("f7t-authusername", user.as_str()));
        for (name, value) in own.into_iter().chain(user) {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
    response
}

/// Sends a piece of a file, and ends the connection in its middle where that is wanted.
async fn send_file(
    path: std::path::PathBuf,
    start: u64,
    length_bytes: u64,
    cut: bool,
    mut sender: http_body_util::channel::Sender<Bytes, io::Error>,
) {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        file.seek(io::SeekFrom::Start(start)).await?;
        let mut rest = file.take(length_bytes);
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            if (&mut rest)
                .take(PIECE_BYTES as u64)
                .read_to_end(&mut piece)
                .await?
                == 0
            {
                return Ok(());
            }
            if sender.send_data(piece.into()).await.is_err() {
                return Ok(());
            }
        }
    };
    let ended: io::Result<()> = read.await;
    match ended {
        Ok(()) if cut => sender.abort(io::ErrorKind::ConnectionAborted.into()),
        Ok(()) => {}
        Err(error) => sender.abort(error),
    }
}
