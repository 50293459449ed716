//! The simulator's own scheduler: jobs, nodes and time in, starts and ends out. It has no clock and starts nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    jobs::{
        directives::{DependencyKind, Refusal},
        job::{Exit, Job, JobId, JobRequest, JobState, Step, UnixMs},
        submission::{exceeds, partition_nodes},
    },
    options::ClusterOptions,
};

/// What the scheduler wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Start the job's script.
    Start { job: JobId, generation: u32 },
    /// End the job's processes, politely at first unless `at_once`.
    End {
        job: JobId,
        generation: u32,
        at_once: bool,
    },
}

/// Why a cancel is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CancelRefusal {
    Unknown,
    Ended,
    Denied,
}

/// The jobs and nodes of a cluster.
#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(crate) cluster: ClusterOptions,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// No job starts.
    pub(crate) is_paused: bool,
    down: BTreeSet<String>,
    next: JobId,
}

impl Scheduler {
    pub(crate) fn new(cluster: ClusterOptions) -> Self {
        Self {
            cluster,
            jobs: BTreeMap::new(),
            is_paused: false,
            down: BTreeSet::new(),
            next: 1,
        }
    }

    /// Takes a job in.
    pub(crate) fn submit(&mut self, request: JobRequest, now: UnixMs) -> Result<JobId, Refusal> {
        let open = self.jobs.values().filter(|job| !job.state.is_ended());
        let open = open.filter(|job| job.request.account == request.account).count();
        let limit = self
            .cluster
            .account_job_limits
            .iter()
            .find(|limit| limit.account == request.account);
        if limit.is_some_and(|limit| open >= limit.jobs) {
            return Err(Refusal::new(
                1,
                "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job \
                 violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            ));
        }
        let first = self.next;
        let tasks = match request.array.as_slice() {
            [] => vec![None],
            indexes => indexes.iter().map(|&index| Some((first, index))).collect(),
        };
        for task in tasks {
            let job = self.pending(request.clone(), task, now);
            self.jobs.insert(job.id, job);
            self.next += 1;
        }
        Ok(first)
    }

    fn pending(&self, request: JobRequest, task: Option<(JobId, u32)>, now: UnixMs) -> Job {
        let begin = i64::try_from(request.begin_after_s).unwrap_or(i64::MAX / 2000) * 1000;
        let delay = i64::try_from(self.cluster.start_delay.as_millis()).unwrap_or_default();
        Job {
            id: self.next,
            task,
            request,
            state: JobState::Pending,
            reason: "None",
            submitted: now,
            eligible: now + begin.max(delay),
            start: None,
            end: None,
            nodes: Vec::new(),
            holds_nodes: false,
            exit: Exit::default(),
            batch_exit: None,
            generation: 0,
            steps: Vec::new(),
        }
    }

    /// Ends what is over time and starts what fits.
    pub(crate) fn step(&mut self, now: UnixMs) -> Vec<Effect> {
        let mut effects = self.end_overdue(now);
        let mut blocked: BTreeSet<String> = BTreeSet::new();
        let pending: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| job.state == JobState::Pending)
            .map(|job| job.id)
            .collect();
        for id in pending {
            let Some(job) = self.jobs.get(&id) else { continue };
            let (reason, nodes) = self.placement(job, now, &blocked);
            if matches!(reason, "Resources" | "Priority") {
                blocked.insert(job.request.partition.clone());
            }
            let Some(job) = self.jobs.get_mut(&id) else {
                continue;
            };
            job.reason = reason;
            if let Some(nodes) = nodes {
                job.state = JobState::Running;
                job.start = Some(now);
                job.nodes = nodes;
                job.holds_nodes = true;
                job.generation += 1;
                effects.push(Effect::Start {
                    job: id,
                    generation: job.generation,
                });
            }
        }
        effects
    }

    fn end_overdue(&mut self, now: UnixMs) -> Vec<Effect> {
        let mut effects = Vec::new();
        for job in self
            .jobs
            .values_mut()
            .filter(|job| job.state == JobState::Running)
        {
            let (Some(start), Some(limit_s)) = (job.start, job.request.limit_s) else {
                continue;
            };
            if now - start >= i64::try_from(limit_s).unwrap_or(i64::MAX / 1000) * 1000 {
                effects.push(conclude(job, JobState::Timeout, Exit::default(), now, false));
                job.batch_exit = Some(Exit { code: 0, signal: 15 });
            }
        }
        effects
    }

    /// Why a pending job waits, or the nodes on which it starts.
    fn placement(
        &self,
        job: &Job,
        now: UnixMs,
        blocked: &BTreeSet<String>,
    ) -> (&'static str, Option<Vec<String>>) {
        if job.request.held {
            return ("JobHeldUser", None);
        }
        if self.is_paused || now < job.eligible {
            let waits_for_begin = job.request.begin_after_s > 0 || job.generation > 0;
            return (if waits_for_begin { "BeginTime" } else { "None" }, None);
        }
        if let Some(reason) = self.dependency_reason(job) {
            return (reason, None);
        }
        let named = |name: &String| {
            self.cluster
                .partitions
                .iter()
                .find(|partition| partition.name == *name)
        };
        let Some(partition) = named(&job.request.partition) else {
            return ("PartitionDown", None);
        };
        if exceeds(job.request.limit_s, partition.time_limit) {
            return ("PartitionTimeLimit", None);
        }
        if blocked.contains(&job.request.partition) {
            return ("Priority", None);
        }
        let free = partition_nodes(&self.cluster, partition)
            .iter()
            .filter(|node| self.is_free(node, partition.exclusive));
        let nodes: Vec<String> = free.take(job.request.nodes).cloned().collect();
        if nodes.len() == job.request.nodes {
            ("None", Some(nodes))
        } else {
            ("Resources", None)
        }
    }

    fn dependency_reason(&self, job: &Job) -> Option<&'static str> {
        let dependency = job.request.dependency.as_ref()?;
        let mut waits = false;
        // A job that nobody knows has ended long ago, as Slurm sees it.
        let is_waited_for = |job: &&Job| dependency.jobs.iter().any(|&id| job.is_meant_by(id));
        for other in self.jobs.values().filter(is_waited_for) {
            let is_ok = other.state == JobState::Completed;
            match dependency.kind {
                DependencyKind::After => waits |= other.state == JobState::Pending,
                _ if !other.state.is_ended() => waits = true,
                DependencyKind::AfterAny => {}
                DependencyKind::AfterOk if is_ok => {}
                DependencyKind::AfterNotOk if !is_ok => {}
                DependencyKind::AfterOk | DependencyKind::AfterNotOk => {
                    return Some("DependencyNeverSatisfied");
                }
            }
        }
        waits.then_some("Dependency")
    }

    fn is_free(&self, node: &String, exclusively: bool) -> bool {
        if self.down.contains(node) {
            return false;
        }
        let mut holders = self
            .jobs
            .values()
            .filter(|job| job.holds_nodes && job.nodes.contains(node));
        if exclusively {
            holders.next().is_none()
        } else {
            !holders.any(|job| self.is_exclusive(job))
        }
    }

    fn is_exclusive(&self, job: &Job) -> bool {
        let partition = self
            .cluster
            .partitions
            .iter()
            .find(|one| one.name == job.request.partition);
        partition.is_none_or(|partition| partition.exclusive)
    }

    /// The script of this start has ended by itself or by us, and its nodes are free.
    pub(crate) fn exited(&mut self, id: JobId, generation: u32, exit: Exit, now: UnixMs) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.generation != generation {
            return;
        }
        job.holds_nodes = false;
        if job.state == JobState::Running {
            job.state = if exit.is_success() {
                JobState::Completed
            } else {
                JobState::Failed
            };
            job.exit = exit;
            job.batch_exit = Some(exit);
            job.end = Some(now);
        }
    }

    /// The steps of this start, as they are now.
    pub(crate) fn set_steps(&mut self, id: JobId, generation: u32, steps: Vec<Step>) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.generation == generation
        {
            job.steps = steps;
        }
    }

    /// Cancels a job, or what is unfinished of an array, for the user of number `uid`.
    pub(crate) fn cancel(&mut self, id: JobId, uid: u32, now: UnixMs) -> Result<Vec<Effect>, CancelRefusal> {
        let mut refusal = CancelRefusal::Unknown;
        let mut effects = None;
        for job in self.jobs.values_mut().filter(|job| job.is_meant_by(id)) {
            match cancel(job, uid, now) {
                Ok(effect) => effects.get_or_insert_with(Vec::new).extend(effect),
                Err(why) => refusal = why,
            }
        }
        effects.ok_or(refusal)
    }

    /// Ends an unfinished job in `state`, by the command of a test.
    pub(crate) fn end_as(&mut self, id: JobId, state: JobState, now: UnixMs) -> Option<Effect> {
        let job = self.jobs.get_mut(&id).filter(|job| !job.state.is_ended())?;
        let exit = Exit {
            code: i32::from(state != JobState::Timeout),
            signal: 0,
        };
        Some(conclude(job, state, exit, now, true))
    }

    /// Puts a running job back in the queue under its number.
    pub(crate) fn requeue(&mut self, id: JobId, now: UnixMs) -> Option<Effect> {
        let delay = i64::try_from(self.cluster.requeue_delay.as_millis()).unwrap_or_default();
        let job = self
            .jobs
            .get_mut(&id)
            .filter(|job| job.state == JobState::Running)?;
        let effect = Effect::End {
            job: id,
            generation: job.generation,
            at_once: true,
        };
        job.generation += 1;
        job.state = JobState::Pending;
        job.reason = "BeginTime";
        job.eligible = now + delay;
        job.start = None;
        job.nodes.clear();
        job.holds_nodes = false;
        job.steps.clear();
        Some(effect)
    }

    /// Takes a node away, with what runs on it.
    pub(crate) fn fail_node(&mut self, node: &str, now: UnixMs) -> Option<Vec<Effect>> {
        let node = self.cluster.nodes.iter().find(|name| *name == node)?.clone();
        self.down.insert(node.clone());
        let lost: Vec<(JobId, bool)> = self
            .jobs
            .values()
            .filter(|job| job.state == JobState::Running && job.nodes.contains(&node))
            .map(|job| (job.id, job.request.requeue))
            .collect();
        let effects = lost.into_iter().filter_map(|(id, requeue)| {
            if requeue {
                self.requeue(id, now)
            } else {
                self.end_as(id, JobState::NodeFail, now)
            }
        });
        Some(effects.collect())
    }

    /// Gives a node back.
    pub(crate) fn restore_node(&mut self, node: &str) -> bool {
        self.down.remove(node)
    }

    /// The state of a node and how many of its processors are in use.
    pub(crate) fn node_state(&self, node: &String) -> (&'static str, u32) {
        if self.down.contains(node) {
            return ("DOWN", 0);
        }
        let mut holders = self
            .jobs
            .values()
            .filter(|job| job.holds_nodes && job.nodes.contains(node));
        let all = self.cluster.cpus_per_node;
        let shared = holders.clone().count();
        match (holders.any(|job| self.is_exclusive(job)), shared) {
            (true, _) => ("ALLOCATED", all),
            (false, 0) => ("IDLE", 0),
            (false, shared) => ("MIXED", u32::try_from(shared * 2).unwrap_or(all).min(all)),
        }
    }

    /// When a pending job may start, as the scheduler tells it.
    pub(crate) fn estimated_start(&self, job: &Job) -> Option<UnixMs> {
        match job.reason {
            "BeginTime" => Some(job.eligible),
            "Resources" | "Priority" => {
                let ends = self.jobs.values().filter(|job| job.state == JobState::Running);
                let ends = ends.filter_map(|job| {
                    Some(job.start? + i64::try_from(job.request.limit_s?).ok()?.saturating_mul(1000))
                });
                ends.min()
            }
            _ => None,
        }
    }
}

fn cancel(job: &mut Job, uid: u32, now: UnixMs) -> Result<Option<Effect>, CancelRefusal> {
    if job.request.uid != uid {
        return Err(CancelRefusal::Denied);
    }
    match job.state {
        JobState::Pending => {
            job.state = JobState::Cancelled(uid);
            job.reason = "None";
            job.end = Some(now);
            job.start = None;
            Ok(None)
        }
        JobState::Running => {
            let effect = conclude(job, JobState::Cancelled(uid), Exit::default(), now, false);
            job.batch_exit = Some(Exit { code: 0, signal: 15 });
            Ok(Some(effect))
        }
        _ => Err(CancelRefusal::Ended),
    }
}

fn conclude(job: &mut Job, state: JobState, exit: Exit, now: UnixMs, at_once: bool) -> Effect {
    job.state = state;
    job.reason = "None";
    job.exit = exit;
    job.end = Some(now);
    Effect::End {
        job: job.id,
        generation: job.generation,
        at_once,
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
