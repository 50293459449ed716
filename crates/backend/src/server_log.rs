//! What a server's log tells its backend.

use gipfel_engine::{Engine, LogFinding, LogReason, engine};

use crate::FailureReason;

impl From<LogReason> for FailureReason {
    fn from(said: LogReason) -> Self {
        match said {
            LogReason::OutOfMemory => Self::OutOfMemory,
            LogReason::PortTaken => Self::PortTaken,
            LogReason::ModelNotFound => Self::ModelNotFound,
            LogReason::CommandNotFound => Self::CommandNotFound,
        }
    }
}

/// The cause of a server's end that its log names. Its id names its engine.
pub fn cause_by_log(deployment: &str, log: &str) -> Option<LogFinding> {
    engine_of(deployment)?.classify_log(log)
}

/// How long the steps of a server's start took by its engine's own word, in seconds, as JSON; empty where its log says
/// nothing of them.
pub fn load_steps_by_log(deployment: &str, log: &str) -> String {
    let steps = engine_of(deployment)
        .map(|engine| engine.load_steps(log))
        .unwrap_or_default();
    if steps.is_empty() {
        return String::new();
    }
    serde_json::json!(steps).to_string()
}

/// The engine in an id: `d-<date>_<model>_<engine>_<kind>_<suffix>`.
fn engine_of(deployment: &str) -> Option<&'static Engine> {
    let name = deployment.rsplit('_').nth(2)?;
    name.parse().ok().map(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "Model loading took 33.5 GiB and 41.25 seconds\ntorch.OutOfMemoryError: CUDA out of memory\n";

    #[test]
    fn the_engine_of_an_id_reads_its_log() {
        let check = |id: &str, steps: &str, cause: Option<LogReason>| {
            assert_eq!(load_steps_by_log(id, LOG), steps, "{id}");
            assert_eq!(cause_by_log(id, LOG).map(|finding| finding.reason), cause, "{id}");
        };
        let memory = Some(LogReason::OutOfMemory);
        check(
            "d-20261123-101112_m_vllm_k8s_12ab",
            r#"{"weights":41.25}"#,
            memory,
        );
        check(
            "d-20261123-101112_m_1_vllm_slurm_12ab",
            r#"{"weights":41.25}"#,
            memory,
        );
        check("d-20261123-101112_m_other_k8s_12ab", "", None);
        check("d-1", "", None);
    }
}
