//! One case style for the keys of answers: releases of the server differ, and mix both in one document.

use serde_json::{Map, Value};

/// The value with the keys of all its objects in camel case. Of two keys that become equal the one that was
/// in camel case already wins.
pub(crate) fn camel(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(camel).collect()),
        Value::Object(object) => {
            let (snake, mut keys): (Map<_, _>, Map<_, _>) = object
                .into_iter()
                .map(|(key, value)| (key, camel(value)))
                .partition(|(key, _)| key.contains('_'));
            for (key, value) in snake {
                keys.entry(camel_key(&key)).or_insert(value);
            }
            Value::Object(keys)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn camel_key(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut is_start = false;
    for c in key.chars() {
        match c {
            '_' => is_start = !camel.is_empty(),
            _ if is_start => {
                camel.extend(c.to_uppercase());
                is_start = false;
            }
            _ => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_changed() {
        let check = |value: Value, expected: Value| assert_eq!(camel(value), expected);
        check(
            json!({ "max_ops_file_size": 1, "jobId": "1" }),
            json!({ "maxOpsFileSize": 1, "jobId": "1" }),
        );
        check(
            json!([{ "a_b": { "c_d": "e_f" } }]),
            json!([{ "aB": { "cD": "e_f" } }]),
        );
        check(
            json!({ "job_id": "old", "jobId": "new" }),
            json!({ "jobId": "new" }),
        );
        check(json!({ "_private": 1 }), json!({ "private": 1 }));
    }
}
