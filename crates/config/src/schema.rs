//! The JSON Schema of a configuration, for editors.
//!
//! It says what can be said of a file without reading it as gipfel does: which keys there are, where they belong, and
//! what their values look like. What depends on two values, such as a maximum below its minimum, stays with the reader.

mod kubernetes;
mod settings;
pub(crate) mod shapes;
#[cfg(test)]
mod tests;
mod variables;

use gipfel_model::{BackendKind, DeploymentKind};
use serde_json::{Map, Value, json};

use self::shapes::{
    about, above_zero, address, argument, choice, count, filled_list, flag, formed, list, map_of, section,
    text,
};
use crate::{backend_config, experiment, placement};

/// The schema (draft 2020-12) of the files that [`crate::parse`] reads.
pub fn schema() -> Value {
    let mut schema = without_variables();
    variables::allow(&mut schema);
    schema
}

/// The schema of a file in which no value comes from a variable.
pub(crate) fn without_variables() -> Value {
    let mut top = section(Map::from_iter([
        entry("version", json!({ "const": 1 }), "The form of the file."),
        entry(
            "include",
            json!({ "anyOf": [text(), filled_list(text())] }),
            "Files with settings that this one leaves open; relative to its folder.",
        ),
        entry("defaults", defaults(), "Settings for all experiments."),
        entry(
            "dataset",
            reference("dataset"),
            "The workload's lengths; here or under `defaults`.",
        ),
        entry(
            "experiments",
            filled_list(experiment_shape()),
            "What is measured.",
        ),
    ]));
    top["type"] = "object".into();
    top["required"] = json!(["experiments"]);
    top["not"] = json!({
        "required": ["dataset", "defaults"],
        "properties": { "defaults": { "type": "object", "required": ["dataset"] } },
    });
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "Gipfel configuration".into();
    let mut definitions = settings::properties();
    definitions.extend(BackendKind::ALL.iter().copied().map(backend_definition));
    definitions.insert(EXCLUSIVE.to_owned(), json!({ "allOf": settings::exclusive() }));
    top["$defs"] = Value::Object(definitions);
    top
}

/// The definition of which settings exclude each other.
const EXCLUSIVE: &str = "exclusive";

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

/// The settings, each of which is defined once for both places.
fn shared_settings() -> Map<String, Value> {
    let keys = settings::properties().into_iter().map(|(key, _)| key);
    keys.map(|key| (key.clone(), reference(&key))).collect()
}

fn entry(key: &str, shape: Value, description: &str) -> (String, Value) {
    (key.to_owned(), about(shape, description))
}

fn defaults() -> Value {
    let mut properties = shared_settings();
    properties.extend([entry(
        "max_parallel_experiments",
        count(),
        "Servers in use at the same time. Default: 2.",
    )]);
    properties.extend([entry(
        "max_node_hours",
        above_zero(),
        "Refuse to run when all Slurm jobs together may take more, if each lives until its walltime.",
    )]);
    let mut shape = section(properties);
    shape["allOf"] = json!([reference(EXCLUSIVE)]);
    shape
}

fn experiment_shape() -> Value {
    let mut properties = shared_settings();
    properties.extend(experiment_properties());
    let mut rules = vec![reference(EXCLUSIVE)];
    rules.push(json!({ "not": { "required": ["api_key_env", "api_key_file"] } }));
    rules.extend(DeploymentKind::ALL.iter().map(|kind| of_deployment(*kind)));
    rules.extend(BackendKind::ALL.iter().map(|backend| of_backend(*backend)));
    let mut shape = section(properties);
    shape["type"] = "object".into();
    shape["required"] = json!(experiment::REQUIRED);
    shape["allOf"] = rules.into();
    shape
}

/// The name of an environment variable.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

fn experiment_properties() -> [(String, Value); 15] {
    let backends: Vec<&str> = BackendKind::ALL.iter().map(|backend| backend.as_str()).collect();
    let kinds: Vec<&str> = DeploymentKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let variable = formed(VARIABLE);
    let mut environment = map_of(argument());
    environment["propertyNames"] = json!({ "pattern": "^[^=]+$" });
    [
        entry("model", text(), "The model's name, path or repository."),
        entry(
            "backend",
            choice(&backends),
            "The engine; openai is any other OpenAI-compatible server.",
        ),
        entry("deployment", choice(&kinds), "Where the server lives."),
        entry(
            "backend_config",
            json!({ "type": ["object", "null"] }),
            "The engine's settings.",
        ),
        entry("url", address(), "The server's base address."),
        entry(
            "api_key_env",
            variable,
            "The environment variable that holds the key.",
        ),
        entry("api_key_file", text(), "The file that holds the key."),
        entry(
            "urls",
            filled_list(address()),
            "Several servers in place of one; each request goes to one of them at random.",
        ),
        entry("headers", headers(), "Headers of every request."),
        entry(
            "ca_file",
            text(),
            "Certificates in PEM of authorities that are trusted beside the public ones.",
        ),
        entry(
            "proxy",
            formed(r"^http://[^/@\s]+/?$"),
            "The HTTP proxy on the way to the server.",
        ),
        entry("http2", flag(), "Whether HTTP/2 is spoken. Default: false."),
        entry(
            "command",
            filled_list(argument()),
            "The server's program and its arguments.",
        ),
        entry(
            "environment",
            environment,
            "Added to the server's environment; no place for secrets.",
        ),
        entry(
            "extra_args",
            list(argument()),
            "Appended to the server's arguments.",
        ),
    ]
}

/// A text, or where a secret one is read.
fn headers() -> Value {
    let variable = json!({ "env": formed(VARIABLE) });
    let file = json!({ "file": text() });
    let source = |properties: Value, key: &str| json!({ "type": "object", "properties": properties, "required": [key], "additionalProperties": false });
    let mut headers = map_of(json!({ "anyOf": [text(), source(variable, "env"), source(file, "file")] }));
    headers["propertyNames"] = json!({ "pattern": "^[A-Za-z0-9_.-]+$" });
    headers
}

/// What a deployment needs, and the keys that it does not read.
fn of_deployment(kind: DeploymentKind) -> Value {
    let foreign = placement::keys_of_others(kind);
    let foreign: Map<String, Value> = foreign.map(|key| (key.to_owned(), Value::Bool(false))).collect();
    let mut then = json!({ "properties": foreign });
    if kind == DeploymentKind::External {
        then["anyOf"] = json!([{ "required": ["url"] }, { "required": ["urls"] }]);
    }
    json!({ "if": is("deployment", kind.as_str()), "then": then })
}

/// An engine's settings, and the command that some engines need.
fn of_backend(backend: BackendKind) -> Value {
    let name = backend.as_str();
    let mut then = json!({ "properties": { "backend_config": reference(name) } });
    let kinds = DeploymentKind::ALL.iter().copied();
    let needing: Vec<&str> = kinds
        .filter(|kind| experiment::needs_command(backend, *kind))
        .map(DeploymentKind::as_str)
        .collect();
    if !needing.is_empty() {
        then["if"] =
            json!({ "properties": { "deployment": { "enum": needing } }, "required": ["deployment"] });
        then["then"] = json!({ "required": ["command"] });
    }
    json!({ "if": is("backend", name), "then": then })
}

fn is(key: &str, value: &str) -> Value {
    json!({ "properties": { key: { "const": value } }, "required": [key] })
}

fn backend_definition(backend: BackendKind) -> (String, Value) {
    (backend.as_str().to_owned(), backend_config::schema(backend))
}
