//! Inference engines as data: commands, readiness, metric names, request dialect, failure patterns.
//!
//! Each engine is one TOML file under `engines/`, embedded and parsed once. A new engine is a new file and a new
//! [`BackendKind`]; no code knows an engine by name.
//!
//! ```
//! use gipfel_engine::{LogReason, engine};
//! use gipfel_model::BackendKind;
//!
//! let vllm = engine(BackendKind::Vllm);
//! assert_eq!(vllm.health_path(), "/health");
//! let finding = vllm.classify_log("torch.OutOfMemoryError: CUDA out of memory.").unwrap();
//! assert_eq!(finding.reason, LogReason::OutOfMemory);
//! ```

mod cluster;
mod command;
mod data;
mod dialect;
mod log;
mod metrics;

use std::{collections::BTreeMap, sync::LazyLock};

use gipfel_model::{ApiEndpoint, BackendKind};

pub use cluster::ClusterCommand;
pub use command::CommandError;
pub use dialect::{Framing, Message};
pub use log::{LogFinding, LogReason};
pub use metrics::EngineMetrics;

/// What gipfel knows of an inference engine.
#[derive(Debug)]
pub struct Engine {
    kind: BackendKind,
    data: data::EngineData,
}

/// The engine of this kind.
pub fn engine(kind: BackendKind) -> &'static Engine {
    static ENGINES: LazyLock<BTreeMap<BackendKind, Engine>> = LazyLock::new(|| {
        let parse = |kind: BackendKind| {
            let data =
                data::parse(kind).expect("the embedded engine files are valid, which a test makes sure of");
            (kind, Engine { kind, data })
        };
        BackendKind::ALL.iter().copied().map(parse).collect()
    });
    ENGINES
        .get(&kind)
        .expect("every kind has an entry, since the map is made from all of them")
}

impl Engine {
    /// The kind that this engine is.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Answers 2xx once the server is healthy.
    pub fn health_path(&self) -> &str {
        &self.data.health_path
    }

    /// Whether a healthy server is ready only when it lists a model.
    pub fn lists_models_when_ready(&self) -> bool {
        self.data.lists_models_when_ready
    }

    /// Where metrics are read in the Prometheus text format; absent when the engine has none.
    pub fn metrics_path(&self) -> Option<&str> {
        self.data.metrics_path.as_deref()
    }

    /// Where answers of this API are asked for.
    pub fn api_path(&self, endpoint: ApiEndpoint) -> &str {
        match endpoint {
            ApiEndpoint::Chat => &self.data.chat_path,
            ApiEndpoint::Completions => &self.data.completions_path,
        }
    }

    /// Lists the models.
    pub fn models_path(&self) -> &str {
        &self.data.models_path
    }

    /// Answers with a JSON object that holds the engine's version; absent when there is no such path.
    pub fn version_path(&self) -> Option<&str> {
        self.data.version.as_ref().map(|version| version.path.as_str())
    }

    /// Reads the engine's version from the answer of [`Engine::version_path`].
    pub fn read_version(&self, answer: &[u8]) -> Option<String> {
        let key = &self.data.version.as_ref()?.key;
        let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
        answer.get(key)?.as_str().map(str::to_owned)
    }
}
