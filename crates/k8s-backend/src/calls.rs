//! What is asked of the API server, typed.

use std::{fmt::Debug, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{
        DeleteParams, ListParams, LogParams, ObjectList, Patch, PatchParams, PostParams, Preconditions,
        WatchEvent, WatchParams,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::api::{ApiError, ApiServer};

/// Who our fields belong to.
const FIELD_MANAGER: &str = "gipfel";

/// Lines of a log that are kept.
const KEPT_LINES: i64 = 10_000;

/// What the API server tells of objects as they change.
pub(crate) type Changes<K> = BoxStream<'static, Result<WatchEvent<K>, kube::Error>>;

/// The objects that are asked for: typed, and each in a namespace.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// One namespace of a cluster.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) server: Arc<ApiServer>,
    pub(crate) namespace: String,
}

impl Calls {
    pub(crate) fn new(server: ApiServer, namespace: &str) -> Self {
        Self {
            server: Arc::new(server),
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn api<K: Object>(&self, client: Client) -> Api<K> {
        Api::namespaced(client, &self.namespace)
    }

    pub(crate) async fn get<K: Object>(&self, name: &str) -> Result<Option<K>, ApiError> {
        let get = |client| {
            let (api, name) = (self.api::<K>(client), name.to_owned());
            async move { api.get(&name).await }
        };
        self.server.find(get).await
    }

    /// What has these labels.
    pub(crate) async fn list<K: Object>(&self, labels: &str) -> Result<Vec<K>, ApiError> {
        Ok(self.list_by(&ListParams::default().labels(labels)).await?.items)
    }

    /// What these parameters choose, with the version from which on a watch misses nothing.
    pub(crate) async fn list_by<K: Object>(
        &self,
        parameters: &ListParams,
    ) -> Result<ObjectList<K>, ApiError> {
        let list = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            async move { api.list(&parameters).await }
        };
        self.server.call(list).await
    }

    /// Changes since this version. The API server may end it at any time.
    pub(crate) async fn changes<K: Object>(
        &self,
        parameters: &WatchParams,
        version: &str,
    ) -> Result<Changes<K>, ApiError> {
        let open = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            let version = version.to_owned();
            async move { Ok(api.watch(&parameters, &version).await?.boxed()) }
        };
        self.server.call(open).await
    }

    /// Makes an object; nothing if one of its name is there.
    pub(crate) async fn make<K: Object>(&self, object: &K) -> Result<Option<K>, ApiError> {
        unless_there(self.server.call(self.creation(object)).await)
    }

    /// Makes an object of a name that only we give; what may pass is tried again, since a second call does no harm.
    pub(crate) async fn make_surely<K: Object>(&self, object: &K) -> Result<(), ApiError> {
        unless_there(self.server.call_surely(self.creation(object)).await).map(drop)
    }

    fn creation<'a, K: Object>(
        &'a self,
        object: &'a K,
    ) -> impl Fn(Client) -> BoxFuture<'static, Result<K, kube::Error>> + 'a {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        move |client| {
            let (api, parameters, object) = (self.api::<K>(client), parameters.clone(), object.clone());
            async move { api.create(&parameters, &object).await }.boxed()
        }
    }

    /// Makes an object as it is written, or changes the one of its name to that.
    pub(crate) async fn apply<K: Object>(&self, object: &K) -> Result<(), ApiError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = |client| {
            let (api, name) = (self.api::<K>(client), name.clone());
            let (parameters, object) = (parameters.clone(), object.clone());
            async move { api.patch(&name, &parameters, &Patch::Apply(object)).await }
        };
        self.server.call_surely(patch).await.map(drop)
    }

    /// Deletes an object after what it owns. One that is gone, or has another uid, is no error.
    pub(crate) async fn delete<K: Object>(&self, name: &str, uid: Option<&str>) -> Result<(), ApiError> {
        let mut parameters = DeleteParams::foreground();
        if let Some(uid) = uid {
            parameters = parameters.preconditions(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            });
        }
        let delete = |client| {
            let (api, name, parameters) = (self.api::<K>(client), name.to_owned(), parameters.clone());
            async move { api.delete(&name, &parameters).await }
        };
        match self.server.find(delete).await {
            Ok(_) | Err(ApiError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes what has these labels.
    pub(crate) async fn delete_all<K: Object>(&self, labels: &str) -> Result<(), ApiError> {
        for metadata in self.metadata::<K>(labels).await? {
            if metadata.deletion_timestamp.is_none() {
                let name = metadata.name.unwrap_or_default();
                self.delete::<K>(&name, metadata.uid.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Kind and name of what has these labels.
    pub(crate) async fn left<K: Object>(&self, labels: &str) -> Result<Vec<String>, ApiError> {
        let kind = K::kind(&()).into_owned();
        let names = self.metadata::<K>(labels).await?.into_iter();
        let names = names.map(|metadata| format!("{kind} {}", metadata.name.unwrap_or_default()));
        Ok(names.collect())
    }

    /// Without what the objects hold, which may be megabytes.
    async fn metadata<K: Object>(&self, labels: &str) -> Result<Vec<ObjectMeta>, ApiError> {
        let parameters = ListParams::default().labels(labels);
        let list = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            async move { api.list_metadata(&parameters).await }
        };
        let found = self.server.call(list).await?;
        Ok(found.items.into_iter().map(|object| object.metadata).collect())
    }

    /// The last lines of a container's log; of the one before its restart, if that is asked for.
    pub(crate) async fn log(
        &self,
        pod: &str,
        container: Option<&str>,
        previous: bool,
    ) -> Result<String, ApiError> {
        let parameters = LogParams {
            container: container.map(str::to_owned),
            previous,
            tail_lines: Some(KEPT_LINES),
            ..LogParams::default()
        };
        let read = |client| {
            let (api, name, parameters) = (self.api::<Pod>(client), pod.to_owned(), parameters.clone());
            async move { api.logs(&name, &parameters).await }
        };
        self.server.call(read).await
    }
}

fn unless_there<K>(made: Result<K, ApiError>) -> Result<Option<K>, ApiError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(ApiError::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
