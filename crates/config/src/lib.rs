//! YAML or TOML into a spanned tree into a validated plan, with every fault reported at once.
//!
//! A text becomes a tree of nodes that know their line and column. Readers of our own walk that tree, take the keys
//! they know, and put what is wrong into one list, so that a user sees all faults of a file together. The result is
//! a [`Plan`]: experiments with every default filled in.
//!
//! ```
//! let text = "
//! experiments:
//!   - model: fast
//!     backend: sim
//!     deployment: external
//!     url: http://127.0.0.1:8000
//!     rate_levels: [5, 10, 90/min]
//! ";
//! let plan = gipfel_config::parse_yaml(text, "bench.yaml").expect("a valid configuration");
//! assert_eq!(plan.experiments.len(), 1);
//!
//! let faults = gipfel_config::parse_yaml(&text.replace("rate_levels", "rate_level"), "bench.yaml");
//! assert!(faults.unwrap_err().to_string().contains("did you mean `rate_levels`?"));
//! ```

mod arrivals;
mod backend_config;
mod cluster;
mod dataset;
mod describe;
mod durations;
mod endpoint;
mod experiment;
mod fault;
mod field;
mod file;
mod kubernetes;
mod layers;
mod lengths;
mod local;
mod nearest;
mod objectives;
mod placement;
mod plan;
mod rates;
mod reading;
mod reference;
mod render;
mod repeats;
mod schema;
mod search;
mod secrets;
mod section;
mod settings;
mod show;
mod slurm;
mod substitute;
mod surroundings;
mod timeouts;
mod toml;
mod toml_words;
mod tree;
mod yaml;

pub use dataset::dataset_config;
pub use describe::{describe, describe_rates};
pub use endpoint::{check_header, parse_proxy, parse_variable};
pub use fault::{Fault, Faults, Place, Warning};
pub use plan::{Plan, TooManyNodeHours};
pub use reference::reference;
pub use render::{render_yaml, yaml_text};
pub use schema::schema;
pub use search::parse_precision;
pub use show::{show, show_json};
pub use surroundings::Surroundings;

use crate::file::Form;

/// Reads a configuration, as TOML when the name of the file ends in `.toml`, else as YAML; faults carry the name.
///
/// # Errors
///
/// All faults of the text at once; of a text that is no YAML, the first one. No variable is set and no file can be
/// included; [`parse_with`] knows both.
pub fn parse(text: &str, file: &str) -> Result<Plan, Faults> {
    parse_with(text, file, &Surroundings::none())
}

/// Reads a configuration as [`parse`] does, with the variables and files that are around it.
///
/// # Errors
///
/// As [`parse`], also those of included files, with their names.
pub fn parse_with(text: &str, file: &str, around: &Surroundings<'_>) -> Result<Plan, Faults> {
    file::read(text, file, Form::of(file), around)
}

/// Reads a configuration that is written in YAML, whatever the file is called.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_yaml(text: &str, file: &str) -> Result<Plan, Faults> {
    file::read(text, file, Form::Yaml, &Surroundings::none())
}
