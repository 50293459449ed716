//! The health of a system's services, as the server's last look at them found it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    answer::Problem,
    clock::{now_ms, rfc3339},
    options::SystemOptions,
    remote::{SchedulerState, Services, SshState},
};

const REFUSED: &str = "[Errno 111] Connection refused";

/// The last look.
#[derive(Debug)]
pub(crate) struct Health(Mutex<(i64, Services)>);

/// A service that a call needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Needed {
    Ssh,
    Scheduler,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((now_ms(), Services::default())))
    }

    fn last(&self) -> MutexGuard<'_, (i64, Services)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look(&self, services: Services) {
        *self.last() = (now_ms(), services);
    }

    pub(crate) fn looked_at(&self) -> String {
        rfc3339(self.last().0)
    }

    /// Refuses a call that needs a service which was not well at the last look.
    pub(crate) fn require(&self, system: &SystemOptions, needed: Needed) -> Result<(), Problem> {
        let (_, services) = *self.last();
        let (name, is_healthy) = match needed {
            Needed::Ssh => ("ssh", services.ssh == SshState::Up),
            Needed::Scheduler => ("scheduler", scheduler_is_healthy(services)),
        };
        if is_healthy || !system.health_checks {
            return Ok(());
        }
        Err(unhealthy(name, &system.name))
    }

    /// The list of `/status/systems`.
    pub(crate) fn to_json(&self, system: &SystemOptions, storage_url: &str) -> Value {
        if !system.health_checks {
            return json!([]);
        }
        let (at_ms, services) = *self.last();
        let entry = |kind: &str, healthy: bool, message: Option<String>| {
            json!({
                "serviceType": kind,
                "lastChecked": rfc3339(at_ms),
                "latency": 0.01,
                "healthy": healthy,
                "message": message,
            })
        };
        let reachable = services.ssh == SshState::Up;
        let refused = (!reachable).then(|| REFUSED.to_owned());
        let mut entries = vec![
            entry(
                "scheduler",
                scheduler_is_healthy(services),
                Some(scheduler_message(services)),
            ),
            entry("ssh", reachable, refused.clone()),
        ];
        for file_system in &system.file_systems {
            let mut one = entry("filesystem", reachable, refused.clone());
            one["path"] = json!(file_system.path);
            entries.push(one);
        }
        let down = services.storage_down;
        let lost = down.then(|| format!("Could not connect to the endpoint URL: \"{storage_url}/\""));
        entries.push(entry("s3", !down, lost));
        Value::Array(entries)
    }
}

pub(crate) fn unhealthy(service: &str, system: &str) -> Problem {
    let text = format!("The {service} service for the requested system ({system}) is unhealthy.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn scheduler_is_healthy(services: Services) -> bool {
    services.ssh == SshState::Up && services.scheduler == SchedulerState::Up
}

fn scheduler_message(services: Services) -> String {
    match (services.ssh, services.scheduler) {
        (SshState::Up, SchedulerState::Up) => "[{'mode': 'primary', 'pinged': 'UP'}]".to_owned(),
        (SshState::Up, _) => {
            "SlurmError: Unexpected Slurm command response. exit_status:1 std_err:".to_owned()
        }
        _ => format!("ConnectionRefusedError: {REFUSED}"),
    }
}
