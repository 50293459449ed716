//! The control endpoint under `/_sim/`: failures, services, nodes, and what has happened.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Problem},
    call::Call,
    failures::{RandomFailures, Rule},
    jobs::job::JobState,
    orders::{self, OrderError},
    remote::Services,
    state::State,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServicesOrder {
    system: String,
    #[serde(default)]
    services: Services,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeOrder {
    cluster: String,
    node: String,
    down: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseOrder {
    cluster: String,
    paused: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobOrder {
    cluster: String,
    job: u64,
    /// The state in which the job ends; `PENDING` puts it back in the queue.
    state: String,
}

fn body<'a, T: Deserialize<'a>>(call: &'a Call) -> Result<T, Problem> {
    serde_json::from_slice(&call.body).map_err(|error| Problem::bad_request(format!("{error}")))
}

fn refused(error: OrderError) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, error.to_string())
}

/// Answers a call to the control endpoint.
pub(crate) async fn answer(state: &State, call: &Call, path: &str) -> Answer {
    match handle(state, call, path).await {
        Ok(Value::Null) => Answer::no_content(),
        Ok(value) => Answer::json(StatusCode::OK, &value),
        Err(problem) => problem.anonymous().into_answer(None),
    }
}

async fn handle(state: &State, call: &Call, path: &str) -> Result<Value, Problem> {
    match (call.method.as_str(), path) {
        ("GET", "/_sim/calls") => return Ok(json!(state.journal.calls())),
        ("GET", "/_sim/submits") => return Ok(json!(state.journal.submits())),
        ("GET", "/_sim/transfers") => return Ok(json!(state.journal.transfers())),
        ("GET", "/_sim/jobs") => return Ok(json!(orders::jobs(state))),
        ("DELETE", "/_sim/journal") => state.journal.clear(),
        ("POST", "/_sim/failures") => state.failures().add(body::<Rule>(call)?),
        ("PUT", "/_sim/random") => state.failures().set_random(body::<RandomFailures>(call)?),
        ("DELETE", "/_sim/failures") => state.failures().clear(),
        ("PUT", "/_sim/services") => {
            let order: ServicesOrder = body(call)?;
            orders::set_services(state, &order.system, order.services)
                .await
                .map_err(refused)?;
        }
        ("POST", "/_sim/health-check") => orders::check_health(state),
        ("PUT", "/_sim/nodes") => {
            let order: NodeOrder = body(call)?;
            orders::set_node(state, &order.cluster, &order.node, order.down).map_err(refused)?;
        }
        ("PUT", "/_sim/scheduler") => {
            let order: PauseOrder = body(call)?;
            orders::pause(state, &order.cluster, order.paused).map_err(refused)?;
        }
        ("PUT", "/_sim/job") => {
            let order: JobOrder = body(call)?;
            let job_state = match order.state.as_str() {
                "PENDING" => Some(JobState::Pending),
                word => JobState::by_command(word),
            };
            let unknown = || Problem::bad_request(format!("no job is ended in the state {}", order.state));
            let job_state = job_state.ok_or_else(unknown)?;
            orders::end_job(state, &order.cluster, order.job, job_state).map_err(refused)?;
        }
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no such order; see the README",
            ));
        }
    }
    Ok(Value::Null)
}
