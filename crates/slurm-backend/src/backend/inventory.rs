//! What of ours lives on a cluster, and what it has left there: whoever started it, from whatever laptop.

use std::time::{Duration, Instant};

use firecrest_client::{JobId, RemotePath};
use gipfel_backend::{BackendError, Handle};
use gipfel_model::{CampaignId, DeploymentSpec, deployment::Placement};

use super::{
    detail::Detail,
    failed, handle,
    place::{Place, attempts, mark, within},
    whose::{self, Whose},
};
use crate::cluster::JobFacts;

/// `endpoint.txt`, a mark and a comment are short.
const SHORT: u64 = 1024;
/// A job that is cancelled gets 30 seconds from Slurm, and its node a moment.
const END: Duration = Duration::from_secs(90);
const END_PAUSE: Duration = Duration::from_secs(1);
/// The directory of what campaigns have noted.
const CAMPAIGNS: &str = "campaigns";
/// The directory of stored load generators.
const LOAD_GENERATORS: &str = "load-generators";

/// What a job or a directory of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A server.
    Server,
    /// A load generator.
    LoadGenerator,
}

/// A job's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    id: String,
    attempt: u32,
    purpose: Purpose,
}

/// A job of ours that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Living {
    /// What Slurm says of it.
    pub job: JobFacts,
    /// The server or run.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Its campaign, where its directory or its comment tells it.
    pub campaign: Option<CampaignId>,
    /// Whether it is a server that is to outlive its campaign.
    pub kept: bool,
    /// What is served, where its directory tells it.
    pub server: Option<DeploymentSpec>,
    /// The URL at which a server answers, on the cluster's network.
    pub endpoint: Option<String>,
    /// Whether its directory lies here and says that it is ours.
    pub is_signed: bool,
    attempt: u32,
}

impl Living {
    /// What it has cost so far, where that is known.
    pub fn node_hours(&self) -> Option<f64> {
        let elapsed = self.job.elapsed?;
        Some(self.job.nodes.len() as f64 * elapsed.as_secs_f64() / 3600.0)
    }

    /// How long it may still live, where that is known.
    pub fn time_left(&self) -> Option<Duration> {
        let limit = self.job.limit?;
        Some(limit.saturating_sub(self.job.elapsed.unwrap_or_default()))
    }
}

/// A directory of ours that belongs to nothing that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: RemotePath,
    /// The server or run; absent for a stored load generator.
    pub id: Option<String>,
    /// Its campaign, where it tells it.
    pub campaign: Option<CampaignId>,
    /// When anything of it was written last that ends a life, in seconds since 1970 by the cluster's clock.
    pub modified: i64,
}

/// A server that another gipfel has started.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundServer {
    /// Its handle, as this place reaches it.
    pub handle: Handle,
    /// What it is, as this place reaches it.
    pub spec: DeploymentSpec,
    /// Its job.
    pub living: Living,
}

/// Reads `gipfel-<id>` and `gipfel-<id>-<attempt>`; another name is none of ours.
fn read_name(job: &str) -> Option<Name> {
    let (head, tail) = job.strip_prefix("gipfel-")?.rsplit_once('_')?;
    let (tag, attempt) = match tail.split_once('-') {
        None => (tail, 1),
        Some((tag, number)) => (tag, number.parse().ok().filter(|number| *number > 1)?),
    };
    let purpose = purpose(head)?;
    (!tag.is_empty()).then(|| Name {
        id: format!("{head}_{tag}"),
        attempt,
        purpose,
    })
}

/// What an id is of: it begins with its date, a server's with `d-` before it.
fn purpose(id: &str) -> Option<Purpose> {
    let (purpose, rest) = match id.strip_prefix("d-") {
        Some(rest) => (Purpose::Server, rest),
        None => (Purpose::LoadGenerator, id),
    };
    let (stamp, _) = rest.split_once('_')?;
    let (day, time) = stamp.split_once('-')?;
    let are_digits =
        |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits(day, 8) && are_digits(time, 6)).then_some(purpose)
}

/// `gipfel campaign=<id>`, which our scripts say of themselves.
fn campaign_of_comment(comment: &str) -> Option<CampaignId> {
    comment.trim().strip_prefix("gipfel campaign=")?.parse().ok()
}

impl Place {
    /// Where our files lie on the cluster.
    pub async fn directory_of_ours(&self) -> Result<RemotePath, BackendError> {
        self.scratch().await.cloned()
    }

    /// The jobs of ours that have not ended, servers first.
    pub async fn living(&self) -> Result<Vec<Living>, BackendError> {
        let jobs = self.cluster.jobs().await.map_err(failed)?;
        let mut living = Vec::new();
        for job in jobs.into_iter().filter(|job| !job.state.is_ended()) {
            if let Some(name) = read_name(&job.name) {
                living.push(self.look_at(job, name).await?);
            }
        }
        living.sort_by(|a, b| (a.purpose, &a.id).cmp(&(b.purpose, &b.id)));
        Ok(living)
    }

    async fn look_at(&self, job: JobFacts, name: Name) -> Result<Living, BackendError> {
        let directory = self.directory(&name.id).await?;
        let signed = self.whose(&directory).await?;
        let endpoint = match name.purpose {
            Purpose::Server => self.text(&within(&directory, "endpoint.txt")?, SHORT).await?,
            Purpose::LoadGenerator => None,
        };
        let by_comment = job.comment.as_deref().and_then(campaign_of_comment);
        let is_signed = signed.is_some();
        let (campaign, kept, server) = match signed {
            Some(Whose {
                campaign,
                kept,
                server,
                ..
            }) => (Some(campaign), kept, server),
            None => (by_comment, false, None),
        };
        Ok(Living {
            job,
            id: name.id,
            purpose: name.purpose,
            campaign,
            kept,
            server,
            endpoint: endpoint.filter(|url| url.starts_with("http://")),
            is_signed,
            attempt: name.attempt,
        })
    }

    /// The server in this job, whoever of us started it; the error says why it cannot be used.
    pub async fn server_in_job(&self, id: &JobId) -> Result<FoundServer, BackendError> {
        let refused =
            |message: String| BackendError::permanent(format!("use the server in the job {id}"), message);
        let job = self.cluster.job(id).await.map_err(failed)?;
        let job = job.ok_or_else(|| refused("Slurm knows no job of this number".to_owned()))?;
        if job.state.is_ended() {
            return Err(refused(format!("the job has ended ({:?})", job.state)));
        }
        let name = read_name(&job.name).filter(|name| name.purpose == Purpose::Server);
        let Some(name) = name else {
            return Err(refused(format!(
                "the job `{}` is no server that gipfel started: write `deployment: external` with its URL",
                job.name
            )));
        };
        let (directory, attempt) = (self.directory(&name.id).await?, name.attempt);
        let living = self.look_at(job, name).await?;
        let Some(mut spec) = living.server.clone() else {
            return Err(refused(format!(
                "{directory} does not say what it serves: give the `scratch_base` and the user that it was started with"
            )));
        };
        // Another laptop may have reached the cluster by another way.
        if let Placement::Slurm(slurm) = &mut spec.placement {
            slurm.reach = self.reach.clone();
        }
        let detail = Detail {
            reach: self.reach.clone(),
            job: id.clone(),
            directory,
            attempt,
            within: None,
        };
        Ok(FoundServer {
            handle: handle(&living.id, &detail),
            spec,
            living,
        })
    }

    /// Cancels jobs of ours and waits until none of them lives.
    pub async fn end_jobs(&self, jobs: &[JobId]) -> Result<(), BackendError> {
        for job in jobs {
            self.cluster.cancel(job).await.map_err(failed)?;
        }
        let give_up = Instant::now() + END;
        for job in jobs {
            while self.job_lives(job).await? {
                if Instant::now() > give_up {
                    return Err(BackendError::transient(
                        format!("end the job {job}"),
                        "it was cancelled and lives still",
                    ));
                }
                tokio::time::sleep(END_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Slurm forgets none that lives.
    async fn job_lives(&self, job: &JobId) -> Result<bool, BackendError> {
        let facts = self.cluster.job(job).await.map_err(failed)?;
        Ok(facts.is_some_and(|facts| !facts.state.is_ended()))
    }

    /// The directories with our marks that belong to nothing that lives. Stored load generators are among them when
    /// nothing of ours lives at all.
    pub async fn leftovers(&self, living: &[Living]) -> Result<Vec<Leftover>, BackendError> {
        let scratch = self.scratch().await?;
        let names = self.cluster.list(scratch).await.map_err(failed)?;
        let mut leftovers = Vec::new();
        for name in names.unwrap_or_default() {
            if purpose(&name).is_some()
                && let Some(leftover) = self.leftover(&name, living).await?
            {
                leftovers.push(leftover);
            }
        }
        if living.is_empty() {
            leftovers.extend(self.load_generators().await?);
        }
        Ok(leftovers)
    }

    async fn leftover(&self, id: &str, living: &[Living]) -> Result<Option<Leftover>, BackendError> {
        if living.iter().any(|alive| alive.id == id) {
            return Ok(None);
        }
        let path = self.directory(id).await?;
        let names = self.cluster.list(&path).await.map_err(failed)?;
        let names = names.unwrap_or_default();
        let attempt = attempts(&names);
        let signed = self.whose(&path).await?.filter(|whose| whose.id == id);
        let Some(whose) = signed else {
            return Ok(None);
        };
        // A run in its server's job has no job of its own name, and one that waits there has none at all.
        if living
            .iter()
            .any(|alive| alive.campaign.as_ref() == Some(&whose.campaign))
        {
            return Ok(None);
        }
        if attempt > 0 {
            let text = self.text(mark(&path, attempt)?.path(), SHORT).await?;
            if let Ok(job) = JobId::try_new(text.unwrap_or_default())
                && self.job_lives(&job).await?
            {
                return Ok(None);
            }
        }
        let mut modified = 0;
        for file in ["ended.txt", whose::FILE] {
            let stat = self.cluster.stat(&within(&path, file)?).await.map_err(failed)?;
            modified = modified.max(stat.map_or(0, |stat| stat.modified));
        }
        Ok(Some(Leftover {
            path,
            id: Some(id.to_owned()),
            campaign: Some(whose.campaign),
            modified,
        }))
    }

    async fn load_generators(&self) -> Result<Vec<Leftover>, BackendError> {
        let directory = within(self.scratch().await?, LOAD_GENERATORS)?;
        let names = self.cluster.list(&directory).await.map_err(failed)?;
        let mut leftovers = Vec::new();
        for name in names.unwrap_or_default() {
            let is_checksum = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let path = within(&directory, &name)?;
            let packed = self.cluster.stat(&within(&path, "gipfel-loadgen.gz")?).await;
            let packed = packed.map_err(failed)?.filter(|_| is_checksum);
            leftovers.extend(packed.map(|packed| Leftover {
                path,
                id: None,
                campaign: None,
                modified: packed.modified,
            }));
        }
        Ok(leftovers)
    }

    /// Removes a directory that is left over, and what its campaign has noted of it.
    pub async fn remove(&self, leftover: &Leftover) -> Result<(), BackendError> {
        self.cluster.remove(&leftover.path).await.map_err(failed)?;
        let (Some(id), Some(campaign)) = (&leftover.id, &leftover.campaign) else {
            return Ok(());
        };
        let notes = within(&within(self.scratch().await?, CAMPAIGNS)?, campaign.as_str())?;
        self.cluster.remove(&within(&notes, id)?).await.map_err(failed)?;
        let left = self.cluster.list(&notes).await.map_err(failed)?;
        if left.is_some_and(|left| left.is_empty()) {
            self.cluster.remove(&notes).await.map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_are_taken_apart() {
        let check = |job: &str, expected: Option<(&str, u32, Purpose)>| {
            let name = read_name(job);
            let name = name
                .as_ref()
                .map(|name| (name.id.as_str(), name.attempt, name.purpose));
            assert_eq!(name, expected, "{job}");
        };
        let run = "20261122-190000_llama-3.1-8b_vllm_slurm_1a2b";
        let server = format!("d-{run}");
        check(&format!("gipfel-{run}"), Some((run, 1, Purpose::LoadGenerator)));
        check(&format!("gipfel-{run}-3"), Some((run, 3, Purpose::LoadGenerator)));
        check(
            &format!("gipfel-{server}"),
            Some((server.as_str(), 1, Purpose::Server)),
        );
        check(&format!("gipfel-{run}-1"), None);
        check(&format!("gipfel-{run}-x"), None);
        check("gipfel-", None);
        check("gipfel-mine_1a2b", None);
        check("gipfel-2026-19_vllm_1a2b", None);
        check(run, None);
    }

    #[test]
    fn a_comment_tells_the_campaign() {
        let check = |comment: &str, expected: Option<&str>| {
            let campaign = campaign_of_comment(comment);
            assert_eq!(campaign.as_ref().map(CampaignId::as_str), expected, "{comment}");
        };
        check(
            "gipfel campaign=c-20261122-190000_1a2b",
            Some("c-20261122-190000_1a2b"),
        );
        check("campaign=c-1", None);
        check("gipfel campaign=A B", None);
    }
}
