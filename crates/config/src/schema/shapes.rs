//! The shapes of single values.

use serde_json::{Map, Value, json};

use crate::lengths;

/// A duration's number and unit, as often as one likes.
const SPAN: &str = r"([0-9.]+\s*(ns|us|µs|μs|ms|sec|s|min|m|h)\s*)+";

/// Adds what a key is for.
pub(crate) fn about(mut shape: Value, description: &str) -> Value {
    if let Value::Object(map) = &mut shape {
        map.insert("description".to_owned(), description.into());
    }
    shape
}

/// Adds what people call such a value.
pub(crate) fn called(mut shape: Value, title: &str) -> Value {
    if let Value::Object(map) = &mut shape {
        map.insert("title".to_owned(), title.into());
    }
    shape
}

/// A map of these keys only; a key without any value may have been commented out.
pub(crate) fn section(properties: Map<String, Value>) -> Value {
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

/// A text that is not blank; a bare number is its text.
pub(crate) fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"], "pattern": r"\S" })
}

/// A text of a certain form.
pub(crate) fn formed(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// A text that may be empty, as arguments may.
pub(crate) fn argument() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

pub(crate) fn flag() -> Value {
    json!({ "type": "boolean" })
}

pub(crate) fn choice(names: &[&str]) -> Value {
    json!({ "type": "string", "enum": names })
}

/// A whole number from 1.
pub(crate) fn count() -> Value {
    whole(1, u64::from(u32::MAX))
}

pub(crate) fn whole(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

pub(crate) fn above_zero() -> Value {
    json!({ "type": "number", "exclusiveMinimum": 0 })
}

pub(crate) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(crate) fn filled_list(items: Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1 })
}

pub(crate) fn map_of(values: Value) -> Value {
    json!({ "type": ["object", "null"], "additionalProperties": values })
}

/// Requests per second as a number, or a text with its unit.
pub(crate) fn rate() -> Value {
    let text = formed(r"^\s*(?=[^eE]*[1-9])[0-9.]+([eE][+-]?[0-9]+)?\s*(/s|/min)?\s*$");
    called(json!({ "anyOf": [above_zero(), text] }), "rate")
}

/// A duration with its unit.
pub(crate) fn duration(may_be_zero: bool) -> Value {
    if may_be_zero {
        let shape = json!({ "anyOf": [formed(&format!(r"^\s*(0|{SPAN})\s*$")), { "const": 0 }] });
        called(shape, "duration from 0")
    } else {
        called(formed(&format!(r"^\s*(?=.*[1-9]){SPAN}$")), "duration above 0")
    }
}

/// Bare seconds.
pub(crate) fn seconds(may_be_zero: bool) -> Value {
    const MOST: u32 = 31 * 24 * 3600;
    let least = if may_be_zero {
        "minimum"
    } else {
        "exclusiveMinimum"
    };
    json!({ "type": "number", least: 0, "maximum": MOST })
}

/// An objective such as `ttft p95 <= 500ms` or `error_rate <= 1%`.
pub(crate) fn objective() -> Value {
    let shape = formed(&format!(
        r"^\s*((ttft|tpot|itl|e2e)\s+p[0-9]{{1,2}}(\.[0-9]+)?\s*<=\s*(?=.*[1-9]){SPAN}|error_rate\s*<=\s*[0-9.]+\s*%?\s*)$"
    ));
    called(shape, "objective")
}

/// A share of the rate: `2%` or `0.02`.
pub(crate) fn precision() -> Value {
    let shape = json!({ "anyOf": [
        { "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 },
        formed(r"^\s*(?=.*[1-9])([0-9]|[1-4][0-9]|50(?!\.0*[1-9]))?(\.[0-9]+)?\s*%$|^\s*(?=.*[1-9])0?\.[0-9]+\s*$"),
    ] });
    called(shape, "share")
}

/// A walltime, `HH:MM:SS` or `D-HH:MM:SS`.
pub(crate) fn time_limit() -> Value {
    let shape = formed(r"^(?=.*[1-9])([0-9]{1,4}-)?[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]$");
    called(shape, "walltime")
}

/// The base address of a server, without user, password or query.
pub(crate) fn address() -> Value {
    let mut shape = formed(r"^https?://[^/@?#\s]+(/[^?#\s]*)?$");
    shape["not"] = json!({ "pattern": "(/completions|/v1/models)$" });
    called(shape, "address")
}

/// How many tokens: a whole number, or a distribution.
pub(crate) fn length(least_default: u32) -> Value {
    let distribution = |name: &str, parameters: &[(&str, Value)], optional: &[(&str, Value)]| {
        let mut properties = Map::from_iter([("distribution".to_owned(), json!({ "const": name }))]);
        let mut required = vec!["distribution"];
        required.extend(parameters.iter().map(|(key, _)| *key));
        for (key, shape) in parameters.iter().chain(optional) {
            properties.insert((*key).to_owned(), shape.clone());
        }
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    };
    let parameter = |least: &str, most: f64| json!({ "type": "number", least: 0, "maximum": most });
    let bounds = [
        (
            "min",
            about(
                count(),
                &format!("The least that is drawn. Default: {least_default}."),
            ),
        ),
        (
            "max",
            about(
                count(),
                &format!("The most that is drawn. Default: {}.", lengths::DEFAULT_MAX),
            ),
        ),
    ];
    let positive = || parameter("exclusiveMinimum", lengths::MOST);
    let shape = json!({ "anyOf": [
        count(),
        distribution("fixed", &[("value", count())], &[]),
        distribution("uniform", &[("min", count()), ("max", count())], &[]),
        distribution("normal", &[("mean", positive()), ("std", parameter("minimum", lengths::MOST))], &bounds),
        distribution("lognormal", &[("median", positive()), ("sigma", parameter("minimum", 10.0))], &bounds),
    ] });
    called(shape, "length")
}
