//! Load generators of this machine that send to servers on a cluster: directly where nodes are reached, else through a
//! tunnel that lives as long as this process.

use std::{collections::BTreeMap, sync::Arc};

use gipfel_backend::{BackendError, BoxFuture, Way};
use gipfel_model::{ClusterKind, EndpointSpec, RunConfig};
use tokio::{sync::Mutex, task::AbortHandle};

use super::{SlurmBackend, failed, place::Place};
use crate::tunnel::{self, Forwarding, Login, Target, Tunnel, TunnelNews};

impl Place {
    /// The host through which nodes are reached from this machine; nothing where they are reached directly.
    pub async fn login(&self) -> Result<Option<Login>, BackendError> {
        let wrong = |error| BackendError::permanent("find the login node", error);
        let named = match (self.reach.cluster, &self.reach.ssh_host) {
            (ClusterKind::Commands, _) => return Ok(None),
            (ClusterKind::Firecrest | ClusterKind::Ssh, Some(host)) => Login::new(host, None),
            (ClusterKind::Firecrest | ClusterKind::Ssh, None) => {
                let host = self.site.login_host.as_deref().ok_or_else(|| {
                    BackendError::permanent(
                        "find the login node",
                        format!(
                            "the profile `{}` names no `login_host`: write `ssh_host` into the configuration",
                            self.site.name
                        ),
                    )
                })?;
                let user = self.cluster.facts().await.map_err(failed)?.user;
                let jump = self.site.proxy_jump.as_ref().map(|jump| format!("{user}@{jump}"));
                Login::new(&format!("{user}@{host}"), jump.as_deref())
            }
        };
        named.map(Some).map_err(wrong)
    }
}

/// The way from this machine to servers of a cluster.
pub struct TunnelWay {
    slurm: Arc<SlurmBackend>,
    tunnels: Mutex<BTreeMap<String, Open>>,
}

/// A tunnel that is kept open.
struct Open {
    url: String,
    keeper: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl TunnelWay {
    /// To servers that this backend knows.
    pub fn new(slurm: &Arc<SlurmBackend>) -> Self {
        Self {
            slurm: Arc::clone(slurm),
            tunnels: Mutex::default(),
        }
    }

    async fn open(&self, config: &RunConfig) -> Result<EndpointSpec, BackendError> {
        let (place, _, _) = self.slurm.server_of(config).await?;
        let Some(login) = place.login().await? else {
            return Ok(config.endpoint.clone());
        };
        let operation = || format!("open a tunnel to {}", config.endpoint.url);
        let target = Target::of_url(&config.endpoint.url)
            .map_err(|error| BackendError::permanent(operation(), error))?;
        let mut tunnels = self.tunnels.lock().await;
        if let Some(open) = tunnels.get(&config.endpoint.url)
            && !open.keeper.is_finished()
        {
            return Ok(moved(&config.endpoint, &open.url));
        }
        let transient = |error| BackendError::transient(operation(), error);
        let port = tunnel::free_port(0).await.map_err(transient)?;
        let forwarding = Forwarding { login, target, port };
        let url = forwarding.url();
        tracing::info!("the load reaches the server through `{forwarding}`");
        let tunnel = Tunnel::open(forwarding).await.map_err(transient)?;
        let keeper = tokio::spawn(async move {
            let error = tunnel::keep(tunnel, |news| match news {
                TunnelNews::Broken(reason) => {
                    tracing::warn!("the tunnel to the server has broken ({reason}) and is opened anew");
                }
                TunnelNews::Again => tracing::warn!("the tunnel to the server is open again"),
            });
            tracing::warn!("the tunnel to the server is given up: {}", error.await);
        });
        let open = Open {
            url: url.clone(),
            keeper: keeper.abort_handle(),
        };
        tunnels.insert(config.endpoint.url.clone(), open);
        Ok(moved(&config.endpoint, &url))
    }
}

/// The same endpoint at another URL.
fn moved(endpoint: &EndpointSpec, url: &str) -> EndpointSpec {
    EndpointSpec {
        url: url.to_owned(),
        ..endpoint.clone()
    }
}

impl Way for TunnelWay {
    fn endpoint<'a>(&'a self, config: &'a RunConfig) -> BoxFuture<'a, Result<EndpointSpec, BackendError>> {
        Box::pin(self.open(config))
    }
}
