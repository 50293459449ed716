//! Backends that misbehave at the start of a server.

use std::{
    future::pending,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, EnsureError, Finder, Found, Handle, fake::Fake,
};
use gipfel_model::{CampaignId, DeploymentId, DeploymentKind, DeploymentSpec, RunId};

use super::{Bench, completes, outcomes};
use crate::{Backends, Campaign, DeploymentOutcome, DeploymentPhase, Journal, RunOutcome, System};

/// What a [`Twisted`] backend does in place of starting a server.
#[derive(Clone, Copy)]
enum Twist {
    /// It starts it and panics.
    Panic,
    /// It starts it and never answers.
    Hang,
    /// It notes what the journal says.
    ReadJournal,
}

/// A fake that misbehaves at the start of a server.
struct Twisted {
    fake: Arc<Fake>,
    twist: Twist,
    results: PathBuf,
    noted: Mutex<Option<Campaign>>,
}

impl Deployer for Twisted {
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move {
            match self.twist {
                Twist::ReadJournal => {
                    *self.noted.lock().unwrap() = Some(Journal::load(&self.results, campaign).unwrap());
                }
                Twist::Panic => {
                    Deployer::ensure(&*self.fake, campaign, id, spec).await?;
                    panic!("a fault of the backend");
                }
                Twist::Hang => {
                    Deployer::ensure(&*self.fake, campaign, id, spec).await?;
                    pending::<()>().await;
                }
            }
            Deployer::ensure(&*self.fake, campaign, id, spec).await
        })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Deployer::observe(&*self.fake, handle)
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Deployer::logs(&*self.fake, handle, lines)
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Deployer::end(&*self.fake, handle)
    }
}

impl Finder for Twisted {
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        self.fake.find_deployment(id)
    }

    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        self.fake.find_run(id)
    }

    fn find_campaign<'a>(&'a self, id: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        self.fake.find_campaign(id)
    }
}

/// Drives one run with a server that starts like this; the campaign that was noted.
async fn drive_twisted(twist: Twist) -> Option<Campaign> {
    let bench = Bench::one();
    bench.fake.script("r-1", completes(1));
    let twisted = Arc::new(Twisted {
        fake: Arc::clone(&bench.fake),
        twist,
        results: bench.results.path().to_owned(),
        noted: Mutex::new(None),
    });
    let backends = Backends::new().with(DeploymentKind::Local, System::split(&twisted, &bench.fake));
    let (departure, _) = bench.drive_until(backends, &[]).await;
    assert_eq!(outcomes(&departure.campaign), [Some(&RunOutcome::Completed)]);
    assert_eq!(
        departure.campaign.deployments[0].phase,
        DeploymentPhase::Ended(DeploymentOutcome::Done)
    );
    assert_eq!(bench.fake.starts("d-1"), 1);
    assert_eq!(bench.fake.live(), Vec::<String>::new());
    twisted.noted.lock().unwrap().take()
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_ahead_of_the_world() {
    let noted = drive_twisted(Twist::ReadJournal).await.unwrap();
    assert!(matches!(
        noted.deployments[0].phase,
        DeploymentPhase::Submitting { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_panics_or_hangs_is_asked_what_it_did() {
    drive_twisted(Twist::Panic).await;
    drive_twisted(Twist::Hang).await;
}
