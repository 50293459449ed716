//! Kinds of objects that a cluster must have been given for a server.

use std::fmt;

use gipfel_model::{DeploymentSpec, K8sSpec};

use crate::{
    api::{ApiError, ApiServer},
    manifest::{WorkloadKind, nodes},
};

/// A kind of objects that a cluster may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Api {
    /// Its group with the version, such as `leaderworkerset.x-k8s.io/v1`.
    pub version: &'static str,
    /// The kind in paths: an operator may serve one kind in a version and another not.
    pub resource: &'static str,
}

const LEADER_WORKER_SETS: Api = Api {
    version: "leaderworkerset.x-k8s.io/v1",
    resource: "leaderworkersets",
};

/// APIs that an administrator installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// All of one of these lists have to be there.
    pub any_of: &'static [&'static [Api]],
    /// What to ask the administrator for.
    pub ask_for: &'static str,
}

/// Several nodes without Ray.
const GROUPS: Requirement = Requirement {
    any_of: &[&[LEADER_WORKER_SETS]],
    ask_for: "LeaderWorkerSet (LWS), 0.10 or later",
};

/// Dynamo.
const GRAPHS: Requirement = Requirement {
    any_of: &[&[Api {
        version: "nvidia.com/v1beta1",
        resource: "dynamographdeployments",
    }]],
    ask_for: "the operator of NVIDIA Dynamo",
};

/// What Dynamo's operator leaves several nodes to.
const GRAPHS_OVER_NODES: Requirement = Requirement {
    any_of: &[
        &[Api {
            version: "grove.io/v1alpha1",
            resource: "podcliquesets",
        }],
        &[
            LEADER_WORKER_SETS,
            Api {
                version: "scheduling.volcano.sh/v1beta1",
                resource: "podgroups",
            },
        ],
    ],
    ask_for: "Grove, or LeaderWorkerSet with Volcano, by which Dynamo's operator joins nodes",
};

impl Requirement {
    /// What this server needs.
    pub fn of(spec: &DeploymentSpec, k8s: &K8sSpec) -> Vec<Self> {
        match WorkloadKind::of(spec, k8s) {
            WorkloadKind::Deployment => Vec::new(),
            WorkloadKind::LeaderWorkerSet => vec![GROUPS],
            WorkloadKind::DynamoGraphDeployment if nodes(spec, k8s) > 1 => vec![GRAPHS, GRAPHS_OVER_NODES],
            WorkloadKind::DynamoGraphDeployment => vec![GRAPHS],
        }
    }

    pub(crate) async fn is_met(self, server: &ApiServer) -> Result<bool, ApiError> {
        for all in self.any_of {
            if has_all(server, all).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, all) in self.any_of.iter().enumerate() {
            let or = if index == 0 { "" } else { " or " };
            let versions: Vec<&str> = all.iter().map(|api| api.version).collect();
            write!(f, "{or}{}", versions.join(" and "))?;
        }
        Ok(())
    }
}

async fn has_all(server: &ApiServer, apis: &'static [Api]) -> Result<bool, ApiError> {
    for api in apis {
        let ask = |client: kube::Client| async move { client.list_api_group_resources(api.version).await };
        let is_there = match server.call_surely(ask).await {
            Ok(served) => served.resources.iter().any(|one| one.name == api.resource),
            Err(ApiError::MissingKind | ApiError::Missing(_)) => false,
            Err(error) => return Err(error),
        };
        if !is_there {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        extension::Kind,
        manifest::{GraphSpec, GroupSpec},
    };

    #[test]
    fn the_apis_are_those_of_our_objects() {
        fn check<S: Kind>(requirement: Requirement) {
            let api = requirement.any_of[0][0];
            assert_eq!(api.version, format!("{}/{}", S::GROUP, S::VERSION));
            assert_eq!(api.resource, S::PLURAL);
        }
        check::<GroupSpec>(GROUPS);
        check::<GraphSpec>(GRAPHS);
        assert_eq!(
            GRAPHS_OVER_NODES.to_string(),
            "grove.io/v1alpha1 or leaderworkerset.x-k8s.io/v1 and scheduling.volcano.sh/v1beta1"
        );
    }
}
