//! Starts a simulator, and what its owner does with it.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    check,
    cluster::Cluster,
    failures::{RandomFailures, Rule},
    identity,
    jobs::{job::JobState, processes::Processes, scheduler::Scheduler, slurm::Slurm},
    journal::{CallRecord, Journal, SubmitRecord, TransferRecord},
    options::{Options, SystemOptions},
    orders::{self, JobSummary, OrderError},
    remote::Services,
    server::{self, Face},
    state::{State, System, Users},
    storage::{Storage, unique},
    token::{Secret, TokenSigner},
    work::Work,
};

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing can listen there.
    #[error("failed to listen on {address}; choose a free address or port 0")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be made or used.
    #[error("failed to prepare the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A system names a cluster that is not there.
    #[error("system `{system}` names the cluster `{cluster}`, which is not configured")]
    NoCluster {
        /// The system.
        system: String,
        /// The cluster.
        cluster: String,
    },
    /// A name or a number of the options is of no use.
    #[error("{what} `{name}` is of no use: {reason}")]
    Option {
        /// What it is of.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A cluster is a real Slurm, and there is none.
    #[error("cluster `{cluster}` is a real Slurm, and its command `sbatch` is not in {place}")]
    NoSlurm {
        /// The cluster.
        cluster: String,
        /// Where it was looked for.
        place: String,
    },
    /// The path of a file system is not absolute.
    #[error("system `{system}` has a file system at `{path}`; write an absolute path without `..`")]
    FileSystem {
        /// The system.
        system: String,
        /// The path.
        path: String,
    },
}

/// Starts simulators.
#[derive(Debug)]
pub struct Simulator;

/// A simulator that runs until it is stopped or dropped; only a stop waits for the end of its jobs.
pub struct Running {
    /// The URL of the API.
    pub base_url: String,
    /// The URL of the token endpoint.
    pub token_url: String,
    /// The URL of the storage.
    pub storage_url: String,
    state: Arc<State>,
    tasks: JoinSet<()>,
    _spool: Option<TempDir>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

fn folder(path: &std::path::Path) -> Result<(), StartError> {
    fs::create_dir_all(path).map_err(|source| StartError::Folder {
        path: path.to_owned(),
        source,
    })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Simulator {
    /// Starts a simulator in the calling tokio runtime.
    pub async fn start(options: Options) -> Result<Running, StartError> {
        check::options(&options)?;
        let (spool, kept) = spool(&options)?;
        prepare_folders(&options)?;
        open_to_users(&options, &spool)?;
        let (api, api_address) = listen(options.listen).await?;
        let (storage_listener, storage_address) = listen(options.storage_listen).await?;
        let systems: BTreeMap<String, Arc<SystemOptions>> = options
            .systems
            .iter()
            .map(|system| (system.name.clone(), Arc::new(system.clone())))
            .collect();
        let mut tasks = JoinSet::new();
        let clusters = clusters(&options, &systems, &spool, &mut tasks)?;
        let systems = join(&systems, &clusters)?;
        let users: Users = options
            .users
            .iter()
            .map(|user| (user.name.clone(), Arc::new(user.clone())))
            .collect();
        let storage_folder = spool.join("storage");
        let storage = Storage::new(storage_address.to_string(), storage_folder, Secret::new(unique()));
        let storage_url = storage.url.clone();
        let server_url = format!("http://{api_address}");
        let base_url = format!("{server_url}{}", options.base_path.trim_end_matches('/'));
        let signer = TokenSigner::new(rand::random());
        let state = Arc::new(State {
            options,
            users: Arc::new(users),
            systems,
            clusters,
            signer,
            storage,
            journal: Journal::default(),
            base_url: base_url.clone(),
            chosen_failures: Mutex::default(),
            work: Work::default(),
        });
        for rule in &state.options.failures {
            state.failures().add(rule.clone());
        }
        state.failures().set_random(state.options.random.clone());
        tasks.spawn(server::serve(api, Arc::clone(&state), Face::Api));
        tasks.spawn(server::serve(storage_listener, Arc::clone(&state), Face::Storage));
        for system in state
            .systems
            .values()
            .filter(|system| system.options.health_checks)
        {
            tasks.spawn(look_after(Arc::clone(system)));
        }
        let token_url = format!("{server_url}{}", identity::TOKEN_PATH);
        Ok(Running {
            base_url,
            token_url,
            storage_url,
            state,
            tasks,
            _spool: kept,
        })
    }
}

fn spool(options: &Options) -> Result<(PathBuf, Option<TempDir>), StartError> {
    if let Some(path) = &options.spool {
        folder(path)?;
        return Ok((path.clone(), None));
    }
    let made = tempfile::Builder::new().prefix("firecrest-sim-").tempdir();
    let made = made.map_err(|source| StartError::Folder {
        path: std::env::temp_dir(),
        source,
    })?;
    Ok((made.path().to_owned(), Some(made)))
}

/// Jobs of a real Slurm run as their users, who own their folders and pass through that of the spool.
fn open_to_users(options: &Options, spool: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let slurm = options
        .clusters
        .iter()
        .filter(|cluster| cluster.slurm)
        .map(|cluster| &cluster.name);
    let slurm: Vec<&String> = slurm.collect();
    if slurm.is_empty() || !rustix::process::getuid().is_root() {
        return Ok(());
    }
    let failed = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| StartError::Folder { path, source }
    };
    fs::set_permissions(spool, fs::Permissions::from_mode(0o711)).map_err(failed(spool))?;
    let systems = options.systems.iter();
    for system in systems.filter(|system| slurm.iter().any(|name| *name == system.cluster_name())) {
        for file_system in &system.file_systems {
            for user in &options.users {
                let path = file_system.folder().join(&user.name);
                if path.is_dir() {
                    chown(&path, Some(user.uid), Some(user.group().1)).map_err(failed(&path))?;
                }
            }
        }
    }
    Ok(())
}

/// Makes the file systems, with a folder for each user in those that are not shared.
fn prepare_folders(options: &Options) -> Result<(), StartError> {
    for system in &options.systems {
        for file_system in &system.file_systems {
            if crate::paths::normalise(&file_system.path) != file_system.path {
                return Err(StartError::FileSystem {
                    system: system.name.clone(),
                    path: file_system.path.clone(),
                });
            }
            folder(file_system.folder())?;
            if !file_system.shared || file_system.default_work_dir {
                for user in &options.users {
                    folder(&file_system.folder().join(&user.name))?;
                }
            }
        }
    }
    Ok(())
}

fn clusters(
    options: &Options,
    systems: &BTreeMap<String, Arc<SystemOptions>>,
    spool: &std::path::Path,
    tasks: &mut JoinSet<()>,
) -> Result<BTreeMap<String, Arc<Cluster>>, StartError> {
    let mut clusters = BTreeMap::new();
    for cluster in &options.clusters {
        let own = systems
            .iter()
            .filter(|(_, system)| system.cluster_name() == cluster.name);
        let own = own
            .map(|(name, system)| (name.clone(), Arc::clone(system)))
            .collect();
        let made = if cluster.slurm {
            Cluster::Slurm(Box::new(Slurm::new(cluster.clone(), own)))
        } else {
            let path = spool.join("clusters").join(&cluster.name);
            let scheduler = Scheduler::new(cluster.clone());
            let processes = Processes::new(scheduler, own, path.clone());
            let processes = Arc::new(processes.map_err(|source| StartError::Folder { path, source })?);
            tasks.spawn(Arc::clone(&processes).drive());
            Cluster::Processes(processes)
        };
        clusters.insert(cluster.name.clone(), Arc::new(made));
    }
    Ok(clusters)
}

fn join(
    systems: &BTreeMap<String, Arc<SystemOptions>>,
    clusters: &BTreeMap<String, Arc<Cluster>>,
) -> Result<BTreeMap<String, Arc<System>>, StartError> {
    let with_cluster = |(name, system): (&String, &Arc<SystemOptions>)| {
        let cluster = clusters
            .get(system.cluster_name())
            .ok_or_else(|| StartError::NoCluster {
                system: name.clone(),
                cluster: system.cluster_name().to_owned(),
            })?;
        Ok((
            name.clone(),
            Arc::new(System::new(Arc::clone(system), Arc::clone(cluster))),
        ))
    };
    systems.iter().map(with_cluster).collect()
}

/// Looks at a system's services at its interval.
async fn look_after(system: Arc<System>) {
    let mut ticks = tokio::time::interval(system.options.health_interval.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        system.health.look(system.link.services());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.state.work.cancel();
        for cluster in self.state.clusters.values() {
            if let Cluster::Processes(processes) = cluster.as_ref() {
                processes.end_all();
            }
        }
    }
}

impl Running {
    /// Lets the calls fail that the rule is about.
    pub fn fail(&self, rule: Rule) {
        self.state.failures().add(rule);
    }

    /// Lets calls fail by chance.
    pub fn fail_at_random(&self, random: RandomFailures) {
        self.state.failures().set_random(random);
    }

    /// Takes all failures back.
    pub fn clear_failures(&self) {
        self.state.failures().clear();
    }

    /// Sets the states of a system's services.
    pub async fn set_services(&self, system: &str, services: Services) -> Result<(), OrderError> {
        orders::set_services(&self.state, system, services).await
    }

    /// Lets the server look at the health of all services now.
    pub fn check_health(&self) {
        orders::check_health(&self.state);
    }

    /// Takes a node away, with what runs on it, or gives it back.
    pub fn set_node(&self, cluster: &str, node: &str, down: bool) -> Result<(), OrderError> {
        orders::set_node(&self.state, cluster, node, down)
    }

    /// Lets no job of a cluster start, or lets them start again.
    pub fn pause(&self, cluster: &str, paused: bool) -> Result<(), OrderError> {
        orders::pause(&self.state, cluster, paused)
    }

    /// Ends an unfinished job in a state, or puts a running one back in the queue.
    pub fn end_job(&self, cluster: &str, job: u64, state: JobState) -> Result<(), OrderError> {
        orders::end_job(&self.state, cluster, job, state)
    }

    /// A token that speaks for a user, or for nobody, and lives for this long; a negative life is over.
    pub fn token(&self, user: Option<&str>, life_s: i64) -> Secret {
        identity::sign(&self.state, user, life_s)
    }

    /// Forgets what has happened; jobs and files stay.
    pub fn clear_journal(&self) {
        self.state.journal.clear();
    }

    /// The calls that came in.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.state.journal.calls()
    }

    /// The submissions that had an effect.
    pub fn submits(&self) -> Vec<SubmitRecord> {
        self.state.journal.submits()
    }

    /// The transfers that were begun.
    pub fn transfers(&self) -> Vec<TransferRecord> {
        self.state.journal.transfers()
    }

    /// The jobs of the simulator's own schedulers.
    pub fn jobs(&self) -> Vec<JobSummary> {
        orders::jobs(&self.state)
    }

    /// Ends all jobs and closes all connections.
    pub async fn stop(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.state.work.end().await;
        for cluster in self.state.clusters.values() {
            if let Cluster::Processes(processes) = cluster.as_ref() {
                processes.stop().await;
            }
        }
    }
}
