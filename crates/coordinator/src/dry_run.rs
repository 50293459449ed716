//! `--dry-run`: everything that would be started, as files and in words.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;
use gipfel_engine::engine;
use gipfel_experiment::Campaign as State;
use gipfel_model::{DeploymentSpec, EndpointSpec, deployment::Placement};

use crate::{only, wiring};

/// Writes the run configurations and server commands under `results_dir` and says what they are.
pub(crate) fn write(state: &State, results_dir: &Path) -> anyhow::Result<String> {
    let directory = results_dir.join(state.campaign_id.as_str()).join("dry-run");
    let mut text = String::new();
    for deployment in &state.deployments {
        let (endpoint, how) = server(&deployment.spec)?;
        let _ = writeln!(text, "server {}: {how}", deployment.id);
        save(&directory.join(deployment.id.as_str()), "server.txt", &how)?;
        for run in &deployment.runs {
            let config = wiring::run_config(state, deployment, &endpoint, run);
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
                endpoint.url,
                gipfel_config::describe_rates(&experiment.schedule)
            );
        }
    }
    let _ = writeln!(
        text,
        "node-hours: 0 (everything runs on this machine or exists already)"
    );
    let _ = writeln!(text, "written to {}; nothing was started", directory.display());
    Ok(text)
}

fn slos(slos: &[gipfel_model::Slo]) -> String {
    slos.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn server(spec: &DeploymentSpec) -> anyhow::Result<(EndpointSpec, String)> {
    match &spec.placement {
        Placement::Local(local) => {
            let command = engine(spec.backend).command(spec, local, "127.0.0.1", local.port)?;
            let command = command.unwrap_or_default().join(" ");
            let port = if local.port == 0 {
                " (0 becomes a free port)"
            } else {
                ""
            };
            Ok((
                EndpointSpec::new(&format!("http://127.0.0.1:{}", local.port)),
                format!("{command}{port}"),
            ))
        }
        Placement::External(endpoint) => Ok((endpoint.clone(), format!("{} exists already", endpoint.url))),
        Placement::Slurm(_) | Placement::K8s(_) => {
            anyhow::bail!("this kind of deployment comes with a later version")
        }
    }
}

fn save(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    let path = directory.join(name);
    fs::write(&path, format!("{text}\n")).with_context(|| format!("failed to write `{}`", path.display()))
}
