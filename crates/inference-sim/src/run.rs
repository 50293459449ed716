//! The simulator as a program.

use std::{net::SocketAddr, path::PathBuf};

use tokio::net::TcpListener;

use crate::{
    fault::Faults,
    profile::{ProfileError, Profiles},
    server::{ServeError, SimOptions, serve},
};

/// The embedded profile that is served when nothing is named.
const DEFAULT_PROFILE: &str = "quickstart";

/// What a command line says.
#[derive(Clone, Debug, PartialEq)]
pub struct SimArguments {
    /// The profile's name; without it the only one of the file, or `quickstart` of the embedded ones.
    pub profile: Option<String>,
    /// A file of profiles; without it the embedded ones.
    pub profiles: Option<PathBuf>,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
    /// Seeds the noise of the steps.
    pub seed: u64,
    /// The served model's name; the profile's without it.
    pub model: Option<String>,
    /// What goes wrong by choice.
    pub faults: Faults,
}

impl Default for SimArguments {
    fn default() -> Self {
        Self {
            profile: None,
            profiles: None,
            host: "127.0.0.1".to_owned(),
            port: 0,
            seed: 0,
            model: None,
            faults: Faults::default(),
        }
    }
}

/// What a caller can tell its user once requests are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The address, with the port that was taken.
    pub address: SocketAddr,
    /// The profile.
    pub profile: String,
    /// The served model's name.
    pub model: String,
}

/// Why the simulator did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No profile.
    #[error("failed to choose a server profile")]
    Profile(#[source] ProfileError),
    /// No address to listen on.
    #[error("failed to listen on {host}:{port}")]
    Listen {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No runtime or no signal handler.
    #[error("failed to start the simulator")]
    Start(#[source] std::io::Error),
    /// The server ended.
    #[error("the simulator failed")]
    Serve(#[source] ServeError),
}

/// Serves until an interrupt or a termination signal; `on_ready` is called once requests are accepted.
///
/// One thread carries all connections: client and server usually share few cores, and the tokens of a step are
/// written with the least switching this way.
pub fn run_blocking(arguments: SimArguments, on_ready: impl FnOnce(&Ready)) -> Result<(), RunError> {
    let (profiles, default_name) = match &arguments.profiles {
        Some(path) => (Profiles::read(path).map_err(RunError::Profile)?, None),
        None => (Profiles::embedded(), Some(DEFAULT_PROFILE)),
    };
    let name = arguments.profile.as_deref().or(default_name);
    let profile = profiles.select(name).map_err(RunError::Profile)?.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    runtime.block_on(async {
        let shutdown = termination().map_err(RunError::Start)?;
        let listen = |source| RunError::Listen {
            host: arguments.host.clone(),
            port: arguments.port,
            source,
        };
        let listener = TcpListener::bind((arguments.host.as_str(), arguments.port))
            .await
            .map_err(listen)?;
        on_ready(&Ready {
            address: listener.local_addr().map_err(listen)?,
            profile: profile.name.clone(),
            model: arguments.model.clone().unwrap_or_else(|| profile.name.clone()),
        });
        let options = SimOptions {
            model: arguments.model,
            seed: arguments.seed,
            faults: arguments.faults,
        };
        serve(listener, profile, options, shutdown)
            .await
            .map_err(RunError::Serve)
    })
}

#[cfg(unix)]
fn termination() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn termination() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler for the interrupt there is nothing to wait for but the end of the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn what_cannot_be_served_is_said() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let check = |arguments: SimArguments, expected: &str| {
            let error = run_blocking(arguments, |ready| panic!("{ready:?}")).expect_err("no server");
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            let found = format!("{error}: {cause}");
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            SimArguments {
                profile: Some("8B".to_owned()),
                ..SimArguments::default()
            },
            "failed to choose a server profile: there is no server profile `8B`, only quickstart, 8B_slots256",
        );
        check(
            SimArguments {
                port,
                ..SimArguments::default()
            },
            &format!("failed to listen on 127.0.0.1:{port}: "),
        );
    }
}
