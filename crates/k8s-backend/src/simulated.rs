//! An API server on the loopback interface, with as much of a cluster behind it as a server needs.
//!
//! It keeps objects in memory, makes a pod for each Deployment, and deletes in the foreground with what an object owns.
//! A pod goes through its states by the number of requests, so that tests need no clock. Mishaps are scripted.

mod changes;
mod controllers;
mod extensions;
mod facts;
mod objects;
mod processes;
mod schema;
mod watches;
mod websocket;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use objects::Objects;
pub use objects::Shape;
pub use watches::WatchEnd;
use watches::{Body, whole};
use websocket::Purpose;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// It has no effect and this answer.
    Answer(u16, String),
    /// It has its effect and no answer.
    Lost,
    /// It has its effect, and its answer comes late.
    Slow(Duration),
}

/// How often requests go wrong by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Equal seeds have equal weather.
    pub seed: u64,
    /// The share of requests that meet a mishap, each of another kind than the one before.
    pub share: f64,
}

/// The API server; it ends when it is dropped.
#[derive(Debug)]
pub struct SimulatedCluster {
    url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// A mishap, and the request that meets it.
#[derive(Debug)]
struct Planned {
    method: Method,
    /// What its path has in it.
    part: &'static str,
    mishap: Mishap,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    mishaps: VecDeque<Planned>,
    /// What the next watches meet.
    watch_mishaps: VecDeque<Mishap>,
    watch_ends: watch::Sender<Option<WatchEnd>>,
    requests: Vec<String>,
    watches: Vec<String>,
    weather: Weather,
    bad: u64,
}

impl State {
    /// What the weather does to this request.
    fn misfortune(&mut self) -> Option<Mishap> {
        if self.weather.share <= 0.0 {
            return None;
        }
        // Numerical Recipes' generator; its upper bits are good enough for weather.
        self.weather.seed = self
            .weather
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = (self.weather.seed >> 11) as f64 / (1_u64 << 53) as f64;
        if drawn >= self.weather.share {
            return None;
        }
        self.bad += 1;
        Some(match self.bad % 5 {
            0 => Mishap::Lost,
            1 => Mishap::Answer(503, status(503, "ServiceUnavailable", "the server is overloaded")),
            2 => Mishap::Answer(429, status(429, "TooManyRequests", "please try again later")),
            3 => Mishap::Slow(Duration::from_secs(1)),
            _ => Mishap::Answer(504, status(504, "Timeout", "etcd did not answer")),
        })
    }
}

impl SimulatedCluster {
    /// Starts one whose pods are of this shape, on a free port.
    pub async fn start(shape: Shape) -> io::Result<Self> {
        Self::start_at(shape, 0).await
    }

    /// Starts one on this port.
    pub async fn start_at(shape: Shape, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State {
            objects: Objects::new(shape),
            ..State::default()
        }));
        let task = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { url, state, task })
    }

    /// The API server goes away, with every connection; the cluster behind it does not.
    pub async fn stop(&mut self) {
        self.task.abort();
        // It ends with being aborted.
        let _ = (&mut self.task).await;
    }

    /// The API server is there again, at the same place.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let address = self.url.trim_start_matches("http://");
        let listener = TcpListener::bind(address).await?;
        self.task = tokio::spawn(serve(listener, self.state.clone()));
        Ok(())
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request with this method meets a mishap, after those that were scripted before.
    pub fn mishap(&self, method: Method, mishap: Mishap) {
        self.mishap_at("", method, mishap);
    }

    /// The next request with this method and this part in its path meets a mishap, after those that were scripted before.
    pub fn mishap_at(&self, part: &'static str, method: Method, mishap: Mishap) {
        let planned = Planned { method, part, mishap };
        lock(&self.state).mishaps.push_back(planned);
    }

    /// What the containers of pods say from now on.
    pub fn log(&self, text: &str) {
        lock(&self.state).objects.said = Some(text.to_owned());
    }

    /// The next watch meets a mishap, after those that were scripted before.
    pub fn watch_mishap(&self, mishap: Mishap) {
        lock(&self.state).watch_mishaps.push_back(mishap);
    }

    /// Ends all watches that are open.
    pub fn end_watches(&self, end: WatchEnd) {
        lock(&self.state).watch_ends.send_replace(Some(end));
    }

    /// Forgets what has changed so far, as etcd does after minutes: who wants to watch from there is told 410.
    pub fn forget_changes(&self) {
        lock(&self.state).objects.changes.forget();
    }

    /// The containers of all pods end, and the pods stay for a moment.
    pub fn crash_pods(&self) {
        lock(&self.state).objects.crash_pods();
    }

    /// All pods are taken away, for which the cluster gives this reason; their controllers make others.
    pub fn replace_pods(&self, reason: Option<&str>) {
        lock(&self.state).objects.replace_pods(reason);
    }

    /// The query of all watches so far.
    pub fn watches(&self) -> Vec<String> {
        lock(&self.state).watches.clone()
    }

    /// Kills the processes of all pods, as a node that is lost would.
    pub fn kill_pods(&self) {
        lock(&self.state).objects.kill_pods();
    }

    /// The cluster knows the kinds of this API group from now on, such as `leaderworkerset.x-k8s.io`.
    pub fn install(&self, group: &'static str) {
        lock(&self.state).objects.install(group);
    }

    /// Requests go wrong by themselves from now on.
    pub fn weather(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    /// Kind and name of all objects that are there, such as `services/gipfel-d-1`.
    pub fn objects(&self) -> Vec<String> {
        lock(&self.state).objects.names()
    }

    /// Method and path of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

impl Drop for SimulatedCluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // Connections end with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            // A connection that is broken off is what some tests ask for.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    if request.headers().contains_key(hyper::header::UPGRADE) {
        return upgrade(&state, request);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (path, query) = (
        head.uri.path().to_owned(),
        head.uri.query().unwrap_or_default().to_owned(),
    );
    if query.contains("watch=true") {
        return open_watch(&state, &query).await;
    }
    let mishap = {
        let mut state = lock(&state);
        state.requests.push(format!("{} {path}", head.method));
        let is_next = state
            .mishaps
            .front()
            .is_some_and(|planned| planned.method == head.method && path.contains(planned.part));
        if is_next {
            state.mishaps.pop_front().map(|planned| planned.mishap)
        } else {
            state.misfortune()
        }
    };
    if let Some(Mishap::Answer(code, text)) = mishap {
        return respond(code, text);
    }
    let (code, answer) = lock(&state)
        .objects
        .request(head.method.as_str(), &path, &query, &body);
    match mishap {
        Some(Mishap::Lost) => Err(io::Error::other("the connection is broken off")),
        Some(Mishap::Slow(pause)) => {
            tokio::time::sleep(pause).await;
            respond(code, answer)
        }
        _ => respond(code, answer),
    }
}

async fn open_watch(state: &Arc<Mutex<State>>, query: &str) -> Result<Response<Body>, io::Error> {
    let mishap = {
        let mut state = lock(state);
        state.watches.push(query.to_owned());
        let scripted = state.watch_mishaps.pop_front();
        scripted.or_else(|| state.misfortune())
    };
    match mishap {
        Some(Mishap::Answer(code, text)) => return respond(code, text),
        Some(Mishap::Lost) => return Err(io::Error::other("the connection is broken off")),
        Some(Mishap::Slow(pause)) => tokio::time::sleep(pause).await,
        None => {}
    }
    Ok(watches::answer(state, query))
}

/// A command in a pod, or a way to its port.
fn upgrade(state: &Mutex<State>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path
        .split("/pods/")
        .nth(1)
        .unwrap_or_default()
        .split('/')
        .collect();
    let url = reqwest::Url::parse(&format!("http://localhost{}", request.uri())).map_err(io::Error::other)?;
    let values = |wanted: &'static str| {
        let pairs = url.query_pairs().filter(move |(name, _)| name == wanted);
        pairs.map(|(_, value)| value.into_owned())
    };
    let mut is_cut = false;
    let purpose = {
        let mut state = lock(state);
        state.requests.push(format!("{} {path}", request.method()));
        if path.ends_with("/exec") {
            match state.misfortune() {
                Some(Mishap::Answer(code, text)) => return respond(code, text),
                Some(Mishap::Lost) => is_cut = true,
                Some(Mishap::Slow(_)) | None => {}
            }
        }
        match parts.as_slice() {
            [name, "exec"] => state
                .objects
                .beside(
                    name,
                    values("command").collect(),
                    values("stdin").any(|value| value == "true"),
                )
                .map(|command| Purpose::Exec { command, is_cut }),
            [name, "portforward"] if state.objects.has_pod(name) => values("ports")
                .next()
                .and_then(|port| port.parse().ok())
                .map(Purpose::Forward),
            _ => None,
        }
    };
    match purpose {
        Some(purpose) => Ok(websocket::accept(request, purpose)),
        None => respond(404, status(404, "NotFound", "there is no such pod that runs")),
    }
}

fn respond(code: u16, text: String) -> Result<Response<Body>, io::Error> {
    let status = StatusCode::from_u16(code).map_err(io::Error::other)?;
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    Ok(response)
}

/// A failure as an API server writes it.
pub fn status(code: u16, reason: &str, message: &str) -> String {
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code
    });
    status.to_string()
}
