//! Which handler a call is for.

use http::{Method, StatusCode};

use crate::{
    answer::{Outcome, Problem},
    call::Call,
    files::transfers::Transfer,
    filesystem::Operation,
    state::Context,
};

/// A call of the API by its path and method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    Liveness,
    LivenessWithoutSlash,
    Systems,
    /// A call to a system.
    System {
        system: String,
        call: SystemCall,
    },
}

/// A call to a system.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SystemCall {
    UserInfo,
    Cluster(&'static str),
    Submit,
    Jobs,
    Job(String),
    Cancel(String),
    Metadata(String),
    Attach(String),
    Operation(Operation),
    Transfer(Transfer),
}

impl Route {
    /// Finds the route; every other path is not found before anybody is asked who calls.
    pub(crate) fn find(call: &Call) -> Result<Self, Problem> {
        let not_found = || Problem::new(StatusCode::NOT_FOUND, "Not Found").anonymous();
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        let get = call.method == Method::GET;
        let (system, found) = match segments.as_slice() {
            ["status", "liveness", ""] if get => return Ok(Self::Liveness),
            ["status", "liveness"] if get => return Ok(Self::LivenessWithoutSlash),
            ["status", "systems"] if get => return Ok(Self::Systems),
            ["status", system, "userinfo"] if get => (system, Some(SystemCall::UserInfo)),
            ["status", system, what] if get => (system, cluster_status(what).map(SystemCall::Cluster)),
            ["compute", system, "jobs"] => (system, jobs_call(&call.method)),
            ["compute", system, "jobs", id] => (system, job_call(&call.method, id)),
            ["compute", system, "jobs", id, "metadata"] if get => {
                (system, Some(SystemCall::Metadata((*id).to_owned())))
            }
            ["compute", system, "jobs", id, "attach"] if call.method == Method::PUT => {
                (system, Some(SystemCall::Attach((*id).to_owned())))
            }
            ["filesystem", system, "ops", name] => (
                system,
                Operation::find(&call.method, name).map(SystemCall::Operation),
            ),
            ["filesystem", system, "transfer", name] => (
                system,
                Transfer::find(&call.method, name).map(SystemCall::Transfer),
            ),
            _ => return Err(not_found()),
        };
        let call = found.ok_or_else(not_found)?;
        Ok(Self::System {
            system: (*system).to_owned(),
            call,
        })
    }
}

fn cluster_status(what: &str) -> Option<&'static str> {
    ["nodes", "partitions", "reservations"]
        .into_iter()
        .find(|known| *known == what)
}

fn jobs_call(method: &Method) -> Option<SystemCall> {
    match method.as_str() {
        "GET" => Some(SystemCall::Jobs),
        "POST" => Some(SystemCall::Submit),
        _ => None,
    }
}

fn job_call(method: &Method, id: &str) -> Option<SystemCall> {
    match method.as_str() {
        "GET" => Some(SystemCall::Job(id.to_owned())),
        "DELETE" => Some(SystemCall::Cancel(id.to_owned())),
        _ => None,
    }
}

impl SystemCall {
    pub(crate) async fn answer(&self, context: &Context, call: &Call) -> Outcome {
        match self {
            Self::UserInfo => context.user_info().await,
            Self::Cluster(what) => context.cluster_status(what, call).await,
            Self::Submit => context.submit_job(call).await,
            Self::Jobs => context.list_jobs(call).await,
            Self::Job(id) => context.get_job(id).await,
            Self::Cancel(id) => context.cancel_job(id).await,
            Self::Metadata(id) => context.job_metadata(id).await,
            Self::Attach(id) => context.attach(id, call).await,
            Self::Operation(operation) => context.operate(*operation, call).await,
            Self::Transfer(transfer) => context.transfer(*transfer, call).await,
        }
    }
}
