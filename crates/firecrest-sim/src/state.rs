//! Everything that the simulator holds while it runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    answer::Problem,
    clock::now_ms,
    cluster::Cluster,
    failures::Failures,
    files::operations::Files,
    health::Health,
    jobs::{directives::Refusal, submission::Submission},
    journal::{Journal, SubmitRecord},
    options::{Options, SystemOptions, UserOptions},
    remote::{Link, Login, SchedulerState, Services, Surface},
    storage::Storage,
    token::TokenSigner,
    work::Work,
};

/// The users by name.
pub(crate) type Users = BTreeMap<String, Arc<UserOptions>>;

/// A system with what it is made of.
pub(crate) struct System {
    pub(crate) options: Arc<SystemOptions>,
    pub(crate) link: Link,
    pub(crate) health: Health,
    pub(crate) cluster: Arc<Cluster>,
    /// What was submitted while the scheduler hung.
    held: Mutex<Vec<Submission>>,
}

/// The whole simulator.
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) users: Arc<Users>,
    pub(crate) systems: BTreeMap<String, Arc<System>>,
    pub(crate) clusters: BTreeMap<String, Arc<Cluster>>,
    pub(crate) signer: TokenSigner,
    pub(crate) storage: Storage,
    pub(crate) journal: Journal,
    pub(crate) base_url: String,
    pub(crate) chosen_failures: Mutex<Failures>,
    pub(crate) work: Work,
}

/// What a failure changes for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Overrides {
    pub(crate) accounting_down: bool,
    pub(crate) scheduler_hung: Option<Duration>,
}

/// A call of a known user on a known system.
pub(crate) struct Context {
    pub(crate) state: Arc<State>,
    pub(crate) system: Arc<System>,
    pub(crate) user: Arc<UserOptions>,
    pub(crate) overrides: Overrides,
    pub(crate) request_id: String,
}

impl System {
    pub(crate) fn new(options: Arc<SystemOptions>, cluster: Arc<Cluster>) -> Self {
        Self {
            options,
            link: Link::default(),
            health: Health::new(),
            cluster,
            held: Mutex::default(),
        }
    }
}

impl State {
    pub(crate) fn failures(&self) -> MutexGuard<'_, Failures> {
        self.chosen_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the states of a system's services; a scheduler that is up again takes what it was given meanwhile.
    pub(crate) async fn set_services(&self, system: &System, services: Services) {
        system.link.set_services(services);
        if services.scheduler == SchedulerState::Up {
            let held = std::mem::take(&mut *system.held.lock().unwrap_or_else(PoisonError::into_inner));
            for submission in held {
                // Nobody waits for a refusal any more.
                let _ = self.submit(system, &submission, None).await;
            }
        }
    }

    /// The storage serves all systems, and is down when one of them sees it down.
    pub(crate) fn storage_is_down(&self) -> bool {
        self.systems
            .values()
            .any(|system| system.link.services().storage_down)
    }

    /// Submits to the system's cluster, and writes it down.
    pub(crate) async fn submit(
        &self,
        system: &System,
        submission: &Submission,
        request_id: Option<String>,
    ) -> Result<String, Refusal> {
        let job_id = system.cluster.submit(submission).await?;
        self.journal.submit(SubmitRecord {
            at_ms: now_ms(),
            system: system.options.name.clone(),
            job_id: job_id.clone(),
            name: submission.name.clone(),
            user: submission.user.name.clone(),
            request_id,
        });
        Ok(job_id)
    }
}

impl Context {
    pub(crate) fn services(&self) -> Services {
        let mut services = self.system.link.services();
        services.accounting_down |= self.overrides.accounting_down;
        if self.overrides.scheduler_hung.is_some() {
            services.scheduler = SchedulerState::Hung;
        }
        services
    }

    pub(crate) fn login(&self) -> Login<'_> {
        let limits = &self.state.options.limits;
        Login {
            user: &self.user.name,
            has_credentials: self.user.ssh_credentials,
            patience: self.system.options.login_timeout.unwrap_or(limits.login_timeout),
            command_timeout: self
                .system
                .options
                .command_timeout
                .unwrap_or(limits.command_timeout),
            channel_limit: limits.ssh_channels,
        }
    }

    /// Carries out a remote command of `channels` channels.
    pub(crate) async fn remote<T>(
        &self,
        surface: Surface,
        channels: usize,
        command: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        let done = self.system.link.run(&self.login(), channels, command).await;
        done.map_err(|trouble| trouble.seen_by(surface))
    }

    pub(crate) fn files(&self) -> Files {
        Files {
            system: Arc::clone(&self.system.options),
            users: Arc::clone(&self.state.users),
            user: Arc::clone(&self.user),
            ops_bytes: self.state.options.limits.ops_bytes,
            gives_away: self.system.cluster.runs_as_users(),
        }
    }

    /// Keeps a submission that the scheduler did not take until it is up again.
    pub(crate) fn hold(&self, submission: Submission) {
        match self.overrides.scheduler_hung {
            None => {
                let held = &self.system.held;
                held.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(submission);
            }
            Some(appears_after) => {
                let (state, system) = (Arc::clone(&self.state), Arc::clone(&self.system));
                self.state.work.spawn(async move {
                    tokio::time::sleep(appears_after).await;
                    // Nobody waits for a refusal any more.
                    let _ = state.submit(&system, &submission, None).await;
                });
            }
        }
    }
}
