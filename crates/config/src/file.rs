//! The whole file.

use std::path::Path;

use gipfel_model::ExperimentSpec;

use crate::{
    dataset::DatasetSettings,
    experiment,
    fault::Faults,
    field::Field,
    placement,
    plan::Plan,
    reading::Reading,
    search,
    section::{Misplaced, Section},
    settings::{self, Settings},
    toml,
    tree::{Node, Position, SyntaxFault, Value},
    yaml,
};

/// The version of the configuration's form.
const VERSION: u64 = 1;

/// A longer text is no configuration.
const MOST_BYTES: usize = 1 << 20;

/// The predecessor's default.
const DEFAULT_PARALLEL: u32 = 2;

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Yaml,
    Toml,
}

impl Form {
    /// The form that a file's name tells: TOML when it ends so, else YAML.
    pub(crate) fn of(file: &str) -> Self {
        let extension = Path::new(file).extension();
        if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            Self::Toml
        } else {
            Self::Yaml
        }
    }
}

/// Reads a configuration's text.
pub(crate) fn read(text: &str, file: &str, form: Form) -> Result<Plan, Faults> {
    let reading = Reading::new(file);
    let plan = read_text(text, form, &reading);
    let remarks = reading.into_remarks();
    match (Faults::sorted(remarks.faults), plan) {
        (Some(faults), _) => Err(faults),
        (None, plan) => Ok(Plan {
            warnings: remarks.warnings,
            unsupported: remarks.unsupported,
            given: remarks.given,
            ..plan
        }),
    }
}

fn read_text(text: &str, form: Form, reading: &Reading) -> Plan {
    if text.len() > MOST_BYTES {
        return refuse(
            reading,
            Position::START,
            &format!("the file is longer than {MOST_BYTES} bytes"),
        );
    }
    match read_tree(text, form) {
        Err(faults) => {
            for fault in faults {
                reading.fault(reading.place(fault.at, ""), fault.problem);
            }
            Plan::default()
        }
        Ok(Some(Node {
            value: Value::Map(entries),
            at,
        })) => read_top(Section::new(reading, String::new(), at, &entries)),
        Ok(Some(node)) if !node.is_null() => refuse(
            reading,
            node.at,
            "a configuration is a map of keys, such as `experiments:`",
        ),
        Ok(_) => refuse(
            reading,
            Position::START,
            "the file is empty; it needs a list of `experiments`",
        ),
    }
}

/// The tree of a text; absent when the text is empty.
pub(crate) fn read_tree(text: &str, form: Form) -> Result<Option<Node>, Vec<SyntaxFault>> {
    match form {
        Form::Yaml => yaml::read(text).map_err(|fault| vec![fault]),
        Form::Toml => toml::read(text).map(Some),
    }
}

fn refuse(reading: &Reading, at: Position, problem: &str) -> Plan {
    reading.fault(reading.place(at, ""), problem);
    Plan::default()
}

fn read_top(mut top: Section<'_>) -> Plan {
    check_version(&top.take("version"));
    let defaults = top.take("defaults");
    let dataset = DatasetSettings::take(&mut top);
    let (settings, max_parallel_experiments) = match defaults.as_section() {
        Some(section) => read_defaults(section, &top, dataset),
        None => (Settings::default().with_dataset(dataset, &top), DEFAULT_PARALLEL),
    };
    let experiments = read_experiments(&top.take("experiments"), &settings);
    top.finish(&misplaced_at_top());
    Plan {
        experiments,
        max_parallel_experiments,
        ..Plan::default()
    }
}

fn check_version(field: &Field<'_>) {
    let Some(version) = field.as_whole(0..=u64::MAX) else {
        return;
    };
    if version > VERSION {
        field.fault(format!(
            "the file has version {version}, written for a newer gipfel; this gipfel is older and reads version {VERSION}"
        ));
    }
    if version < VERSION {
        field.fault(format!(
            "the file has version {version}, written for an older gipfel; this gipfel is newer and reads version {VERSION}"
        ));
    }
}

fn read_defaults(mut section: Section<'_>, top: &Section<'_>, dataset: DatasetSettings) -> (Settings, u32) {
    let parallel = section.take("max_parallel_experiments").as_count();
    let mut settings = Settings::take(&mut section);
    if top.has("dataset") {
        if section.has("dataset") {
            section.reading.fault(
                section.place_of_key("dataset"),
                "given at the top level too; a file has one data set for all experiments",
            );
        }
        settings = settings.with_dataset(dataset, &section);
    }
    section.finish(&[belongs_to_an_experiment(), search::misplaced()]);
    (settings, parallel.unwrap_or(DEFAULT_PARALLEL))
}

fn read_experiments(field: &Field<'_>, defaults: &Settings) -> Vec<ExperimentSpec> {
    let needed = "a list of experiments, each with `model`, `backend` and `deployment`";
    let Some(items) = field.clone().required(needed).as_list(needed) else {
        return Vec::new();
    };
    if items.is_empty() {
        field.fault("an empty list; there is nothing to measure");
    }
    let read = items.iter().filter_map(|item| {
        let repeats = experiment::read(item, defaults);
        // Nothing is left out without a word, whatever a reader forgot to say.
        if repeats.is_none() && item.reading.is_clean() {
            item.fault("the experiment cannot be read");
        }
        repeats
    });
    read.flatten().collect()
}

fn belongs_to_an_experiment() -> Misplaced {
    Misplaced {
        keys: [experiment::KEYS, &placement::experiment_keys()].concat(),
        sentence: "belongs to an experiment, not to all of them".to_owned(),
    }
}

fn misplaced_at_top() -> [Misplaced; 2] {
    let mut keys = settings::keys();
    keys.push("max_parallel_experiments");
    [
        belongs_to_an_experiment(),
        Misplaced {
            keys,
            sentence: "belongs under `defaults`, or to an experiment".to_owned(),
        },
    ]
}
