//! What to do about a failure.

mod kubernetes;

use gipfel_backend::{Failure, FailureReason};
use gipfel_model::{BackendKind, BenchmarkerKind, DeploymentKind, ExperimentSpec, deployment::Placement};
use gipfel_slurm_backend::cluster::refusal::{JobRole, Refusal};

const NO_HTTP2: &str = "does the server speak HTTP/2? Without TLS few do: leave `http2` (`--http2`) out";

/// Words of an error, in lower case, and what to do when one holds all of them. The first that fits counts.
const RULES: &[(&[&str], &str)] = &[
    (
        &["invalidcontenttype"],
        "the server speaks no TLS at this port: write `http://`",
    ),
    (
        &["unknownissuer"],
        "the server's certificate is of an authority of its own: name the authority's certificate with `ca_file` \
         (`--ca-file`)",
    ),
    (
        &["notvalidforname"],
        "the server's certificate names other hosts: use one of them in the address",
    ),
    (
        &["certificate", "expired"],
        "the server's certificate has to be renewed; is the clock of this machine right?",
    ),
    (
        &["causedasendentity"],
        "the server's certificate is itself one of an authority: make one for the server with \
         `basicConstraints = CA:FALSE`, signed by that authority, and name the authority's with `ca_file`",
    ),
    (&["does not agree to http/2"], NO_HTTP2),
    (&["http2 error"], NO_HTTP2),
    (&["sendrequest", "channel closed"], NO_HTTP2),
    (
        &["through the proxy", "connection refused"],
        "nobody listens at the proxy's address: is `proxy` (`--proxy`) right?",
    ),
    (
        &["not a directory"],
        "a file stands where a directory should be: choose another one with --results-dir",
    ),
    (
        &["has a deployment or run"],
        "`gipfel list` and `gipfel status` name what there is; --on slurm:JOB uses a server of a cluster that `gipfel ps` shows",
    ),
    (
        &["proxy gave no tunnel"],
        "the proxy does not lead to this server: is `proxy` right, and may it reach the server's port?",
    ),
    (
        &["tunnel error"],
        "the proxy does not lead to this server: is `proxy` right, and may it reach the server's port?",
    ),
    (
        &["no access token"],
        "are the client's id and secret those of the portal, and is the token's URL right? `gipfel doctor slurm` says more",
    ),
    (
        &["charged to an account"],
        "set `account`: files as large as this one are brought by jobs",
    ),
    (
        &["failed to make the directory"],
        "set `scratch_base` to a directory of the cluster that you may write",
    ),
    (
        &["does not list"],
        "choose one of the listed names with `model` (`--model`)",
    ),
    (
        &["lists no model"],
        "is this the base URL of an OpenAI-compatible server? One without a list of models needs `model` (`--model`)",
    ),
    (
        &["wants an api key"],
        "`api_key_env` (`--api-key-env`) takes the name of the environment variable that holds the key",
    ),
    (
        &["refuses the api key"],
        "is it the key of this server, and still valid? A gateway may want it in a header of its own: `headers` \
         (`--header`)",
    ),
    (
        &["environment variable", "is not set"],
        "set the variable where gipfel is started, such as by `export NAME=…`",
    ),
    (
        &["with the api key"],
        "is the path of `api_key_file` right? `~` is not expanded",
    ),
    (
        &["certificates of authorities"],
        "is the path of `ca_file` right? `~` is not expanded",
    ),
    (
        &["no certificate in pem"],
        "`ca_file` takes certificates that begin with `-----BEGIN CERTIFICATE-----`",
    ),
    (
        &["no pem text"],
        "`ca_file` takes certificates that begin with `-----BEGIN CERTIFICATE-----`",
    ),
    (
        &["no space left"],
        "free some space, or keep results on another disk with --results-dir; `gipfel resume` goes on",
    ),
    (
        &["too many open files"],
        "raise the limit of open files with `ulimit -n`, or share the load among several ranks",
    ),
    (
        &["failed to lookup address"],
        "no name server knows this host: is it written right, and is this machine in the server's network?",
    ),
    (
        &["no route to host"],
        "this machine does not reach the server's network: is a VPN or a proxy missing?",
    ),
    (
        &["network is unreachable"],
        "this machine does not reach the server's network: is a VPN or a proxy missing?",
    ),
    (
        &["connection refused"],
        "nobody listens at this address: is the server running, and are host and port right?",
    ),
    (
        &["is no sqlite database"],
        "name a run's database, `run_<id>.db`, or the merged `results.db`",
    ),
    (
        &["http status 5"],
        "the server, or a gateway before it, is in trouble: its log says more",
    ),
];

const FULL_CLUSTER: &str = "free some space on the cluster, or write another directory there as `scratch_base`; what \
                            was measured is kept, `gipfel resume` goes on";

/// Whether a text tells of a disk or a quota that is full.
fn is_full(text: &str) -> bool {
    let text = text.to_lowercase();
    ["no space left", "quota exceeded"]
        .iter()
        .any(|words| text.contains(words))
}

/// What to do about an error with this text, its causes included.
pub(crate) fn of_text(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let fits = |words: &[&str]| words.iter().all(|word| text.contains(word));
    RULES
        .iter()
        .find(|(words, _)| fits(words))
        .map(|(_, remedy)| *remedy)
}

/// What to do about an error and its causes.
pub(crate) fn of_error(error: &anyhow::Error) -> Option<&'static str> {
    of_text(&format!("{error:#}"))
}

/// What to do about an experiment's failure.
pub(crate) fn of_failure(failure: &Failure, experiment: &ExperimentSpec) -> String {
    if let Some(remedy) = of_slurm(&failure.message, experiment) {
        return remedy;
    }
    let deployment = &experiment.deployment;
    let is_on_kubernetes = matches!(deployment.placement, Placement::K8s(_))
        || experiment.load.kind() == BenchmarkerKind::InCluster;
    if is_on_kubernetes && let Some(remedy) = kubernetes::of_text(&failure.message) {
        return remedy.to_owned();
    }
    if matches!(deployment.placement, Placement::Slurm(_)) && is_full(&failure.message) {
        return FULL_CLUSTER.to_owned();
    }
    if let Some(remedy) = of_text(&failure.message) {
        return remedy.to_owned();
    }
    let owned = !matches!(deployment.placement, Placement::External(_));
    match failure.reason {
        FailureReason::OutOfMemory => less_memory(deployment.backend).to_owned(),
        FailureReason::PortTaken => {
            "leave `port` out, and a free one is taken; or end what listens there".to_owned()
        }
        FailureReason::ModelNotFound => format!(
            "is `model: {}` a repository or a path that the server can read? A gated one needs a token",
            deployment.model
        ),
        FailureReason::CommandNotFound => format!(
            "is {} installed, and its environment active where gipfel is started? `command` names another program",
            deployment.backend
        ),
        FailureReason::ReadyTimeout if owned => {
            "a large model takes minutes to load: raise `server_ready_timeout`; if the log stands still, look at its \
             last line"
                .to_owned()
        }
        FailureReason::ReadyTimeout => {
            "the server answers and is not ready: does `/v1/models` list a model? `server_ready_timeout` waits longer"
                .to_owned()
        }
        FailureReason::TimeLimit => {
            "`gipfel resume` goes on; `server_time_limit` and `benchmarker_time_limit` allow more".to_owned()
        }
        FailureReason::ServerFailed if owned && failure.log_tail.is_empty() => {
            "once it is mended, `gipfel run` again tries what failed".to_owned()
        }
        FailureReason::ServerFailed if owned => {
            "the last lines above are the server's; once it is mended, `gipfel run` again tries what failed".to_owned()
        }
        FailureReason::ServerFailed => {
            "the server is not gipfel's: look at its own log; `gipfel run` again tries what failed".to_owned()
        }
        FailureReason::LoadFailed => {
            "what was measured is kept; `gipfel run` again tries what failed".to_owned()
        }
        FailureReason::Cancelled => "`gipfel run` again measures it".to_owned(),
    }
}

/// What to do about a job that Slurm refused or will never start.
fn of_slurm(message: &str, experiment: &ExperimentSpec) -> Option<String> {
    let uses_slurm = experiment.deployment.placement.kind() == DeploymentKind::Slurm
        || experiment.load.kind() == BenchmarkerKind::Slurm;
    // Words that a server's log may hold as well mean something only where Slurm has said them.
    let is_slurms = ["Slurm refuses", "Slurm will never start"]
        .iter()
        .any(|words| message.contains(words));
    let refusal = Refusal::of_text(message).filter(|_| uses_slurm && is_slurms)?;
    Some(refusal.remedy(JobRole::of_message(message)))
}

/// The settings that save memory, by their names in `backend_config`.
fn less_memory(backend: BackendKind) -> &'static str {
    match backend {
        BackendKind::Vllm => {
            "lower `max_model_len` or `gpu_memory_utilization`, or share the model among more GPUs with \
             `tensor_parallel_size`; does another process use the GPU?"
        }
        BackendKind::Sglang | BackendKind::Dynamo => {
            "lower `max_model_len` or the static share of memory, or share the model among more GPUs with \
             `tensor_parallel_size`; does another process use the GPU?"
        }
        BackendKind::Llamacpp => "take a smaller context or fewer slots, or a model of fewer bits",
        BackendKind::Ollama => "take a smaller context or a model of fewer bits",
        BackendKind::Sim | BackendKind::Openai => "the machine has too little memory for this server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_matched_in_order() {
        let check = |text: &str, expected: Option<&str>| {
            let found = of_text(text).map(|remedy| remedy.split([':', ',']).next().unwrap_or_default());
            assert_eq!(found, expected, "{text}");
        };
        check(
            "invalid peer certificate: UnknownIssuer",
            Some("the server's certificate is of an authority of its own"),
        );
        check(
            "tcp connect error: Connection refused (os error 111)",
            Some("nobody listens at this address"),
        );
        check(
            "the proxy gave no tunnel: Connection refused",
            Some("the proxy does not lead to this server"),
        );
        check(
            "dns error: failed to lookup address information: Name or service not known",
            Some("no name server knows this host"),
        );
        check(
            "tcp connect error: No route to host (os error 113)",
            Some("this machine does not reach the server's network"),
        );
        check(
            "failed to write `a.db`: No space left on device (os error 28)",
            Some("free some space"),
        );
        check("it died", None);
    }

    #[test]
    fn refusals_of_slurm_name_the_keys_of_their_job() {
        let text = "experiments: [{ model: m, backend: vllm, deployment: slurm, rate_levels: [1] }]\n";
        let plan = gipfel_config::parse(text, "a.yaml").expect("a plan");
        let check = |message: &str, expected: &str| {
            let failure = Failure {
                reason: gipfel_backend::FailureReason::ServerFailed,
                message: message.to_owned(),
                log_tail: String::new(),
            };
            let remedy = of_failure(&failure, &plan.experiments[0]);
            assert!(remedy.starts_with(expected), "{remedy}");
        };
        let refused = "submit gipfel-r-1: clariden: failed to submit gipfel-r-1: Slurm refuses";
        let invalid = "sbatch: error: Batch job submission failed: Invalid partition name specified";
        check(
            &format!("{refused} the server's job: {invalid}"),
            "set `partition`",
        );
        check(
            &format!("{refused} the load generator's job: {invalid}"),
            "set `benchmarker_partition`",
        );
        check(
            "Slurm will never start the server's job 7 (PartitionTimeLimit); it was cancelled",
            "shorten `server_time_limit`",
        );
        check(
            "the server's job 7 ended; its log says: invalid partition of the key-value cache",
            "once it is mended",
        );
    }

    #[test]
    fn a_full_disk_is_known() {
        let check = |text: &str, expected| assert_eq!(is_full(text), expected, "{text}");
        check("cat: write error: No space left on device", true);
        check("cat: write error: Disk quota exceeded", true);
        check("it died", false);
    }
}
