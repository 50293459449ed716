//! What lives, by name and by mark, after a crash or a lost answer.

use std::time::{Duration, Instant};

use firecrest_client::{AdoptPolicy, Adoption, JobId, RemotePath};
use gipfel_backend::{BackendError, BoxFuture, Finder, Found, Handle};
use gipfel_model::{CampaignId, DeploymentId, RunId};

use super::{
    SlurmBackend,
    detail::Detail,
    failed, handle,
    place::{Place, job_name, mark, within},
    runner::SERVER,
};

/// Who takes a mark in place of a job writes this into it; a job that finds it leaves at once.
const TAKEN: &[u8] = b"taken\n";

/// A path.
const PATH_BYTES: u64 = 4096;

/// A search for one name that has found nothing so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    begun: Instant,
    looks: u32,
}

impl SlurmBackend {
    async fn find(&self, id: &str) -> Result<Found, BackendError> {
        for place in &self.places {
            if let Some(detail) = self.find_at(place, id).await? {
                self.memory().searches.remove(id);
                return Ok(Found::Started(handle(id, &detail)));
            }
        }
        if !self.has_looked_enough(id) {
            return Ok(Found::Unsettled);
        }
        for place in &self.places {
            if let Some(detail) = self.close(place, id).await? {
                return Ok(Found::Started(handle(id, &detail)));
            }
        }
        self.memory().searches.remove(id);
        Ok(Found::Absent)
    }

    /// One look: the mark of the last attempt, or a job by the name of the one after it.
    async fn find_at(&self, place: &Place, id: &str) -> Result<Option<Detail>, BackendError> {
        let directory = place.directory(id).await?;
        let marked = self.marked(place, &directory).await?;
        let next = marked.attempt + 1;
        if let Some(job) = self.glance(place, id, &directory, next).await? {
            return Ok(Some(detail(place, &directory, next, job)));
        }
        if let Some(found) = self.find_within(place, &directory, marked.attempt).await? {
            return Ok(Some(found));
        }
        Ok(marked
            .job
            .map(|job| detail(place, &directory, marked.attempt, job)))
    }

    /// A run in its server's job.
    async fn find_within(
        &self,
        place: &Place,
        directory: &RemotePath,
        attempt: u32,
    ) -> Result<Option<Detail>, BackendError> {
        let Some(text) = place.text(&within(directory, SERVER)?, PATH_BYTES).await? else {
            return Ok(None);
        };
        let operation = || format!("find the server of {directory}");
        let server =
            RemotePath::try_new(text).map_err(|error| BackendError::permanent(operation(), error))?;
        let job = self.marked(place, &server).await?.job;
        Ok(job.map(|job| Detail {
            within: Some(server),
            ..detail(place, directory, attempt.max(1), job)
        }))
    }

    async fn glance(
        &self,
        place: &Place,
        id: &str,
        directory: &RemotePath,
        attempt: u32,
    ) -> Result<Option<JobId>, BackendError> {
        let once = AdoptPolicy {
            grace: Duration::ZERO,
            looks: 1,
            ..self.policy
        };
        let (name, mark) = (job_name(id, attempt)?, mark(directory, attempt)?);
        let found = place.cluster.adopt(&name, &mark, &once).await.map_err(failed)?;
        Ok(match found {
            Adoption::Found(job) => Some(job),
            Adoption::Nothing => None,
        })
    }

    /// A living job of this name, whatever its mark says.
    async fn glance_by_name(
        &self,
        place: &Place,
        id: &str,
        attempt: u32,
    ) -> Result<Option<JobId>, BackendError> {
        let name = job_name(id, attempt)?;
        let jobs = place.cluster.jobs().await.map_err(failed)?;
        let ours = jobs
            .into_iter()
            .find(|job| job.name == name.as_str() && !job.state.is_ended());
        Ok(ours.map(|job| job.id))
    }

    /// Counts a look that found nothing; whether there were enough, over enough time.
    fn has_looked_enough(&self, id: &str) -> bool {
        let mut memory = self.memory();
        let search = memory.searches.entry(id.to_owned()).or_insert(Search {
            begun: Instant::now(),
            looks: 0,
        });
        search.looks += 1;
        search.looks >= self.policy.looks && search.begun.elapsed() >= self.policy.grace
    }

    /// Takes the mark, so that a job that comes late leaves at once, and looks a last time.
    async fn close(&self, place: &Place, id: &str) -> Result<Option<Detail>, BackendError> {
        let directory = place.directory(id).await?;
        place.make_directory(&directory).await?;
        let attempt = self.marked(place, &directory).await?.attempt + 1;
        let taken = mark(&directory, attempt)?;
        place.write(taken.path(), TAKEN).await?;
        let job = self.glance_by_name(place, id, attempt).await?;
        Ok(job.map(|job| detail(place, &directory, attempt, job)))
    }

    async fn find_all(&self, campaign: &CampaignId) -> Result<Vec<Handle>, BackendError> {
        let mut living = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            for id in place.noted(campaign).await? {
                let Some(detail) = self.find_at(place, &id).await? else {
                    continue;
                };
                if self.lives(index, &detail.job).await? {
                    living.push(handle(&id, &detail));
                }
            }
        }
        Ok(living)
    }
}

fn detail(place: &Place, directory: &RemotePath, attempt: u32, job: JobId) -> Detail {
    Detail {
        reach: place.reach.clone(),
        job,
        directory: directory.clone(),
        attempt,
        within: None,
    }
}

impl Finder for SlurmBackend {
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.find(id.as_str()))
    }

    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.find(id.as_str()))
    }

    fn find_campaign<'a>(&'a self, id: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(self.find_all(id))
    }
}
