//! What a message quotes, as TOML writes it.
//!
//! Messages quote examples as YAML has them. In a TOML file the same example would be one more fault, so that quoted
//! settings and lists, and values that TOML writes in quotes, are rewritten.

use crate::{
    tree::{Node, Scalar, Value},
    yaml,
};

/// A sentence with all that stands in backquotes written as TOML has it; what was found is left as it was.
pub(crate) fn translate(sentence: &str) -> String {
    let mut translated = String::with_capacity(sentence.len());
    for (index, part) in sentence.split('`').enumerate() {
        if index > 0 {
            translated.push('`');
        }
        let quoted = index % 2 == 1;
        let is_found = translated.trim_end_matches('`').ends_with("found ");
        match snippet(part).filter(|_| quoted && !is_found) {
            Some(snippet) => translated.push_str(&snippet),
            None if quoted => translated.push_str(part),
            None => translated.push_str(&part.replace("a map", "a table")),
        }
    }
    translated
}

/// The snippet in TOML; absent when it reads the same.
fn snippet(text: &str) -> Option<String> {
    if text.contains("${") {
        return text.contains(": ").then(|| setting(text)).flatten();
    }
    if text.starts_with("[[") {
        return None;
    }
    if text.starts_with('[') || text.contains(": ") {
        return setting(text);
    }
    if text == "experiments:" {
        return Some("[[experiments]]".to_owned());
    }
    let is_number = text.parse::<f64>().is_ok();
    let is_text = text.starts_with(|c: char| c.is_ascii_digit())
        || text.contains("<=")
        || text.contains("://")
        || text.ends_with(":MM:SS");
    (is_text && !is_number).then(|| quoted(text))
}

/// A key with its value, or a list.
fn setting(text: &str) -> Option<String> {
    let node = yaml::read(text).ok()??;
    match &node.value {
        Value::List(_) => value(&node),
        Value::Map(entries) => {
            let [entry] = entries.as_slice() else { return None };
            Some(format!("{} = {}", entry.key, value(&entry.node)?))
        }
        Value::Scalar(_) | Value::Refused => None,
    }
}

fn value(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar_text(scalar)),
        Value::List(items) => {
            let items: Option<Vec<String>> = items.iter().map(value).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Map(_) | Value::Refused => None,
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    let stays = scalar
        .plain_text()
        .is_some_and(|text| text.parse::<f64>().is_ok() || matches!(text, "true" | "false"));
    if stays {
        scalar.text.clone()
    } else {
        quoted(&scalar.text)
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) {
        format!("'{text}'")
    } else {
        format!("\"{text}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_written_in_toml() {
        let check = |sentence, expected| assert_eq!(translate(sentence), expected, "{sentence}");
        check("such as `500ms` or `30s`", "such as `\"500ms\"` or `\"30s\"`");
        check(
            "such as `40` or `2.5`, or `90/min`",
            "such as `40` or `2.5`, or `\"90/min\"`",
        );
        check(
            "`deployment: external` needs",
            "`deployment = \"external\"` needs",
        );
        check("`[5, 10, 90/min]`", "`[5, 10, \"90/min\"]`");
        check("`[a, \"{port}\"]`", "`[\"a\", \"{port}\"]`");
        check(
            "`ttft p95 <= 500ms`, found `ttft p95 < 1s`",
            "`\"ttft p95 <= 500ms\"`, found `ttft p95 < 1s`",
        );
        check("go under `warmup_duration_s`", "go under `warmup_duration_s`");
        check("found `30`", "found `30`");
        check("or a map with `a map`", "or a table with `a map`");
        check("write `${A:-b}`", "write `${A:-b}`");
        check("`<metric>_p<NN>_ms`", "`<metric>_p<NN>_ms`");
        check("as `HH:MM:SS`", "as `\"HH:MM:SS\"`");
        check("an open `quote", "an open `quote");
    }
}
