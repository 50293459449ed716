//! A cluster without a system behind it, for tests of what uses one: files are a map, jobs live as the test says, and
//! every fault is planned.
//!
//! ```
//! use gipfel_slurm_backend::cluster::{
//!     Cluster, JobRequest,
//!     simulated::{Call, Mishap, SimulatedCluster},
//! };
//! use firecrest_client::{Earlier, JobState, Mark, RemotePath};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = SimulatedCluster::new("simulated");
//! let directory: RemotePath = "/scratch/me/d-1".parse()?;
//! cluster.make_directory(&directory).await?;
//! let request = JobRequest {
//!     name: "gipfel-d-1".parse()?,
//!     mark: Mark::new(directory.join("jobid")?),
//!     directory: directory.clone(),
//!     script: "#!/bin/bash\n#SBATCH --comment=\"gipfel campaign=c-1\"\n".to_owned(),
//! };
//!
//! // The answer of the next submission is lost, and its job lives all the same.
//! cluster.plan(&[Call::Submit], Mishap::LostAfter, 1);
//! assert!(cluster.submit(&request, Earlier::Never).await.is_err());
//! let id = cluster.find("gipfel-d-1").expect("a job").id;
//!
//! // The job's life is the test's: it gets its nodes, writes a file and ends.
//! cluster.begin(&id, &["nid001001"]);
//! cluster.store("/scratch/me/d-1/endpoint.txt", b"http://nid001001:8000\n");
//! cluster.end(&id, JobState::Failed, 3);
//! assert_eq!(cluster.job(&id).await?.expect("the job").exit_code, Some(3));
//! # Ok(())
//! # }
//! ```
//!
//! What a job does when it is submitted can also be given beforehand, by [`SimulatedCluster::react`].

mod answers;
mod mishaps;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use firecrest_client::{JobId, JobState, PendingReason, RemotePath};

use self::mishaps::Plan;
pub use self::mishaps::{Call, Mishap};
use super::{ClusterFacts, JobFacts, JobRequest, offers::Offers};

/// A cluster whose files, jobs, clock and faults belong to a test.
pub struct SimulatedCluster {
    name: String,
    state: Mutex<State>,
}

/// What a test may react to.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A job was submitted; it pends.
    Submitted(SimulatedJob),
    /// A job that lived was cancelled.
    Cancelled(SimulatedJob),
    /// A file was written or put there through the trait.
    Written(RemotePath),
}

/// A job, and what is known of it.
#[derive(Clone, Debug)]
pub struct SimulatedJob {
    /// Its id.
    pub id: JobId,
    /// What was submitted.
    pub request: JobRequest,
    /// What the cluster tells of it.
    pub facts: JobFacts,
    /// How often it was cancelled.
    pub cancels: u32,
    visibility: Visibility,
}

/// Whether the cluster tells of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    Told,
    /// It comes to life after so many looks for it.
    Late(u32),
    Forgotten,
}

type Reaction = Arc<dyn Fn(&SimulatedCluster, &Happening) + Send + Sync>;

struct State {
    facts: ClusterFacts,
    offers: Offers,
    free: Option<u64>,
    now: i64,
    directories: BTreeSet<String>,
    files: BTreeMap<String, StoredFile>,
    jobs: Vec<SimulatedJob>,
    plans: Vec<Plan>,
    calls: Vec<Call>,
    reaction: Option<Reaction>,
    outlives_cancel: bool,
}

#[derive(Clone, Debug)]
struct StoredFile {
    content: Vec<u8>,
    mode: u16,
    modified: i64,
}

/// The first job's id, so that it is no other number of a test.
const FIRST_JOB: usize = 4001;

impl SimulatedCluster {
    /// An empty cluster of the user `me`, whose files lie under `/scratch/me`; its clock stands.
    pub fn new(name: &str) -> Self {
        let root = RemotePath::try_new("/scratch/me").into_iter().collect();
        let state = State {
            facts: ClusterFacts {
                user: "me".to_owned(),
                accounts: vec!["a-me".to_owned()],
                roots: root,
                most_down: None,
            },
            offers: Offers::default(),
            free: None,
            now: 1_790_000_000,
            directories: BTreeSet::new(),
            files: BTreeMap::new(),
            jobs: Vec::new(),
            plans: Vec::new(),
            calls: Vec::new(),
            reaction: None,
            outlives_cancel: false,
        };
        Self {
            name: name.to_owned(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What [`Cluster::facts`](super::Cluster::facts) answers from now on.
    pub fn set_facts(&self, facts: ClusterFacts) {
        self.state().facts = facts;
    }

    /// What [`Cluster::offers`](super::Cluster::offers) answers from now on; nothing is told before.
    pub fn set_offers(&self, offers: Offers) {
        self.state().offers = offers;
    }

    /// The free bytes of all directories from now on; they are not told before.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = Some(bytes);
    }

    /// The cluster's clock, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.state().now
    }

    /// Lets time pass on the cluster's clock.
    pub fn pass(&self, time: Duration) {
        self.state().now += i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    }

    /// Plans a mishap for the next `times` of these calls; of no call named, for those of all calls.
    pub fn plan(&self, calls: &[Call], mishap: Mishap, times: u32) {
        self.state().plans.push(Plan::new(calls, mishap, times));
    }

    /// The calls so far, mishaps included.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Calls this function, outside of all locks, whenever something happens through the trait; it replaces an earlier one.
    pub fn react(&self, reaction: impl Fn(&Self, &Happening) + Send + Sync + 'static) {
        self.state().reaction = Some(Arc::new(reaction));
    }

    fn tell(&self, happening: &Happening) {
        let reaction = self.state().reaction.clone();
        if let Some(reaction) = reaction {
            reaction(self, happening);
        }
    }
}

/// Files, as a job or a user there sees them.
impl SimulatedCluster {
    /// The content of a file.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).map(|file| file.content.clone())
    }

    /// The content of a text file.
    pub fn text(&self, path: &str) -> Option<String> {
        self.file(path)
            .map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    /// The mode of a file.
    pub fn mode(&self, path: &str) -> Option<u16> {
        self.state().files.get(path).map(|file| file.mode)
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    /// Writes a file as a job would, and makes its directories.
    pub fn store(&self, path: &str, content: &[u8]) {
        self.state().store(path, content, 0o600);
    }

    /// Removes a file, as a job or a user there would.
    pub fn erase(&self, path: &str) {
        self.state().files.remove(path);
    }
}

/// The lives of jobs. An id that no job has is a fault of the test, and panics.
impl SimulatedCluster {
    /// The youngest job of a name, also one that the cluster does not tell of.
    pub fn find(&self, name: &str) -> Option<SimulatedJob> {
        let state = self.state();
        state.jobs.iter().rfind(|job| job.facts.name == name).cloned()
    }

    /// All jobs that were ever submitted, in their order.
    pub fn submitted(&self) -> Vec<SimulatedJob> {
        self.state().jobs.clone()
    }

    /// The names of the jobs that have not ended, in the order of their submission: those that would cost something.
    pub fn living(&self) -> Vec<String> {
        let state = self.state();
        let living = state.jobs.iter().filter(|job| !job.facts.state.is_ended());
        living.map(|job| job.facts.name.clone()).collect()
    }

    /// The job gets these nodes, runs and has written its mark.
    pub fn begin(&self, id: &JobId, nodes: &[&str]) {
        let mut state = self.state();
        let now = state.now;
        let job = state.job_mut(id);
        job.visibility = Visibility::Told;
        job.facts.state = JobState::Running;
        job.facts.waits = None;
        job.facts.nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        job.facts.started = Some(now);
        let mark = job.request.mark.path().as_str().to_owned();
        state.store(&mark, format!("{id}\n").as_bytes(), 0o600);
    }

    /// The job waits for this reason, as Slurm writes it; also after it ran, as a requeue does.
    pub fn wait(&self, id: &JobId, reason: &str) {
        let mut state = self.state();
        let facts = &mut state.job_mut(id).facts;
        facts.state = JobState::Pending;
        facts.waits = Some(PendingReason::of(reason));
        facts.nodes = Vec::new();
        facts.started = None;
    }

    /// The job comes into a state, with nothing else changed.
    pub fn set_state(&self, id: &JobId, state: JobState) {
        self.state().job_mut(id).facts.state = state;
    }

    /// The job has ended so.
    pub fn end(&self, id: &JobId, state: JobState, exit_code: i32) {
        let mut all = self.state();
        let facts = &mut all.job_mut(id).facts;
        facts.state = state;
        facts.waits = None;
        facts.exit_code = Some(exit_code);
    }

    /// The cluster knows nothing of the job any more, or does not tell of it yet.
    pub fn forget(&self, id: &JobId) {
        self.state().job_mut(id).visibility = Visibility::Forgotten;
    }

    /// Whether a job goes on when it is cancelled, as `COMPLETING`, until the test ends it.
    pub fn outlive_cancel(&self, outlives: bool) {
        self.state().outlives_cancel = outlives;
    }
}

impl State {
    fn store(&mut self, path: &str, content: &[u8], mode: u16) {
        let mut parent = path;
        while let Some((directory, _)) = parent.rsplit_once('/') {
            self.directories.insert(directory.to_owned());
            parent = directory;
        }
        let file = StoredFile {
            content: content.to_vec(),
            mode,
            modified: self.now,
        };
        self.files.insert(path.to_owned(), file);
    }

    fn job_mut(&mut self, id: &JobId) -> &mut SimulatedJob {
        let found = self.jobs.iter_mut().find(|job| job.id == *id);
        found.unwrap_or_else(|| panic!("no job {id} was submitted"))
    }

    /// A new job, which pends.
    fn add(&mut self, request: &JobRequest, visibility: Visibility) -> SimulatedJob {
        let id = JobId::try_new((FIRST_JOB + self.jobs.len()).to_string());
        let id = id.unwrap_or_else(|error| panic!("a number is an id: {error}"));
        let option = |key: &str| sbatch_option(&request.script, key);
        let facts = JobFacts {
            id: id.clone(),
            name: request.name.to_string(),
            comment: option("comment"),
            state: JobState::Pending,
            waits: Some(PendingReason::Untold),
            nodes: Vec::new(),
            partition: option("partition"),
            elapsed: None,
            limit: None,
            started: None,
            exit_code: None,
            signal: None,
        };
        let job = SimulatedJob {
            id,
            request: request.clone(),
            facts,
            cancels: 0,
            visibility,
        };
        self.jobs.push(job.clone());
        job
    }
}

/// The value of an `#SBATCH --key=value` line.
fn sbatch_option(script: &str, key: &str) -> Option<String> {
    let found = script.lines().find_map(|line| {
        let option = line.strip_prefix("#SBATCH --")?.strip_prefix(key)?;
        option.strip_prefix('=')
    });
    found.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
}
