//! Runs as they are ordered: our own run configurations, and the predecessors' loads.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use gipfel_model::RunConfig;
use serde_json::Value;

use super::{
    flat_config,
    load_spec::{self, Moment},
};
use crate::setup;

/// A run that is to be carried out.
pub(super) type Order = Box<dyn FnOnce() -> RunConfig + Send>;

/// Reads a run configuration, or the flat order of the HPC toolkit; every reason is told why it cannot be.
pub(super) fn start(body: &[u8]) -> Result<RunConfig, Vec<String>> {
    let text = std::str::from_utf8(body).map_err(|error| vec![format!("the body is not UTF-8: {error}")])?;
    let order: Option<Value> = serde_json::from_str(text).ok();
    match order.filter(flat_config::is_flat) {
        Some(order) => flat_config::translate(&order, now()),
        None => {
            setup::parse_config(text, "the run configuration").map_err(|error| vec![format!("{error:#}")])
        }
    }
}

/// Translates a load; every reason is told why it cannot be.
pub(super) fn load(body: &[u8]) -> Result<RunConfig, Vec<String>> {
    let spec: Value =
        serde_json::from_slice(body).map_err(|error| vec![format!("the load is no JSON: {error}")])?;
    load_spec::translate(&spec, now())
}

/// Reads a file with a list of orders; each is dated when it is carried out.
pub(super) fn read_list(path: &Path) -> anyhow::Result<Vec<Order>> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let specs: Vec<Value> =
        serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON list", path.display()))?;
    let (mut orders, mut faults) = (Vec::<Order>::new(), Vec::new());
    for (number, spec) in (1..).zip(specs) {
        if spec.get("header").is_some() {
            match setup::parse_config(&spec.to_string(), "the run configuration") {
                Ok(config) => orders.push(Box::new(|| config)),
                Err(fault) => faults.push(format!("{number}: {fault:#}")),
            }
            continue;
        }
        match load_spec::translate(&spec, now()) {
            Ok(config) => orders.push(Box::new(move || {
                load_spec::translate(&spec, now()).unwrap_or(config)
            })),
            Err(reasons) => faults.extend(reasons.iter().map(|reason| format!("{number}: {reason}"))),
        }
    }
    if !faults.is_empty() {
        bail!(
            "`{}` has loads that cannot be carried out:\n  {}",
            path.display(),
            faults.join("\n  ")
        );
    }
    Ok(orders)
}

fn now() -> Moment {
    // A clock before 1970 dates the run to its first second.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment {
        unix_s: since.as_secs(),
        random: (since.subsec_nanos() >> 4) as u16 ^ std::process::id() as u16,
    }
}
