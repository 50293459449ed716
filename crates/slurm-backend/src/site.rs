//! Profiles of clusters: what their partitions allow, how GPUs and containers are asked for, what the network needs.
//!
//! Each built-in profile is one TOML file under `deploy/sites/`. A file of one's own has the same form.

use std::{collections::BTreeMap, fs, io, path::Path};

use firecrest_client::{NameError, RemotePath};
use gipfel_model::{BackendKind, ContainerKind, DeploymentKind, EndpointSpec, RunConfig, Walltime};
use serde::Deserialize;

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The directory under which runs live where the user names none; `{user}` is filled in.
    scratch: Option<String>,
    /// A directory of each node's own.
    pub local_directory: String,
    /// What its nodes' processors are, as `uname -m` says it; absent: as this machine's.
    pub architecture: Option<String>,
    /// The most GPUs that a node has, where that is known.
    pub gpus_per_node: Option<u32>,
    /// How GPUs are asked for.
    pub gpu_request: GpuRequest,
    /// Whether a job asks for whole nodes.
    pub exclusive: bool,
    /// Lines of shell that prepare a job, such as `module load …`.
    #[serde(default)]
    pub prologue: Vec<String>,
    /// The login node for ssh, where tunnels to servers go through.
    pub login_host: Option<String>,
    /// The host through which the login node is reached.
    pub proxy_jump: Option<String>,
    /// Where FirecREST is.
    pub firecrest: Option<FirecrestFacts>,
    /// Its partitions, as far as they are known.
    #[serde(default)]
    pub partitions: BTreeMap<String, Partition>,
    /// What servers are started in.
    pub container: Container,
    /// Variables of servers; those of the user go before them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The way out of compute nodes, where there is no other.
    pub proxy: Option<Proxy>,
}

/// How GPUs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuRequest {
    /// Not at all: nodes come with their GPUs, or there are none.
    None,
    /// `--gpus-per-node`.
    GpusPerNode,
    /// `--gres=gpu:…`.
    Gres,
}

/// Where FirecREST is, for messages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirecrestFacts {
    /// The API's base URL.
    pub url: String,
    /// The cluster's name there.
    pub system: String,
}

/// What a partition allows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Partition {
    /// The longest walltime.
    pub time_limit: Option<Walltime>,
    /// The most nodes of a job.
    pub nodes: Option<u32>,
    /// The most node-hours of a job.
    pub node_hours: Option<f64>,
    /// Whether nodes are shared with other jobs.
    pub shared: bool,
}

/// What servers are started in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The way.
    pub kind: ContainerKind,
    /// Directories of the node that the container sees under the same path.
    #[serde(default)]
    pub mounts: Vec<String>,
    /// The variant of the hook that brings NCCL's plugin for Slingshot.
    pub aws_ofi_nccl: Option<String>,
    /// The images of engines.
    #[serde(default)]
    pub images: BTreeMap<BackendKind, String>,
}

/// The way out of compute nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The proxy's URL.
    pub url: String,
    /// What is reached without it, beside the job's own nodes.
    #[serde(default)]
    pub except: Vec<String>,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// No built-in profile has this name.
    #[error(
        "there is no profile `{name}`; known are {}: name one of them under `site`, or a file of your own such as \
         `./{name}.toml`",
        names().join(", ")
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The file cannot be read.
    #[error("failed to read the profile `{file}`")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no profile.
    #[error("`{file}` is no profile of a cluster")]
    Form {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
}

const BUILT_IN: &[(&str, &str)] = &[
    ("bristen", include_str!("../../../deploy/sites/bristen.toml")),
    ("clariden", include_str!("../../../deploy/sites/clariden.toml")),
    ("daint", include_str!("../../../deploy/sites/daint.toml")),
    ("generic", include_str!("../../../deploy/sites/generic.toml")),
    ("meluxina", include_str!("../../../deploy/sites/meluxina.toml")),
];

/// The names of the built-in profiles.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

impl Site {
    /// The profile of this name, or in this file: a file's path has a `/` or ends in `.toml`.
    pub fn load(name: &str) -> Result<Self, SiteError> {
        let ends_as_file = Path::new(name).extension().is_some_and(|end| end == "toml");
        if !ends_as_file && !name.contains('/') {
            return Self::built_in(name);
        }
        let text = fs::read_to_string(name).map_err(|source| SiteError::Read {
            file: name.to_owned(),
            source,
        })?;
        Self::parse(&text, name)
    }

    /// The built-in profile of this name.
    pub fn built_in(name: &str) -> Result<Self, SiteError> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| SiteError::Unknown {
            name: name.to_owned(),
        })?;
        Self::parse(text, name)
    }

    /// Reads a profile; faults name `file`.
    pub fn parse(text: &str, file: &str) -> Result<Self, SiteError> {
        toml::from_str(text).map_err(|source| SiteError::Form {
            file: file.to_owned(),
            source,
        })
    }

    /// Where this user's runs live when the user names no directory; nothing when the profile has none.
    pub fn scratch(&self, user: &str) -> Option<Result<RemotePath, NameError>> {
        let scratch = self.scratch.as_deref()?;
        Some(RemotePath::try_new(scratch.replace("{user}", user)))
    }
}

impl Proxy {
    /// Whether a host is reached through it, and not directly.
    fn leads_to(&self, host: &str) -> bool {
        let is_own = host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]";
        let is_except = |name: &String| {
            let name = name
                .trim_start_matches('*')
                .trim_start_matches('.')
                .to_ascii_lowercase();
            let host = host.to_ascii_lowercase();
            host.strip_suffix(&name)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        // A name without a dot is one of the cluster's own nodes.
        let is_node = !host.contains(['.', ':']);
        !is_own && !is_node && !self.except.iter().any(is_except)
    }
}

impl Site {
    /// The proxy by which a load generator on the cluster's nodes reaches these servers; nothing where it reaches them
    /// directly, or the endpoint names a proxy of its own.
    pub fn proxy_to(&self, endpoint: &EndpointSpec) -> Option<&str> {
        let proxy = self.proxy.as_ref().filter(|_| endpoint.proxy.is_none())?;
        let leads = endpoint.urls().filter_map(host).any(|host| proxy.leads_to(host));
        leads.then_some(proxy.url.as_str())
    }

    /// What a load generator on the cluster's nodes is told, who reaches a server outside through the proxy. One in a job
    /// of the cluster is reached directly.
    pub fn through_proxy(&self, mut config: RunConfig) -> RunConfig {
        let proxy = match config.deployment {
            DeploymentKind::External => self.proxy_to(&config.endpoint).map(str::to_owned),
            DeploymentKind::Slurm | DeploymentKind::Local | DeploymentKind::K8s => None,
        };
        config.endpoint.proxy = config.endpoint.proxy.or(proxy);
        config
    }
}

/// The host of a URL, without its port.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    if let Some(end) = authority.find(']') {
        return authority.get(..=end);
    }
    authority.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_reached_through_the_proxy() {
        let text = "name = 'x'\nlocal_directory = '/tmp'\ngpu_request = 'none'\nexclusive = true\n\
                    [container]\nkind = 'none'\n[proxy]\nurl = 'http://proxy:3128'\n\
                    except = ['.cscs.ch', '10.0.0.7', '*.local', 'plain.example.org']\n";
        let site = Site::parse(text, "own.toml").expect("a profile");
        let check = |url: &str, expected: bool| {
            let endpoint = EndpointSpec::new(url);
            assert_eq!(site.proxy_to(&endpoint).is_some(), expected, "{url}");
            let direct = Site::built_in("generic").expect("a profile");
            assert_eq!(direct.proxy_to(&endpoint), None);
        };
        check("https://api.example.org/v1", true);
        check("http://api.example.org:8000", true);
        check("https://plain.example.org", false);
        check("https://notplain.example.org", true);
        check("https://server.svc.cscs.ch", false);
        check("https://cscs.ch:8443", false);
        check("https://notcscs.ch", true);
        check("http://a.local", false);
        check("http://nid001001:8080", false);
        check("http://10.0.0.7:1", false);
        check("http://10.0.0.8:1", true);
        check("http://127.0.0.1:1", false);
        check("http://[::1]:1", false);
        check("http://[2001:db8::1]:1", true);
        let mut named = EndpointSpec::new("https://api.example.org");
        named.proxy = Some("http://other:1".to_owned());
        assert_eq!(site.proxy_to(&named), None);
    }

    #[test]
    fn built_in_profiles_are_of_their_names() {
        for name in names() {
            let site = Site::built_in(name).unwrap_or_else(|error| panic!("{error}: {error:?}"));
            assert_eq!(site.name, name);
        }
    }

    #[test]
    fn a_users_directory_has_the_users_name() {
        let site = Site::built_in("clariden").expect("a profile");
        let path = site.scratch("someone").expect("a directory").expect("a path");
        assert_eq!(path.as_str(), "/capstor/scratch/cscs/someone/gipfel");
        assert_eq!(Site::built_in("generic").expect("a profile").scratch("x"), None);
    }

    #[test]
    fn faults_say_where() {
        let check = |text: &str, expected: &[&str]| {
            let error = Site::parse(text, "own.toml").expect_err("no profile");
            let source = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            for words in expected {
                assert!(source.contains(words), "{source}");
            }
        };
        let head = "name = 'x'\nlocal_directory = '/tmp'\ngpu_request = 'none'\nexclusive = true\n";
        check(
            &format!("{head}colour = 1\n"),
            &["line 5", "unknown field `colour`"],
        );
        check(
            &format!("{head}[container]\nkind = 'docker'\n"),
            &["line 6", "container-engine", "apptainer"],
        );
        check(
            &format!("{head}[partitions.a]\ntime_limit = 'long'\n[container]\nkind = 'none'\n"),
            &["line 6", "no walltime"],
        );
        check(head, &["missing field `container`"]);
    }

    #[test]
    fn a_name_without_a_profile_lists_those_there_are() {
        let error = Site::load("eiger").expect_err("no profile").to_string();
        assert!(
            error.contains("bristen, clariden, daint, generic, meluxina"),
            "{error}"
        );
        let error = Site::load("/no/such.toml").expect_err("no file").to_string();
        assert_eq!(error, "failed to read the profile `/no/such.toml`");
    }
}
