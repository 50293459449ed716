//! The keys that `defaults` and an experiment share.

use gipfel_model::{ApiEndpoint, ArrivalProcess, BenchmarkerKind, ClusterKind, ContainerKind, DataSetForm};
use serde_json::{Map, Value, json};

use super::{
    kubernetes,
    shapes::{
        about, choice, count, duration, filled_list, flag, formed, length, list, objective, precision, rate,
        seconds, section, text, time_limit, whole,
    },
};
use crate::{
    arrivals::MOST_BURSTINESS,
    dataset::SOURCES,
    kubernetes::NAME,
    lengths::{INPUT, OUTPUT},
    settings::MOST_REPEATS,
    slurm::WORD,
};

/// The keys with their shapes.
pub(super) fn properties() -> Map<String, Value> {
    let mut map = Map::new();
    let mut add = |key: &str, shape: Value, description: &str| {
        map.insert(key.to_owned(), about(shape, description));
    };
    add(
        "search",
        search(),
        "The peak is searched, the default when no rates are given.",
    );
    add(
        "rate_levels",
        filled_list(rate()),
        "Rates that are measured one after the other, in requests per second.",
    );
    add("first_rate", rate(), "The first of rates that double.");
    add(
        "all_levels",
        flag(),
        "Measure every listed level, also after two rejected ones. Default: false.",
    );
    add(
        "exact_windows",
        flag(),
        "Do not stretch windows where answers take long. Default: false.",
    );
    add(
        "slos",
        filled_list(objective()),
        "The objectives that decide. Default: ttft p95 <= 500ms.",
    );
    add(
        "latency_slos",
        latency_slos(),
        "Objectives in the predecessor's form, in milliseconds.",
    );
    add(
        "informational_slos",
        list(objective()),
        "Objectives that are shown and decide nothing.",
    );
    add("dataset", dataset(), "The workload's lengths.");
    add(
        "arrivals",
        choice(ArrivalProcess::NAMES),
        "The gaps between arrivals. Default: poisson.",
    );
    let endpoints = ApiEndpoint::ALL.iter().map(|endpoint| endpoint.as_str());
    add(
        "endpoint",
        choice(&endpoints.collect::<Vec<_>>()),
        "What requests ask: a chat of one message, or the completion of a text. Default: chat.",
    );
    add(
        "stream",
        flag(),
        "Whether answers are streamed; one that is not has no first token. Default: true.",
    );
    add(
        "burstiness",
        json!({ "type": "number", "minimum": 0.01, "maximum": MOST_BURSTINESS }),
        "The shape of gamma gaps: below 1 in bursts, above 1 evenly.",
    );
    add(
        "requests_per_level",
        count(),
        "Requests of each measured window, in place of its duration.",
    );
    add(
        "warmup_ramp",
        flag(),
        "The rate rises from 0 over the warm-up. Default: false.",
    );
    add(
        "seed",
        whole(0, u64::MAX),
        "Equal seeds give equal arrivals, lengths and words. Default: 0.",
    );
    add(
        "repeats",
        whole(1, MOST_REPEATS),
        "How often the experiment is run. Default: 1.",
    );
    add(
        "workers",
        count(),
        "Threads that send. Default: cores − 1, at least 1.",
    );
    add(
        "port",
        whole(0, u64::from(u16::MAX)),
        "Where the server listens; 0 takes a free one. Default: 0 on this machine, else 8080.",
    );
    add_slurm(&mut add);
    add(
        "hf_home",
        text(),
        "The folder of Hugging Face's files. Default: HF_HOME, or ~/.cache/huggingface.",
    );
    add(
        "k8s_namespace",
        formed(NAME),
        "Kubernetes: the namespace. Default: ml.",
    );
    add(
        "ingress_domain",
        formed(NAME),
        "Kubernetes: the domain of the Ingress; none: the server is reached by its Service only. Default: swissai.svc.cscs.ch.",
    );
    add(
        "kubernetes",
        kubernetes::section(),
        "Kubernetes: what its objects ask for, key by key below.",
    );
    add(
        "gpus_per_node",
        whole(0, u64::from(u32::MAX)),
        "Slurm and Kubernetes: GPUs of a node; 0 on a Kubernetes cluster without any. Default: 4.",
    );
    for (key, may_be_zero, description) in DURATIONS {
        add_duration(&mut map, key, *may_be_zero, description);
    }
    map
}

/// The keys of Slurm jobs.
fn add_slurm(add: &mut impl FnMut(&str, Value, &str)) {
    let clusters = ClusterKind::ALL.iter().map(|kind| kind.as_str());
    let containers = ContainerKind::ALL.iter().map(|kind| kind.as_str());
    let benchmarkers = BenchmarkerKind::ALL.iter().map(|kind| kind.as_str());
    let word = || formed(WORD);
    let option = || formed(r"^-[^\x00-\x1f]*$");
    let path = || formed("^/");
    let keys: &[(&str, Value, &str)] = &[
        (
            "site",
            text(),
            "Slurm: the cluster's profile, by name or as a file. Default: the system's name, else clariden with FirecREST and generic without.",
        ),
        (
            "cluster",
            choice(&clusters.collect::<Vec<_>>()),
            "Slurm: the way to the cluster: FirecREST, Slurm's commands here, or those of a login node over ssh. Default: firecrest.",
        ),
        ("ssh_host", word(), "Slurm: the login node of `cluster: ssh`."),
        (
            "firecrest_system",
            word(),
            "Slurm: the cluster's name behind FirecREST. Default: FIRECREST_SYSTEM, or the profile's.",
        ),
        ("account", word(), "Slurm: the account."),
        (
            "partition",
            word(),
            "Slurm: the server's partition. Default: debug.",
        ),
        ("qos", word(), "Slurm: the server's quality of service."),
        ("reservation", word(), "Slurm: the server's reservation."),
        (
            "constraint",
            word(),
            "Slurm: features that the server's nodes have.",
        ),
        ("exclude", word(), "Slurm: nodes that the server does not get."),
        (
            "sbatch_args",
            list(option()),
            "Slurm: further options of the server's job, such as --mem=0.",
        ),
        (
            "server_time_limit",
            time_limit(),
            "Slurm: the server's walltime. Default: 01:00:00.",
        ),
        (
            "scratch_base",
            path(),
            "Slurm: the directory of the runs. Default: the profile's, or the user's own.",
        ),
        (
            "hf_token_path",
            text(),
            "Slurm: the file of the Hugging Face token. Default: ~/.hf_token.",
        ),
        (
            "image",
            text(),
            "The container's image; on Kubernetes there has to be one. Default: the Slurm profile's for the engine.",
        ),
        (
            "container",
            choice(&containers.collect::<Vec<_>>()),
            "Slurm: what starts the image. Default: the profile's; none for a `command` without an image.",
        ),
        (
            "benchmarker",
            choice(&benchmarkers.collect::<Vec<_>>()),
            "Where the load generator runs. Default: slurm for servers in Slurm jobs, else local.",
        ),
        (
            "benchmarker_partition",
            word(),
            "Slurm: the load generator's partition. Default: normal.",
        ),
        (
            "benchmarker_time_limit",
            time_limit(),
            "Slurm: the load generator's walltime. Default: 01:00:00.",
        ),
        (
            "benchmarker_nodes",
            count(),
            "Slurm: nodes that send together. Default: 1.",
        ),
        (
            "benchmarker_tasks_per_node",
            count(),
            "Slurm: sending processes of each of these nodes. Default: 1.",
        ),
        (
            "benchmarker_sbatch_args",
            list(option()),
            "Slurm: further options of the load generator's job.",
        ),
    ];
    for (key, shape, description) in keys {
        add(key, shape.clone(), description);
    }
}

/// Durations, each of which has a second key for bare seconds, and whether they may be zero.
const DURATIONS: &[(&str, bool, &str)] = &[
    (
        "warmup_duration",
        true,
        "Sent and not measured at each level. Default: 30s.",
    ),
    (
        "measurement_duration",
        false,
        "The measured window of each level. Default: 1min.",
    ),
    (
        "total_time",
        false,
        "No level starts that would end later; of a search, the budget.",
    ),
    ("connect_timeout", false, "For a connection. Default: 10s."),
    (
        "first_token_timeout",
        false,
        "For the first token, from the scheduled arrival. Default: 2min.",
    ),
    (
        "between_tokens_timeout",
        false,
        "Between two tokens. Default: 2min.",
    ),
    (
        "request_timeout",
        false,
        "For the whole request, from the scheduled arrival. Default: 10min.",
    ),
    (
        "drain_timeout",
        true,
        "For the measured requests after their window. Default: 5min.",
    ),
    (
        "server_ready_timeout",
        false,
        "From the server's start to its first answer. Default: 15min.",
    ),
];

fn add_duration(map: &mut Map<String, Value>, key: &str, may_be_zero: bool, description: &str) {
    map.insert(key.to_owned(), about(duration(may_be_zero), description));
    let description = format!("`{key}` in bare seconds.");
    map.insert(format!("{key}_s"), about(seconds(may_be_zero), &description));
}

/// The pairs of keys of which one place has at most one.
pub(super) fn exclusive() -> Vec<Value> {
    let mut pairs = vec![
        ["rate_levels".to_owned(), "first_rate".to_owned()],
        ["rate_levels".to_owned(), "search".to_owned()],
        ["first_rate".to_owned(), "search".to_owned()],
        ["slos".to_owned(), "latency_slos".to_owned()],
    ];
    pairs.extend(
        DURATIONS
            .iter()
            .map(|(key, ..)| [(*key).to_owned(), format!("{key}_s")]),
    );
    let mut rules: Vec<Value> = pairs
        .iter()
        .map(|pair| json!({ "not": { "required": pair } }))
        .collect();
    rules.push(json!({ "not": {
        "required": ["seed", "dataset"],
        "properties": { "dataset": { "type": "object", "required": ["seed"] } },
    } }));
    rules
}

fn search() -> Value {
    let mut map = Map::new();
    map.insert(
        "min_rate".to_owned(),
        about(rate(), "The lowest rate that is offered. Default: 0.05."),
    );
    map.insert(
        "max_rate".to_owned(),
        about(rate(), "The highest rate that is offered."),
    );
    map.insert(
        "precision".to_owned(),
        about(
            precision(),
            "Half the width of the interval at which it ends, of the rate. Default: 2%.",
        ),
    );
    add_duration(
        &mut map,
        "budget",
        false,
        "It ends after this time. Default: max(15min, 60 × the median E2E latency).",
    );
    let mut bounds = section(map);
    bounds["type"] = "object".into();
    bounds["not"] = json!({ "required": ["budget", "budget_s"] });
    json!({ "anyOf": [{ "enum": [true, "true"] }, bounds] })
}

fn latency_slos() -> Value {
    let milliseconds = json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 86_400_000 });
    json!({
        "type": ["object", "null"],
        "patternProperties": { r"^(ttft|tpot|itl|e2e)_p[0-9]{1,2}(\.[0-9]+)?_ms$": milliseconds },
        "additionalProperties": false,
    })
}

/// The data set.
fn dataset() -> Value {
    let mut map = Map::new();
    for side in [INPUT, OUTPUT] {
        let description = format!(
            "Tokens of the {}.",
            if side.key == INPUT.key { "prompt" } else { "answer" }
        );
        let mut shape = length(side.min);
        if side.key == OUTPUT.key
            && let Some(forms) = shape["anyOf"].as_array_mut()
        {
            forms.push(json!({ "const": "dataset" }));
        }
        map.insert(side.key.to_owned(), about(shape, &description));
    }
    let mut add = |key: &str, shape: Value, description: &str| {
        map.insert(key.to_owned(), about(shape, description));
    };
    add(
        "source",
        choice(SOURCES),
        "Which prompts are sent. Default: synthetic.",
    );
    add("path", text(), "A file of prompts of your own.");
    let forms: Vec<&str> = DataSetForm::ALL.iter().map(|form| form.as_str()).collect();
    add(
        "form",
        choice(&forms),
        "What the file of `path` looks like. Default: by its name.",
    );
    add(
        "min_input",
        count(),
        "Prompts of a data set with fewer tokens are left out.",
    );
    add(
        "max_input",
        count(),
        "Prompts of a data set with more tokens are left out.",
    );
    add(
        "nonce",
        flag(),
        "Begin each prompt of a data set with a word of its own. Default: true.",
    );
    add(
        "tokenizer",
        text(),
        "The tokenizer.json that tokens are counted with.",
    );
    map.insert(
        "seed".to_owned(),
        about(whole(0, u64::MAX), "The same as `seed` of the settings."),
    );
    map.insert(
        "sharegpt_fraction".to_owned(),
        about(
            json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            "Share of prompts from ShareGPT; the others are CodeAlpaca's.",
        ),
    );
    map.insert(
        "num_prompts".to_owned(),
        about(
            count(),
            "At most so many prompts of a data set, chosen by the seed.",
        ),
    );
    let mut shape = section(map);
    shape["allOf"] = json!([
        { "not": { "required": ["source", "path"] } },
        { "not": { "required": ["source", "sharegpt_fraction"] } },
        { "not": { "required": ["path", "sharegpt_fraction"] } },
        { "if": { "required": ["form"] }, "then": { "required": ["path"] } },
    ]);
    shape
}
