//! The HTTP server in front of the engine's thread.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use gipfel_model::ApiEndpoint;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    engine::{Command, Engine, MonotonicClock},
    fault::Faults,
    metrics::Gauges,
    model::EngineModel,
    profile::ServerProfile,
    stream::{Handover, Mishap, Ticket, TokenBody, Work},
    wire::{self, AnswerHead, ApiError, ApiRequest, Served},
};

const MAX_BODY_BYTES: usize = 64 << 20;

/// After a failed accept, such as with no file descriptor left, before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How a profile is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimOptions {
    /// The served model's name; the profile's without it.
    pub model: Option<String>,
    /// Seeds the noise of the steps.
    pub seed: u64,
    /// What goes wrong by choice.
    pub faults: Faults,
}

/// Why the simulator does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No thread could be started.
    #[error("failed to start the simulator's engine thread")]
    Thread(#[source] std::io::Error),
    /// The engine's thread panicked.
    #[error("the simulator's engine thread died")]
    EngineDied,
}

struct Server {
    served: Served,
    faults: Faults,
    seed: u64,
    gauges: Arc<Gauges>,
    clock: MonotonicClock,
    commands: Sender<Command>,
    requests: AtomicU64,
    created: u64,
}

type ServerBody = Either<Full<Bytes>, TokenBody>;

/// Serves until `shutdown`; then open connections are closed.
///
/// The engine has its own thread; connections are tasks of the calling tokio runtime.
pub async fn serve(
    listener: TcpListener,
    profile: ServerProfile,
    options: SimOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (commands, receiver) = channel();
    let clock = MonotonicClock::start();
    let gauges = Arc::new(Gauges::default());
    let handover = Arc::new(Handover::default());
    let model = EngineModel::new(profile.law, options.seed);
    let engine = Engine::new(model, clock, receiver, Arc::clone(&gauges), Arc::clone(&handover))
        .with_disturbance(options.faults.disturbance);
    let thread = std::thread::Builder::new()
        .name("sim-engine".to_owned())
        .spawn(move || engine.run())
        .map_err(ServeError::Thread)?;
    let server = Arc::new(Server {
        served: Served {
            model: options.model.unwrap_or_else(|| profile.name.clone()),
            law: profile.law,
            default_output: profile.output.typical().round().max(1.0) as u32,
        },
        faults: options.faults,
        seed: options.seed,
        gauges,
        clock,
        commands,
        requests: AtomicU64::new(0),
        created: unix_seconds(),
    });
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &server, &mut connections) => {}
        () = handover.wake_connections() => {}
        () = shutdown => {}
    }
    // Every sender of commands goes with the connections and the server; then the engine's thread ends.
    connections.shutdown().await;
    drop(server);
    match tokio::task::spawn_blocking(move || thread.join()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(ServeError::EngineDied),
    }
}

async fn accept(listener: &TcpListener, server: &Arc<Server>, connections: &mut JoinSet<()>) {
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "tokens may be held back: TCP_NODELAY was refused");
        }
        let server = Arc::clone(server);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<ServerBody> {
        const GET: Method = Method::GET;
        const POST: Method = Method::POST;
        const CHAT_PATH: &str = "/v1/chat/completions";
        const COMPLETIONS_PATH: &str = "/v1/completions";
        match (request.method(), request.uri().path()) {
            (&POST, CHAT_PATH) => self
                .complete(ApiEndpoint::Chat, request)
                .await
                .unwrap_or_else(refusal),
            (&POST, COMPLETIONS_PATH) => self
                .complete(ApiEndpoint::Completions, request)
                .await
                .unwrap_or_else(refusal),
            (&GET, "/v1/models") => {
                respond_json(StatusCode::OK, &wire::render_models(&self.served, self.created))
            }
            (&GET, "/metrics") => respond(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics(),
            ),
            (&GET, "/health") if self.is_dead() => respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", ""),
            (&GET, "/health") => respond(StatusCode::OK, "text/plain", ""),
            (&GET, "/version") => {
                respond_json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION")}))
            }
            (_, CHAT_PATH | COMPLETIONS_PATH | "/v1/models" | "/metrics" | "/health" | "/version") => {
                respond_json(
                    StatusCode::METHOD_NOT_ALLOWED,
                    &json!({"detail": "Method Not Allowed"}),
                )
            }
            _ => respond_json(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"})),
        }
    }

    fn metrics(&self) -> String {
        self.gauges.render(&self.served.model)
    }

    fn is_dead(&self) -> bool {
        let seen = self.requests.load(Ordering::Relaxed);
        self.faults.fail_after_requests.is_some_and(|limit| seen >= limit)
    }

    async fn complete(
        &self,
        api: ApiEndpoint,
        request: Request<Incoming>,
    ) -> Result<Response<ServerBody>, ApiError> {
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(|error| {
                let message = format!("the body could not be read: {error}");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Bad Request", &message, None)
            })?;
        let mut request = wire::read_request(api, &body.to_bytes(), &self.served)?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if self
            .faults
            .fail_after_requests
            .is_some_and(|limit| number > limit)
        {
            return Err(ApiError::engine_dead());
        }
        if self.faults.is_refused(self.seed, number) {
            return Err(ApiError::refused());
        }
        request.cached = self.faults.cached_tokens(request.prompt);
        if self.faults.is_short(self.seed, number) {
            request.stop_early();
        }
        let work = Work {
            prompt: request.prompt,
            cached: request.cached,
            output: request.output,
        };
        let ticket =
            Ticket::submit(number, work, &self.commands, self.clock).ok_or_else(ApiError::engine_dead)?;
        let kind = match api {
            ApiEndpoint::Chat => "chatcmpl",
            ApiEndpoint::Completions => "cmpl",
        };
        let id = format!("{kind}-{:08x}{number:08x}", self.created);
        let head = AnswerHead {
            id: &id,
            created: unix_seconds(),
            model: &self.served.model,
        };
        if request.stream {
            let chunks = wire::render_chunks(&head, &request);
            let body = TokenBody::new(ticket, chunks, self.mishap(number, &request));
            return Ok(response(
                StatusCode::OK,
                "text/event-stream; charset=utf-8",
                Either::Right(body),
            ));
        }
        ticket.finished().await;
        Ok(respond_json(
            StatusCode::OK,
            &wire::render_answer(&head, &request),
        ))
    }

    fn mishap(&self, number: u64, request: &ApiRequest) -> Option<Mishap> {
        let at = request.output / 2 + 1;
        if self.faults.is_cut(self.seed, number) {
            Some(Mishap::Cut { at })
        } else if self.faults.breaks(number) {
            let event = wire::render_error_event();
            Some(Mishap::Error { at, event })
        } else {
            None
        }
    }
}

fn refusal(error: ApiError) -> Response<ServerBody> {
    respond_json(error.status, &error.body)
}

fn respond_json(status: StatusCode, body: &Value) -> Response<ServerBody> {
    respond(status, "application/json", body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<ServerBody> {
    response(status, content_type, Either::Left(Full::new(body.into())))
}

fn response(status: StatusCode, content_type: &'static str, body: ServerBody) -> Response<ServerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
