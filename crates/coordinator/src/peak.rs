//! `gipfel peak`: a URL and an objective instead of a file.

use std::{str::FromStr, time::Duration};

use gipfel_model::{
    ArrivalProcess, BackendKind, DeploymentSpec, EndpointSpec, ExperimentSpec, LengthDistribution,
    LevelSchedule, LoadPlacement, Rates, RequestForm, SearchSpec, Timeouts, WorkloadSpec,
    deployment::{ApiKeySource, HeaderSource, Placement},
    format_duration,
};

use crate::cli::PeakArguments;

/// Warm-up and measured window without `--for`.
const WARMUP: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_mins(1);
/// A shorter measured window supports no percentile at any rate of interest.
const SHORTEST_MEASURED: Duration = Duration::from_secs(5);
/// Draws are bounded by this where the user gives no bound.
const LONGEST: u32 = 1_000_000;

/// A length distribution as the command line spells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length(pub LengthDistribution);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "a length is a whole number from 1, `normal:MEAN,STD`, `uniform:MIN,MAX` or `lognormal:MEDIAN,SIGMA`, \
                 found `{text}`"
            )
        };
        let Some((name, numbers)) = text.split_once(':') else {
            let value = text.parse().ok().filter(|value| *value >= 1).ok_or_else(fault)?;
            return Ok(Self(LengthDistribution::Fixed { value }));
        };
        let (first, second) = numbers.split_once(',').ok_or_else(fault)?;
        let number = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n >= 0.0)
                .ok_or_else(fault)
        };
        let (first, second) = (number(first)?, number(second)?);
        if first < 1.0 {
            return Err(fault());
        }
        let (min, max) = (1, LONGEST);
        Ok(Self(match name {
            "normal" => LengthDistribution::Normal {
                mean: first,
                std: second,
                min,
                max,
            },
            "lognormal" => LengthDistribution::Lognormal {
                median: first,
                sigma: second,
                min,
                max,
            },
            "uniform" if first <= second && second <= f64::from(LONGEST) => LengthDistribution::Uniform {
                min: first as u32,
                max: second as u32,
            },
            _ => return Err(fault()),
        }))
    }
}

/// What a server says of itself in `/v1/models`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The model's name.
    pub model: String,
    /// The engine.
    pub backend: BackendKind,
}

/// Reads the answer of `/v1/models`, absent if there is none that can be read; what the arguments name takes
/// precedence, but a model that a list does not hold is refused: another one would be measured in its name.
pub fn read_models(arguments: &PeakArguments, answer: Option<&serde_json::Value>) -> Result<Found, String> {
    let models = answer
        .and_then(|answer| answer["data"].as_array())
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names: Vec<&str> = models.iter().filter_map(|model| model["id"].as_str()).collect();
    let model = match (&arguments.model, names.first()) {
        (Some(name), Some(_)) if !names.contains(&name.as_str()) => {
            return Err(format!(
                "the server does not list `{name}`; it lists {}",
                names.join(", ")
            ));
        }
        (Some(name), _) => name.clone(),
        (None, Some(first)) => (*first).to_owned(),
        (None, None) => return Err("the server lists no model".to_owned()),
    };
    let listed = models.iter().find(|listed| listed["id"] == model.as_str());
    let backend = arguments
        .backend
        .or(listed.map(engine_of))
        .unwrap_or(BackendKind::Openai);
    Ok(Found { model, backend })
}

/// The models of an answer of `/v1/models`, each with the engine that it speaks of.
pub(crate) fn listed_models(answer: &serde_json::Value) -> Vec<Found> {
    let models = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = models.iter().filter_map(|model| {
        Some(Found {
            model: model["id"].as_str()?.to_owned(),
            backend: engine_of(model),
        })
    });
    found.collect()
}

fn engine_of(model: &serde_json::Value) -> BackendKind {
    match model["owned_by"].as_str().unwrap_or_default() {
        "gipfel" => BackendKind::Sim,
        "vllm" => BackendKind::Vllm,
        "sglang" => BackendKind::Sglang,
        "llamacpp" => BackendKind::Llamacpp,
        "nvidia" => BackendKind::Dynamo,
        // Ollama calls every model's owner "library".
        "library" => BackendKind::Ollama,
        _ => BackendKind::Openai,
    }
}

/// Warm-up and measured window of each of so many listed levels, so that they fit into `total`.
fn windows(total: Option<Duration>, levels: usize) -> (Duration, Duration) {
    let Some(total) = total else {
        return (WARMUP, MEASURED);
    };
    let levels = u32::try_from(levels).unwrap_or(u32::MAX).max(1);
    // One part in ten is left to draining and idling between the levels.
    let level = total.mul_f64(0.9) / levels;
    let measured = level
        .mul_f64(0.75)
        .clamp(SHORTEST_MEASURED, Duration::from_mins(10));
    let warmup = level.saturating_sub(measured).min(Duration::from_mins(2));
    let whole = |duration: Duration| Duration::from_millis(duration.as_millis() as u64);
    (whole(warmup), whole(measured))
}

/// The least time into which so many levels fit, in whole seconds.
fn shortest_total(levels: usize) -> Duration {
    let levels = u32::try_from(levels).unwrap_or(u32::MAX);
    let total = SHORTEST_MEASURED.saturating_mul(levels).as_secs_f64() / 0.9;
    Duration::from_secs(total.ceil() as u64)
}

/// The rates that the arguments ask for: a search unless they are listed.
pub fn schedule(arguments: &PeakArguments) -> Result<LevelSchedule, String> {
    if arguments.rates.is_empty() {
        return Ok(LevelSchedule {
            rates: Rates::Search(search(arguments)?),
            warmup: WARMUP,
            measured: MEASURED,
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        });
    }
    let mut rates = arguments.rates.clone();
    rates.sort_by(|a, b| a.get().total_cmp(&b.get()));
    rates.dedup();
    if let Some(total) = arguments.total_time {
        let needed = shortest_total(rates.len());
        if total < needed {
            return Err(format!(
                "{} rates do not fit into --for {}: they need at least {}, and those left out would not be judged",
                rates.len(),
                format_duration(total),
                format_duration(needed)
            ));
        }
    }
    let (warmup, measured) = windows(arguments.total_time, rates.len());
    Ok(LevelSchedule {
        rates: Rates::Listed(rates),
        warmup,
        measured,
        requests_per_level: None,
        warmup_ramp: false,
        exact_windows: arguments.exact_windows,
        all_levels: false,
        total_time: arguments.total_time,
    })
}

fn search(arguments: &PeakArguments) -> Result<SearchSpec, String> {
    let search = SearchSpec {
        min_rate: arguments.from.unwrap_or(SearchSpec::default().min_rate),
        max_rate: arguments.to,
        precision: arguments.precision,
        budget: arguments.total_time,
    };
    match search.max_rate {
        Some(max) if max <= search.min_rate => Err(format!(
            "the highest rate, --to {}, is not above the lowest one, --from {}",
            max.get(),
            search.min_rate.get()
        )),
        _ => Ok(search),
    }
}

fn requests(arguments: &PeakArguments) -> RequestForm {
    RequestForm {
        endpoint: arguments.endpoint,
        stream: !arguments.no_stream,
    }
}

/// Refuses objectives on what answers that come as a whole do not show.
pub fn check_objectives(arguments: &PeakArguments) -> Result<(), String> {
    let form = requests(arguments);
    match arguments.slos.iter().find(|slo| !form.shows(slo)) {
        None => Ok(()),
        Some(slo) => Err(format!(
            "with --no-stream nothing shows whether `{slo}` is met; give objectives on e2e or error_rate"
        )),
    }
}

/// The server of the arguments, and the way to it.
pub fn endpoint(arguments: &PeakArguments) -> EndpointSpec {
    let key = arguments.api_key_env.clone();
    EndpointSpec {
        api_key: key.map_or(ApiKeySource::None, ApiKeySource::Environment),
        headers: arguments.headers.iter().map(|header| header.0.clone()).collect(),
        ca_file: arguments.ca_file.clone(),
        proxy: arguments.proxy.clone(),
        http2: arguments.http2,
        ..EndpointSpec::new(&arguments.url.0)
    }
}

/// A header as the command line spells it: `NAME: VALUE`, or `NAME=VARIABLE` for what the environment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(pub (String, HeaderSource));

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find([':', '='])
            .ok_or("write `NAME: VALUE`, or `NAME=VARIABLE`")?;
        let (name, value) = (text[..at].trim(), text[at + 1..].trim());
        let source = if text[at..].starts_with(':') {
            HeaderSource::Text(value.to_owned())
        } else {
            HeaderSource::Environment(value.to_owned())
        };
        gipfel_config::check_header(name, &source)?;
        Ok(Self((name.to_owned(), source)))
    }
}

/// The experiment that the arguments stand for; `found` is what the server says of itself.
pub fn experiment(
    arguments: &PeakArguments,
    schedule: LevelSchedule,
    endpoint: EndpointSpec,
    found: Found,
) -> ExperimentSpec {
    let workload = WorkloadSpec {
        prompts: gipfel_model::PromptSource::default(),
        arrivals: ArrivalProcess::Poisson,
        input_length: arguments.input.0,
        output_length: arguments.output_tokens.0,
        seed: arguments.seed,
        requests: requests(arguments),
    };
    ExperimentSpec {
        dataset_config: gipfel_config::dataset_config(&workload),
        load: LoadPlacement::Local,
        deployment: DeploymentSpec {
            model: found.model,
            backend: found.backend,
            placement: Placement::External(endpoint),
            backend_config: serde_json::Map::new(),
            instance: 0,
            server_ready_timeout: Duration::from_mins(1),
        },
        repeat: 0,
        workload,
        schedule,
        slos: arguments.slos.clone(),
        informational_slos: Vec::new(),
        timeouts: Timeouts::default(),
        workers: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gipfel_config::{Plan, describe_rates, render_yaml};

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn lengths_are_read_from_the_command_line() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<Length>().ok().map(|length| length.0.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("512", Some("512"));
        check("normal:512,200", Some("normal(512, 200)"));
        check("uniform:8,16", Some("uniform(8..16)"));
        check("lognormal:180,1.2", Some("lognormal(180, 1.2)"));
        check("0", None);
        check("uniform:16,8", None);
        check("normal:512", None);
        check("cauchy:1,2", None);
    }

    #[test]
    fn windows_fit_into_the_total_time() {
        let check = |total, rates, warmup, measured| {
            let seconds = |(a, b): (Duration, Duration)| (a.as_secs_f64(), b.as_secs_f64());
            assert_eq!(
                seconds(windows(Some(Duration::from_secs(total)), rates)),
                (warmup, measured)
            );
        };
        check(700, 7, 22.5, 67.5);
        check(100, 2, 11.25, 33.75);
        check(10, 7, 0.0, 5.0);
    }

    fn arguments(text: &str) -> PeakArguments {
        let words = text.split_whitespace();
        let all = ["gipfel", "peak", "http://h:1", "--slo", "ttft p95 <= 500ms"]
            .into_iter()
            .chain(words);
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Ok(Command::Peak(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_peak_is_searched_unless_rates_are_listed() {
        let check = |text: &str, expected: &str| {
            let found = schedule(&arguments(text)).map(|schedule| {
                let LevelSchedule {
                    total_time,
                    exact_windows,
                    ..
                } = schedule;
                format!("{}; {total_time:?} {exact_windows}", describe_rates(&schedule))
            });
            assert_eq!(found.unwrap_or_else(|error| error), expected, "{text}");
        };
        check(
            "",
            "searched from 0.05 req/s, until the peak is known to ±2 % or max(15min, 60 × E2E) are over; None false",
        );
        check(
            "--from 2 --to 90/min --for 6min",
            "the highest rate, --to 1.5, is not above the lowest one, --from 2",
        );
        check(
            "--from 2 --to 40 --precision 5% --for 6min",
            "searched from 2 req/s to 40 req/s, until the peak is known to ±5 % or 6min are over; None false",
        );
        check(
            "--rates 4,2,8 --for 15s",
            "3 rates do not fit into --for 15s: they need at least 17s, and those left out would not be judged",
        );
        check(
            "--rates 4,2,2 --for 1min --exact-windows",
            "2, 4 req/s, until two are rejected; Some(60s) true",
        );
    }

    #[test]
    fn what_is_not_streamed_shows_no_first_token() {
        assert_eq!(check_objectives(&arguments("")), Ok(()));
        assert_eq!(
            check_objectives(&arguments("--no-stream")),
            Err(
                "with --no-stream nothing shows whether `ttft p95 <= 500ms` is met; give objectives on e2e or error_rate"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_bounds_a_search_does_not_stand_beside_listed_rates() {
        for text in [
            "--rates 4 --from 2",
            "--rates 4 --to 2",
            "--rates 4 --precision 1%",
            "--exact-windows",
            "--precision 60%",
        ] {
            let words = text.split_whitespace();
            let all = ["gipfel", "peak", "http://h:1", "--slo", "ttft p95 <= 500ms"]
                .into_iter()
                .chain(words);
            assert!(Cli::try_parse_from(all).is_err(), "{text}");
        }
    }

    #[test]
    fn the_printed_configuration_reads_the_same() {
        for text in [
            "",
            "--from 2 --to 40 --precision 5% --for 6min",
            "--rates 40,20 --for 1min --exact-windows",
            "--endpoint completions",
            "--header X-Team:peak --header X-Key=GATEWAY_KEY --ca-file ca.pem --proxy http://p:1 --http2",
        ] {
            let arguments = arguments(text);
            let found = Found {
                model: "m".to_owned(),
                backend: BackendKind::Vllm,
            };
            let schedule = schedule(&arguments).expect("rates");
            let plan = Plan {
                experiments: vec![experiment(&arguments, schedule, endpoint(&arguments), found)],
                max_parallel_experiments: 1,
                ..Plan::default()
            };
            let again =
                gipfel_config::parse_yaml(&render_yaml(&plan), "again.yaml").expect("a configuration");
            assert_eq!(again.experiments, plan.experiments, "{text}");
            assert_eq!(again.warnings, []);
        }
    }
}
