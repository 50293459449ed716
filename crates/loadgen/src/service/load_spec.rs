//! The predecessors' order of a load, translated into a run of one level.

use std::{path::PathBuf, time::Duration};

use gipfel_model::{
    AnswerLength, ApiEndpoint, ArrivalProcess, ArrivalRate, BackendKind, DataSetFile, DataSetForm,
    DataSetSpec, DeploymentKind, EndpointSpec, LengthDistribution, LevelSchedule, PromptSource, Provenance,
    Rates, RequestForm, RunConfig, Timeouts, WorkloadSpec, ids::IdParts, run_config::RUN_CONFIG_FORMAT,
};
use serde_json::{Map, Value};

/// Bounds of a ShareGPT prompt in tokens, as vLLM's benchmark has them.
const SHAREGPT_BOUNDS: (u32, u32) = (4, 1024);
/// What has no influence on what is sent or measured.
const WITHOUT_EFFECT: &[&str] = &[
    "disable_tqdm",
    "trust_remote_code",
    "save_result",
    "result_dir",
    "result_filename",
];

/// When an order came, and what tells it from others of that second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) unix_s: u64,
    pub(super) random: u16,
}

/// The run that `spec` orders, or every reason why there is none.
pub(super) fn translate(spec: &Value, moment: Moment) -> Result<RunConfig, Vec<String>> {
    let Value::Object(fields) = spec else {
        return Err(vec!["a load is a JSON object".to_owned()]);
    };
    let mut fields = Fields {
        fields: fields.clone(),
        faults: Vec::new(),
    };
    let model = fields.text("model").unwrap_or_else(|| {
        fields.fault("`model` is missing");
        String::new()
    });
    let rate = fields.rate();
    let (backend, requests) = fields.form();
    let endpoint = EndpointSpec::new(&fields.url());
    let prompts = fields.count("num_prompts").unwrap_or(1000);
    let seed = fields.count("seed").unwrap_or(0);
    let workload = fields.workload(prompts, u64::from(seed), requests);
    fields.tokenizer(&model);
    fields.check_rest();
    match rate {
        Some(rate) if fields.faults.is_empty() => {
            let schedule = schedule(rate, prompts);
            Ok(run(spec, moment, model, backend, endpoint, workload, schedule))
        }
        _ => Err(fields.faults),
    }
}

fn run(
    spec: &Value,
    moment: Moment,
    model: String,
    backend: BackendKind,
    endpoint: EndpointSpec,
    workload: WorkloadSpec,
    schedule: LevelSchedule,
) -> RunConfig {
    let [year, month, day, hour, minute, second] = civil(moment.unix_s);
    let timestamp = format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}");
    let ids = IdParts {
        timestamp: &timestamp,
        random: moment.random,
    };
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: ids.run(&model, backend, DeploymentKind::External),
        campaign_id: ids.campaign(),
        deployment_id: ids.deployment(&model, backend, DeploymentKind::External),
        deployment: DeploymentKind::External,
        repeat: 0,
        served_model: None,
        model,
        backend,
        endpoint,
        backend_config: Map::new(),
        dataset_config: spec.as_object().cloned().unwrap_or_default(),
        workload,
        schedule,
        slos: Vec::new(),
        informational_slos: Vec::new(),
        timeouts: Timeouts::default(),
        workers: None,
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
    }
}

/// One level of so many requests, without a warm-up: theirs has none.
fn schedule(rate: ArrivalRate, prompts: u32) -> LevelSchedule {
    LevelSchedule {
        rates: Rates::Listed(vec![rate]),
        warmup: Duration::ZERO,
        measured: Duration::from_secs_f64(f64::from(prompts) / rate.get()),
        requests_per_level: Some(prompts),
        warmup_ramp: false,
        all_levels: true,
        exact_windows: true,
        total_time: None,
    }
}

/// The fields that nobody has taken yet, and what is wrong with those that were.
struct Fields {
    fields: Map<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// A field that is there and not null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.fault(format!("`{name}` is a text, not {other}"));
                None
            }
        }
    }

    fn count(&mut self, name: &str) -> Option<u32> {
        let value = self.take(name)?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        if count.is_none() {
            self.fault(format!("`{name}` is a whole number, not {value}"));
        }
        count
    }

    fn rate(&mut self) -> Option<ArrivalRate> {
        let value = self.take("request_rate");
        let rate = value.as_ref().and_then(Value::as_f64);
        let rate = rate.and_then(|rate| ArrivalRate::per_second(rate).ok());
        if rate.is_none() {
            let found = value.map_or("it is missing".to_owned(), |value| format!("not {value}"));
            self.fault(format!(
                "`request_rate` is a finite number of requests per second above 0; {found}"
            ));
        }
        rate
    }

    fn form(&mut self) -> (BackendKind, RequestForm) {
        let name = self.text("backend").unwrap_or_else(|| "openai-chat".to_owned());
        let (backend, usual) = match name.as_str() {
            "vllm" => (BackendKind::Vllm, ApiEndpoint::Completions),
            "sglang" => (BackendKind::Sglang, ApiEndpoint::Completions),
            "openai" => (BackendKind::Openai, ApiEndpoint::Completions),
            "openai-chat" => (BackendKind::Openai, ApiEndpoint::Chat),
            _ => {
                self.fault(format!(
                    "`backend` is vllm, sglang, openai or openai-chat, not {name}"
                ));
                (BackendKind::Openai, ApiEndpoint::Chat)
            }
        };
        let endpoint = match self.text("endpoint").as_deref() {
            None => usual,
            Some("/v1/chat/completions") => ApiEndpoint::Chat,
            Some("/v1/completions") => ApiEndpoint::Completions,
            Some(other) => {
                self.fault(format!(
                    "`endpoint` is /v1/chat/completions or /v1/completions, not {other}"
                ));
                usual
            }
        };
        (
            backend,
            RequestForm {
                endpoint,
                stream: true,
            },
        )
    }

    fn url(&mut self) -> String {
        let host = self.text("host").unwrap_or_else(|| "localhost".to_owned());
        let port = self.count("port").unwrap_or(8000);
        self.text("base_url")
            .unwrap_or_else(|| format!("http://{host}:{port}"))
    }

    /// A length in tokens under the field's name with the data set, or without it.
    fn length(&mut self, dataset: &str, name: &str) -> Option<u32> {
        let (short, long) = (self.count(name), self.count(&format!("{dataset}_{name}")));
        let length = long.or(short);
        if length == Some(0) && name != "prefix_len" {
            self.fault(format!("`{name}` is at least 1"));
        }
        length
    }

    fn workload(&mut self, prompts: u32, seed: u64, requests: RequestForm) -> WorkloadSpec {
        if prompts == 0 {
            self.fault("`num_prompts` is at least 1");
        }
        let dataset = self.text("dataset_name").unwrap_or_default();
        let path = self.text("dataset_path").map(PathBuf::from);
        let input = self.length(&dataset, "input_len");
        let output = self.length(&dataset, "output_len");
        if self
            .length(&dataset, "prefix_len")
            .is_some_and(|prefix| prefix > 0)
        {
            self.fault("`prefix_len` above 0: prompts with a common prefix are not made here");
        }
        let (form, input, usual_output) = match dataset.as_str() {
            "sharegpt" => {
                if input.is_some() {
                    self.fault("`input_len`: the prompts of sharegpt have their own lengths");
                }
                (Some(DataSetForm::Sharegpt), SHAREGPT_BOUNDS.1, 128)
            }
            "sonnet" => (Some(DataSetForm::Sonnet), input.unwrap_or(512), 16),
            "random" => (None, input.unwrap_or(1024), 128),
            _ => {
                self.fault(format!(
                    "`dataset_name` is sharegpt, sonnet or random, not `{dataset}`"
                ));
                (None, 1, 1)
            }
        };
        if form.is_none() && path.is_some() {
            self.fault("`dataset_path`: only sharegpt and sonnet are read from a file");
        }
        let answers = match (form, output) {
            (Some(DataSetForm::Sharegpt), None) => AnswerLength::Dataset,
            _ => AnswerLength::Distribution,
        };
        let dataset = form.map(|form| DataSetSpec {
            files: vec![DataSetFile {
                form,
                path,
                share: 1.0,
            }],
            min_input: SHAREGPT_BOUNDS.0,
            max_input: input,
            num_prompts: None,
            answers,
            nonce: false,
            hf_home: None,
        });
        WorkloadSpec {
            prompts: PromptSource {
                dataset,
                tokenizer: None,
            },
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: input },
            output_length: LengthDistribution::Fixed {
                value: output.unwrap_or(usual_output),
            },
            seed,
            requests,
        }
    }

    /// The model's own is what they count with; tokens are counted by the server here.
    fn tokenizer(&mut self, model: &str) {
        if let Some(tokenizer) = self.text("tokenizer").filter(|tokenizer| tokenizer != model) {
            self.fault(format!(
                "`tokenizer` {tokenizer}: only the model's own, whose tokens the server counts"
            ));
        }
    }

    /// What asks for nothing is passed over; anything else that nobody took is a fault.
    fn check_rest(&mut self) {
        for (name, value) in std::mem::take(&mut self.fields) {
            let without_effect = WITHOUT_EFFECT.contains(&name.as_str())
                || value.is_null()
                || matches!((name.as_str(), &value), ("use_beam_search", Value::Bool(false)))
                || (matches!(name.as_str(), "best_of" | "burstiness") && value.as_f64() == Some(1.0));
            if !without_effect {
                self.fault(format!("`{name}` {value} cannot be translated"));
            }
        }
    }
}

/// Year, month, day, hour, minute and second, in UTC.
fn civil(unix_s: u64) -> [u64; 6] {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Counted from the first of March of the year 0, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, second / 3_600, second / 60 % 60, second % 60]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MOMENT: Moment = Moment {
        unix_s: 1_763_836_200,
        random: 0xab,
    };

    #[test]
    fn a_load_becomes_a_run_of_one_level() {
        let spec = json!({
            "dataset_name": "random", "num_prompts": 50, "request_rate": 12, "input_len": 64, "output_len": 16,
            "backend": "vllm", "endpoint": "/v1/completions", "host": "server", "port": 8080, "model": "org/M",
            "tokenizer": null, "disable_tqdm": true, "best_of": 1,
        });
        let run = translate(&spec, MOMENT).expect("a run");
        assert_eq!(run.run_id.as_str(), "20251122-183000_m_vllm_external_00ab");
        assert_eq!(run.created_at, "2025-11-22T18:30:00Z");
        assert_eq!(run.endpoint.url, "http://server:8080");
        assert_eq!(run.workload.requests.endpoint, ApiEndpoint::Completions);
        assert_eq!(run.workload.input_length, LengthDistribution::Fixed { value: 64 });
        assert_eq!(
            run.workload.output_length,
            LengthDistribution::Fixed { value: 16 }
        );
        assert_eq!(run.schedule.requests_per_level, Some(50));
        let rate = ArrivalRate::per_second(12.0).expect("a rate");
        assert_eq!(run.schedule.rates, Rates::Listed(vec![rate]));
    }

    #[test]
    fn data_sets_are_read_as_theirs() {
        let check = |spec: Value, form, answers, output| {
            let run = translate(&spec, MOMENT).expect("a run");
            let dataset = run.workload.prompts.dataset.expect("a data set");
            assert_eq!((dataset.files[0].form, dataset.answers), (form, answers));
            assert_eq!(
                run.workload.output_length,
                LengthDistribution::Fixed { value: output }
            );
        };
        let sharegpt = json!({"dataset_name": "sharegpt", "model": "m", "request_rate": 1.5});
        check(sharegpt, DataSetForm::Sharegpt, AnswerLength::Dataset, 128);
        let sonnet =
            json!({"dataset_name": "sonnet", "model": "m", "request_rate": 1, "sonnet_output_len": 9});
        check(sonnet, DataSetForm::Sonnet, AnswerLength::Distribution, 9);
    }

    #[test]
    fn every_reason_is_said_at_once() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(translate(&spec, MOMENT).expect_err("faults"), expected);
        };
        check(json!([]), &["a load is a JSON object"]);
        check(
            json!({"dataset_name": "hf", "request_rate": "inf", "backend": "tgi", "best_of": 2, "num_prompts": -1}),
            &[
                "`model` is missing",
                "`request_rate` is a finite number of requests per second above 0; not \"inf\"",
                "`backend` is vllm, sglang, openai or openai-chat, not tgi",
                "`num_prompts` is a whole number, not -1",
                "`dataset_name` is sharegpt, sonnet or random, not `hf`",
                "`best_of` 2 cannot be translated",
            ],
        );
        check(
            json!({"dataset_name": "sonnet", "model": "m", "request_rate": 1, "prefix_len": 128, "endpoint": "/generate"}),
            &[
                "`endpoint` is /v1/chat/completions or /v1/completions, not /generate",
                "`prefix_len` above 0: prompts with a common prefix are not made here",
            ],
        );
    }

    #[test]
    fn days_have_their_dates() {
        let check = |unix_s, expected| assert_eq!(civil(unix_s), expected);
        check(0, [1970, 1, 1, 0, 0, 0]);
        check(951_782_399, [2000, 2, 28, 23, 59, 59]);
        check(951_782_400, [2000, 2, 29, 0, 0, 0]);
        check(4_107_542_400, [2100, 3, 1, 0, 0, 0]);
    }
}
