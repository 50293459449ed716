//! Variables in the schema: `${NAME}` may stand where a number, a truth value or a text of a certain form does.

use serde_json::{Map, Value, json};

use super::shapes::{about, formed};

/// The name of the definition that allows one.
const NAME: &str = "variable";

/// Allows variables in every value of a schema.
pub(super) fn allow(schema: &mut Value) {
    allow_below(schema);
    let shape = formed(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}");
    schema["$defs"][NAME] = about(
        shape,
        "A value with an environment variable: ${NAME} or ${NAME:-default}.",
    );
}

fn allow_below(shape: &mut Value) {
    for key in ["properties", "patternProperties", "$defs"] {
        let shapes = shape.get_mut(key).and_then(Value::as_object_mut);
        shapes.into_iter().flat_map(Map::values_mut).for_each(allow_in);
    }
    for key in ["items", "additionalProperties"] {
        shape.get_mut(key).into_iter().for_each(allow_in);
    }
    let alternatives = shape.get_mut("anyOf").and_then(Value::as_array_mut);
    alternatives.into_iter().flatten().for_each(allow_below);
}

fn allow_in(shape: &mut Value) {
    allow_below(shape);
    let Value::Object(map) = shape else { return };
    let variable = json!({ "$ref": format!("#/$defs/{NAME}") });
    let is_union = map.contains_key("anyOf") && !map.contains_key("type");
    if is_union {
        if let Some(Value::Array(alternatives)) = map.get_mut("anyOf") {
            alternatives.push(variable);
        }
    } else if refuses_variables(map) {
        let description = map.remove("description");
        let own = std::mem::take(map);
        map.insert("anyOf".to_owned(), json!([own, variable]));
        map.extend(description.map(|description| ("description".to_owned(), description)));
    }
}

/// Whether a value of this shape is neither a map, nor a list, nor any text at all.
fn refuses_variables(map: &Map<String, Value>) -> bool {
    let is = |name: &str| match map.get("type") {
        Some(Value::String(found)) => found == name,
        Some(Value::Array(found)) => found.iter().any(|found| found == name),
        _ => false,
    };
    let is_any_text = is("string") && is("number");
    let is_value = ["type", "const", "enum"].iter().any(|key| map.contains_key(*key));
    is_value && !is_any_text && !is("object") && !is("array")
}
