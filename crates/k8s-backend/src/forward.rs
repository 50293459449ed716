//! Load generators of this machine that send to servers without an Ingress, through the API server.

use std::{collections::BTreeMap, sync::Arc};

use gipfel_backend::{BackendError, BoxFuture};
use gipfel_model::{EndpointSpec, RunConfig};
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

/// The way from this machine to servers of a cluster: their Ingress, or a port that leads through the API server as long as
/// this process lives.
pub struct ForwardWay {
    k8s: Arc<K8sBackend>,
    ports: Mutex<BTreeMap<String, Port>>,
}

/// A port of this machine that leads to a server.
struct Port {
    url: String,
    keeper: AbortHandle,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl ForwardWay {
    /// To servers that this backend knows.
    pub fn new(k8s: &Arc<K8sBackend>) -> Self {
        Self {
            k8s: Arc::clone(k8s),
            ports: Mutex::default(),
        }
    }

    async fn open(&self, config: &RunConfig) -> Result<EndpointSpec, BackendError> {
        let Some(port) = service_port(&config.endpoint.url) else {
            return Ok(config.endpoint.clone());
        };
        let mut ports = self.ports.lock().await;
        let url = match ports.get(&config.endpoint.url) {
            Some(open) if !open.keeper.is_finished() => open.url.clone(),
            _ => {
                let opened = open(&self.k8s, config.deployment_id.as_str(), port)
                    .await
                    .map_err(|error| {
                        BackendError::transient(format!("lead a port to {}", config.endpoint.url), error)
                    })?;
                tracing::info!(
                    "{} leads to {} through the API server",
                    opened.url,
                    config.endpoint.url
                );
                let url = opened.url.clone();
                ports.insert(config.endpoint.url.clone(), opened);
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

async fn open(k8s: &Arc<K8sBackend>, server: &str, port: u16) -> std::io::Result<Port> {
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
    Ok(Port {
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

impl gipfel_backend::Way for ForwardWay {
    fn endpoint<'a>(&'a self, config: &'a RunConfig) -> BoxFuture<'a, Result<EndpointSpec, BackendError>> {
        Box::pin(self.open(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_pods_the_leader_serves() {
        let pod = |name: &str, role: Option<&str>, is_ready: bool| -> Pod {
            let labels = role.map(|role| serde_json::json!({ "gipfel/role": role }));
            let ready = if is_ready { "True" } else { "False" };
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": name, "labels": labels },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] }
            }))
            .expect("it is a pod")
        };
        let check = |pods: &[Pod], expected: Option<&str>| {
            let found = serving_pod(pods).and_then(|pod| pod.metadata.name.as_deref());
            assert_eq!(found, expected);
        };
        let leader = Some("leader");
        check(&[pod("w", None, true)], Some("w"));
        check(&[pod("w", None, true), pod("l", leader, true)], Some("l"));
        check(&[pod("w", None, true), pod("l", leader, false)], None);
        check(&[], None);
    }

    #[test]
    fn services_are_told_from_other_hosts() {
        let check = |url: &str, expected: Option<u16>| assert_eq!(service_port(url), expected, "{url}");
        check("http://gipfel-d-1.ml.svc:8080", Some(8080));
        check("https://gipfel-d-1.example.org", None);
        check("http://127.0.0.1:8000", None);
        check("http://h.svc:x", None);
    }
}
