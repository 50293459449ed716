use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;

use super::*;
use crate::{
    file::{Form, parse_tree},
    tree::{Entry, Node, Scalar, Value as Tree},
};

/// What an editor's reader of YAML makes of a file; absent when it is none.
fn json_of(file: &Path) -> Option<Value> {
    let text = fs::read_to_string(file).expect("the file can be read");
    let tree = parse_tree(&text, Form::of(&file.to_string_lossy())).ok()?;
    Some(convert(&tree))
}

fn convert(node: &Node) -> Value {
    match &node.value {
        Tree::Scalar(scalar) => convert_scalar(scalar),
        Tree::Refused => unreachable!("a reader refuses nothing"),
        Tree::List(items) => items.iter().map(convert).collect(),
        Tree::Map(entries) => Value::Object(convert_map(entries)),
    }
}

fn convert_map(entries: &[Entry]) -> Map<String, Value> {
    let mut map = Map::new();
    for entry in entries.iter().filter(|entry| entry.key == "<<") {
        if let Tree::Map(merged) = &entry.node.value {
            map.extend(convert_map(merged));
        }
    }
    let own = entries.iter().filter(|entry| entry.key != "<<");
    map.extend(own.map(|entry| (entry.key.clone(), convert(&entry.node))));
    map
}

fn convert_scalar(scalar: &Scalar) -> Value {
    let Some(text) = scalar.plain_text() else {
        return scalar.text.clone().into();
    };
    let number = text.parse::<u64>().map(Value::from);
    match text {
        _ if scalar.is_null() => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => number
            .or_else(|_| text.parse::<f64>().map(Value::from))
            .unwrap_or_else(|_| text.into()),
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let is_config = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default();
        let of_yaml = file.extension().is_some_and(|end| end == "yaml" || end == "toml");
        // The simulator's servers are no configuration.
        of_yaml && name != "servers.toml"
    };
    files.filter(is_config).collect()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

#[test]
fn every_example_is_accepted() {
    let validator = validator();
    let files = [files("../../examples"), files("tests/valid")].concat();
    assert!(files.len() > 4);
    for file in files {
        let json = json_of(&file).expect("a document");
        let faults: Vec<String> = validator
            .iter_errors(&json)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{}", file.display());
    }
}

/// Files whose faults no schema can see, since they lie in what is around the file.
const BEYOND: &[&str] = &["includes.yaml", "variables.toml"];

#[test]
fn every_broken_file_is_refused() {
    let validator = validator();
    for file in files("tests/broken") {
        let accepted = json_of(&file).is_some_and(|json| validator.is_valid(&json));
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        assert_eq!(accepted, BEYOND.contains(&name), "{name}");
    }
}

#[test]
fn variables_stand_where_values_do() {
    let validator = validator();
    let check = |experiment: Value, expected| {
        let mut file = json!({ "experiments": [{ "model": "m", "backend": "vllm", "deployment": "local" }] });
        if let (Value::Object(own), Value::Object(added)) = (&mut file["experiments"][0], &experiment) {
            own.extend(added.clone());
        }
        assert_eq!(validator.is_valid(&file), expected, "{experiment}");
    };
    check(json!({ "port": "${PORT}" }), true);
    check(json!({ "port": "PORT" }), false);
    check(json!({ "search": { "max_rate": "${MOST:-40}" } }), true);
    check(json!({ "rate_levels": ["${RATE}", 5] }), true);
    check(json!({ "warmup_duration": "${WARMUP}s" }), true);
    check(json!({ "slos": ["ttft p95 <= ${LIMIT}"] }), true);
    check(
        json!({ "dataset": { "input_length": { "distribution": "fixed", "value": "${N}" } } }),
        true,
    );
    check(
        json!({ "backend_config": { "max_model_len": "${N}", "enforce_eager": "${E}" } }),
        true,
    );
    check(json!({ "backend_config": "${CONFIG}" }), false);
    check(json!({ "rate_levels": "${RATES}" }), false);
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = schema();
    let check = |place: &str, expected: Vec<&str>| {
        let properties = schema.pointer(place).and_then(Value::as_object);
        let found: BTreeSet<&str> = properties
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(found, BTreeSet::from_iter(expected), "{place}");
    };
    let settings = crate::settings::keys();
    let mut defaults = settings.clone();
    defaults.extend(["max_parallel_experiments", "max_node_hours"]);
    check("/properties/defaults/properties", defaults);
    check(
        "/properties/experiments/items/properties",
        [settings, experiment::KEYS.to_vec(), placement::experiment_keys()].concat(),
    );
    for backend in BackendKind::ALL {
        check(
            &format!("/$defs/{backend}/properties"),
            backend_config::names(*backend),
        );
    }
}
