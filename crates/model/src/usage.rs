//! What a server or a load generator has used of its system.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{provenance::Provenance, run_config::optional_seconds};

/// What one job has used, by the account of its system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The job's id there.
    pub job: String,
    /// How many nodes it had.
    pub nodes: u32,
    /// How long it waited for them.
    #[serde(rename = "queued_s", with = "optional_seconds", default)]
    pub queued: Option<Duration>,
    /// How long it had them.
    #[serde(rename = "ran_s", with = "optional_seconds", default)]
    pub ran: Option<Duration>,
}

impl Usage {
    /// Nodes times hours.
    pub fn node_hours(&self) -> Option<f64> {
        self.ran
            .map(|ran| f64::from(self.nodes) * ran.as_secs_f64() / 3600.0)
    }

    /// As facts of a run, of its server's job or its load generator's.
    pub fn facts(&self, of: UsageOf) -> Provenance {
        let names = of.names();
        let mut facts = Provenance::default();
        facts.set(names.job, &self.job);
        if let Some(queued) = self.queued {
            facts.set(names.queued, format!("{:.0}", queued.as_secs_f64()));
        }
        if let Some(hours) = self.node_hours() {
            facts.set(names.node_hours, format!("{hours:.3}"));
        }
        facts
    }
}

/// Whose usage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageOf {
    /// The server's.
    Server,
    /// The load generator's.
    LoadGenerator,
}

struct Names {
    job: &'static str,
    queued: &'static str,
    node_hours: &'static str,
}

impl UsageOf {
    fn names(self) -> Names {
        match self {
            Self::Server => Names {
                job: Provenance::SERVER_JOB,
                queued: Provenance::SERVER_QUEUED,
                node_hours: Provenance::SERVER_NODE_HOURS,
            },
            Self::LoadGenerator => Names {
                job: Provenance::LOADGEN_JOB,
                queued: Provenance::LOADGEN_QUEUED,
                node_hours: Provenance::LOADGEN_NODE_HOURS,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_costs_nodes_times_hours() {
        let usage = Usage {
            job: "17".to_owned(),
            nodes: 4,
            queued: Some(Duration::from_secs(90)),
            ran: Some(Duration::from_mins(15)),
        };
        assert_eq!(usage.node_hours(), Some(1.0));
        let facts = usage.facts(UsageOf::Server).0;
        let expected = [
            ("server_job", "17"),
            ("server_node_hours", "1.000"),
            ("server_queued_s", "90"),
        ];
        let found: Vec<_> = facts
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(
            Usage::default().facts(UsageOf::LoadGenerator),
            Provenance::default()
        );
    }
}
