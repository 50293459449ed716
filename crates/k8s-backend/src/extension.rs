//! Kinds of objects that a cluster has only where somebody has installed them.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What tells one such kind from others.
pub trait Kind: Clone + Debug + Send + Sync + 'static {
    /// The API group.
    const GROUP: &'static str;
    /// The group's version.
    const VERSION: &'static str;
    /// The kind.
    const KIND: &'static str;
    /// The kind in paths.
    const PLURAL: &'static str;
}

/// An object of such a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension<S> {
    api_version: String,
    kind: String,
    /// Whose it is, and its labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: S,
    /// What its operator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

impl<S: Kind> Extension<S> {
    pub(crate) fn new(metadata: ObjectMeta, spec: S) -> Self {
        Self {
            api_version: format!("{}/{}", S::GROUP, S::VERSION),
            kind: S::KIND.to_owned(),
            metadata,
            spec,
            status: None,
        }
    }
}

impl<S: Kind> Resource for Extension<S> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        S::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        S::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        S::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        S::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
