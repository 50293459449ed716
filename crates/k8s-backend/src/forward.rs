//! Load generators of this machine that send to servers without an Ingress, through the API server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use gipfel_backend::{
    BackendError, BoxFuture, Effect, EnsureError, FailureReason, Handle, LoadRunner, RunStatus,
};
use gipfel_model::{EndpointSpec, LoadPlacement, RunConfig, Usage};
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::AbortHandle,
};

use crate::{api::ApiError, backend::K8sBackend, manifest::ROLE};

/// The end of a host that only the cluster's own names know.
const SERVICE_HOST: &str = ".svc";

/// A load runner of this machine, for servers of a cluster.
///
/// A way through the API server lives as long as this process.
pub struct LoadFromHere<L> {
    inner: Arc<L>,
    k8s: Arc<K8sBackend>,
    ways: Mutex<BTreeMap<String, Way>>,
}

/// A port of this machine that leads to a server.
struct Way {
    url: String,
    keeper: AbortHandle,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl<L: LoadRunner> LoadFromHere<L> {
    /// These load generators, for servers that this backend knows.
    pub fn new(inner: &Arc<L>, k8s: &Arc<K8sBackend>) -> Self {
        Self {
            inner: Arc::clone(inner),
            k8s: Arc::clone(k8s),
            ways: Mutex::default(),
        }
    }

    /// The endpoint as this machine reaches it.
    async fn endpoint(&self, config: &RunConfig) -> Result<EndpointSpec, BackendError> {
        let Some(port) = service_port(&config.endpoint.url) else {
            return Ok(config.endpoint.clone());
        };
        let mut ways = self.ways.lock().await;
        let url = match ways.get(&config.endpoint.url) {
            Some(way) if !way.keeper.is_finished() => way.url.clone(),
            _ => {
                let way = open(&self.k8s, config.deployment_id.as_str(), port)
                    .await
                    .map_err(|error| {
                        BackendError::transient(format!("lead a port to {}", config.endpoint.url), error)
                    })?;
                tracing::info!(
                    "{} leads to {} through the API server",
                    way.url,
                    config.endpoint.url
                );
                let url = way.url.clone();
                ways.insert(config.endpoint.url.clone(), way);
                url
            }
        };
        Ok(EndpointSpec {
            url,
            ..config.endpoint.clone()
        })
    }
}

/// The port of a URL that leads to a Service.
fn service_port(url: &str) -> Option<u16> {
    let (host, port) = url.strip_prefix("http://")?.rsplit_once(':')?;
    let port = port.parse().ok()?;
    host.ends_with(SERVICE_HOST).then_some(port)
}

async fn open(k8s: &Arc<K8sBackend>, server: &str, port: u16) -> std::io::Result<Way> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let leader = Arc::new(Leader {
        k8s: Arc::clone(k8s),
        server: server.to_owned(),
        port,
        pod: Mutex::new(None),
    });
    let keeper = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let leader = Arc::clone(&leader);
            tokio::spawn(async move { leader.lead(socket).await });
        }
    });
    Ok(Way {
        url,
        keeper: keeper.abort_handle(),
    })
}

/// The pod that takes the requests: of several it is the one that the Service leads to as well.
fn serving_pod(pods: &[Pod]) -> Option<&Pod> {
    let living = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && crate::judge::is_ready(pod);
    let leads = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.get(ROLE.0).is_some_and(|role| role == ROLE.1))
    };
    let has_leader = pods.iter().any(|pod| leads(&pod));
    pods.iter().filter(living).find(|pod| !has_leader || leads(pod))
}

/// Leads connections to the pod of a server.
struct Leader {
    k8s: Arc<K8sBackend>,
    server: String,
    port: u16,
    /// The pod that answered last.
    pod: Mutex<Option<String>>,
}

impl Leader {
    async fn lead(&self, mut socket: TcpStream) {
        // Small writes of an answer's tokens must not wait for each other.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        match self.stream().await {
            Ok((mut forwarder, mut stream)) => {
                // Its end is the client's or the server's.
                let _ = copy_bidirectional(&mut socket, &mut stream).await;
                drop(stream);
                forwarder.abort();
                let _ = forwarder.take_error(self.port);
            }
            Err(error) => {
                tracing::warn!(server = self.server, %error, "a connection to the server cannot be led to its pod");
            }
        }
    }

    /// A stream to the pod; to the one that is there now when the last one does not answer.
    async fn stream(&self) -> Result<(kube::api::Portforwarder, tokio::io::DuplexStream), ApiError> {
        let known = self.pod.lock().await.clone();
        if let Some(pod) = known
            && let Ok(stream) = self.stream_to(&pod).await
        {
            return Ok(stream);
        }
        let pod = self.find_pod().await?;
        let stream = self.stream_to(&pod).await?;
        *self.pod.lock().await = Some(pod);
        Ok(stream)
    }

    async fn find_pod(&self) -> Result<String, ApiError> {
        let pods = self.k8s.pods(&self.server).await?.items;
        serving_pod(&pods)
            .and_then(|pod| pod.metadata.name.clone())
            .ok_or_else(|| ApiError::Missing(format!("`{}` has no pod that is ready", self.server)))
    }

    async fn stream_to(
        &self,
        pod: &str,
    ) -> Result<(kube::api::Portforwarder, tokio::io::DuplexStream), ApiError> {
        let open = |client| {
            let (api, pod, port) = (self.k8s.calls.api::<Pod>(client), pod.to_owned(), self.port);
            async move { api.portforward(&pod, &[port]).await }
        };
        let mut forwarder = self.k8s.calls.server.call(open).await?;
        let stream = forwarder
            .take_stream(self.port)
            .ok_or_else(|| ApiError::Missing(format!("no stream to `{pod}` was opened")))?;
        Ok((forwarder, stream))
    }
}

impl<L: LoadRunner> LoadRunner for LoadFromHere<L> {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        place: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move {
            let endpoint = self.endpoint(config).await.map_err(|source| EnsureError {
                name: config.run_id.to_string(),
                effect: Effect::NotStarted,
                reason: FailureReason::LoadFailed,
                source,
            })?;
            let config = RunConfig {
                endpoint,
                ..config.clone()
            };
            self.inner.ensure(&config, place).await
        })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>> {
        self.inner.observe(handle)
    }

    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>> {
        self.inner.fetch(handle, directory)
    }

    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        self.inner.stop(handle)
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        self.inner.logs(handle, lines)
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        self.inner.end(handle)
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<Option<Usage>, BackendError>> {
        self.inner.usage(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_told_from_other_hosts() {
        let check = |url: &str, expected: Option<u16>| assert_eq!(service_port(url), expected, "{url}");
        check("http://gipfel-d-1.ml.svc:8080", Some(8080));
        check("https://gipfel-d-1.example.org", None);
        check("http://127.0.0.1:8000", None);
        check("http://h.svc:x", None);
    }
}
