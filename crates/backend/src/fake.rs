//! A backend without a system behind it: every fault is scripted, nothing is left to chance or to a clock.
//!
//! An object's time advances by one with each observation of it, a late arrival's with each search for it.
//!
//! ```
//! use gipfel_backend::{Deployer, DeploymentStatus, fake::{Fake, Script}};
//! use gipfel_backend::fake::block_on;
//! # use gipfel_model::{BackendKind, DeploymentSpec, LocalSpec, deployment::Placement};
//! # let spec = DeploymentSpec { model: "m".into(), backend: BackendKind::Sim,
//! #     placement: Placement::Local(LocalSpec::default()), backend_config: Default::default(),
//! #     instance: 0, server_ready_timeout: std::time::Duration::from_secs(1) };
//! let fake = Fake::new("slurm-like");
//! fake.script("d-1", Script { starting: 1, ..Script::default() });
//! let campaign = "c-1".parse().unwrap();
//! let handle = block_on(fake.ensure(&campaign, &"d-1".parse().unwrap(), &spec)).unwrap();
//! assert_eq!(block_on(Deployer::observe(&fake, &handle)).unwrap(), DeploymentStatus::Starting);
//! assert!(matches!(block_on(Deployer::observe(&fake, &handle)).unwrap(), DeploymentStatus::Ready { .. }));
//! assert_eq!(fake.live(), ["d-1"]);
//! ```

mod object;

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use gipfel_model::{
    CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, LoadPlacement, Provenance, RunConfig, RunId,
};

use self::object::{End, Life, Object, View, failure};
use crate::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, Effect, EnsureError, Failure, FailureReason, Finder,
    Found, Handle, LoadRunner, RunStatus,
};

pub use self::object::{Script, SelfEnd};

/// What happens to one submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submit {
    /// It takes effect and is answered.
    Answered,
    /// It is refused for this reason: nothing was started.
    Refused(FailureReason),
    /// It takes effect, and the answer is an error that names what was started.
    StartedWithError,
    /// Request or answer is lost: the effect is unknown, and there is none.
    LostBefore,
    /// The answer is lost: the effect is unknown, and the object lives.
    LostAfter,
    /// The answer is lost and the effect comes after so many searches, which find nothing settled until then.
    LostLate(u32),
}

/// A call that was made, with the object's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `ensure` of a deployment or run.
    Ensure(String),
    /// `observe`.
    Observe(String),
    /// `logs`.
    Logs(String),
    /// `fetch`.
    Fetch(String),
    /// `stop`.
    Stop(String),
    /// `end`.
    End(String),
    /// `find_deployment` or `find_run`.
    Find(String),
    /// `find_campaign`.
    FindCampaign(String),
}

/// Deployer, load runner and finder in one.
#[derive(Debug)]
pub struct Fake {
    system: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<String, Script>,
    default_script: Script,
    objects: BTreeMap<String, Object>,
    calls: Vec<Call>,
    unreachable_calls: u32,
}

impl Fake {
    /// A backend that calls itself `system` in its handles.
    pub fn new(system: &str) -> Self {
        Self {
            system: system.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Sets the life of the object `name`, before it is submitted.
    pub fn script(&self, name: &str, script: Script) {
        self.state().scripts.insert(name.to_owned(), script);
    }

    /// Sets the life of every object that has no script of its own.
    pub fn script_all(&self, script: Script) {
        self.state().default_script = script;
    }

    /// Lets the next calls fail before they do anything, of whatever kind; an `ensure` then has no effect.
    pub fn unreachable(&self, calls: u32) {
        self.state().unreachable_calls = calls;
    }

    /// Ends an object at once, as if it had died.
    pub fn kill(&self, name: &str, failure: Failure) {
        if let Some(object) = self
            .state()
            .objects
            .get_mut(name)
            .filter(|object| object.life == Life::Lives)
        {
            object.life = Life::Ended(End::Itself(SelfEnd::Failed(failure)));
        }
    }

    /// The names of all that lives or will come to life yet, in order.
    pub fn live(&self) -> Vec<String> {
        let lives = |object: &Object| matches!(object.life, Life::Lives | Life::Late(_));
        self.state()
            .objects
            .iter()
            .filter(|(_, object)| lives(object))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// How often an object came to life.
    pub fn starts(&self, name: &str) -> u32 {
        self.state().objects.get(name).map_or(0, |object| object.starts)
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here panics halfway through a change, so a state left by a panicking test is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; the state when the system can be reached.
    fn call(&self, call: Call) -> Result<MutexGuard<'_, State>, BackendError> {
        let mut state = self.state();
        let operation = format!("{call:?}");
        state.calls.push(call);
        if state.unreachable_calls > 0 {
            state.unreachable_calls -= 1;
            return Err(BackendError::transient(operation, "the system cannot be reached"));
        }
        Ok(state)
    }

    fn handle(&self, name: &str) -> Handle {
        Handle {
            system: self.system.clone(),
            name: name.to_owned(),
            detail: "fake".to_owned(),
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "the error of the trait, whose calls are seconds apart"
    )]
    fn start(&self, campaign: &CampaignId, name: &str, restarts: bool) -> Result<Handle, EnsureError> {
        let error = |effect, reason, source| EnsureError {
            name: name.to_owned(),
            effect,
            reason,
            source,
        };
        let lost = || BackendError::transient("read the answer", "the connection was cut");
        let mut state = self
            .call(Call::Ensure(name.to_owned()))
            .map_err(|source| error(Effect::NotStarted, FailureReason::ServerFailed, source))?;
        let handle = self.handle(name);
        let object = state.object(campaign, name);
        match &object.life {
            Life::Lives => return Ok(handle),
            Life::Ended(_) if !restarts => return Ok(handle),
            Life::Late(_) => return Err(error(Effect::Unknown, FailureReason::ServerFailed, lost())),
            Life::Never | Life::Ended(_) => {}
        }
        match object.submits.pop_front().unwrap_or(Submit::Answered) {
            Submit::Answered => object.come_to_life(),
            Submit::Refused(reason) => {
                let source = BackendError::permanent("submit", "the system refuses");
                return Err(error(Effect::NotStarted, reason, source));
            }
            Submit::StartedWithError => {
                object.come_to_life();
                return Err(error(
                    Effect::Started(handle),
                    FailureReason::ServerFailed,
                    lost(),
                ));
            }
            Submit::LostBefore => return Err(error(Effect::Unknown, FailureReason::ServerFailed, lost())),
            Submit::LostAfter => {
                object.come_to_life();
                return Err(error(Effect::Unknown, FailureReason::ServerFailed, lost()));
            }
            Submit::LostLate(searches) => {
                object.life = Life::Late(searches);
                return Err(error(Effect::Unknown, FailureReason::ServerFailed, lost()));
            }
        }
        Ok(handle)
    }

    fn find(&self, name: &str) -> Result<Found, BackendError> {
        let mut state = self.call(Call::Find(name.to_owned()))?;
        let Some(object) = state.objects.get_mut(name) else {
            return Ok(Found::Absent);
        };
        match object.life {
            Life::Never => return Ok(Found::Absent),
            Life::Late(0) => object.come_to_life(),
            Life::Late(searches) => {
                object.life = Life::Late(searches - 1);
                return Ok(Found::Unsettled);
            }
            Life::Lives | Life::Ended(_) => {}
        }
        Ok(Found::Started(self.handle(name)))
    }

    fn observe_object(&self, handle: &Handle) -> Result<View, BackendError> {
        let mut state = self.call(Call::Observe(handle.name.clone()))?;
        state.known(handle)?.observe()
    }

    fn read_logs(&self, handle: &Handle) -> Result<String, BackendError> {
        let mut state = self.call(Call::Logs(handle.name.clone()))?;
        state.known(handle)?;
        Ok(format!("log of {}\n", handle.name))
    }

    fn end_object(&self, handle: &Handle) -> Result<(), BackendError> {
        let mut state = self.call(Call::End(handle.name.clone()))?;
        let object = state.known(handle)?;
        if object.life == Life::Lives {
            if object.ends_failed < object.script.end_fails {
                object.ends_failed += 1;
                return Err(BackendError::transient(
                    format!("end `{}`", handle.name),
                    "it lives still",
                ));
            }
            object.life = Life::Ended(End::ByUs);
        }
        Ok(())
    }
}

impl State {
    fn object(&mut self, campaign: &CampaignId, name: &str) -> &mut Object {
        let script = self.scripts.get(name).unwrap_or(&self.default_script);
        self.objects
            .entry(name.to_owned())
            .or_insert_with(|| Object::new(campaign, script))
    }

    fn known(&mut self, handle: &Handle) -> Result<&mut Object, BackendError> {
        self.objects.get_mut(&handle.name).ok_or_else(|| {
            BackendError::permanent(format!("look up `{}`", handle.name), "there is no such object")
        })
    }
}

impl Deployer for Fake {
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        _: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { self.start(campaign, id.as_str(), false) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Box::pin(async move {
            Ok(match self.observe_object(handle)? {
                View::Queued => DeploymentStatus::Queued,
                View::Starting => DeploymentStatus::Starting,
                View::Up => DeploymentStatus::Ready {
                    endpoint: EndpointSpec::new(&format!("http://{}.invalid", handle.name)),
                    provenance: Provenance::default(),
                    load_time: None,
                },
                View::Ended(end) => DeploymentStatus::Ended(failure(end)),
            })
        })
    }

    fn logs<'a>(&'a self, handle: &'a Handle, _: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(async move { self.read_logs(handle) })
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(async move { self.end_object(handle) })
    }
}

impl LoadRunner for Fake {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        _: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { self.start(&config.campaign_id, config.run_id.as_str(), true) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>> {
        Box::pin(async move {
            Ok(match self.observe_object(handle)? {
                View::Queued => RunStatus::Queued,
                View::Starting | View::Up => RunStatus::Running(None),
                View::Ended(End::Itself(SelfEnd::Completed)) => RunStatus::Completed(None),
                View::Ended(End::Stopped) => RunStatus::Stopped(None),
                View::Ended(end) => RunStatus::Failed(failure(end)),
            })
        })
    }

    /// Writes an empty file, which is an empty database.
    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>> {
        Box::pin(async move {
            self.call(Call::Fetch(handle.name.clone()))?.known(handle)?;
            let path = directory.join(format!("run_{}.db", handle.name));
            std::fs::write(&path, [])
                .map_err(|error| BackendError::permanent(format!("write {}", path.display()), error))?;
            Ok(path)
        })
    }

    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(async move {
            let mut state = self.call(Call::Stop(handle.name.clone()))?;
            let object = state.known(handle)?;
            object.stopped_at.get_or_insert(object.age);
            Ok(())
        })
    }

    fn logs<'a>(&'a self, handle: &'a Handle, _: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(async move { self.read_logs(handle) })
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(async move { self.end_object(handle) })
    }
}

impl Finder for Fake {
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(ready(self.find(id.as_str())))
    }

    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(ready(self.find(id.as_str())))
    }

    fn find_campaign<'a>(&'a self, id: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(async move {
            let state = self.call(Call::FindCampaign(id.to_string()))?;
            let lives = |object: &Object| object.campaign == id.as_str() && object.life == Life::Lives;
            let found = state.objects.iter().filter(|(_, object)| lives(object));
            Ok(found.map(|(name, _)| self.handle(name)).collect())
        })
    }
}

/// Runs a future of the fake, which never waits, outside any runtime.
///
/// # Panics
///
/// When the future waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).as_mut().poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call of the fake does not wait"),
    }
}
