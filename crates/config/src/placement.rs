//! Where a server lives, from the keys of its kind of deployment.

use gipfel_model::{DeploymentKind, EndpointSpec, LocalSpec, deployment::Placement};

use crate::{
    cluster::{self, ClusterSettings},
    endpoint, local,
    section::Section,
    slurm,
};

/// Which deployments read which keys.
const READERS: &[(&[&str], &[DeploymentKind])] = &[
    (endpoint::KEYS, &[DeploymentKind::External]),
    (
        local::KEYS,
        &[DeploymentKind::Local, DeploymentKind::Slurm, DeploymentKind::K8s],
    ),
    (slurm::SERVER_KEYS, &[DeploymentKind::Slurm]),
    (
        slurm::LOAD_KEYS,
        &[
            DeploymentKind::Slurm,
            DeploymentKind::External,
            DeploymentKind::K8s,
        ],
    ),
    (slurm::IMAGE_KEYS, &[DeploymentKind::Slurm, DeploymentKind::K8s]),
    (cluster::K8S_KEYS, &[DeploymentKind::K8s]),
    (
        cluster::K8S_PLACE_KEYS,
        &[DeploymentKind::External, DeploymentKind::K8s],
    ),
    (
        cluster::CLUSTER_KEYS,
        &[DeploymentKind::Slurm, DeploymentKind::K8s],
    ),
    (
        &["port"],
        &[DeploymentKind::Local, DeploymentKind::Slurm, DeploymentKind::K8s],
    ),
];

/// The keys that only an experiment can carry, because they name one server.
pub(crate) fn experiment_keys() -> Vec<&'static str> {
    [endpoint::KEYS, local::KEYS].concat()
}

/// The keys that deployments of another kind read and `kind` does not.
pub(crate) fn keys_of_others(kind: DeploymentKind) -> impl Iterator<Item = &'static str> {
    let others = READERS
        .iter()
        .filter(move |(_, readers)| !readers.contains(&kind));
    others.flat_map(|(keys, _)| keys.iter().copied())
}

/// Names the keys of an experiment that its deployment does not read.
pub(crate) fn refuse_keys_of_others(section: &mut Section<'_>, kind: DeploymentKind) {
    for (keys, readers) in READERS {
        if readers.contains(&kind) {
            continue;
        }
        let names: Vec<String> = readers.iter().map(|reader| format!("`{reader}`")).collect();
        for key in keys.iter().filter(|key| section.has(key)) {
            section.reading.fault(
                section.place_of_key(key),
                format!(
                    "a key for deployments of kind {}, and this one is `{kind}`",
                    names.join(" or ")
                ),
            );
        }
        section.forget(keys);
    }
}

/// Puts together what `kind` needs; absent when the endpoint is.
pub(crate) fn placement(
    kind: DeploymentKind,
    cluster: ClusterSettings,
    local: LocalSpec,
    endpoint: Option<EndpointSpec>,
) -> Option<Placement> {
    Some(match kind {
        DeploymentKind::Local => Placement::Local(LocalSpec {
            port: cluster.local_port(),
            ..local
        }),
        DeploymentKind::External => Placement::External(endpoint?),
        DeploymentKind::Slurm => Placement::Slurm(Box::new(cluster.slurm(local))),
        DeploymentKind::K8s => Placement::K8s(Box::new(cluster.k8s(local))),
    })
}
