//! `--dry-run`: everything that would be started, as files and in words.

mod kubernetes;
mod slurm;

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;
use gipfel_engine::engine;
use gipfel_experiment::{Campaign as State, Deployment};
use gipfel_model::{EndpointSpec, LoadPlacement, NodeHours, deployment::Placement};

use crate::{only, wiring};

/// Writes the run configurations, scripts and server commands under `results_dir` and says what they are.
pub(crate) fn write(state: &State, results_dir: &Path) -> anyhow::Result<String> {
    let directory = results_dir.join(state.campaign_id.as_str()).join("dry-run");
    let mut text = String::new();
    let mut cost = None;
    for deployment in &state.deployments {
        let server = server(state, deployment, &directory)?;
        let _ = writeln!(text, "server {}: {}", deployment.id, server.how);
        cost = add(cost, server.cost);
        for run in &deployment.runs {
            let config = wiring::run_config(state, deployment, &server.endpoint, run);
            let config = slurm::as_sent(config, run)?;
            let json =
                serde_json::to_string_pretty(&config).context("failed to write the run configuration")?;
            save(&directory.join(run.id.as_str()), "run_config.json", &json)?;
            let experiment = &run.experiment;
            let _ = writeln!(
                text,
                "run {}: {}; {} at {}; {}",
                run.id,
                only::label(experiment),
                slos(&experiment.slos),
                server.endpoint.url,
                gipfel_config::describe_rates(&experiment.schedule)
            );
            if let LoadPlacement::InCluster(load) = &run.experiment.load {
                let how = kubernetes::load(&config, deployment, load, &directory)?;
                let _ = writeln!(text, "load generator of {}: {how}", run.id);
            }
            if let Some((how, load)) = slurm::load(state, deployment, run, &directory)? {
                let _ = writeln!(text, "load generator of {}: {how}", run.id);
                cost = add(cost, load);
            }
        }
    }
    let _ = match cost {
        Some(cost) => writeln!(text, "node-hours: {cost} (if every job lives until its walltime)"),
        None => writeln!(text, "node-hours: 0 (no Slurm job is submitted)"),
    };
    let _ = writeln!(text, "written to {}; nothing was started", directory.display());
    Ok(text)
}

fn add(sum: Option<NodeHours>, more: Option<NodeHours>) -> Option<NodeHours> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}

fn slos(slos: &[gipfel_model::Slo]) -> String {
    slos.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A server that would be started.
struct Server {
    endpoint: EndpointSpec,
    how: String,
    /// What its job costs, where it is one.
    cost: Option<NodeHours>,
}

fn server(state: &State, deployment: &Deployment, directory: &Path) -> anyhow::Result<Server> {
    let spec = &deployment.spec;
    let server = match &spec.placement {
        Placement::Local(local) => {
            let command = engine(spec.backend).command(spec, local, "127.0.0.1", local.port)?;
            let command = command.unwrap_or_default().join(" ");
            let port = if local.port == 0 {
                " (0 becomes a free port)"
            } else {
                ""
            };
            Server {
                endpoint: EndpointSpec::new(&format!("http://127.0.0.1:{}", local.port)),
                how: format!("{command}{port}"),
                cost: None,
            }
        }
        Placement::External(endpoint) => Server {
            endpoint: endpoint.clone(),
            how: format!("{} exists already", endpoint.url),
            cost: None,
        },
        Placement::Slurm(slurm) => return slurm::server(state, deployment, slurm, directory),
        Placement::K8s(k8s) => return kubernetes::server(state, deployment, k8s, directory),
    };
    save(&directory.join(deployment.id.as_str()), "server.txt", &server.how)?;
    Ok(server)
}

fn save(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    let path = directory.join(name);
    fs::write(&path, format!("{text}\n")).with_context(|| format!("failed to write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{self, Options};

    /// The words of a dry run of this configuration, and the names of the files that it writes.
    fn dry_run(text: &str) -> (String, Vec<String>) {
        let plan = gipfel_config::parse(text, "a.yaml").unwrap_or_else(|faults| panic!("{faults}"));
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            results_dir: directory.path().to_owned(),
            ..Options::default()
        };
        let state = campaign::plan_state(plan.experiments, &options).expect("a campaign");
        let words = write(&state, directory.path()).unwrap_or_else(|error| panic!("{error:?}"));
        let mut files = Vec::new();
        let mut folders = vec![directory.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .unwrap_or_default();
                    files.push(name.to_owned());
                }
            }
        }
        files.sort();
        (words, files)
    }

    #[test]
    fn slurm_jobs_are_written_with_what_they_cost() {
        let (words, files) = dry_run(
            "defaults: { account: a, partition: debug, server_time_limit: '02:00:00', rate_levels: [100] }\n\
             experiments: [{ model: m, backend: vllm, deployment: slurm, backend_config: { tensor_parallel_size: 8 } }]\n",
        );
        assert_eq!(
            files,
            [
                "benchmarker.sbatch",
                "engine.toml",
                "load.sh",
                "rank.sh",
                "run_config.json",
                "server.sbatch"
            ]
        );
        assert!(
            words.contains("on 2 nodes of clariden, partition debug"),
            "{words}"
        );
        assert!(
            words.contains("warning: partition `debug` of clariden gives at most 01:30:00"),
            "{words}"
        );
        assert!(
            words.contains("at worst 5.0 (if every job lives until its walltime)"),
            "{words}"
        );
    }

    #[test]
    fn the_predecessors_form_goes_through() {
        // Two experiments in the form of the tool before, with prompts of data sets that lie on the cluster.
        let (words, files) = dry_run(
            "defaults:\n  account: a\n  partition: debug\n  benchmarker_partition: normal\n  \
             scratch_base: /scratch/me/runs\n  hf_token_path: ~/.hf_token\n  hf_home: /scratch/me/hf\n  \
             warmup_duration_s: 30\n  measurement_duration_s: 60\n  rate_levels: [1, 2]\n  latency_slos:\n    \
             ttft_p95_ms: 400\n    e2e_p95_ms: 9000\n  gpus_per_node: 4\n  port: 8000\n  \
             server_time_limit: \"00:45:00\"\n  benchmarker_time_limit: \"00:30:00\"\n  max_parallel_experiments: 2\n  \
             server_ready_timeout_s: 600\n  k8s_namespace: ml\n  ingress_domain: example.org\n\
             dataset:\n  sharegpt_fraction: 0.5\n  num_prompts: 1000\n  \
             output_length: { distribution: normal, mean: 200, std: 50 }\n\
             experiments:\n  - model: org/small\n    backend: vllm\n    deployment: slurm\n    backend_config:\n      \
             tensor_parallel_size: 1\n  - model: org/large\n    backend: vllm\n    deployment: slurm\n    \
             backend_config:\n      tensor_parallel_size: 16\n      speculative_decoding:\n        \
             draft_model: org/draft\n        num_speculative_tokens: 5\n",
        );
        let count = |name: &str| files.iter().filter(|file| *file == name).count();
        assert_eq!((count("server.sbatch"), count("benchmarker.sbatch")), (2, 2));
        assert!(words.contains("on 4 nodes of clariden"), "{words}");
    }

    #[test]
    fn kubernetes_objects_are_written() {
        let (words, files) = dry_run(
            "experiments: [{ model: m, backend: vllm, deployment: k8s, image: i, ingress_domain: example.org, \
             rate_levels: [100], backend_config: { tensor_parallel_size: 4 } }]\n",
        );
        assert_eq!(files, ["run_config.json", "server.yaml"]);
        assert!(
            words.contains("Deployment with ConfigMap, Service, Ingress (kubectl --namespace ml), 4 GPUs"),
            "{words}"
        );
        assert!(words.contains(" at http://gipfel-d-"), "{words}");
    }

    #[test]
    fn a_load_generator_in_the_cluster_is_written() {
        let (words, files) = dry_run(
            "experiments: [{ model: m, backend: vllm, deployment: k8s, image: i, rate_levels: [100], \
             benchmarker: in-cluster }]\n",
        );
        assert_eq!(files, ["load.yaml", "run_config.json", "server.yaml"]);
        assert!(
            words.contains("Job with ConfigMap, Secret (kubectl --namespace ml), 1 pod of busybox:1.37"),
            "{words}"
        );
    }

    #[test]
    fn a_run_in_the_servers_job_costs_nothing_more() {
        let (words, files) = dry_run(
            "experiments: [{ model: m, backend: sim, deployment: slurm, site: generic, command: [x], \
             benchmarker: same-job, rate_levels: [100] }]\n",
        );
        assert_eq!(files.len(), 4, "{files:?}");
        assert!(words.contains("in the server's job"), "{words}");
        assert!(words.contains("at worst 1.0"), "{words}");
    }
}
