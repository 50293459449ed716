//! A server over several nodes as a LeaderWorkerSet (`leaderworkerset.x-k8s.io/v1`): a leader and its workers, which start
//! and end together.

use gipfel_model::{DeploymentSpec, K8sSpec};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{ManifestError, Names, pod};
use crate::extension::{Extension, Kind};

/// The leader among the pods of a server.
pub(crate) const ROLE: (&str, &str) = ("gipfel/role", "leader");

/// What the operator tells every container.
const INDEX: &str = "$(LWS_WORKER_INDEX)";
const LEADER: &str = "$(LWS_LEADER_ADDRESS)";

/// What a LeaderWorkerSet is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    /// How many groups.
    pub replicas: i32,
    /// Whether workers wait for their leader to be ready.
    pub startup_policy: String,
    /// The pods of a group.
    pub leader_worker_template: LeaderWorkerTemplate,
}

/// The pods of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderWorkerTemplate {
    /// How many, with the leader.
    pub size: i32,
    /// What becomes of a group of which a pod fails.
    pub restart_policy: String,
    /// The leader.
    pub leader_template: PodTemplateSpec,
    /// The others.
    pub worker_template: PodTemplateSpec,
}

impl GroupSpec {
    /// How many pods there are to be.
    pub(crate) fn pods(&self) -> usize {
        (self.replicas * self.leader_worker_template.size).unsigned_abs() as usize
    }
}

impl Kind for GroupSpec {
    const GROUP: &'static str = "leaderworkerset.x-k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "LeaderWorkerSet";
    const PLURAL: &'static str = "leaderworkersets";
}

/// A server over so many nodes.
pub(super) fn group(
    names: &Names,
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
    nodes: u32,
) -> Result<Extension<GroupSpec>, ManifestError> {
    let template = |is_leader: bool| -> Result<PodTemplateSpec, ManifestError> {
        let place = pod::Rank {
            index: INDEX,
            leader: LEADER,
            nodes,
            is_leader,
        };
        let mut template = pod::template_of_rank(spec, k8s, place)?;
        let mut labels = names.metadata.labels.clone().unwrap_or_default();
        if is_leader {
            labels.insert(ROLE.0.to_owned(), ROLE.1.to_owned());
        }
        template.metadata = Some(ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        });
        Ok(template)
    };
    let spec = GroupSpec {
        replicas: 1,
        // A leader is ready once its workers have joined it.
        startup_policy: "LeaderCreated".to_owned(),
        leader_worker_template: LeaderWorkerTemplate {
            size: nodes as i32,
            restart_policy: "RecreateGroupOnPodRestart".to_owned(),
            leader_template: template(true)?,
            worker_template: template(false)?,
        },
    };
    Ok(Extension::new(names.operated.clone(), spec))
}
