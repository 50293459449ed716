//! `gipfel config …`, and how every command reads a configuration file.

use std::{fs, io, path::Path};

use anyhow::Context;
use gipfel_config::{Plan, Surroundings, TooManyNodeHours};

use crate::{cli::SiteArguments, data_check, display::Display, exit::Exit, failure::Failure, print};

/// Reads a configuration file with what it includes and the variables that it names; all its faults at once.
pub(crate) fn load(file: &Path, site: &SiteArguments) -> Result<Plan, Failure> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, error))?;
    let around = Surroundings::none()
        .with_variables(|name| std::env::var_os(name))
        .with_files(|path| fs::read_to_string(path));
    // An empty variable names no file.
    let around = match site.site.as_ref().filter(|site| !site.is_empty()) {
        Some(site) => around.with_site(site.to_string_lossy()),
        None => around,
    };
    gipfel_config::parse_with(&text, &file.display().to_string(), &around).map_err(Failure::usage)
}

fn unreadable(file: &Path, error: io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "is the path right? `gipfel new` writes a configuration to begin with",
        io::ErrorKind::IsADirectory => "name the file itself",
        io::ErrorKind::InvalidData => "a configuration is a text in UTF-8",
        _ => "make the file readable",
    };
    let what = format!("failed to read `{}`", file.display());
    Failure::usage(anyhow::Error::from(error).context(what)).hint(hint)
}

/// `gipfel config show`.
pub(crate) fn show(file: &Path, site: &SiteArguments, json: bool) -> Result<Exit, Failure> {
    let plan = load(file, site)?;
    let text = if json {
        let json = gipfel_config::show_json(&plan);
        serde_json::to_string_pretty(&json).context("failed to write the plan")? + "\n"
    } else {
        super::run::check_commands(&plan.experiments)?;
        let warnings = plan
            .warnings
            .iter()
            .map(|warning| format!("# warning: {warning}\n"));
        let cost = plan
            .check_node_hours()
            .map(|refusal| format!("# refused: {refusal}\n"));
        gipfel_config::show(&plan) + &warnings.chain(cost).collect::<String>()
    };
    print(&text)?;
    Ok(Exit::Done)
}

/// `gipfel config reference`.
pub(crate) fn reference() -> Result<Exit, Failure> {
    print(&gipfel_config::reference())?;
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
pub(crate) fn check(file: &Path, site: &SiteArguments) -> Result<Exit, Failure> {
    let plan = load(file, site)?;
    print(&gipfel_config::describe(&plan))?;
    for warning in &plan.warnings {
        print(&format!("warning: {warning}\n"))?;
    }
    super::run::check_commands(&plan.experiments)?;
    if let Some(refusal) = plan.check_node_hours() {
        print(&format!("refused: {refusal}; {}\n", TooManyNodeHours::REMEDY))?;
    }
    let mut experiments = plan.experiments.clone();
    if let Err(failure) = data_check::check(&mut experiments, &Display::new(false, false)) {
        // The file is right; what it names can still be fetched or mended before the run.
        print(&format!("not yet: its prompts\n{}", failure.render()))?;
    }
    print(&format!("{} is valid\n", file.display()))?;
    Ok(Exit::Done)
}
