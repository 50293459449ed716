//! One experiment of the list.

use gipfel_model::{
    BackendKind, BenchmarkerKind, DeploymentKind, DeploymentSpec, ExperimentSpec, Rates, RequestForm, Slo,
    format_duration, run_config::LevelSchedule,
};
use serde_json::{Map, Value};

use crate::{
    backend_config,
    endpoint::take_endpoint,
    field::Field,
    file::belongs_to_the_file,
    local::take_local,
    placement::{placement, refuse_keys_of_others},
    repeats, search,
    section::{Misplaced, Section},
    settings::Settings,
};

/// The keys that an experiment has beside its settings.
pub(crate) const KEYS: &[&str] = &["model", "backend", "deployment", "backend_config"];

/// Those that none can do without.
pub(crate) const REQUIRED: &[&str] = &["model", "backend", "deployment"];

/// A verdict needs this many requests above the quantile.
const LEAST_ABOVE: f64 = 5.0;

/// Reads an experiment and its repeats; what it leaves open comes from the defaults.
pub(crate) fn read(field: &Field<'_>, defaults: &Settings) -> Option<Vec<ExperimentSpec>> {
    let mut section = field.as_section()?;
    let model = section
        .take("model")
        .required("the model's name, path or repository")
        .as_text("the model's name, path or repository");
    let backend = read_backend(&mut section);
    let deployment = section.take("deployment");
    let kind = read_kind(&deployment);
    let engine_settings = section.take("backend_config");
    let backend_config = backend_config::read(&engine_settings, backend);
    let settings = Settings::take(&mut section).or(defaults);
    let endpoint = take_endpoint(&mut section);
    let local = take_local(&mut section);
    if let Some(kind) = kind {
        require_keys(&section, kind, backend);
        refuse_keys_of_others(&mut section, kind);
        check_cluster(&section, kind, &settings);
    }
    settings.dataset.remark(section.reading);
    remark_parallelism(
        &engine_settings,
        kind,
        &backend_config,
        settings.cluster.gpus_per_node(),
    );

    let workload = settings.workload();
    let schedule = settings.schedule(&section);
    let (slos, informational_slos) = settings.objectives.clone().resolve();
    remark_sample(&section, &schedule, &slos);
    refuse_unseen(&section, workload.requests, &[&slos, &informational_slos]);
    let repeats = settings.repeats();
    remark_repeats(&section, kind, repeats);
    section.finish(&misplaced(backend));
    let first = ExperimentSpec {
        deployment: DeploymentSpec {
            model: model?.to_owned(),
            backend: backend?,
            placement: placement(kind?, settings.cluster.clone(), local, endpoint)?,
            backend_config,
            instance: 0,
            server_ready_timeout: settings.timeouts.server_ready(),
        },
        load: settings.cluster.load(kind?, settings.timeouts.server_ready()),
        dataset_config: settings.dataset.record(&workload),
        repeat: 0,
        workload,
        schedule,
        slos,
        informational_slos,
        timeouts: settings.timeouts.timeouts(),
        workers: settings.workers,
    };
    Some(repeats::expand(first, repeats))
}

fn read_backend(section: &mut Section<'_>) -> Option<BackendKind> {
    section
        .take("backend")
        .required("the engine, one of sim, vllm, sglang, dynamo, llamacpp, ollama, openai")
        .as_choice(BackendKind::ALL, BackendKind::as_str)
}

fn read_kind(deployment: &Field<'_>) -> Option<DeploymentKind> {
    deployment
        .clone()
        .required("where the server lives, one of local, external, slurm, k8s")
        .as_choice(DeploymentKind::ALL, DeploymentKind::as_str)
}

fn require_keys(section: &Section<'_>, kind: DeploymentKind, backend: Option<BackendKind>) {
    if kind == DeploymentKind::External && !section.has("url") && !section.has("urls") {
        section.reading.fault(
            section.place_of_key("url"),
            "missing: `deployment: external` needs the server's address",
        );
    }
    let Some(backend) = backend.filter(|backend| needs_command(*backend, kind)) else {
        return;
    };
    if !section.has("command") {
        section.reading.fault(
            section.place_of_key("command"),
            format!("missing: `backend: {backend}` has no program of its own that could be started there"),
        );
    }
}

fn check_cluster(section: &Section<'_>, kind: DeploymentKind, settings: &Settings) {
    if kind == DeploymentKind::Local {
        return;
    }
    let cluster = &settings.cluster;
    cluster.slurm.check(section, kind);
    if cluster.slurm.benchmarker() == Some(BenchmarkerKind::InCluster) {
        cluster.kubernetes.check_load(section);
    }
    if kind == DeploymentKind::Slurm && cluster.gpus_per_node() == 0 {
        section.reading.fault(
            section.place_of_key("gpus_per_node"),
            "only a Kubernetes cluster may be without GPUs",
        );
    }
    let is_local = cluster.load(kind, settings.timeouts.server_ready()).is_local();
    if kind == DeploymentKind::K8s && is_local && !cluster.kubernetes.has_ingress() {
        section.reading.warn(
            &section.place_of_key("ingress_domain"),
            "the load of this machine reaches the server through the API server, whose time counts as the server's \
             latency; the way lives as long as gipfel does. `benchmarker: in-cluster` sends from beside the server",
        );
    }
    let is_slurm = cluster.slurm.benchmarker() == Some(BenchmarkerKind::Slurm);
    if kind == DeploymentKind::K8s && is_slurm && !cluster.kubernetes.has_ingress() {
        section.reading.fault(
            section.place_of_key("benchmarker"),
            "a Slurm job reaches a server on Kubernetes by its Ingress, and `ingress_domain: none` makes none",
        );
    }
    if kind == DeploymentKind::K8s && cluster.slurm.image().is_none() {
        section.reading.fault(
            section.place_of_key("image"),
            "missing: `deployment: k8s` needs the image that the server's container is made from",
        );
    }
}

/// Whether the engine has no program of its own that could be started in a deployment of this kind.
pub(crate) fn needs_command(backend: BackendKind, kind: DeploymentKind) -> bool {
    match (backend, kind) {
        (BackendKind::Openai, DeploymentKind::Local | DeploymentKind::Slurm | DeploymentKind::K8s)
        | (BackendKind::Dynamo, DeploymentKind::Local)
        | (BackendKind::Sim, DeploymentKind::Slurm | DeploymentKind::K8s) => true,
        (
            BackendKind::Openai
            | BackendKind::Dynamo
            | BackendKind::Sim
            | BackendKind::Vllm
            | BackendKind::Sglang
            | BackendKind::Llamacpp
            | BackendKind::Ollama,
            DeploymentKind::Local | DeploymentKind::External | DeploymentKind::Slurm | DeploymentKind::K8s,
        ) => false,
    }
}

/// Ranks beyond one node talk over the network between nodes, which is slower by far.
fn remark_parallelism(
    field: &Field<'_>,
    kind: Option<DeploymentKind>,
    backend_config: &Map<String, Value>,
    gpus_per_node: u32,
) {
    let on_cluster = matches!(kind, Some(DeploymentKind::Slurm | DeploymentKind::K8s));
    let size = |name: &str| backend_config.get(name).and_then(Value::as_u64).unwrap_or(1);
    let tensor = size("tensor_parallel_size");
    if on_cluster && gpus_per_node > 0 && tensor > u64::from(gpus_per_node) {
        let gpus = tensor.saturating_mul(size("pipeline_parallel_size"));
        let nodes = gpus.div_ceil(u64::from(gpus_per_node));
        field.reading.warn(
            &field.place(),
            format!(
                "tensor_parallel_size {tensor} is more than gpus_per_node {gpus_per_node}: the model spans {nodes} nodes"
            ),
        );
    }
}

/// A URL stands for one server: what differs between its repeats is no difference between servers.
fn remark_repeats(section: &Section<'_>, kind: Option<DeploymentKind>, repeats: u32) {
    if kind == Some(DeploymentKind::External) && repeats > 1 {
        section.reading.warn(
            &section.place_of_key("repeats"),
            "all repeats go to the one server behind the URL: their spread says how well a measurement repeats, not \
             how much fresh deployments differ",
        );
    }
}

/// An objective on what no answer shows would be violated by every request, or by none.
fn refuse_unseen(section: &Section<'_>, requests: RequestForm, objectives: &[&[Slo]]) {
    let unseen: Vec<String> = objectives
        .iter()
        .flat_map(|slos| slos.iter())
        .filter(|slo| !requests.shows(slo))
        .map(|slo| format!("`{slo}`"))
        .collect();
    if unseen.is_empty() {
        return;
    }
    section.reading.fault(
        section.place_of_key("stream"),
        format!(
            "answers that are not streamed show no first token and no gaps, so {} cannot be judged; write `slos` with \
             objectives on `e2e` or `error_rate`, or stream",
            unseen.join(" and ")
        ),
    );
}

/// A window too short for its percentile ends unresolved, which is better known before the run.
fn remark_sample(section: &Section<'_>, schedule: &LevelSchedule, slos: &[Slo]) {
    let Rates::Listed(rates) = &schedule.rates else {
        return;
    };
    let latencies = slos.iter().filter(|slo| matches!(slo, Slo::Latency { .. }));
    let strictest = latencies.min_by(|a, b| a.allowed_share().total_cmp(&b.allowed_share()));
    let (Some(slo), Some(rate)) = (strictest, rates.first()) else {
        return;
    };
    // The share 1 − q is a rounded difference; a part in 10⁹ keeps 5 / 0.05 at 100.
    let needed = (LEAST_ABOVE / slo.allowed_share() * (1.0 - 1e-9)).ceil();
    let measured = schedule.measured_at(*rate);
    let expected = rate.get() * measured.as_secs_f64();
    if expected < needed {
        section.reading.warn(
            &section.place_of_key("rate_levels"),
            format!(
                "at {rate} the measured window of {} holds about {expected:.0} requests, and `{slo}` is accepted \
                 from {needed:.0}: the level would stay unresolved",
                format_duration(measured)
            ),
        );
    }
}

fn misplaced(backend: Option<BackendKind>) -> Vec<Misplaced> {
    let of_the_file = Misplaced {
        keys: vec!["max_parallel_experiments", "max_node_hours"],
        sentence: "belongs under `defaults`: it holds for the whole file".to_owned(),
    };
    let of_the_engine = backend.map(|backend| Misplaced {
        keys: backend_config::names(backend),
        sentence: format!("belongs under `backend_config`: it is a setting of {backend}"),
    });
    [
        Some(of_the_file),
        Some(belongs_to_the_file()),
        of_the_engine,
        Some(search::misplaced()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
