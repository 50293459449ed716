//! What is asked of the API server for load generators.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, LogParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;

use crate::api::{ApiError, ApiServer};

/// Who our fields belong to.
const FIELD_MANAGER: &str = "gipfel";

/// How often a call that may pass is made.
const TRIES: u32 = 4;

/// Before the second try; longer before further ones.
const PAUSE: Duration = Duration::from_millis(250);

/// One namespace of a cluster.
pub(super) struct Calls {
    pub(super) server: ApiServer,
    pub(super) namespace: String,
}

impl Calls {
    fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(client, &self.namespace)
    }

    pub(super) async fn get<K>(&self, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let get = |client| {
            let (api, name) = (self.api::<K>(client), name.to_owned());
            async move { api.get(&name).await }
        };
        self.server.find(get).await
    }

    pub(super) async fn list<K>(&self, labels: &str) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let parameters = ListParams::default().labels(labels);
        let list = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            async move { api.list(&parameters).await }
        };
        Ok(self.server.call(list).await?.items)
    }

    /// Makes an object; nothing if one of its name is there.
    pub(super) async fn make<K>(&self, object: &K) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync,
        K::DynamicType: Default,
    {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let create = |client| {
            let (api, parameters, object) = (self.api::<K>(client), parameters.clone(), object.clone());
            async move { api.create(&parameters, &object).await }
        };
        match self.server.call(create).await {
            Ok(made) => Ok(Some(made)),
            Err(ApiError::Conflict(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object of a name that only we give; what may pass is tried again, since a second call does no harm.
    pub(super) async fn make_surely<K>(&self, object: &K) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync,
        K::DynamicType: Default,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.make(object).await {
                Err(error) if error.is_retryable() && tries < TRIES => sleep(PAUSE * tries).await,
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Deletes an object after what it owns. One that is gone, or has another uid, is no error.
    pub(super) async fn delete<K>(&self, name: &str, uid: Option<&str>) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
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
    pub(super) async fn delete_all<K>(&self, labels: &str) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        for metadata in self.metadata::<K>(labels).await? {
            if metadata.deletion_timestamp.is_none() {
                let name = metadata.name.unwrap_or_default();
                self.delete::<K>(&name, metadata.uid.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Kind and name of what has these labels.
    pub(super) async fn left<K>(&self, labels: &str) -> Result<Vec<String>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let names = self.metadata::<K>(labels).await?.into_iter();
        let names = names.map(|metadata| format!("{kind} {}", metadata.name.unwrap_or_default()));
        Ok(names.collect())
    }

    /// Without what the objects hold, which may be megabytes.
    async fn metadata<K>(&self, labels: &str) -> Result<Vec<ObjectMeta>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let parameters = ListParams::default().labels(labels);
        let list = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            async move { api.list_metadata(&parameters).await }
        };
        let found = self.server.call(list).await?;
        Ok(found.items.into_iter().map(|object| object.metadata).collect())
    }

    pub(super) async fn log(&self, pod: &str, container: &str, lines: i64) -> Result<String, ApiError> {
        let parameters = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(lines),
            ..LogParams::default()
        };
        let read = |client| {
            let (api, name, parameters) = (self.api::<Pod>(client), pod.to_owned(), parameters.clone());
            async move { api.logs(&name, &parameters).await }
        };
        self.server.call(read).await
    }
}
