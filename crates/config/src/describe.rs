//! A plan for people.

use std::time::Duration;

use gipfel_model::{
    AnswerLength, ArrivalRate, DataSetFile, DeploymentSpec, ExperimentSpec, LoadPlacement, Rates,
    RequestForm, SearchSpec, Slo,
    deployment::{ApiKeySource, EndpointSpec, Placement},
    format_duration,
    run_config::LevelSchedule,
};
use serde_json::Value;

use crate::{plan::Plan, repeats};

/// A short text of what a plan does, with everything that was filled in.
pub fn describe(plan: &Plan) -> String {
    let groups = repeats::grouped(&plan.experiments);
    let mut lines = vec![heading(plan, groups.len())];
    for (index, (experiment, repeats)) in groups.into_iter().enumerate() {
        let deployment = &experiment.deployment;
        lines.push(String::new());
        lines.push(format!(
            "{}. {} with {}",
            index + 1,
            deployment.model,
            deployment.backend
        ));
        lines.extend(describe_experiment(experiment, repeats));
    }
    lines.join("\n") + "\n"
}

fn heading(plan: &Plan, experiments: usize) -> String {
    let runs = plan.experiments.len();
    let plural = if experiments == 1 { "" } else { "s" };
    let mut parts = vec![format!("{experiments} experiment{plural}")];
    if runs > experiments {
        parts.push(format!("{runs} runs"));
    }
    let is_local =
        |experiment: &ExperimentSpec| matches!(experiment.deployment.placement, Placement::Local(_));
    if runs > 1 {
        // Servers of one machine would take each other's cores.
        let together = if plan.experiments.iter().any(is_local) {
            1
        } else {
            plan.max_parallel_experiments
        };
        parts.push(match together {
            1 => "one after another".to_owned(),
            several => format!("{several} at the same time"),
        });
    }
    parts.join(", ")
}

fn describe_experiment(experiment: &ExperimentSpec, repeats: u32) -> impl Iterator<Item = String> {
    let deployment = &experiment.deployment;
    let settings: Vec<String> = deployment
        .backend_config
        .iter()
        .map(|(key, value)| format!("{key} {}", short(value)))
        .collect();
    let parts = [
        ("server", server(deployment)),
        ("load", load(&experiment.load)),
        ("settings", settings.join(", ")),
        ("rates", describe_rates(&experiment.schedule)),
        ("windows", windows(&experiment.schedule)),
        ("objectives", join(&experiment.slos)),
        ("shown too", join(&experiment.informational_slos)),
        ("prompts", prompts(experiment)),
        ("requests", requests(experiment.workload.requests)),
        ("repeats", repeated(experiment, repeats)),
    ];
    parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("   {name:<11} {text}"))
}

fn prompts(experiment: &ExperimentSpec) -> String {
    let workload = &experiment.workload;
    let dataset = workload.prompts.dataset.as_ref();
    let input = match dataset.filter(|dataset| !dataset.is_endless()) {
        Some(dataset) => format!("{} to {}", dataset.min_input, dataset.max_input),
        None => workload.input_length.to_string(),
    };
    let output = match dataset.map(|dataset| dataset.answers) {
        Some(AnswerLength::Dataset) => "as its answers say".to_owned(),
        Some(AnswerLength::Distribution) | None => format!("{} tokens", workload.output_length),
    };
    let counted = match &workload.prompts.tokenizer {
        Some(tokenizer) => format!("counted with {}, ", tokenizer.display()),
        None => String::new(),
    };
    format!(
        "{}, input {input} tokens, output {output}, {counted}{} arrivals, seed {}",
        source(experiment),
        workload.arrivals,
        workload.seed
    )
}

/// Only what is not usual.
fn requests(form: RequestForm) -> String {
    let default = RequestForm::default();
    let mut parts = Vec::new();
    if form.endpoint != default.endpoint {
        parts.push(form.endpoint.to_string());
    }
    if form.stream != default.stream {
        parts.push("answers that come as a whole".to_owned());
    }
    parts.join(", ")
}

fn repeated(experiment: &ExperimentSpec, repeats: u32) -> String {
    match repeats {
        0 | 1 => String::new(),
        _ if repeats::is_external(experiment) => {
            format!("{repeats}, all against this server; the seed grows by 1")
        }
        _ => format!("{repeats}, each on a fresh server; the seed grows by 1"),
    }
}

fn server(spec: &DeploymentSpec) -> String {
    match &spec.placement {
        Placement::Local(local) => match (&local.command, local.port) {
            (Some(command), 0) => format!("this machine, `{}`, a free port", command.join(" ")),
            (Some(command), port) => format!("this machine, `{}`, port {port}", command.join(" ")),
            (None, 0) => "this machine, a free port".to_owned(),
            (None, port) => format!("this machine, port {port}"),
        },
        Placement::External(endpoint) => describe_endpoint(endpoint),
        Placement::Slurm(slurm) => {
            let nodes = count(slurm.nodes(spec.gpus()), "node");
            let job = &slurm.job;
            let of = format!("of {} GPUs", slurm.gpus_per_node);
            format!(
                "Slurm, {nodes} {of}, partition {}, walltime {}",
                job.partition, job.walltime
            )
        }
        Placement::K8s(k8s) => {
            let gpus = match k8s.gpus_per_node {
                0 => "no GPU".to_owned(),
                of => format!("{} of {of} GPUs", count(spec.gpus().div_ceil(of), "node")),
            };
            let reached = match &k8s.ingress {
                Some(ingress) => format!("an Ingress under {}", ingress.domain),
                None => "its Service only".to_owned(),
            };
            format!(
                "Kubernetes, namespace {}, {gpus}, reached by {reached}",
                k8s.namespace
            )
        }
    }
}

/// Where the load generator runs, unless that is this machine.
fn load(placement: &LoadPlacement) -> String {
    match placement {
        LoadPlacement::Local => String::new(),
        LoadPlacement::SameJob => "in the server's job".to_owned(),
        LoadPlacement::InCluster(load) => {
            format!(
                "Kubernetes, namespace {}, {}",
                load.namespace,
                count(load.pods, "pod")
            )
        }
        LoadPlacement::Slurm(load) => {
            let tasks = match load.tasks_per_node {
                1 => String::new(),
                tasks => format!(" with {tasks} processes each"),
            };
            let nodes = count(load.nodes, "node");
            let job = &load.job;
            format!(
                "Slurm, {nodes}{tasks}, partition {}, walltime {}",
                job.partition, job.walltime
            )
        }
    }
}

fn count(number: u32, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn describe_endpoint(endpoint: &EndpointSpec) -> String {
    let mut parts = vec![endpoint.urls().collect::<Vec<_>>().join(" and ")];
    match &endpoint.api_key {
        ApiKeySource::None => {}
        ApiKeySource::Environment(name) => parts.push(format!("key from ${name}")),
        ApiKeySource::File(path) => parts.push(format!("key from {}", path.display())),
    }
    if !endpoint.headers.is_empty() {
        let names: Vec<&str> = endpoint.headers.keys().map(String::as_str).collect();
        parts.push(format!("headers {}", names.join(", ")));
    }
    parts.extend(endpoint.proxy.iter().map(|proxy| format!("through {proxy}")));
    if endpoint.http2 {
        parts.push("HTTP/2".to_owned());
    }
    parts.join(", ")
}

fn source(experiment: &ExperimentSpec) -> String {
    let Some(dataset) = &experiment.workload.prompts.dataset else {
        return "synthetic".to_owned();
    };
    let percent = |share: f64| (share * 1e6).round() / 1e4;
    let files: Vec<String> = dataset
        .files
        .iter()
        .map(|DataSetFile { form, path, share }| {
            let name = path
                .as_ref()
                .map_or_else(|| form.to_string(), |path| path.display().to_string());
            if dataset.files.len() > 1 {
                format!("{} % {name}", percent(*share))
            } else {
                name
            }
        })
        .collect();
    files.join(" and ")
}

/// Which rates are offered, and until when.
pub fn describe_rates(schedule: &LevelSchedule) -> String {
    let until = if schedule.all_levels {
        ""
    } else {
        ", until two are rejected"
    };
    match &schedule.rates {
        Rates::Listed(rates) => {
            let rates: Vec<String> = rates.iter().map(|rate| rate.get().to_string()).collect();
            format!("{} req/s{until}", rates.join(", "))
        }
        Rates::Doubling { first } => format!("doubling from {first}{until}"),
        Rates::Search(search) => searched(search),
    }
}

fn searched(search: &SearchSpec) -> String {
    let most = search
        .max_rate
        .map_or_else(String::new, |rate| format!(" to {rate}"));
    // Four digits of a percentage say all that anybody can ask for.
    let percent = (search.precision * 1e6).round() / 1e4;
    let budget = search
        .budget
        .map_or_else(|| "max(15min, 60 × E2E)".to_owned(), format_duration);
    format!(
        "searched from {}{most}, until the peak is known to ±{percent} % or {budget} are over",
        search.min_rate
    )
}

fn windows(schedule: &LevelSchedule) -> String {
    if matches!(schedule.rates, Rates::Search(_)) {
        return String::new();
    }
    let (stretched, besides) = if schedule.exact_windows {
        ("", "what they take to drain")
    } else {
        (
            ", or 3 and 5 × E2E where that is longer",
            "what stretching and draining take",
        )
    };
    let stretched = match (stretched, schedule.requests_per_level) {
        ("", _) | (_, None) => stretched,
        (_, Some(_)) => "; the warm-up 3 × E2E where that is longer",
    };
    let measured = match schedule.requests_per_level {
        Some(requests) => format!("{requests} requests measured"),
        None => format!("{} measured", format_duration(schedule.measured)),
    };
    let ramp = if schedule.warmup_ramp { " with a ramp" } else { "" };
    let warmup = format_duration(schedule.warmup);
    let mut parts = vec![format!("{warmup} warm-up{ramp}, {measured}{stretched}")];
    if let Rates::Listed(rates) = &schedule.rates {
        let levels = rates.len();
        let level = |rate: &ArrivalRate| schedule.warmup.saturating_add(schedule.measured_at(*rate));
        let all = rates
            .iter()
            .map(level)
            .fold(Duration::ZERO, Duration::saturating_add);
        let plural = if levels == 1 { "" } else { "s" };
        parts.push(format!(
            "at most {} for {levels} level{plural}, and {besides}",
            format_duration(all)
        ));
    }
    if let Some(total) = schedule.total_time {
        parts.push(format!(
            "no level that would end after {}",
            format_duration(total)
        ));
    }
    parts.join("; ")
}

fn join(slos: &[Slo]) -> String {
    let slos: Vec<String> = slos.iter().map(ToString::to_string).collect();
    slos.join(", ")
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key} {}", short(value)))
                .collect();
            format!("({})", entries.join(", "))
        }
        other => other.to_string(),
    }
}
