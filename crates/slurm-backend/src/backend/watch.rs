//! What Slurm says of jobs: one list for all that are asked about, and a look at each that is absent or has changed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use firecrest_client::{JobId, JobState};
use gipfel_backend::BackendError;

use super::{
    SlurmBackend,
    ending::{Standing, standing},
    failed,
};
use crate::cluster::JobFacts;

/// A list serves all who ask within this time.
const LIST_AGE: Duration = Duration::from_secs(4);
/// A job that is unknown for less may be too young, or its accounting away.
const UNKNOWN: Duration = Duration::from_mins(2);

/// What is known of a place's jobs.
#[derive(Default)]
pub(super) struct Watch {
    listed: Option<(Instant, Vec<JobFacts>)>,
    states: BTreeMap<JobId, JobState>,
    unknown: BTreeMap<JobId, Instant>,
}

/// What Slurm knows of a job.
#[derive(Debug)]
pub(super) enum Known {
    /// This.
    Facts(Box<JobFacts>),
    /// Nothing, for too short a time to mean anything.
    NotYet,
    /// Nothing, for long.
    Gone,
}

impl Watch {
    /// Whether the list is young enough.
    fn is_young(&self, now: Instant) -> bool {
        let listed = self.listed.as_ref();
        listed.is_some_and(|(at, _)| now.duration_since(*at) < LIST_AGE)
    }

    /// The job in the list.
    fn listed(&self, id: &JobId) -> Option<JobFacts> {
        let (_, jobs) = self.listed.as_ref()?;
        jobs.iter().find(|job| job.id == *id).cloned()
    }

    /// The names of those that run.
    fn running(&self) -> Vec<String> {
        let listed = self.listed.as_ref().map(|(_, jobs)| jobs.as_slice());
        let running = listed
            .unwrap_or_default()
            .iter()
            .filter(|job| standing(job) == Standing::Runs);
        running.map(|job| job.name.clone()).collect()
    }

    fn has_changed(&self, facts: &JobFacts) -> bool {
        self.states.get(&facts.id) != Some(&facts.state)
    }

    fn learn(&mut self, id: &JobId, facts: Option<JobFacts>, now: Instant) -> Known {
        let Some(facts) = facts else {
            let since = *self.unknown.entry(id.clone()).or_insert(now);
            return if now.duration_since(since) < UNKNOWN {
                Known::NotYet
            } else {
                Known::Gone
            };
        };
        self.unknown.remove(id);
        self.states.insert(id.clone(), facts.state.clone());
        Known::Facts(Box::new(facts))
    }
}

impl SlurmBackend {
    /// What Slurm knows of a job of the place with this index.
    pub(super) async fn known(&self, index: usize, id: &JobId) -> Result<Known, BackendError> {
        let cluster = &self.places[index].cluster;
        if !self.watch(index, |watch| watch.is_young(Instant::now())) {
            let jobs = cluster.jobs().await.map_err(failed)?;
            self.watch(index, |watch| watch.listed = Some((Instant::now(), jobs)));
        }
        let listed = self.watch(index, |watch| watch.listed(id));
        let is_told = listed
            .as_ref()
            .is_some_and(|facts| self.watch(index, |watch| !watch.has_changed(facts)));
        let facts = if is_told {
            listed
        } else {
            cluster.job(id).await.map_err(failed)?
        };
        Ok(self.watch(index, |watch| watch.learn(id, facts, Instant::now())))
    }

    /// The names of the user's jobs that run, as of the last list.
    pub(super) fn running(&self, index: usize) -> Vec<String> {
        self.watch(index, |watch| watch.running())
    }

    /// The next question is asked anew.
    pub(super) fn forget_list(&self, index: usize) {
        self.watch(index, |watch| watch.listed = None);
    }

    fn watch<T>(&self, index: usize, with: impl FnOnce(&mut Watch) -> T) -> T {
        with(self.memory().watches.entry(index).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: &str, state: &str) -> JobFacts {
        JobFacts {
            id: id.parse().expect("an id"),
            name: String::new(),
            comment: None,
            state: JobState::parse(state),
            waits: None,
            nodes: Vec::new(),
            partition: None,
            elapsed: None,
            limit: None,
            started: None,
            exit_code: None,
            signal: None,
        }
    }

    #[test]
    fn a_job_is_gone_only_after_a_while() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        let id: JobId = "7".parse().expect("an id");
        assert!(matches!(watch.learn(&id, None, begin), Known::NotYet));
        let soon = begin + Duration::from_secs(90);
        assert!(matches!(watch.learn(&id, None, soon), Known::NotYet));
        assert!(matches!(
            watch.learn(&id, Some(facts("7", "RUNNING")), soon),
            Known::Facts(_)
        ));
        let late = begin + Duration::from_mins(3);
        assert!(matches!(watch.learn(&id, None, late), Known::NotYet));
        assert!(matches!(watch.learn(&id, None, late + UNKNOWN), Known::Gone));
    }

    #[test]
    fn a_list_serves_for_a_while() {
        let begin = Instant::now();
        let mut watch = Watch {
            listed: Some((begin, vec![facts("7", "RUNNING")])),
            ..Watch::default()
        };
        let (seven, eight) = ("7".parse().expect("an id"), "8".parse().expect("an id"));
        assert_eq!(watch.listed(&seven), Some(facts("7", "RUNNING")));
        assert_eq!(watch.listed(&eight), None);
        assert!(watch.is_young(begin));
        assert!(!watch.is_young(begin + LIST_AGE));
        assert!(watch.has_changed(&facts("7", "RUNNING")));
        watch.learn(&seven, Some(facts("7", "RUNNING")), begin);
        assert!(!watch.has_changed(&facts("7", "RUNNING")));
        assert!(watch.has_changed(&facts("7", "COMPLETING")));
    }
}
