//! Names from the time and from chance.

use gipfel_experiment::MakeIds;
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, ExperimentSpec, RunId, ids::IdParts};

/// Makes names of the present second; the random part tells those of one second apart.
pub(crate) struct FreshIds {
    timestamp: String,
    used: Vec<u16>,
}

impl FreshIds {
    pub(crate) fn now() -> Self {
        let timestamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        Self {
            timestamp,
            used: Vec::new(),
        }
    }

    pub(crate) fn campaign(&mut self) -> CampaignId {
        self.parts().campaign()
    }

    fn parts(&mut self) -> IdParts<'_> {
        let random = loop {
            let random = rand::random();
            if !self.used.contains(&random) {
                break random;
            }
        };
        self.used.push(random);
        IdParts {
            timestamp: &self.timestamp,
            random,
        }
    }
}

impl MakeIds for FreshIds {
    fn deployment(&mut self, spec: &DeploymentSpec) -> DeploymentId {
        self.parts()
            .deployment(&spec.model, spec.backend, spec.placement.kind())
    }

    fn run(&mut self, experiment: &ExperimentSpec) -> RunId {
        let spec = &experiment.deployment;
        self.parts().run(&spec.model, spec.backend, spec.placement.kind())
    }
}

/// ISO 8601, UTC, whole seconds.
pub(crate) fn now_iso() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
