//! The trait, over the maps of a simulated cluster.

use std::path::Path;

use firecrest_client::{
    AdoptPolicy, Adoption, Earlier, FileMode, JobId, JobName, JobState, Mark, RemotePath, Sha256,
};
use gipfel_backend::BoxFuture;

use super::{
    super::{
        Cluster, ClusterError, ClusterErrorKind, ClusterFacts, FileFacts, FilePiece, JobFacts, JobRequest,
        SubmitEffect, SubmitFailure, assembly, offers::Offers, text,
    },
    Happening, SimulatedCluster, SimulatedJob, State, Visibility,
    mishaps::{self, Call, Mishap},
};

impl SimulatedCluster {
    fn error(&self, call: Call, kind: ClusterErrorKind, why: impl Into<String>) -> ClusterError {
        ClusterError {
            cluster: self.name.clone(),
            operation: format!("{call:?}"),
            kind,
            source: why.into().into(),
        }
    }

    fn invalid(&self, call: Call, why: impl Into<String>) -> ClusterError {
        self.error(call, ClusterErrorKind::Invalid, why)
    }

    fn lost(&self, call: Call) -> ClusterError {
        self.error(call, ClusterErrorKind::Away, "the cluster does not answer")
    }

    /// Carries a call out as its plan wants it.
    fn call<T>(
        &self,
        call: Call,
        carry_out: impl FnOnce(&mut State) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let mut state = self.state();
        state.calls.push(call);
        match mishaps::take(&mut state.plans, call) {
            None | Some(Mishap::LostEntry) => carry_out(&mut state),
            Some(Mishap::LostBefore | Mishap::LostLate(_)) => Err(self.lost(call)),
            Some(Mishap::LostAfter) => carry_out(&mut state).and(Err(self.lost(call))),
            Some(Mishap::Refused(kind, why)) => Err(self.error(call, kind, why)),
        }
    }

    fn store_as(
        &self,
        call: Call,
        path: &RemotePath,
        content: &[u8],
        mode: FileMode,
    ) -> Result<(), ClusterError> {
        let stored = self.call(call, |state| {
            let directory = path.split().map(|(directory, _)| directory);
            if !directory.is_some_and(|directory| state.directories.contains(directory.as_str())) {
                return Err(self.invalid(call, format!("the directory of {path} is not there")));
            }
            state.store(path.as_str(), content, mode.bits());
            Ok(())
        });
        if stored.is_ok() {
            self.tell(&Happening::Written(path.clone()));
        }
        stored
    }

    fn submit_now(&self, request: &JobRequest) -> Result<JobId, SubmitFailure> {
        let call = Call::Submit;
        let failure = |effect, source| SubmitFailure { effect, source };
        let mut state = self.state();
        state.calls.push(call);
        let mishap = mishaps::take(&mut state.plans, call);
        match mishap {
            Some(Mishap::LostBefore) => return Err(failure(SubmitEffect::Unknown, self.lost(call))),
            Some(Mishap::Refused(kind, why)) => {
                return Err(failure(SubmitEffect::NotStarted, self.error(call, kind, why)));
            }
            Some(Mishap::LostAfter | Mishap::LostLate(_) | Mishap::LostEntry) | None => {}
        }
        if let Some(id) = state.told(request.name.as_str(), request.mark.path()) {
            return Ok(id);
        }
        if !state.directories.contains(request.directory.as_str()) {
            let missing = format!("the directory {} is not there", request.directory);
            return Err(failure(SubmitEffect::NotStarted, self.invalid(call, missing)));
        }
        let visibility = match mishap {
            Some(Mishap::LostLate(looks)) => Visibility::Late(looks),
            _ => Visibility::Told,
        };
        let job = state.add(request, visibility);
        drop(state);
        let id = job.id.clone();
        if visibility == Visibility::Told {
            self.tell(&Happening::Submitted(job));
        }
        match mishap {
            Some(Mishap::LostAfter | Mishap::LostLate(_)) => {
                Err(failure(SubmitEffect::Unknown, self.lost(call)))
            }
            _ => Ok(id),
        }
    }

    fn adopt_now(&self, name: &JobName, mark: &Mark) -> Result<Adoption, ClusterError> {
        let mut come = Vec::new();
        let adoption = self.call(Call::Adopt, |state| {
            if let Some(id) = state.told(name.as_str(), mark.path()) {
                return Ok(Adoption::Found(id));
            }
            let late = state
                .jobs
                .iter_mut()
                .find(|job| job.facts.name == name.as_str() && matches!(job.visibility, Visibility::Late(_)));
            let Some(job) = late else {
                return Ok(Adoption::Nothing);
            };
            job.visibility = match job.visibility {
                Visibility::Late(looks) if looks > 1 => Visibility::Late(looks - 1),
                _ => Visibility::Told,
            };
            if job.visibility == Visibility::Told {
                come.push(job.clone());
            }
            let why = "it is not settled whether the job was started";
            Err(self.error(Call::Adopt, ClusterErrorKind::Away, why))
        });
        for job in come {
            self.tell(&Happening::Submitted(job));
        }
        adoption
    }

    fn jobs_now(&self) -> Result<Vec<JobFacts>, ClusterError> {
        let call = Call::Jobs;
        let mut state = self.state();
        state.calls.push(call);
        let mishap = mishaps::take(&mut state.plans, call);
        let told = state.jobs.iter().filter(|job| job.visibility == Visibility::Told);
        let mut listed: Vec<JobFacts> = told.map(|job| job.facts.clone()).collect();
        match mishap {
            None => {}
            Some(Mishap::LostEntry) => {
                listed.pop();
            }
            Some(Mishap::LostBefore | Mishap::LostAfter | Mishap::LostLate(_)) => return Err(self.lost(call)),
            Some(Mishap::Refused(kind, why)) => return Err(self.error(call, kind, why)),
        }
        Ok(listed)
    }

    fn cancel_now(&self, id: &JobId) -> Result<(), ClusterError> {
        let mut cancelled = Vec::new();
        let answer = self.call(Call::Cancel, |state| {
            let outlives = state.outlives_cancel;
            let Some(job) = state.jobs.iter_mut().find(|job| job.id == *id) else {
                return Ok(());
            };
            job.cancels += 1;
            if !job.facts.state.is_ended() {
                job.facts.state = if outlives {
                    JobState::Completing
                } else {
                    JobState::Cancelled { by: None }
                };
                job.facts.waits = None;
                cancelled.push(job.clone());
            }
            Ok(())
        });
        for job in cancelled {
            self.tell(&Happening::Cancelled(job));
        }
        answer
    }

    fn stored<T>(
        &self,
        call: Call,
        path: &RemotePath,
        then: impl FnOnce(&super::StoredFile) -> Result<T, ClusterError>,
    ) -> Result<Option<T>, ClusterError> {
        self.call(call, |state| state.files.get(path.as_str()).map(then).transpose())
    }

    async fn fetch_now(&self, pieces: &[FilePiece], whole: Sha256, local: &Path) -> Result<(), ClusterError> {
        // The call counts, and fails by plan, as a whole: the pieces themselves are copied.
        self.call(Call::Fetch, |_| Ok(()))?;
        let failed = |error: assembly::AssemblyError| self.invalid(Call::Fetch, error.to_string());
        let Some(assembly) = assembly::Assembly::begin(pieces, whole, local)
            .await
            .map_err(failed)?
        else {
            return Ok(());
        };
        for piece in assembly.missing().await.map_err(failed)? {
            let missing = || self.invalid(Call::Fetch, format!("{} is not there", piece.path));
            let content = self.file(piece.path.as_str()).ok_or_else(missing)?;
            assembly.keep(piece, &content).await.map_err(failed)?;
        }
        assembly.finish().await.map_err(failed)
    }
}

impl State {
    /// The job of this name or mark that the cluster tells of.
    fn told(&self, name: &str, mark: &RemotePath) -> Option<JobId> {
        let is_told = |job: &&SimulatedJob| job.visibility == Visibility::Told && job.facts.name == name;
        let listed = self.jobs.iter().rfind(is_told).map(|job| job.id.clone());
        listed.or_else(|| {
            let file = self.files.get(mark.as_str())?;
            JobId::try_new(String::from_utf8_lossy(&file.content).trim()).ok()
        })
    }

    fn names_in(&self, path: &RemotePath) -> Option<Vec<String>> {
        if !self.directories.contains(path.as_str()) {
            return None;
        }
        let begin = format!("{}/", path.as_str());
        let below = self.files.keys().chain(&self.directories);
        let mut names: Vec<String> = below
            .filter_map(|one| one.strip_prefix(&begin))
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    fn remove_below(&mut self, path: &RemotePath) {
        let begin = format!("{}/", path.as_str());
        let stays = |one: &String| one != path.as_str() && !one.starts_with(&begin);
        self.files.retain(|one, _| stays(one));
        self.directories.retain(stays);
    }
}

impl Cluster for SimulatedCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn facts(&self) -> BoxFuture<'_, Result<ClusterFacts, ClusterError>> {
        Box::pin(async { self.call(Call::Facts, |state| Ok(state.facts.clone())) })
    }

    fn make_directory<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move {
            self.call(Call::MakeDirectory, |state| {
                let mut directory = path.as_str();
                while !directory.is_empty() {
                    state.directories.insert(directory.to_owned());
                    directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
                }
                Ok(())
            })
        })
    }

    fn write<'a>(
        &'a self,
        path: &'a RemotePath,
        content: &'a [u8],
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move { self.store_as(Call::Write, path, content, mode) })
    }

    fn put<'a>(
        &'a self,
        local: &'a Path,
        path: &'a RemotePath,
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move {
            let unreadable =
                |error: std::io::Error| self.invalid(Call::Put, format!("{}: {error}", local.display()));
            let content = tokio::fs::read(local).await.map_err(unreadable)?;
            self.store_as(Call::Put, path, &content, mode)
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a RemotePath,
        most: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, ClusterError>> {
        Box::pin(async move {
            self.stored(Call::Read, path, |file| {
                if file.content.len() as u64 > most {
                    Err(self.invalid(Call::Read, format!("{path} has more than {most} bytes")))
                } else {
                    Ok(file.content.clone())
                }
            })
        })
    }

    fn tail<'a>(
        &'a self,
        path: &'a RemotePath,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Option<String>, ClusterError>> {
        Box::pin(async move { self.stored(Call::Tail, path, |file| Ok(text::tail_of(&file.content, bytes))) })
    }

    fn stat<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<FileFacts>, ClusterError>> {
        Box::pin(async move {
            self.stored(Call::Stat, path, |file| {
                Ok(FileFacts {
                    bytes: file.content.len() as u64,
                    modified: file.modified,
                    mode: file.mode,
                })
            })
        })
    }

    fn list<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<Vec<String>>, ClusterError>> {
        Box::pin(async move { self.call(Call::List, |state| Ok(state.names_in(path))) })
    }

    fn fetch<'a>(
        &'a self,
        pieces: &'a [FilePiece],
        whole: Sha256,
        local: &'a Path,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.fetch_now(pieces, whole, local))
    }

    fn remove<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move {
            self.call(Call::Remove, |state| {
                state.remove_below(path);
                Ok(())
            })
        })
    }

    fn submit<'a>(
        &'a self,
        request: &'a JobRequest,
        _earlier: Earlier,
    ) -> BoxFuture<'a, Result<JobId, SubmitFailure>> {
        Box::pin(async move { self.submit_now(request) })
    }

    fn adopt<'a>(
        &'a self,
        name: &'a JobName,
        mark: &'a Mark,
        _policy: &'a AdoptPolicy,
    ) -> BoxFuture<'a, Result<Adoption, ClusterError>> {
        Box::pin(async move { self.adopt_now(name, mark) })
    }

    fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobFacts>, ClusterError>> {
        Box::pin(async { self.jobs_now() })
    }

    fn job<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobFacts>, ClusterError>> {
        Box::pin(async move {
            self.call(Call::Job, |state| {
                let told = state.jobs.iter().filter(|job| job.visibility == Visibility::Told);
                Ok(told.map(|job| &job.facts).find(|facts| facts.id == *id).cloned())
            })
        })
    }

    fn cancel<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move { self.cancel_now(id) })
    }

    fn offers(&self) -> BoxFuture<'_, Result<Offers, ClusterError>> {
        Box::pin(async { self.call(Call::Offers, |state| Ok(state.offers.clone())) })
    }

    /// Refused by plan only.
    fn try_out<'a>(&'a self, request: &'a JobRequest) -> BoxFuture<'a, Result<Option<String>, ClusterError>> {
        let words = format!("{} would start at once", request.name);
        Box::pin(async move { self.call(Call::TryOut, |_| Ok(Some(words))) })
    }

    fn free<'a>(&'a self, _: &'a RemotePath) -> BoxFuture<'a, Result<Option<u64>, ClusterError>> {
        Box::pin(async { self.call(Call::Free, |state| Ok(state.free)) })
    }
}
