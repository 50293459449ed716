//! A job of the simulator's own scheduler, and its states.

use std::fmt;

use crate::jobs::directives::Dependency;

/// Milliseconds since 1970.
pub(crate) type UnixMs = i64;

/// A job's number.
pub(crate) type JobId = u64;

/// The state of a job, in Slurm's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for its turn.
    Pending,
    /// Runs.
    Running,
    /// Ended with exit code 0.
    Completed,
    /// Ended otherwise.
    Failed,
    /// Reached its time limit.
    Timeout,
    /// Was cancelled by the user of this number.
    Cancelled(u32),
    /// Lost a node.
    NodeFail,
    /// Took more memory than it had asked for; only on command.
    OutOfMemory,
    /// Made room for another job; only on command.
    Preempted,
    /// Its nodes did not boot; only on command.
    BootFail,
    /// Reached its deadline; only on command.
    Deadline,
}

impl JobState {
    /// Whether the job has ended.
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The states in which a job can be ended on command.
    pub(crate) fn by_command(word: &str) -> Option<Self> {
        let states = [
            Self::OutOfMemory,
            Self::Preempted,
            Self::BootFail,
            Self::Deadline,
            Self::NodeFail,
            Self::Timeout,
            Self::Failed,
        ];
        states.into_iter().find(|state| state.to_string() == word)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("PENDING"),
            Self::Running => f.write_str("RUNNING"),
            Self::Completed => f.write_str("COMPLETED"),
            Self::Failed => f.write_str("FAILED"),
            Self::Timeout => f.write_str("TIMEOUT"),
            Self::Cancelled(uid) => write!(f, "CANCELLED by {uid}"),
            Self::NodeFail => f.write_str("NODE_FAIL"),
            Self::OutOfMemory => f.write_str("OUT_OF_MEMORY"),
            Self::Preempted => f.write_str("PREEMPTED"),
            Self::BootFail => f.write_str("BOOT_FAIL"),
            Self::Deadline => f.write_str("DEADLINE"),
        }
    }
}

/// How a job's batch script ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) signal: i32,
}

impl Exit {
    /// What Slurm reports of a job whose working directory is not there.
    pub(crate) const NO_DIRECTORY: Self = Self { code: 0, signal: 53 };

    pub(crate) fn is_success(self) -> bool {
        self == Self::default()
    }
}

/// A step that the script started by `srun`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) start_s: i64,
    /// Its end and exit, once it has one.
    pub(crate) end: Option<(i64, Exit)>,
}

/// What a job was submitted with, after the scheduler has accepted it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRequest {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) uid: u32,
    pub(crate) group: String,
    pub(crate) account: String,
    pub(crate) partition: String,
    pub(crate) nodes: usize,
    pub(crate) tasks: u32,
    pub(crate) limit_s: Option<u64>,
    /// The name of the system whose file systems the job's paths are of.
    pub(crate) system: String,
    pub(crate) working_directory: String,
    pub(crate) script: String,
    /// Patterns, as given.
    pub(crate) standard_output: String,
    pub(crate) standard_error: String,
    pub(crate) standard_input: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) requeue: bool,
    pub(crate) held: bool,
    pub(crate) dependency: Option<Dependency>,
    pub(crate) begin_after_s: u64,
    /// The indexes of the tasks of an array; empty for a single job.
    pub(crate) array: Vec<u32>,
    /// Whether the script's paths are those that callers see.
    pub(crate) paths_are_shown: bool,
}

/// A job with all that has happened to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    /// The number of the array and the index in it.
    pub(crate) task: Option<(JobId, u32)>,
    pub(crate) request: JobRequest,
    pub(crate) state: JobState,
    pub(crate) reason: &'static str,
    pub(crate) submitted: UnixMs,
    /// No earlier than this.
    pub(crate) eligible: UnixMs,
    pub(crate) start: Option<UnixMs>,
    pub(crate) end: Option<UnixMs>,
    pub(crate) nodes: Vec<String>,
    /// The nodes are the job's until its processes are gone.
    pub(crate) holds_nodes: bool,
    pub(crate) exit: Exit,
    /// How the batch script ended, which is not always how the job did.
    pub(crate) batch_exit: Option<Exit>,
    /// Counts the starts: a job that lost its node begins again under its number.
    pub(crate) generation: u32,
    pub(crate) steps: Vec<Step>,
}

impl Job {
    /// The job's name among others: its number, or the array's with the index.
    pub(crate) fn shown_id(&self) -> String {
        match self.task {
            None => self.id.to_string(),
            Some((array, index)) => format!("{array}_{index}"),
        }
    }

    /// Whether a caller's number means this job, by itself or as a part of its array.
    pub(crate) fn is_meant_by(&self, id: JobId) -> bool {
        self.task.map_or(self.id, |(array, _)| array) == id
    }

    /// A path pattern with the job's own values, made absolute.
    pub(crate) fn expand(&self, pattern: &str, names: bool) -> String {
        let mut expanded = String::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('j') => expanded.push_str(&self.id.to_string()),
                Some('A') => expanded.push_str(&self.task.map_or(self.id, |(array, _)| array).to_string()),
                Some('a') => expanded.push_str(&self.task.map_or(0, |(_, index)| index).to_string()),
                Some('x') if names => expanded.push_str(&self.request.name),
                Some('u') if names => expanded.push_str(&self.request.user),
                Some('N') if names => expanded.push_str(self.nodes.first().map_or("", String::as_str)),
                Some('n' | 't') if names => expanded.push('0'),
                Some('%') => expanded.push('%'),
                other => {
                    expanded.push('%');
                    expanded.extend(other);
                }
            }
        }
        if expanded.starts_with('/') {
            expanded
        } else {
            format!(
                "{}/{expanded}",
                self.request.working_directory.trim_end_matches('/')
            )
        }
    }
}
