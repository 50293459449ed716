//! Claims of volumes, which outlive what uses them.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use crate::labels::lasting_labels;

/// A volume that pods on several nodes may write to. Without a class the cluster's default is taken.
pub(crate) fn shared_volume(
    name: &str,
    namespace: &str,
    size: &str,
    storage_class: Option<&str>,
) -> PersistentVolumeClaim {
    let size = ("storage".to_owned(), Quantity(size.to_owned()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(lasting_labels()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([size].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: storage_class.map(str::to_owned),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
