//! What a run needs before its first request: configuration, key, the model's name, provenance.

use std::{fmt::Write, fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use gipfel_engine::{Engine, engine};
use gipfel_model::{DeploymentKind, EndpointSpec, Provenance, RunConfig, run_config::RUN_CONFIG_FORMAT};
use gipfel_stream_client::Client;
use sha2::{Digest, Sha256};

use crate::{dataset::Prompts, reach::Reach};

/// How long the endpoint may take to answer its first call; whoever started us has already seen it ready.
const FIRST_ANSWER: Duration = Duration::from_mins(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const MAX_BYTES: usize = 1 << 20;

/// Reads `run_config.json`.
pub(crate) fn read_config(path: &Path) -> anyhow::Result<RunConfig> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    parse_config(&text, &format!("`{}`", path.display()))
}

/// Reads a run configuration that errors call by `name`.
pub(crate) fn parse_config(text: &str, name: &str) -> anyhow::Result<RunConfig> {
    // The header first: a newer file should be refused for its version, not for a key that it added.
    let value: serde_json::Value =
        serde_json::from_str(text).with_context(|| format!("{name} is no JSON"))?;
    let header = serde_json::from_value(value["header"].clone())
        .with_context(|| format!("{name} has no format header"))?;
    RUN_CONFIG_FORMAT.check(&header)?;
    let config: RunConfig =
        serde_json::from_value(value).with_context(|| format!("{name} is not of the documented form"))?;
    check_objectives(&config)?;
    Ok(config)
}

/// Refuses objectives on what cannot be seen, such as the first token of an answer that comes as a whole: such an
/// objective would be violated by every request, or by none.
fn check_objectives(config: &RunConfig) -> anyhow::Result<()> {
    let form = config.workload.requests;
    let unseen = config.slos.iter().chain(&config.informational_slos);
    let unseen: Vec<String> = unseen
        .filter(|slo| !form.shows(slo))
        .map(|slo| format!("`{slo}`"))
        .collect();
    if unseen.is_empty() {
        return Ok(());
    }
    bail!(
        "requests that are not streamed show no {}; use an objective on `e2e` or stream them",
        unseen.join(" and no ")
    )
}

/// The way to the run's endpoints, which are `endpoint`.
pub(crate) fn reach(config: &RunConfig, endpoint: &EndpointSpec) -> anyhow::Result<Reach> {
    let framing = engine(config.backend).framing(config.workload.requests);
    Reach::new(endpoint, config.timeouts.connect, framing)
}

/// The name that requests carry: the configured one, else what `/v1/models` lists.
///
/// Waits for the first answer of every endpoint, so that it also proves the endpoints alive.
pub(crate) async fn served_model(
    clients: &[Client],
    engine: &Engine,
    config: &RunConfig,
) -> anyhow::Result<String> {
    let mut chosen: Option<(&str, String)> = None;
    for (client, url) in clients.iter().zip(config.endpoint.urls()) {
        let listed = ready_listing(client, engine, url, FIRST_ANSWER).await?;
        let model = match &config.served_model {
            Some(name) => name.clone(),
            None => choose_model(&config.model, config.deployment, &listed)?,
        };
        match &chosen {
            Some((first, other)) if *other != model => {
                bail!(
                    "the servers call the model by different names: `{other}` at {first}, `{model}` at {url}"
                )
            }
            _ => chosen = Some((url, model)),
        }
    }
    let (_, model) = chosen.context("the run has no endpoint")?;
    Ok(model)
}

/// The engine's version, where the server tells it.
pub(crate) async fn engine_version(clients: &[Client], engine: &Engine) -> Option<String> {
    let answer = clients
        .first()?
        .get(engine.version_path()?, CALL_TIMEOUT, MAX_BYTES)
        .await;
    match answer {
        Ok((200, body)) => engine.read_version(&body),
        _ => None,
    }
}

/// A server of ours may call its one model by another name; of anybody else's, a model that is not listed is refused:
/// another one would be measured in its name.
fn choose_model(model: &str, deployment: DeploymentKind, listed: &[String]) -> anyhow::Result<String> {
    match listed {
        [] => Ok(model.to_owned()),
        _ if listed.iter().any(|name| name == model) => Ok(model.to_owned()),
        [only] if deployment != DeploymentKind::External => Ok(only.clone()),
        _ => bail!(
            "the server does not list the model `{model}`; it lists {}",
            listed.join(", ")
        ),
    }
}

async fn ready_listing(
    client: &Client,
    engine: &Engine,
    url: &str,
    limit: Duration,
) -> anyhow::Result<Vec<String>> {
    let mut problem = None;
    let listing = first_listing(client, engine, &mut problem);
    if let Ok(listed) = tokio::time::timeout(limit, listing).await {
        return listed;
    }
    bail!(
        "the server at {url} was not ready within {} s: {}",
        limit.as_secs_f64(),
        problem.as_deref().unwrap_or("it did not answer")
    )
}

/// The models that the server lists; empty when it has no such list. What is wrong so far is left in `problem`.
async fn first_listing(
    client: &Client,
    engine: &Engine,
    problem: &mut Option<String>,
) -> anyhow::Result<Vec<String>> {
    loop {
        let new = match client.get(engine.models_path(), CALL_TIMEOUT, MAX_BYTES).await {
            Ok((200, body)) => return Ok(model_names(&body)),
            Ok((401 | 403, _)) => bail!("the endpoint refused the API key (HTTP 401 or 403)"),
            Ok((404, _)) => return Ok(Vec::new()),
            Ok((status, _)) => format!("it answered with HTTP status {status}"),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        };
        if problem.as_ref() != Some(&new) {
            tracing::info!("the endpoint is not ready: {new}");
            *problem = Some(new);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn model_names(body: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Vec::new();
    };
    let models = value["data"].as_array().cloned().unwrap_or_default();
    models
        .iter()
        .filter_map(|model| model["id"].as_str().map(str::to_owned))
        .collect()
}

/// What this process is: every rank of a run must be the same.
pub(crate) struct Identity {
    pub(crate) node: String,
    /// The sha256 of its program.
    pub(crate) build: String,
    /// The sha256 of the run configuration.
    pub(crate) config: String,
}

impl Identity {
    /// That of this process, whose run configuration is in `config`.
    pub(crate) fn find(config: &Path) -> anyhow::Result<Self> {
        let text = fs::read(config).with_context(|| format!("failed to read `{}`", config.display()))?;
        Ok(Self {
            node: node(),
            build: own_digest().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            config: digest(&text),
        })
    }
}

fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the load generator adds to what the configuration says, which is recorded with the run; `workers` threads send,
/// here and on the `other_nodes`.
pub(crate) fn provenance(workers: u32, other_nodes: &[String]) -> Provenance {
    let mut provenance = Provenance::default();
    provenance.set(Provenance::LOADGEN_VERSION, env!("CARGO_PKG_VERSION"));
    if let Some(digest) = own_digest() {
        provenance.set(Provenance::LOADGEN_SHA256, digest);
    }
    let mut nodes = vec![node()];
    nodes.extend_from_slice(other_nodes);
    provenance.set(Provenance::LOADGEN_NODE, nodes.join(","));
    provenance.set(Provenance::WORKERS, workers.to_string());
    provenance.set(
        Provenance::WORKLOAD_VERSION,
        gipfel_workload::ALGORITHM_VERSION.to_string(),
    );
    provenance
}

/// What prompts came from.
pub(crate) fn add_prompts(provenance: &mut Provenance, config: &RunConfig, prompts: &Prompts) {
    if !prompts.files.is_empty() {
        let files = serde_json::to_string(&prompts.files).unwrap_or_default();
        provenance.set(Provenance::DATASET, files);
    }
    if let (Some(path), Some(tokenizer)) = (&config.workload.prompts.tokenizer, &prompts.tokens) {
        let facts = serde_json::json!({ "path": path, "sha256": tokenizer.sha256 });
        provenance.set(Provenance::TOKENIZER, facts.to_string());
    }
}

pub(crate) fn own_digest() -> Option<String> {
    Some(digest(&fs::read(std::env::current_exe().ok()?).ok()?))
}

fn digest(bytes: &[u8]) -> String {
    let mut digest = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_model_is_measured() {
        let check = |deployment, listed: &[&str], expected: Option<&str>| {
            let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
            assert_eq!(choose_model("m", deployment, &listed).ok().as_deref(), expected);
        };
        check(DeploymentKind::External, &["a", "m"], Some("m"));
        check(DeploymentKind::External, &["a"], None);
        check(DeploymentKind::External, &[], Some("m"));
        check(DeploymentKind::Local, &["a"], Some("a"));
        check(DeploymentKind::Local, &["a", "b"], None);
    }

    #[test]
    fn model_names_are_read_from_the_list() {
        let check = |body: &str, names: &[&str]| assert_eq!(model_names(body.as_bytes()), names);
        check(r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#, &["a", "b"]);
        check(r#"{"data":[]}"#, &[]);
        check("no JSON", &[]);
    }

    #[tokio::test]
    async fn an_endpoint_that_never_answers_is_waited_for_within_a_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let target = gipfel_stream_client::Target::parse(&url).expect("a URL");
        let clock = gipfel_stream_client::Clock::start();
        let options = gipfel_stream_client::ClientOptions::default();
        let client = Client::new(clock, target, options).expect("a client");
        let engine = gipfel_engine::engine(gipfel_model::BackendKind::Sim);
        let listing = ready_listing(&client, engine, &url, Duration::from_millis(100)).await;
        let message = format!("{:#}", listing.expect_err("nobody listens"));
        assert!(
            message.starts_with(&format!(
                "the server at {url} was not ready within 0.1 s: could not connect"
            )),
            "{message}"
        );
    }
}
