//! The form of an engine's file.

use std::collections::BTreeMap;

use gipfel_model::BackendKind;
use serde::Deserialize;

use crate::log::LogReason;

/// One file of `engines/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineData {
    /// The kind's name, so that a file under a wrong name is noticed.
    pub(crate) name: BackendKind,
    pub(crate) health_path: String,
    pub(crate) lists_models_when_ready: bool,
    pub(crate) chat_path: String,
    pub(crate) completions_path: String,
    pub(crate) models_path: String,
    pub(crate) metrics_path: Option<String>,
    pub(crate) version: Option<VersionData>,
    pub(crate) request: RequestData,
    pub(crate) launch: LaunchData,
    #[serde(default)]
    pub(crate) metrics: MetricNames,
    #[serde(default)]
    pub(crate) log: Vec<LogPattern>,
    #[serde(default)]
    pub(crate) load: Vec<LoadPattern>,
}

/// Where the engine tells its version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionData {
    pub(crate) path: String,
    pub(crate) key: String,
}

/// The form of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dialect {
    /// OpenAI's.
    Openai,
    /// Ollama's own, of lines of JSON.
    Ollama,
}

/// The dialect, and what a request may hold beyond what all of the dialect understand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestData {
    pub(crate) dialect: Dialect,
    pub(crate) ignore_eos: bool,
    pub(crate) min_tokens: bool,
}

/// How the engine is started on one machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LaunchData {
    /// Program and arguments with `{model}`, `{host}` and `{port}`; absent when there is no command that suffices.
    pub(crate) command: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// By the keys of `backend_config`.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, Setting>,
    /// What is different on the nodes of a cluster.
    #[serde(default)]
    pub(crate) cluster: ClusterData,
}

/// How the engine is started on one or more nodes of a cluster. Beside `{model}`, `{host}` and `{port}` there are
/// `{rank}` and `{nodes}`, `{address}` of the node itself, `{head}` and `{head_port}` of the first node, and
/// `{directory}`, which all nodes share.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterData {
    /// What takes the requests on the first node, where the command does not.
    pub(crate) frontend: Option<Vec<String>>,
    /// The command of every node; absent: that of one machine.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Behind the command of every node when there are several; absent: one node has to be enough.
    pub(crate) ranks: Option<Vec<String>>,
    /// Behind that on every node but the first.
    pub(crate) followers: Vec<String>,
    /// The setting that leaves the nodes to Ray.
    pub(crate) ray: Option<RaySetting>,
}

/// A key of `backend_config` with the value that asks for Ray.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RaySetting {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// How a key of `backend_config` becomes arguments.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Setting {
    /// A text or number behind a flag.
    Value(String),
    /// True or false, each with its flag; an empty flag is left out.
    Switch { on: String, off: String },
    /// An object as JSON behind a flag, some of its keys under the engine's names.
    Json {
        flag: String,
        #[serde(default)]
        rename: BTreeMap<String, String>,
    },
    /// An object, each of whose keys is a setting; `defaults` are added for keys that are absent.
    Table {
        keys: BTreeMap<String, Setting>,
        #[serde(default)]
        defaults: BTreeMap<String, String>,
    },
}

/// The names of each metric, the preferred one first; `a + b` is the sum of two.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricNames {
    pub(crate) requests_running: Vec<String>,
    pub(crate) requests_waiting: Vec<String>,
    pub(crate) kv_cache_usage: Vec<String>,
    pub(crate) preemptions: Vec<String>,
    pub(crate) prefix_cache_queries: Vec<String>,
    pub(crate) prefix_cache_hits: Vec<String>,
    pub(crate) spec_accepted_tokens: Vec<String>,
    pub(crate) spec_draft_tokens: Vec<String>,
    pub(crate) ttft_sum: Vec<String>,
    pub(crate) ttft_count: Vec<String>,
    pub(crate) queue_sum: Vec<String>,
    pub(crate) queue_count: Vec<String>,
}

/// A line that holds all of these texts, in any case, names a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogPattern {
    pub(crate) reason: LogReason,
    pub(crate) all: Vec<String>,
}

/// A line of the log that tells how long a step of the start took.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadPattern {
    /// What the step is called.
    pub(crate) step: String,
    /// What the line holds, in lower case.
    pub(crate) line: String,
    /// What follows the number of seconds, the first time after that.
    pub(crate) before: String,
}

/// Patterns that hold for every engine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommonData {
    log: Vec<LogPattern>,
}

/// Why an engine's file is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("the file of `{0}` is not of the documented form")]
    Form(BackendKind, #[source] toml::de::Error),
    #[error("the file of `{expected}` names `{found}`")]
    Name {
        expected: BackendKind,
        found: BackendKind,
    },
}

/// The engine's data, with the common log patterns behind its own.
pub(crate) fn parse(kind: BackendKind) -> Result<EngineData, DataError> {
    parse_text(kind, text(kind))
}

/// The data of an engine's file, under this kind.
pub(crate) fn parse_text(kind: BackendKind, text: &str) -> Result<EngineData, DataError> {
    let form = |error| DataError::Form(kind, error);
    let mut data: EngineData = toml::from_str(text).map_err(form)?;
    if data.name != kind {
        return Err(DataError::Name {
            expected: kind,
            found: data.name,
        });
    }
    let common: CommonData = toml::from_str(include_str!("../engines/common.toml")).map_err(form)?;
    data.log.extend(common.log);
    for pattern in &mut data.log {
        pattern
            .all
            .iter_mut()
            .for_each(|text| text.make_ascii_lowercase());
    }
    Ok(data)
}

fn text(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Sim => include_str!("../engines/sim.toml"),
        BackendKind::Vllm => include_str!("../engines/vllm.toml"),
        BackendKind::Sglang => include_str!("../engines/sglang.toml"),
        BackendKind::Dynamo => include_str!("../engines/dynamo.toml"),
        BackendKind::Llamacpp => include_str!("../engines/llamacpp.toml"),
        BackendKind::Ollama => include_str!("../engines/ollama.toml"),
        BackendKind::Openai => include_str!("../engines/openai.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_parses() {
        for &kind in BackendKind::ALL {
            let data = parse(kind).unwrap_or_else(|error| panic!("{error}: {error:?}"));
            for path in [
                &data.health_path,
                &data.chat_path,
                &data.completions_path,
                &data.models_path,
            ] {
                assert!(path.starts_with('/'), "{kind}: {path}");
            }
            assert!(data.log.iter().all(|pattern| !pattern.all.is_empty()), "{kind}");
        }
    }
}
