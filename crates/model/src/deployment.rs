//! What a server is: model, engine, place.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{k8s::K8sSpec, slurm::SlurmSpec, units::seconds};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the documented order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in configurations, ids and databases.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::deployment::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    crate::deployment::UnknownName {
                        found: text.to_owned(),
                        allowed: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use names;

/// A text that names no value of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is none of {allowed}")]
pub struct UnknownName {
    /// What was found.
    pub found: String,
    /// The names that exist, separated by commas.
    pub allowed: String,
}

names! {
    /// The inference engine, or the dialect of a URL.
    BackendKind {
        /// Gipfel's own simulator of known capacity.
        Sim = "sim",
        /// vLLM.
        Vllm = "vllm",
        /// SGLang.
        Sglang = "sglang",
        /// NVIDIA Dynamo.
        Dynamo = "dynamo",
        /// llama.cpp's server.
        Llamacpp = "llamacpp",
        /// Ollama, through its own API.
        Ollama = "ollama",
        /// Any other OpenAI-compatible server.
        Openai = "openai",
    }
}

names! {
    /// Where the server lives.
    DeploymentKind {
        /// A process of this machine that gipfel starts and ends.
        Local = "local",
        /// A URL of a server that gipfel does not own.
        External = "external",
        /// A Slurm job.
        Slurm = "slurm",
        /// A Kubernetes deployment.
        K8s = "k8s",
    }
}

/// Where an endpoint's API key is read, at the place that sends it; the key itself is in no file of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ApiKeySource {
    /// The endpoint asks for no key.
    #[default]
    None,
    /// An environment variable of this name.
    Environment(String),
    /// A file whose text is the key.
    File(PathBuf),
}

/// Where a header's value is read. What is secret stands in no file of ours, so it is read at the place that sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HeaderSource {
    /// The value itself, which is no secret.
    Text(String),
    /// An environment variable of this name.
    Environment(String),
    /// A file whose text is the value.
    File(PathBuf),
}

/// An OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The server's base URL without a trailing slash and without `/v1`, such as `http://127.0.0.1:8000`.
    pub url: String,
    /// Base URLs of further servers of the same kind; each request goes to one of them or to `url`, at random.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// Where the key is read.
    pub api_key: ApiKeySource,
    /// Headers that every request carries, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderSource>,
    /// A file of certificates in PEM of authorities that are trusted beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy on the way, such as `http://proxy:3128`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Whether HTTP/2 is spoken; without TLS, by prior knowledge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
}

impl EndpointSpec {
    /// An endpoint without a key; a trailing slash or `/v1` of `url` is dropped.
    pub fn new(url: &str) -> Self {
        Self {
            url: base(url),
            replicas: Vec::new(),
            api_key: ApiKeySource::None,
            headers: BTreeMap::new(),
            ca_file: None,
            proxy: None,
            http2: false,
        }
    }

    /// That of a server which still loads: a load generator that waits for it by itself reads its URL where the server's
    /// job writes it.
    pub fn awaited() -> Self {
        Self::new("http://awaited.invalid")
    }

    /// The base URLs of all servers; their places in this order are their indices.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url)
            .chain(&self.replicas)
            .map(String::as_str)
    }
}

/// A base URL without a trailing slash and without `/v1`.
pub fn base(url: &str) -> String {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1")
        .unwrap_or(url)
        .trim_end_matches('/')
        .to_owned()
}

/// How a server is started on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// Program and arguments; without it the engine's own command. `{model}`, `{host}` and `{port}` are filled in.
    pub command: Option<Vec<String>>,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// Appended to the command.
    pub extra_args: Vec<String>,
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
}

/// Where a server lives, with what that place needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A process of this machine.
    Local(LocalSpec),
    /// A URL.
    External(EndpointSpec),
    /// A Slurm job.
    Slurm(Box<SlurmSpec>),
    /// A Kubernetes deployment.
    K8s(Box<K8sSpec>),
}

impl Placement {
    /// The kind that ids and messages name.
    pub fn kind(&self) -> DeploymentKind {
        match self {
            Self::Local(_) => DeploymentKind::Local,
            Self::External(_) => DeploymentKind::External,
            Self::Slurm(_) => DeploymentKind::Slurm,
            Self::K8s(_) => DeploymentKind::K8s,
        }
    }
}

/// A server: two equal specs may share one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// The model's name, path or repository.
    pub model: String,
    /// The engine.
    pub backend: BackendKind,
    /// Where it lives.
    pub placement: Placement,
    /// The engine's settings under the predecessor's names, such as `tensor_parallel_size`.
    pub backend_config: serde_json::Map<String, serde_json::Value>,
    /// Counts the fresh servers of a repeated experiment, from 0: equal specs share one server, and these must not.
    pub instance: u32,
    /// How long the server may take until it answers.
    #[serde(rename = "server_ready_timeout_s", with = "seconds")]
    pub server_ready_timeout: Duration,
}

impl DeploymentSpec {
    /// How many GPUs serve the model: tensor × pipeline × data parallelism.
    pub fn gpus(&self) -> u32 {
        let size = |key: &str| {
            let size = self.backend_config.get(key).and_then(serde_json::Value::as_u64);
            size.map_or(1, |size| u32::try_from(size).unwrap_or(u32::MAX).max(1))
        };
        size("tensor_parallel_size")
            .saturating_mul(size("pipeline_parallel_size"))
            .saturating_mul(size("data_parallel_size"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_its_base() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(EndpointSpec::new(url).url, "http://h:1");
        }
    }

    #[test]
    fn names_are_read_as_written() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        let error = "vlm".parse::<BackendKind>().map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("`vlm` is none of sim, vllm, sglang, dynamo, llamacpp, ollama, openai".to_owned())
        );
    }
}
