//! A plan for people.

use gipfel_model::{
    ExperimentSpec, Rates, Slo,
    deployment::{ApiKeySource, Placement},
    format_duration,
    run_config::LevelSchedule,
};
use serde_json::Value;

use crate::plan::Plan;

/// A short text of what a plan does, with everything that was filled in.
pub fn describe(plan: &Plan) -> String {
    let count = plan.experiments.len();
    let mut lines = vec![match count {
        1 => "1 experiment".to_owned(),
        _ => format!(
            "{count} experiments, {} at the same time",
            plan.max_parallel_experiments
        ),
    }];
    for (index, experiment) in plan.experiments.iter().enumerate() {
        let deployment = &experiment.deployment;
        lines.push(String::new());
        lines.push(format!(
            "{}. {} with {}",
            index + 1,
            deployment.model,
            deployment.backend
        ));
        lines.extend(describe_experiment(experiment));
    }
    lines.join("\n") + "\n"
}

fn describe_experiment(experiment: &ExperimentSpec) -> impl Iterator<Item = String> {
    let deployment = &experiment.deployment;
    let settings: Vec<String> = deployment
        .backend_config
        .iter()
        .map(|(key, value)| format!("{key} {}", short(value)))
        .collect();
    let parts = [
        ("server", server(&deployment.placement)),
        ("settings", settings.join(", ")),
        ("rates", rates(&experiment.schedule)),
        ("windows", windows(&experiment.schedule)),
        ("objectives", join(&experiment.slos)),
        ("shown too", join(&experiment.informational_slos)),
        ("prompts", prompts(experiment)),
    ];
    parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("   {name:<11} {text}"))
}

fn prompts(experiment: &ExperimentSpec) -> String {
    let workload = &experiment.workload;
    format!(
        "{}, input {} tokens, output {} tokens, {} arrivals, seed {}",
        source(experiment),
        workload.input_length,
        workload.output_length,
        workload.arrivals,
        workload.seed
    )
}

fn server(placement: &Placement) -> String {
    match placement {
        Placement::Local(local) => match (&local.command, local.port) {
            (Some(command), 0) => format!("this machine, `{}`, a free port", command.join(" ")),
            (Some(command), port) => format!("this machine, `{}`, port {port}", command.join(" ")),
            (None, 0) => "this machine, a free port".to_owned(),
            (None, port) => format!("this machine, port {port}"),
        },
        Placement::External(endpoint) => match &endpoint.api_key {
            ApiKeySource::None => endpoint.url.clone(),
            ApiKeySource::Environment(name) => format!("{}, key from ${name}", endpoint.url),
            ApiKeySource::File(path) => format!("{}, key from {}", endpoint.url, path.display()),
        },
        Placement::Slurm(slurm) => format!(
            "Slurm, partition {}, {} GPUs per node",
            slurm.partition, slurm.gpus_per_node
        ),
        Placement::K8s(k8s) => format!(
            "Kubernetes, namespace {}, {} GPUs per node",
            k8s.namespace, k8s.gpus_per_node
        ),
    }
}

fn source(experiment: &ExperimentSpec) -> String {
    let fraction = experiment
        .dataset_config
        .get("sharegpt_fraction")
        .and_then(Value::as_f64);
    match fraction {
        Some(fraction) if fraction > 0.0 => format!("{} % of ShareGPT", (fraction * 1e6).round() / 1e4),
        _ => "synthetic".to_owned(),
    }
}

fn rates(schedule: &LevelSchedule) -> String {
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
        Rates::Search(search) => format!("searched from {}", search.min_rate),
    }
}

fn windows(schedule: &LevelSchedule) -> String {
    let level = schedule.warmup.saturating_add(schedule.measured);
    let mut parts = vec![format!(
        "{} warm-up, {} measured",
        format_duration(schedule.warmup),
        format_duration(schedule.measured)
    )];
    if let Rates::Listed(rates) = &schedule.rates {
        let levels = rates.len();
        let all = level.saturating_mul(levels as u32);
        let plural = if levels == 1 { "" } else { "s" };
        parts.push(format!(
            "at most {} for {levels} level{plural}, and what they take to drain",
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
