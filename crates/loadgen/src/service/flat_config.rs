//! The flat order of the HPC toolkit's clients, translated into a run of one level.
//!
//! Its own clients each waited for an answer before they sent again. That load has no rate, so an order has to name the
//! one that it asks for.

use std::time::Duration;

use gipfel_model::{
    ApiEndpoint, ArrivalRate, BackendKind, EndpointSpec, RequestForm, RunConfig, parse_duration,
};
use serde_json::{Map, Value, json};

use super::load_spec::{self, Moment};

/// What it always asked for.
const GENERATED_TOKENS: u64 = 100;

/// What has no influence on an open-loop load.
const WITHOUT_EFFECT: &[&str] = &[
    "clients_per_node",
    "concurrency",
    "num_threads",
    "sleep_seconds",
    "batch",
    "component",
];

/// Whether an order is of this kind.
pub(super) fn is_flat(order: &Value) -> bool {
    order.get("header").is_none() && order.get("server_endpoints").is_some()
}

/// The run that an order asks for, or every reason why there is none.
pub(super) fn translate(order: &Value, moment: Moment) -> Result<RunConfig, Vec<String>> {
    let Value::Object(fields) = order else {
        return Err(vec!["an order is a JSON object".to_owned()]);
    };
    let mut fields = fields.clone();
    let mut faults = Vec::new();
    let rate = rate(fields.remove("target_rps").as_ref(), &mut faults);
    let measured = duration("duration", fields.remove("duration").as_ref(), &mut faults);
    let warmup = match fields.remove("warmup") {
        None => Some(Duration::ZERO),
        given => duration("warmup", given.as_ref(), &mut faults),
    };
    let endpoint = endpoint(fields.remove("server_endpoints").as_ref(), &mut faults);
    let backend = backend(fields.remove("service").as_ref(), &mut faults);
    check_distribution(fields.remove("request_distribution").as_ref(), &mut faults);
    let spec = load(&mut fields);
    for (name, value) in &fields {
        if !WITHOUT_EFFECT.contains(&name.as_str()) && !value.is_null() {
            faults.push(format!("`{name}` {value} cannot be translated"));
        }
    }
    let translated = load_spec::translate(&spec, moment);
    if let Err(more) = &translated {
        faults.extend(more.iter().cloned());
    }
    match (translated, rate, measured, warmup, endpoint, backend) {
        (Ok(run), Some(rate), Some(measured), Some(warmup), Some(endpoint), Some(backend))
            if faults.is_empty() =>
        {
            let mut run = RunConfig {
                backend,
                endpoint,
                dataset_config: order.as_object().cloned().unwrap_or_default(),
                ..run
            };
            run.schedule.rates = gipfel_model::Rates::Listed(vec![rate]);
            run.schedule.warmup = warmup;
            run.schedule.measured = measured;
            run.schedule.requests_per_level = None;
            run.workload.requests = RequestForm {
                endpoint: ApiEndpoint::Completions,
                stream: true,
            };
            Ok(run)
        }
        _ => Err(faults),
    }
}

/// The workload as a load that [`load_spec`] reads.
fn load(fields: &mut Map<String, Value>) -> Value {
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let (prompt, answer) = (take("prompt_len"), take("gen_tokens"));
    json!({
        "model": take("model"),
        "dataset_name": "random",
        "input_len": prompt,
        "output_len": answer.unwrap_or(GENERATED_TOKENS.into()),
        "seed": take("seed"),
        // Replaced by the order's own.
        "request_rate": 1,
    })
}

fn rate(value: Option<&Value>, faults: &mut Vec<String>) -> Option<ArrivalRate> {
    let rate = value
        .and_then(Value::as_f64)
        .and_then(|rate| ArrivalRate::per_second(rate).ok());
    if rate.is_none() {
        faults.push(
            "`target_rps` is needed, a number of requests per second above 0: clients that wait for each other's answers \
             are not sent from here"
                .to_owned(),
        );
    }
    rate
}

/// A number of seconds, or a text such as `60s` or `5m`.
fn duration(name: &str, value: Option<&Value>, faults: &mut Vec<String>) -> Option<Duration> {
    let found = match value {
        Some(Value::String(text)) => parse_duration(&text.replace('m', "min")).ok(),
        Some(number) => number
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        None => None,
    };
    let found = found.filter(|duration| name == "warmup" || !duration.is_zero());
    if found.is_none() {
        faults.push(format!("`{name}` is a time such as `60s`, `5m` or `1h`"));
    }
    found
}

/// The servers, each by its URL, or by host and port.
fn endpoint(value: Option<&Value>, faults: &mut Vec<String>) -> Option<EndpointSpec> {
    let urls: Option<Vec<String>> = value.and_then(Value::as_array).and_then(|urls| {
        let url = |url: &Value| {
            let text = url.as_str().filter(|text| !text.trim().is_empty())?;
            let has_scheme = text.starts_with("http://") || text.starts_with("https://");
            Some(if has_scheme {
                text.to_owned()
            } else {
                format!("http://{text}")
            })
        };
        urls.iter().map(url).collect()
    });
    let Some((first, others)) = urls.as_deref().and_then(<[String]>::split_first) else {
        faults.push("`server_endpoints` is a list of URLs, or of hosts with their ports".to_owned());
        return None;
    };
    let mut endpoint = EndpointSpec::new(first);
    endpoint.replicas = others.iter().map(|url| EndpointSpec::new(url).url).collect();
    Some(endpoint)
}

fn backend(value: Option<&Value>, faults: &mut Vec<String>) -> Option<BackendKind> {
    match value.and_then(Value::as_str) {
        Some("vllm") => Some(BackendKind::Vllm),
        Some("ollama") => Some(BackendKind::Ollama),
        None => Some(BackendKind::Openai),
        Some(other) => {
            faults.push(format!("`service` is vllm or ollama, not {other}"));
            None
        }
    }
}

/// Gaps that are always equal, or bursts, are not what arrives here.
fn check_distribution(value: Option<&Value>, faults: &mut Vec<String>) {
    if let Some(other) = value.filter(|value| !value.is_null() && value.as_str() != Some("poisson")) {
        faults.push(format!("`request_distribution` is poisson, not {other}"));
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::LengthDistribution;

    use super::*;

    const MOMENT: Moment = Moment {
        unix_s: 1_763_836_200,
        random: 0xab,
    };

    #[test]
    fn a_flat_order_becomes_a_run_of_one_level() {
        let order = json!({
            "model": "org/M", "duration": "5m", "warmup": "30s", "clients_per_node": 4, "service": "vllm",
            "target_rps": 12.5, "prompt_len": 64, "server_endpoints": ["node1:8080", "http://node2:8080/"],
        });
        assert!(is_flat(&order));
        let run = translate(&order, MOMENT).expect("a run");
        let urls: Vec<&str> = run.endpoint.urls().collect();
        assert_eq!(urls, ["http://node1:8080", "http://node2:8080"]);
        assert_eq!(run.backend, BackendKind::Vllm);
        assert_eq!(run.schedule.measured, Duration::from_mins(5));
        assert_eq!(run.schedule.warmup, Duration::from_secs(30));
        assert_eq!(
            run.workload.output_length,
            LengthDistribution::Fixed { value: 100 }
        );
        assert_eq!(run.workload.input_length, LengthDistribution::Fixed { value: 64 });
    }

    #[test]
    fn every_reason_is_said_at_once() {
        let check = |order: Value, expected: &[&str]| {
            assert_eq!(translate(&order, MOMENT).expect_err("faults"), expected);
        };
        check(
            json!({"server_endpoints": [], "duration": 0, "service": "triton", "request_distribution": "burst", "x": 1}),
            &[
                "`target_rps` is needed, a number of requests per second above 0: clients that wait for each other's \
                 answers are not sent from here",
                "`duration` is a time such as `60s`, `5m` or `1h`",
                "`server_endpoints` is a list of URLs, or of hosts with their ports",
                "`service` is vllm or ollama, not triton",
                "`request_distribution` is poisson, not \"burst\"",
                "`x` 1 cannot be translated",
                "`model` is missing",
            ],
        );
    }
}
