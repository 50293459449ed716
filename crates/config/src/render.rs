//! A plan as the file that it stands for.

mod kubernetes;
mod slurm;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use gipfel_model::{
    AnswerLength, ArrivalProcess, DataSetSpec, DeploymentKind, ExperimentSpec, LengthDistribution,
    LoadPlacement, LocalSpec, Rates, RequestForm, SearchSpec, Timeouts,
    deployment::{ApiKeySource, EndpointSpec, HeaderSource, Placement},
    format_duration,
    run_config::LevelSchedule,
};
use serde_json::{Map, Value};

use crate::{plan::Plan, repeats, section, substitute::escape};

/// Writes a plan as YAML; [`crate::parse_yaml`] reads the same experiments from it.
///
/// What a plan does not hold cannot be written: settings that come with a later version are left out.
pub fn render_yaml(plan: &Plan) -> String {
    let mut writer = Writer::default();
    writer.entry(0, "version", 1);
    writer.open(0, "defaults");
    writer.entry(1, "max_parallel_experiments", plan.max_parallel_experiments);
    if let Some(most) = plan.max_node_hours {
        writer.entry(1, "max_node_hours", most);
    }
    writer.open(0, "experiments");
    for (experiment, repeats) in repeats::grouped(&plan.experiments) {
        write_item(&mut writer, experiment, repeats);
    }
    let lines = writer.lines.iter().map(|line| line.text.as_str());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The lines of one experiment with every limit, also those that are left at their defaults.
pub(crate) fn full(experiment: &ExperimentSpec, repeats: u32) -> Vec<Line> {
    let mut writer = Writer {
        with_defaults: true,
        ..Writer::default()
    };
    write_item(&mut writer, experiment, repeats);
    writer.lines
}

fn write_item(writer: &mut Writer, experiment: &ExperimentSpec, repeats: u32) {
    let begin = writer.lines.len();
    write_experiment(writer, experiment);
    if repeats > 1 || writer.with_defaults {
        writer.entry(2, "repeats", repeats);
    }
    // The first of the entry's lines carries the list's mark.
    if let Some(first) = writer.lines.get_mut(begin) {
        first.text.replace_range(..4, "  - ");
    }
}

fn write_experiment(writer: &mut Writer, experiment: &ExperimentSpec) {
    let deployment = &experiment.deployment;
    writer.text_entry(2, "model", &deployment.model);
    writer.entry(2, "backend", deployment.backend);
    writer.entry(2, "deployment", deployment.placement.kind());
    match &deployment.placement {
        Placement::Local(local) => write_local(writer, local),
        Placement::External(endpoint) => write_endpoint(writer, endpoint),
        Placement::Slurm(slurm) => slurm::write_server(writer, slurm),
        Placement::K8s(k8s) => kubernetes::write_server(writer, k8s, &experiment.load),
    }
    slurm::write_load(writer, experiment);
    if let (LoadPlacement::InCluster(load), Placement::External(_)) =
        (&experiment.load, &deployment.placement)
    {
        kubernetes::write_load(writer, load);
    }
    if !deployment.backend_config.is_empty() {
        writer.map(2, "backend_config", &deployment.backend_config);
    }
    writer.duration(2, "server_ready_timeout", deployment.server_ready_timeout);
    write_schedule(writer, &experiment.schedule);
    writer.list(2, "slos", &experiment.slos);
    if !experiment.informational_slos.is_empty() {
        writer.list(2, "informational_slos", &experiment.informational_slos);
    }
    write_workload(writer, experiment);
    write_timeouts(writer, &experiment.timeouts);
    if let Some(workers) = experiment.workers {
        writer.entry(2, "workers", workers);
    }
}

fn write_local(writer: &mut Writer, local: &LocalSpec) {
    write_command(
        writer,
        local.command.as_deref(),
        &local.environment,
        &local.extra_args,
    );
    if local.port != 0 {
        writer.entry(2, "port", local.port);
    }
}

/// A program of one's own, with what is added to it.
fn write_command(
    writer: &mut Writer,
    command: Option<&[String]>,
    environment: &BTreeMap<String, String>,
    extra_args: &[String],
) {
    if let Some(command) = command {
        writer.list(2, "command", command);
    }
    if !environment.is_empty() {
        writer.open(2, "environment");
        for (name, value) in environment {
            writer.text_entry(3, name, value);
        }
    }
    if !extra_args.is_empty() {
        writer.list(2, "extra_args", extra_args);
    }
}

fn write_endpoint(writer: &mut Writer, endpoint: &EndpointSpec) {
    if endpoint.replicas.is_empty() {
        writer.text_entry(2, "url", &endpoint.url);
    } else {
        writer.list(2, "urls", &endpoint.urls().collect::<Vec<_>>());
    }
    match &endpoint.api_key {
        ApiKeySource::None => {}
        ApiKeySource::Environment(name) => writer.text_entry(2, "api_key_env", name),
        ApiKeySource::File(path) => writer.text_entry(2, "api_key_file", &path.to_string_lossy()),
    }
    if !endpoint.headers.is_empty() {
        writer.open(2, "headers");
        for (name, source) in &endpoint.headers {
            write_header(writer, name, source);
        }
    }
    if let Some(path) = &endpoint.ca_file {
        writer.text_entry(2, "ca_file", &path.to_string_lossy());
    }
    writer.optional_text(2, "proxy", endpoint.proxy.as_ref());
    if endpoint.http2 || writer.with_defaults {
        writer.entry(2, "http2", endpoint.http2);
    }
}

fn write_header(writer: &mut Writer, name: &str, source: &HeaderSource) {
    let (key, value) = match source {
        HeaderSource::Text(text) => return writer.text_entry(3, name, text),
        HeaderSource::Environment(variable) => ("env", variable.clone()),
        HeaderSource::File(path) => ("file", path.to_string_lossy().into_owned()),
    };
    writer.open(3, name);
    writer.text_entry(4, key, &value);
}

fn write_schedule(writer: &mut Writer, schedule: &LevelSchedule) {
    match &schedule.rates {
        Rates::Listed(rates) => {
            let rates: Vec<String> = rates.iter().map(|rate| rate.get().to_string()).collect();
            writer.entry(2, "rate_levels", format_args!("[{}]", rates.join(", ")));
        }
        Rates::Doubling { first } => writer.entry(2, "first_rate", first.get()),
        // A search has windows and a budget of its own.
        Rates::Search(search) => return write_search(writer, search),
    }
    writer.duration(2, "warmup_duration", schedule.warmup);
    writer.duration(2, "measurement_duration", schedule.measured);
    if let Some(total) = schedule.total_time {
        writer.duration(2, "total_time", total);
    }
    if schedule.all_levels || (writer.with_defaults && matches!(schedule.rates, Rates::Listed(_))) {
        writer.entry(2, "all_levels", schedule.all_levels);
    }
    if let Some(requests) = schedule.requests_per_level {
        writer.entry(2, "requests_per_level", requests);
    }
    if schedule.warmup_ramp {
        writer.entry(2, "warmup_ramp", true);
    }
    if schedule.exact_windows || writer.with_defaults {
        writer.entry(2, "exact_windows", schedule.exact_windows);
    }
}

fn write_search(writer: &mut Writer, search: &SearchSpec) {
    writer.open(2, "search");
    writer.entry(3, "min_rate", search.min_rate.get());
    if let Some(rate) = search.max_rate {
        writer.entry(3, "max_rate", rate.get());
    }
    writer.entry(3, "precision", search.precision);
    if let Some(budget) = search.budget {
        writer.duration(3, "budget", budget);
    }
}

fn write_workload(writer: &mut Writer, experiment: &ExperimentSpec) {
    let workload = &experiment.workload;
    writer.entry(2, "arrivals", workload.arrivals.as_str());
    if let ArrivalProcess::Gamma { burstiness } = workload.arrivals {
        writer.entry(2, "burstiness", burstiness);
    }
    write_requests(writer, workload.requests);
    let dataset = workload.prompts.dataset.as_ref();
    let hf_home = dataset.and_then(|dataset| dataset.hf_home.as_ref());
    let is_slurm = experiment.deployment.placement.kind() == DeploymentKind::Slurm;
    if let Some(hf_home) = hf_home.filter(|_| !is_slurm) {
        writer.text_entry(2, "hf_home", &hf_home.to_string_lossy());
    }
    writer.open(2, "dataset");
    if let Some(dataset) = dataset {
        write_dataset(
            writer,
            dataset,
            experiment.dataset_config.get("sharegpt_fraction"),
        );
    }
    if let Some(count) = experiment.dataset_config.get("num_prompts") {
        writer.value(3, "num_prompts", count);
    }
    if let Some(tokenizer) = &workload.prompts.tokenizer {
        writer.text_entry(3, "tokenizer", &tokenizer.to_string_lossy());
    }
    if dataset.is_none_or(DataSetSpec::is_endless) {
        writer.entry(3, "input_length", length(&workload.input_length));
    }
    if dataset.is_some_and(|dataset| dataset.answers == AnswerLength::Dataset) {
        writer.entry(3, "output_length", AnswerLength::Dataset);
    } else {
        writer.entry(3, "output_length", length(&workload.output_length));
    }
    writer.entry(3, "seed", workload.seed);
}

fn write_requests(writer: &mut Writer, requests: RequestForm) {
    let default = RequestForm::default();
    if requests.endpoint != default.endpoint || writer.with_defaults {
        writer.entry(2, "endpoint", requests.endpoint);
    }
    if requests.stream != default.stream || writer.with_defaults {
        writer.entry(2, "stream", requests.stream);
    }
}

fn write_dataset(writer: &mut Writer, dataset: &DataSetSpec, fraction: Option<&Value>) {
    match (fraction, dataset.files.as_slice()) {
        (Some(fraction), _) => writer.value(3, "sharegpt_fraction", fraction),
        (None, [file]) => {
            if let Some(path) = &file.path {
                writer.text_entry(3, "path", &path.to_string_lossy());
                writer.entry(3, "form", file.form);
            } else {
                writer.entry(3, "source", file.form);
            }
        }
        (None, _) => {}
    }
    if !dataset.is_endless() {
        writer.entry(3, "min_input", dataset.min_input);
        writer.entry(3, "max_input", dataset.max_input);
        writer.entry(3, "nonce", dataset.nonce);
    }
}

fn length(length: &LengthDistribution) -> String {
    match length {
        LengthDistribution::Fixed { value } => value.to_string(),
        LengthDistribution::Uniform { min, max } => {
            format!("{{ distribution: uniform, min: {min}, max: {max} }}")
        }
        LengthDistribution::Normal { mean, std, min, max } => {
            format!("{{ distribution: normal, mean: {mean}, std: {std}, min: {min}, max: {max} }}")
        }
        LengthDistribution::Lognormal {
            median,
            sigma,
            min,
            max,
        } => {
            format!("{{ distribution: lognormal, median: {median}, sigma: {sigma}, min: {min}, max: {max} }}")
        }
    }
}

/// Unless all is asked for, only limits that differ from the defaults: five of them say little in every file.
fn write_timeouts(writer: &mut Writer, timeouts: &Timeouts) {
    let defaults = Timeouts::default();
    for (key, value, default) in [
        ("connect_timeout", timeouts.connect, defaults.connect),
        ("first_token_timeout", timeouts.first_token, defaults.first_token),
        (
            "between_tokens_timeout",
            timeouts.between_tokens,
            defaults.between_tokens,
        ),
        ("request_timeout", timeouts.total, defaults.total),
        ("drain_timeout", timeouts.drain, defaults.drain),
    ] {
        if value != default || writer.with_defaults {
            writer.duration(2, key, value);
        }
    }
}

/// A line of YAML.
pub(crate) struct Line {
    pub(crate) text: String,
    /// The path of its key within the experiment, such as `search.budget`; absent for an item of a list.
    pub(crate) path: Option<String>,
}

/// Lines of YAML; a depth is two spaces.
#[derive(Default)]
struct Writer {
    lines: Vec<Line>,
    /// The keys that the next line stands under.
    open: Vec<String>,
    /// Whether what is left at its default is written too.
    with_defaults: bool,
}

impl Writer {
    /// Keys of experiments begin at this depth.
    const EXPERIMENT: usize = 2;

    fn item(&mut self, depth: usize, item: &str) {
        let text = format!("{}- {}", "  ".repeat(depth), yaml_text(item));
        self.lines.push(Line { text, path: None });
    }

    fn keyed(&mut self, depth: usize, key: &str, value: &str) {
        self.open.truncate(depth.saturating_sub(Self::EXPERIMENT));
        let parent = self.open.last().map_or("", String::as_str);
        let path = section::join(parent, key);
        self.open.push(path.clone());
        self.lines.push(Line {
            text: format!("{}{}:{value}", "  ".repeat(depth), scalar(key)),
            path: Some(path),
        });
    }

    fn open(&mut self, depth: usize, key: &str) {
        self.keyed(depth, key, "");
    }

    /// An entry whose value is no text.
    fn entry(&mut self, depth: usize, key: &str, value: impl Display) {
        self.keyed(depth, key, &format!(" {value}"));
    }

    fn text_entry(&mut self, depth: usize, key: &str, value: &str) {
        self.entry(depth, key, yaml_text(value));
    }

    fn optional_text(&mut self, depth: usize, key: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.text_entry(depth, key, value);
        }
    }

    fn duration(&mut self, depth: usize, key: &str, value: Duration) {
        self.entry(depth, key, format_duration(value));
    }

    fn list(&mut self, depth: usize, key: &str, items: &[impl ToString]) {
        self.open(depth, key);
        for item in items {
            self.item(depth + 1, &item.to_string());
        }
    }

    fn map(&mut self, depth: usize, key: &str, map: &Map<String, Value>) {
        self.open(depth, key);
        for (key, value) in map {
            self.value(depth + 1, key, value);
        }
    }

    fn value(&mut self, depth: usize, key: &str, value: &Value) {
        match value {
            Value::Object(map) if !map.is_empty() => self.map(depth, key, map),
            Value::String(text) => self.text_entry(depth, key, text),
            // JSON is YAML on one line.
            _ => self.entry(depth, key, value),
        }
    }
}

/// A text as a value of a configuration in YAML, which is read as this text.
pub fn yaml_text(text: &str) -> String {
    scalar(&escape(text))
}

/// A text as a scalar: plain where that is safe, else in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn is_plain(text: &str) -> bool {
    const NAMES: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let starts_well =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') || text.starts_with("~/");
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./-+@%<>=~: ".contains(c);
    starts_well
        && text.chars().all(safe)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !NAMES.contains(&text.to_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' ' => quoted.push(c),
            c if c.is_ascii_graphic() || c.is_alphanumeric() => quoted.push(c),
            c => quoted.extend(format!("\\U{:08X}", u32::from(c)).chars()),
        }
    }
    quoted.push('"');
    quoted
}
