//! `gipfel config …`, and how every command reads a configuration file.

use std::{fs, path::Path};

use anyhow::Context;
use gipfel_config::Plan;

use crate::{exit::Exit, failure::Failure, print};

/// Reads a configuration file; all its faults at once.
pub(crate) fn load(file: &Path) -> Result<Plan, Failure> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("failed to read `{}`", file.display()))
        .map_err(Failure::usage)?;
    gipfel_config::parse(&text, &file.display().to_string()).map_err(Failure::usage)
}

/// `gipfel config show`.
pub(crate) fn show(file: &Path, json: bool) -> Result<Exit, Failure> {
    let plan = load(file)?;
    let text = if json {
        let json = gipfel_config::show_json(&plan);
        serde_json::to_string_pretty(&json).context("failed to write the plan")? + "\n"
    } else {
        super::run::check_commands(&plan.experiments)?;
        let warnings = plan
            .warnings
            .iter()
            .map(|warning| format!("# warning: {warning}\n"));
        let refusals = plan
            .check_supported(false)
            .into_iter()
            .map(|refusal| format!("# not yet: {refusal}\n"));
        gipfel_config::show(&plan) + &warnings.chain(refusals).collect::<String>()
    };
    print(&text)?;
    Ok(Exit::Done)
}

/// `gipfel config schema`.
pub(crate) fn schema() -> Result<Exit, Failure> {
    let text =
        serde_json::to_string_pretty(&gipfel_config::schema()).context("failed to write the schema")?;
    print(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// `gipfel config check`.
pub(crate) fn check(file: &Path) -> Result<Exit, Failure> {
    let plan = load(file)?;
    print(&gipfel_config::describe(&plan))?;
    for warning in &plan.warnings {
        print(&format!("warning: {warning}\n"))?;
    }
    super::run::check_commands(&plan.experiments)?;
    for refusal in plan.check_supported(false) {
        print(&format!("not yet: {refusal}\n"))?;
    }
    print(&format!("{} is valid\n", file.display()))?;
    Ok(Exit::Done)
}
