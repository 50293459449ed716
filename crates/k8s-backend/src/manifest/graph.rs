//! A server of Dynamo as its operator's graph (`nvidia.com/v1beta1`): a frontend and workers, each over as many nodes as the
//! model needs.

use gipfel_model::{DeploymentSpec, K8sSpec};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{ManifestError, Names, group::ROLE, pod};
use crate::extension::{Extension, Kind};

/// The container that the operator looks for.
const MAIN: &str = "main";

/// What a graph is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GraphSpec {
    /// The engine of its workers.
    pub backend_framework: String,
    /// Its parts.
    pub components: Vec<Component>,
}

/// A part of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// `frontend` or `worker`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many of it.
    pub replicas: i32,
    /// How many nodes each spans; absent: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multinode: Option<Multinode>,
    /// Its pods.
    pub pod_template: PodTemplateSpec,
}

/// How many nodes a part spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Multinode {
    /// The nodes.
    pub node_count: i32,
}

impl GraphSpec {
    /// How many pods there are to be.
    pub(crate) fn pods(&self) -> usize {
        let of = |part: &Component| part.replicas * part.multinode.map_or(1, |several| several.node_count);
        self.components.iter().map(of).sum::<i32>().unsigned_abs() as usize
    }
}

impl Kind for GraphSpec {
    const GROUP: &'static str = "nvidia.com";
    const VERSION: &'static str = "v1beta1";
    const KIND: &'static str = "DynamoGraphDeployment";
    const PLURAL: &'static str = "dynamographdeployments";
}

/// A server over so many nodes.
pub(super) fn graph(
    names: &Names,
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
    nodes: u32,
) -> Result<Extension<GraphSpec>, ManifestError> {
    let (frontend, worker) = pod::parts(spec, k8s)?;
    let frontend = Component {
        name: "Frontend".to_owned(),
        kind: "frontend".to_owned(),
        replicas: 1,
        multinode: None,
        pod_template: labelled(names, frontend, true),
    };
    let worker = Component {
        name: "Worker".to_owned(),
        kind: "worker".to_owned(),
        replicas: 1,
        multinode: (nodes > 1).then_some(Multinode {
            node_count: nodes as i32,
        }),
        pod_template: labelled(names, worker, false),
    };
    let spec = GraphSpec {
        backend_framework: "vllm".to_owned(),
        components: vec![frontend, worker],
    };
    Ok(Extension::new(names.operated.clone(), spec))
}

/// The operator finds each pod's container by its name.
fn labelled(names: &Names, mut template: PodTemplateSpec, is_leader: bool) -> PodTemplateSpec {
    let mut labels = names.metadata.labels.clone().unwrap_or_default();
    if is_leader {
        labels.insert(ROLE.0.to_owned(), ROLE.1.to_owned());
    }
    template.metadata = Some(ObjectMeta {
        labels: Some(labels),
        ..ObjectMeta::default()
    });
    for container in template.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
        MAIN.clone_into(&mut container.name);
    }
    template
}
