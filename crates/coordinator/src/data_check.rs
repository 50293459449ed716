//! The data sets of a plan, looked at before anything is started.

use std::fmt::Write;

use anyhow::anyhow;
use gipfel_loadgen::{
    dataset::{DataError, FileFacts, Prompts},
    need::Need,
};
use gipfel_model::{DataSetForm, ExperimentSpec, PromptSource};

use crate::{display::Display, failure::Failure};

/// What one look has found.
struct Found {
    source: PromptSource,
    prompts: Option<u64>,
    files: Option<serde_json::Value>,
}

/// Reads the data sets and tokenizers of all experiments, records what they hold, and refuses a run whose prompts would
/// not last.
pub(crate) fn check(experiments: &mut [ExperimentSpec], display: &Display) -> Result<(), Failure> {
    let mut known: Vec<Found> = Vec::new();
    for experiment in experiments {
        let source = &experiment.workload.prompts;
        if source.is_usual() {
            continue;
        }
        let index = known.iter().position(|found| found.source == *source);
        let index = index.unwrap_or(known.len());
        if index == known.len() {
            known.push(look(experiment, display)?);
        }
        let found = &known[index];
        if experiment.workload.prompts.dataset.is_some() {
            let record = &mut experiment.dataset_config;
            if let Some(files) = &found.files {
                record.insert("files".to_owned(), files.clone());
            }
            if let Some(prompts) = found.prompts {
                record.insert("prompts".to_owned(), prompts.into());
            }
        }
        if let Some(prompts) = found.prompts {
            check_need(experiment, prompts, display)?;
        }
    }
    Ok(())
}

fn look(experiment: &ExperimentSpec, display: &Display) -> Result<Found, Failure> {
    let source = experiment.workload.prompts.clone();
    let prompts = match Prompts::load(&experiment.workload) {
        Ok(prompts) => prompts,
        // The load generator reads them where it runs.
        Err(DataError::Missing { path, .. }) if !experiment.load.is_local() => {
            display.note(&format!(
                "the prompts are read on the cluster, and `{}` is not here: whether they last is not known; `gipfel doctor \
                 slurm CONFIG` looks for them there",
                path.display()
            ));
            return Ok(Found {
                source,
                prompts: None,
                files: None,
            });
        }
        Err(error) => return Err(failure(error, &source)),
    };
    let count = prompts.count();
    if !prompts.files.is_empty() {
        let files: Vec<String> = prompts.files.iter().map(FileFacts::words).collect();
        let mut note = format!("prompts: {}", files.join(", "));
        if let Some(count) = count.filter(|_| files.len() > 1) {
            let _ = write!(note, "; {count} in this mixture");
        }
        display.note(&note);
    }
    Ok(Found {
        source,
        prompts: count,
        files: serde_json::to_value(&prompts.files).ok(),
    })
}

fn failure(error: DataError, source: &PromptSource) -> Failure {
    let hint = match &error {
        DataError::Missing { known: Some(_), .. } => Some(fetch_command(source)),
        DataError::Missing { known: None, .. } => {
            Some("relative paths start at the folder that gipfel is started in".to_owned())
        }
        DataError::Empty(_) => Some("change `min_input` or `max_input`".to_owned()),
        DataError::Faulty(_) => Some("docs/workloads.md describes each form of file".to_owned()),
        DataError::Unreadable { .. } | DataError::Tokenizer(_) => None,
    };
    let failure = Failure::usage(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The command that downloads the known data sets of a workload.
fn fetch_command(source: &PromptSource) -> String {
    let Some(dataset) = &source.dataset else {
        return String::new();
    };
    let names = dataset.files.iter().filter(|file| file.path.is_none());
    let names: Vec<&str> = names.map(|file| DataSetForm::as_str(file.form)).collect();
    let folder = match &dataset.hf_home {
        Some(folder) => format!(" --hf-home {}", folder.display()),
        None => String::new(),
    };
    format!("`gipfel data fetch {}{folder}` downloads it", names.join(" "))
}

fn check_need(experiment: &ExperimentSpec, prompts: u64, display: &Display) -> Result<(), Failure> {
    let drain_s = experiment.timeouts.drain.as_secs_f64();
    let need = Need::of(&experiment.schedule, experiment.workload.arrivals, drain_s);
    let model = &experiment.deployment.model;
    if let Some(written) = need.written.filter(|written| *written > prompts) {
        let limit = experiment.workload.prompts.dataset.as_ref();
        let limit = limit.and_then(|dataset| dataset.num_prompts);
        let bounded = limit.is_some_and(|limit| u64::from(limit) == prompts);
        let error = anyhow!(
            "the data set of `{model}` has {prompts} prompts, and its levels may send {written}: nothing is sent twice"
        );
        return Err(Failure::usage(error).hint(if bounded {
            "raise `num_prompts`, offer fewer or lower rates, or shorten the windows"
        } else {
            "give more prompts, offer fewer or lower rates, or shorten the windows"
        }));
    }
    match need.most {
        Some(most) if most <= prompts => {}
        Some(most) => display.note(&format!(
            "warning: the {prompts} prompts of `{model}` suffice for its levels as they are written, not for windows that \
             slow answers stretch ({most} requests at most); the run ends when they are used up"
        )),
        None => display.note(&format!(
            "warning: how many requests `{model}` gets is not known beforehand; at 10 req/s its {prompts} prompts last \
             {} s, and the run ends when they are used up",
            prompts / 10
        )),
    }
    Ok(())
}
