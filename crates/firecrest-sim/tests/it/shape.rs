//! Whether an answer has the shape of the recorded one.

use serde_json::Value;

/// Fields whose values are the same in every run.
const CONSTANT: &[&str] = &[
    "errorType",
    "content",
    "contentType",
    "algorithm",
    "state",
    "stateReason",
    "exitCode",
    "interruptSignal",
    "error",
    "error_description",
    "token_type",
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// All differences in keys, types and constants.
pub(crate) fn differences(recorded: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", recorded, found, &mut all);
    all
}

fn compare(at: &str, recorded: &Value, found: &Value, all: &mut Vec<String>) {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => {
            for key in recorded.keys().filter(|key| !found.contains_key(*key)) {
                all.push(format!("{at}.{key} is missing"));
            }
            for key in found.keys().filter(|key| !recorded.contains_key(*key)) {
                all.push(format!("{at}.{key} is not recorded"));
            }
            for (key, value) in recorded {
                let Some(found) = found.get(key) else { continue };
                compare(&format!("{at}.{key}"), value, found, all);
                if CONSTANT.contains(&key.as_str()) && !found.is_object() && value != found {
                    all.push(format!("{at}.{key} is {found}, recorded {value}"));
                }
            }
        }
        (Value::Array(recorded), Value::Array(found)) => {
            if recorded.is_empty() != found.is_empty() {
                all.push(format!(
                    "{at} has {} entries, recorded {}",
                    found.len(),
                    recorded.len()
                ));
            }
            for (index, entry) in found.iter().enumerate() {
                compare_entry(&format!("{at}[{index}]"), recorded, entry, all);
            }
        }
        (recorded, found) if kind(recorded) != kind(found) => {
            all.push(format!("{at} is {}, recorded {}", kind(found), kind(recorded)));
        }
        _ => {}
    }
}

/// An entry must be like one of the recorded ones; otherwise it is compared with the last.
fn compare_entry(at: &str, recorded: &[Value], entry: &Value, all: &mut Vec<String>) {
    let mut last = Vec::new();
    for candidate in recorded {
        last.clear();
        compare(at, candidate, entry, &mut last);
        if last.is_empty() {
            return;
        }
    }
    all.append(&mut last);
}

#[test]
fn shapes_differ_in_keys_types_and_constants() {
    use serde_json::json;
    let check = |recorded: Value, found: Value, expected: &[&str]| {
        assert_eq!(differences(&recorded, &found), expected);
    };
    check(
        json!({"a": 1, "b": [{"c": null}]}),
        json!({"a": 2, "b": [{"c": null}]}),
        &[],
    );
    check(
        json!({"a": 1}),
        json!({"b": 1}),
        &[".a is missing", ".b is not recorded"],
    );
    check(
        json!({"a": null}),
        json!({"a": 1}),
        &[".a is number, recorded null"],
    );
    check(
        json!({"state": "X"}),
        json!({"state": "Y"}),
        &[".state is \"Y\", recorded \"X\""],
    );
    check(json!([1]), json!([]), &[" has 0 entries, recorded 1"]);
    check(json!([1, "a"]), json!(["b", 2]), &[]);
}
