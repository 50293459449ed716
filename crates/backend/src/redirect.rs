//! Load generators that reach a server by another way than its endpoint says.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gipfel_model::{EndpointSpec, LoadPlacement, RunConfig, Usage};

use crate::{BackendError, BoxFuture, Effect, EnsureError, FailureReason, Handle, LoadRunner, RunStatus};

/// Finds the way to a server, and opens it where it has to be opened.
pub trait Way: Send + Sync {
    /// The endpoint as the load generator reaches it.
    fn endpoint<'a>(&'a self, config: &'a RunConfig) -> BoxFuture<'a, Result<EndpointSpec, BackendError>>;
}

/// A load runner whose runs take a way of their own to their servers.
pub struct Redirected<L, W> {
    inner: Arc<L>,
    way: W,
}

impl<L: LoadRunner, W: Way> Redirected<L, W> {
    /// These load generators, by this way.
    pub fn new(inner: &Arc<L>, way: W) -> Self {
        Self {
            inner: Arc::clone(inner),
            way,
        }
    }
}

impl<L: LoadRunner, W: Way> LoadRunner for Redirected<L, W> {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        place: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move {
            let endpoint = self.way.endpoint(config).await.map_err(|source| EnsureError {
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
