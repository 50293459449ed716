//! Jobs as the API shows them.

use serde_json::{Value, json};

use crate::jobs::{
    hostlist,
    job::{Exit, Job, JobState, UnixMs},
    scheduler::Scheduler,
};

/// A job, whichever scheduler it is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) exit: Option<Exit>,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) elapsed_s: i64,
    pub(crate) start_s: Option<i64>,
    pub(crate) end_s: Option<i64>,
    pub(crate) limit_s: Option<i64>,
    pub(crate) account: String,
    pub(crate) allocation_nodes: usize,
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) nodes: String,
    pub(crate) partition: String,
    pub(crate) user: String,
    pub(crate) working_directory: String,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) exit: Option<Exit>,
    pub(crate) elapsed_s: i64,
    pub(crate) start_s: Option<i64>,
    pub(crate) end_s: Option<i64>,
}

/// The script and the files of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetadataRecord {
    pub(crate) id: String,
    pub(crate) script: String,
    pub(crate) standard_input: String,
    pub(crate) standard_output: String,
    pub(crate) standard_error: String,
}

impl JobRecord {
    pub(crate) fn to_json(&self) -> Value {
        let is_pending = self.state == "PENDING";
        json!({
            "jobId": self.id,
            "name": self.name,
            "status": status(&self.state, Some(&self.reason), self.exit),
            "tasks": self.tasks.iter().map(TaskRecord::to_json).collect::<Vec<_>>(),
            "time": {
                "elapsed": self.elapsed_s,
                "start": self.start_s,
                "end": self.end_s,
                "suspended": (!is_pending).then_some(0),
                "limit": self.limit_s,
            },
            "account": self.account,
            "allocationNodes": self.allocation_nodes,
            "cluster": self.cluster,
            "group": self.group,
            "nodes": self.nodes,
            "partition": self.partition,
            "killRequestUser": null,
            "user": self.user,
            "workingDirectory": self.working_directory,
            "priority": 1,
        })
    }
}

impl TaskRecord {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "status": status(&self.state, None, self.exit),
            "time": {
                "elapsed": self.elapsed_s,
                "start": self.start_s,
                "end": self.end_s,
                "suspended": 0,
                "limit": null,
            },
        })
    }
}

impl MetadataRecord {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "jobId": self.id,
            "script": self.script,
            "standardInput": self.standard_input,
            "standardOutput": self.standard_output,
            "standardError": self.standard_error,
        })
    }
}

fn status(state: &str, reason: Option<&str>, exit: Option<Exit>) -> Value {
    json!({
        "state": state,
        "stateReason": reason,
        "exitCode": exit.map(|exit| exit.code),
        "interruptSignal": exit.map(|exit| exit.signal),
    })
}

/// A job of the simulator's own scheduler as `sacct` and `squeue` together would show it.
pub(crate) fn record(scheduler: &Scheduler, job: &Job, now: UnixMs) -> JobRecord {
    let is_pending = job.state == JobState::Pending;
    let never_ran = job.start.is_none();
    let estimate = is_pending.then(|| scheduler.estimated_start(job)).flatten();
    let limit_s = job
        .request
        .limit_s
        .and_then(|limit_s| i64::try_from(limit_s).ok());
    let estimated_end = estimate
        .zip(limit_s)
        .map(|(start, limit_s)| start / 1000 + limit_s);
    let nodes = match (is_pending, never_ran) {
        (true, _) => String::new(),
        (false, true) => "None assigned".to_owned(),
        (false, false) => hostlist::compress(&job.nodes),
    };
    JobRecord {
        id: job.shown_id(),
        name: job.request.name.clone(),
        state: job.state.to_string(),
        reason: job.reason.to_owned(),
        exit: (!is_pending).then_some(job.exit),
        tasks: if is_pending || never_ran {
            Vec::new()
        } else {
            tasks(job, now)
        },
        elapsed_s: elapsed_s(job, now),
        start_s: job.start.or(estimate).map(|start| start / 1000),
        end_s: if is_pending {
            estimated_end
        } else {
            job.end.map(|end| end / 1000)
        },
        limit_s,
        account: job.request.account.clone(),
        allocation_nodes: if never_ran && !is_pending {
            0
        } else {
            job.request.nodes
        },
        cluster: scheduler.cluster.name.clone(),
        group: job.request.group.clone(),
        nodes,
        partition: job.request.partition.clone(),
        user: job.request.user.clone(),
        working_directory: job.request.working_directory.clone(),
    }
}

fn elapsed_s(job: &Job, now: UnixMs) -> i64 {
    job.start
        .map_or(0, |start| job.end.unwrap_or(now) / 1000 - start / 1000)
}

fn tasks(job: &Job, now: UnixMs) -> Vec<TaskRecord> {
    let exit = if job.state == JobState::Running {
        Some(Exit::default())
    } else {
        job.batch_exit
    };
    let batch = TaskRecord {
        id: format!("{}.batch", job.shown_id()),
        name: "batch".to_owned(),
        state: match (job.state, job.batch_exit) {
            (JobState::Running, _) => "RUNNING",
            (_, Some(exit)) => ended_state(exit),
            (_, None) => "CANCELLED",
        }
        .to_owned(),
        exit,
        elapsed_s: elapsed_s(job, now),
        start_s: job.start.map(|start| start / 1000),
        end_s: job.end.map(|end| end / 1000),
    };
    let steps = job.steps.iter().enumerate().map(|(index, step)| {
        // A step that was running when its job ended was cancelled with it.
        let exit = step.end.map(|(_, exit)| exit);
        let end_s = step.end.map(|(end_s, _)| end_s).or(job.end.map(|end| end / 1000));
        TaskRecord {
            id: format!("{}.{index}", job.shown_id()),
            name: step.name.clone(),
            state: match (exit, job.state) {
                (Some(exit), _) => ended_state(exit),
                (None, JobState::Running) => "RUNNING",
                (None, _) => "CANCELLED",
            }
            .to_owned(),
            exit: Some(exit.unwrap_or_default()),
            elapsed_s: end_s.unwrap_or(now / 1000) - step.start_s,
            start_s: Some(step.start_s),
            end_s,
        }
    });
    std::iter::once(batch).chain(steps).collect()
}

fn ended_state(exit: Exit) -> &'static str {
    match exit {
        Exit { code: 0, signal: 0 } => "COMPLETED",
        Exit { signal: 0, .. } => "FAILED",
        _ => "CANCELLED",
    }
}

/// Whether the scheduler still holds the job in its memory.
pub(crate) fn is_remembered(scheduler: &Scheduler, job: &Job, now: UnixMs) -> bool {
    let age = i64::try_from(scheduler.cluster.minimum_job_age.as_millis()).unwrap_or(i64::MAX);
    job.end.is_none_or(|end| now - end < age)
}

/// The metadata of a job for the user of number `uid`; the accounting has them less exactly than the scheduler.
pub(crate) fn metadata(job: &Job, uid: u32, is_remembered: bool) -> MetadataRecord {
    let script = &job.request.script;
    let script = if is_remembered {
        script.as_str()
    } else {
        script.trim_end_matches('\n')
    };
    MetadataRecord {
        id: job.id.to_string(),
        script: if job.request.uid == uid {
            script.to_owned()
        } else {
            String::new()
        },
        standard_input: job.expand(&job.request.standard_input, is_remembered),
        standard_output: job.expand(&job.request.standard_output, is_remembered),
        standard_error: job.expand(&job.request.standard_error, is_remembered),
    }
}
