//! The file that `gipfel new` writes.

use std::{fmt::Write, time::Duration};

use gipfel_config::yaml_text;
use gipfel_model::{ArrivalRate, BackendKind, Slo, format_duration};

/// What the user said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Where the server is.
    pub server: Server,
    /// The model's name.
    pub model: String,
    /// The engine.
    pub backend: BackendKind,
    /// What decides.
    pub slos: Vec<Slo>,
    /// The rates that are listed; none for a search.
    pub rates: Vec<ArrivalRate>,
    /// How long a search may take.
    pub budget: Option<Duration>,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// It runs already.
    Url {
        /// Its base URL.
        url: String,
        /// The variable that holds its key.
        api_key_env: Option<String>,
    },
    /// Gipfel starts it on this machine.
    ThisMachine,
    /// Gipfel starts it as a job of a cluster.
    Slurm {
        /// The cluster's profile.
        profile: String,
        /// Its name behind FirecREST; absent: by Slurm's commands here.
        system: Option<String>,
        /// The account that is charged.
        account: Option<String>,
    },
}

/// The commented configuration; `file` is what it will be called.
pub fn render(answers: &Answers, file: &str) -> String {
    let mut text = format!(
        "# Check it with `gipfel config check {file}`, run it with `gipfel run {file}`.\n\
         # `gipfel config show {file}` prints every setting that is left at its default.\n\
         version: 1\n\n"
    );
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "defaults:\n{}\n{}\n{}\n",
        rates(answers),
        objectives(&answers.slos),
        DATASET
    );
    if let Server::Slurm {
        profile,
        system,
        account,
    } = &answers.server
    {
        let _ = writeln!(
            text,
            "{}",
            cluster(profile, system.as_deref(), account.as_deref())
        );
    }
    let _ = write!(text, "experiments:\n{}", experiment(answers));
    text
}

const DATASET: &str = "  \
  # Tokens of prompts and answers, which decide as much about the peak as the server does: use those of your users.
  dataset:
    input_length: { distribution: normal, mean: 512, std: 200, min: 16 }
    output_length: { distribution: normal, mean: 256, std: 128, min: 2 }
";

/// What both jobs of each experiment ask the cluster for.
fn cluster(profile: &str, system: Option<&str>, account: Option<&str>) -> String {
    let way = match system {
        Some(system) => format!(
            "  # Credentials come from the environment or from `.env`: docs/alps.md.\n  firecrest_system: {}\n",
            yaml_text(system)
        ),
        None => "  cluster: commands                  # Slurm's commands of this machine; `ssh` with `ssh_host` elsewhere\n"
            .to_owned(),
    };
    let account = match account {
        Some(account) => format!("  account: {}\n", yaml_text(account)),
        None => "  # account: NAME                    # the account that is charged\n".to_owned(),
    };
    format!(
        "  # The cluster: `gipfel doctor slurm` with this file says what is wrong before a job is submitted.\n\
         {way}  site: {}\n{account}  partition: normal\n  benchmarker_partition: normal\n  \
         # `benchmarker: same-job` sends from the server's own node and takes no other.\n  benchmarker: slurm\n  \
         server_time_limit: \"01:00:00\"\n  benchmarker_time_limit: \"01:00:00\"\n  \
         # A run that may take more is refused.\n  max_node_hours: 10\n",
        yaml_text(profile)
    )
}

fn rates(answers: &Answers) -> String {
    if answers.rates.is_empty() {
        let search = match answers.budget {
            Some(budget) => format!("{{ budget: {} }}", format_duration(budget)),
            None => "true".to_owned(),
        };
        return format!(
            "  # The peak is searched until it is known to 2 %, for about a quarter of an hour unless a budget says \
             otherwise.\n  search: {search}\n"
        );
    }
    let rates: Vec<String> = answers.rates.iter().map(|rate| rate.get().to_string()).collect();
    format!(
        "  # Requests per second; each is offered for a warm-up and a measured window, until two are rejected.\n  \
         rate_levels: [{}]\n  warmup_duration: 30s\n  measurement_duration: 1min\n",
        rates.join(", ")
    )
}

fn objectives(slos: &[Slo]) -> String {
    let mut text = String::from(
        "  # A rate passes when all of these are met: ttft, tpot, itl or e2e at a percentile, or error_rate.\n  slos:\n",
    );
    for slo in slos {
        let _ = writeln!(text, "    - {}", yaml_text(&slo.to_string()));
    }
    text
}

fn experiment(answers: &Answers) -> String {
    let mut text = format!(
        "  - model: {}\n    backend: {}{}\n",
        yaml_text(&answers.model),
        answers.backend,
        if answers.backend == BackendKind::Openai {
            "                  # any OpenAI-compatible server"
        } else {
            ""
        }
    );
    match &answers.server {
        Server::ThisMachine => {
            text.push_str("    deployment: local                # gipfel starts the server and ends it\n");
            text.push_str(engine_settings(answers.backend));
        }
        Server::Slurm { .. } => {
            text.push_str(
                "    deployment: slurm                # gipfel submits the server's job and ends it\n",
            );
            text.push_str("    # image: HOST#REPOSITORY:TAG     # the container; the profile may name one for the engine\n");
            text.push_str("    # backend_config: { tensor_parallel_size: 4, max_model_len: 8192 }\n");
        }
        Server::Url { url, api_key_env } => {
            let _ = write!(
                text,
                "    deployment: external             # it runs already, and goes on\n    url: {}\n",
                yaml_text(url)
            );
            match api_key_env {
                Some(name) => {
                    let _ = writeln!(
                        text,
                        "    api_key_env: {}    # the variable that holds the key",
                        yaml_text(name)
                    );
                }
                None => text.push_str("    # api_key_env: NAME              # the variable that holds the key, if it asks for one\n"),
            }
        }
    }
    text
}

/// What users of an engine look for first.
fn engine_settings(backend: BackendKind) -> &'static str {
    match backend {
        BackendKind::Sim => {
            "    backend_config: { profile: quickstart }    # a simulated server, to try things out\n"
        }
        BackendKind::Vllm | BackendKind::Sglang => {
            "    # backend_config: { tensor_parallel_size: 1, max_model_len: 8192 }\n"
        }
        BackendKind::Llamacpp => "    # backend_config: { parallel: 4, ctx_size: 8192, n_gpu_layers: 99 }\n",
        BackendKind::Dynamo | BackendKind::Ollama | BackendKind::Openai => "",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn answers(server: Server, backend: BackendKind, rates: &[f64]) -> Answers {
        Answers {
            server,
            model: "org/model-8b".to_owned(),
            backend,
            slos: vec!["ttft p95 <= 500ms".parse().expect("an objective")],
            rates: rates
                .iter()
                .map(|rate| ArrivalRate::per_second(*rate).expect("a rate"))
                .collect(),
            budget: None,
        }
    }

    fn url(api_key_env: Option<&str>) -> Server {
        Server::Url {
            url: "http://127.0.0.1:8000".to_owned(),
            api_key_env: api_key_env.map(str::to_owned),
        }
    }

    #[test]
    fn the_file_says_what_its_keys_are_for() {
        assert_snapshot!(render(&answers(url(None), BackendKind::Vllm, &[]), "mine.yaml"), @"
        # Check it with `gipfel config check mine.yaml`, run it with `gipfel run mine.yaml`.
        # `gipfel config show mine.yaml` prints every setting that is left at its default.
        version: 1

        defaults:
          # The peak is searched until it is known to 2 %, for about a quarter of an hour unless a budget says otherwise.
          search: true

          # A rate passes when all of these are met: ttft, tpot, itl or e2e at a percentile, or error_rate.
          slos:
            - ttft p95 <= 500ms

          # Tokens of prompts and answers, which decide as much about the peak as the server does: use those of your users.
          dataset:
            input_length: { distribution: normal, mean: 512, std: 200, min: 16 }
            output_length: { distribution: normal, mean: 256, std: 128, min: 2 }

        experiments:
          - model: org/model-8b
            backend: vllm
            deployment: external             # it runs already, and goes on
            url: http://127.0.0.1:8000
            # api_key_env: NAME              # the variable that holds the key, if it asks for one
        ");
        assert_snapshot!(render(&answers(Server::ThisMachine, BackendKind::Sim, &[100.0, 200.0]), "mine.yaml"), @"
        # Check it with `gipfel config check mine.yaml`, run it with `gipfel run mine.yaml`.
        # `gipfel config show mine.yaml` prints every setting that is left at its default.
        version: 1

        defaults:
          # Requests per second; each is offered for a warm-up and a measured window, until two are rejected.
          rate_levels: [100, 200]
          warmup_duration: 30s
          measurement_duration: 1min

          # A rate passes when all of these are met: ttft, tpot, itl or e2e at a percentile, or error_rate.
          slos:
            - ttft p95 <= 500ms

          # Tokens of prompts and answers, which decide as much about the peak as the server does: use those of your users.
          dataset:
            input_length: { distribution: normal, mean: 512, std: 200, min: 16 }
            output_length: { distribution: normal, mean: 256, std: 128, min: 2 }

        experiments:
          - model: org/model-8b
            backend: sim
            deployment: local                # gipfel starts the server and ends it
            backend_config: { profile: quickstart }    # a simulated server, to try things out
        ");
    }

    #[test]
    fn every_file_reads_as_it_was_meant() {
        let job = |profile: &str, system: Option<&str>, account: Option<&str>| Server::Slurm {
            profile: profile.to_owned(),
            system: system.map(str::to_owned),
            account: account.map(str::to_owned),
        };
        let servers = [
            url(None),
            url(Some("MODELS_KEY")),
            Server::ThisMachine,
            job("clariden", Some("clariden"), Some("a-1")),
            job("generic", None, None),
        ];
        for server in servers {
            for backend in BackendKind::ALL {
                let can_be_started = match server {
                    Server::Url { .. } => true,
                    Server::ThisMachine => !matches!(backend, BackendKind::Openai | BackendKind::Dynamo),
                    Server::Slurm { .. } => {
                        matches!(
                            backend,
                            BackendKind::Vllm | BackendKind::Sglang | BackendKind::Dynamo
                        )
                    }
                };
                if !can_be_started {
                    continue;
                }
                for (rates, budget) in [(&[] as &[f64], None), (&[], Some(360)), (&[100.0, 200.5], None)] {
                    let answers = Answers {
                        budget: budget.map(Duration::from_secs),
                        model: "a: \"b\" ${C}".to_owned(),
                        ..answers(server.clone(), *backend, rates)
                    };
                    let text = render(&answers, "mine.yaml");
                    let plan = gipfel_config::parse_yaml(&text, "mine.yaml")
                        .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
                    assert_eq!(plan.warnings, [], "{text}");
                    let experiment = &plan.experiments[0];
                    assert_eq!(experiment.deployment.model, answers.model);
                    assert_eq!(experiment.deployment.backend, *backend);
                    assert_eq!(experiment.slos, answers.slos);
                }
            }
        }
    }
}
