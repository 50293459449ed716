//! The whole file.

use std::path::Path;

use gipfel_model::ExperimentSpec;

use crate::{
    experiment,
    fault::Faults,
    field::Field,
    layers::{Chain, Layer, read_includes, read_site},
    placement,
    plan::Plan,
    reading::Reading,
    section::{Misplaced, Section},
    settings::{self, Settings},
    substitute::substitute,
    surroundings::Surroundings,
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

/// Reads a configuration's text with all that it includes.
pub(crate) fn read(text: &str, file: &str, form: Form, around: &Surroundings<'_>) -> Result<Plan, Faults> {
    let reading = Reading::new(file, form);
    let plan = read_text(text, file, form, &reading, around);
    let remarks = reading.into_remarks();
    match (Faults::of(remarks.faults), plan) {
        (Some(faults), _) => Err(faults),
        (None, plan) => Ok(Plan {
            warnings: remarks.warnings,
            given: remarks.given,
            ..plan.unwrap_or_default()
        }),
    }
}

fn read_text(
    text: &str,
    file: &str,
    form: Form,
    reading: &Reading,
    around: &Surroundings<'_>,
) -> Option<Plan> {
    let mut node = read_tree(text, form, 0, reading)?;
    substitute(&mut node, reading, around);
    let (place, problem) = match &node.value {
        Value::Map(entries) => {
            let top = Section::new(reading, String::new(), node.at, entries);
            return Some(read_top(top, &Chain::of(file), around));
        }
        _ if node.is_null() => (
            Position::START,
            "the file is empty; it needs a list of `experiments`",
        ),
        _ => (
            node.at,
            "a configuration is a map of keys, such as `experiments:`",
        ),
    };
    reading.fault(reading.place(place, ""), problem);
    None
}

/// The tree of a text, an empty one for an empty text; absent after a fault.
pub(crate) fn read_tree(text: &str, form: Form, file: u16, reading: &Reading) -> Option<Node> {
    let tree = if text.len() > MOST_BYTES {
        Err(vec![SyntaxFault {
            at: Position::START,
            problem: format!("the file is longer than {MOST_BYTES} bytes"),
        }])
    } else {
        parse_tree(text, form)
    };
    match tree {
        Ok(mut node) => {
            node.stamp(file);
            Some(node)
        }
        Err(faults) => {
            for fault in faults {
                reading.fault(reading.place(fault.at.of_file(file), ""), fault.problem);
            }
            None
        }
    }
}

/// The tree of a text, that of nothing for an empty one.
pub(crate) fn parse_tree(text: &str, form: Form) -> Result<Node, Vec<SyntaxFault>> {
    match form {
        Form::Yaml => yaml::read(text)
            .map(Option::unwrap_or_default)
            .map_err(|fault| vec![with_hint(fault, text)]),
        Form::Toml => toml::read(text),
    }
}

/// Adds what is most often behind a fault of syntax: the parser says what it waited for, not what was forgotten.
fn with_hint(mut fault: SyntaxFault, text: &str) -> SyntaxFault {
    let line = text.lines().nth(fault.at.line.saturating_sub(1) as usize);
    let hint = if line.is_some_and(|line| line.contains("${")) {
        "; within `[ ]` and `{ }` a value with `${NAME}` stands in quotes"
    } else if fault.problem.contains("tabs") {
        "; indent with spaces"
    } else if fault.problem.contains("quoted scalar") {
        "; a quote is perhaps not closed"
    } else if fault.problem.contains("did not find") || fault.problem.contains("illegal placement") {
        "; keys of one map begin in one column, and brackets are closed"
    } else {
        ""
    };
    fault.problem.push_str(hint);
    fault
}

fn read_top(mut top: Section<'_>, chain: &Chain, around: &Surroundings<'_>) -> Plan {
    check_version(&top.take("version"));
    let include = top.take("include");
    let mut layer = Layer::take(&mut top).or(&read_includes(&include, chain, around));
    if let Some(site) = around.site() {
        layer = layer.or(&read_site(site, top.reading, around).unwrap_or_default());
    }
    let experiments = read_experiments(&top.take("experiments"), &layer.settings);
    top.finish(&misplaced_at_top());
    Plan {
        experiments,
        max_parallel_experiments: layer.max_parallel_experiments.unwrap_or(DEFAULT_PARALLEL),
        max_node_hours: layer.max_node_hours,
        ..Plan::default()
    }
}

pub(crate) fn check_version(field: &Field<'_>) {
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

fn read_experiments(field: &Field<'_>, defaults: &Settings) -> Vec<ExperimentSpec> {
    let needed = if field.is_toml() {
        "tables `[[experiments]]`, each with `model`, `backend` and `deployment`"
    } else {
        "a list of experiments, each with `model`, `backend` and `deployment`"
    };
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

/// `include`, as it is mistaken for a setting.
pub(crate) fn belongs_to_the_file() -> Misplaced {
    Misplaced {
        keys: vec!["include"],
        sentence: "belongs at the top of the file, beside `experiments`".to_owned(),
    }
}

pub(crate) fn belongs_to_an_experiment() -> Misplaced {
    Misplaced {
        keys: [experiment::KEYS, &placement::experiment_keys()].concat(),
        sentence: "belongs to an experiment, not to all of them".to_owned(),
    }
}

pub(crate) fn misplaced_at_top() -> [Misplaced; 2] {
    let mut keys = settings::keys();
    keys.extend(["max_parallel_experiments", "max_node_hours"]);
    [
        belongs_to_an_experiment(),
        Misplaced {
            keys,
            sentence: "belongs under `defaults`, or to an experiment".to_owned(),
        },
    ]
}
