//! `${NAME}` and `${NAME:-default}` in values.

use std::ffi::OsString;

use crate::{
    reading::Reading,
    secrets::is_secret,
    section,
    surroundings::Surroundings,
    tree::{Entry, Node, Scalar, Value},
};

/// Puts variables into every value of the tree. A value in which that fails is marked, so that nothing more is said
/// of it.
pub(crate) fn substitute(node: &mut Node, reading: &Reading, around: &Surroundings<'_>) {
    let walk = Walk { reading, around };
    walk.node(node, "", Holder::Any);
}

/// Writes a text so that it is read as it is.
pub(crate) fn escape(text: &str) -> String {
    if text.contains("$$") || text.contains("${") {
        text.replace('$', "$$")
    } else {
        text.to_owned()
    }
}

/// What the entries of a map are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Environment,
    Headers,
    Any,
}

struct Walk<'a> {
    reading: &'a Reading,
    around: &'a Surroundings<'a>,
}

impl Walk<'_> {
    fn node(&self, node: &mut Node, path: &str, holder: Holder) {
        let at = node.at;
        match &mut node.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{index}]"), Holder::Any);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.entry(entry, path, holder);
                }
            }
            Value::Scalar(scalar) if may_change(&scalar.text) => match self.expand(&scalar.text) {
                Ok(text) => put(scalar, text),
                Err(problems) => {
                    for problem in problems {
                        self.reading.fault(self.reading.place(at, path), problem);
                    }
                    node.value = Value::Refused;
                }
            },
            Value::Scalar(_) | Value::Refused => {}
        }
    }

    /// A secret is known by its key too, whatever its variable is called.
    fn entry(&self, entry: &mut Entry, path: &str, holder: Holder) {
        let path = section::join(path, &entry.key);
        let remedy = match holder {
            Holder::Any => None,
            Holder::Environment => is_secret(&entry.key).then_some(
                "looks like a secret, which would end in the run's files; leave the entry out: the server inherits \
                 gipfel's own environment",
            ),
            Holder::Headers => is_secret_header(&entry.key).then_some(
                "a key is not put into a header from a variable; `api_key_env` names the variable, which is then \
                 sent as a bearer token",
            ),
        };
        if let Some(remedy) = remedy.filter(|_| has_variable(&entry.node)) {
            self.reading
                .fault(self.reading.place(entry.key_at, &path), remedy);
            entry.node.value = Value::Refused;
        } else {
            self.node(&mut entry.node, &path, Self::holder_of(&entry.key));
        }
    }

    fn holder_of(key: &str) -> Holder {
        match key {
            "environment" => Holder::Environment,
            "headers" => Holder::Headers,
            _ => Holder::Any,
        }
    }

    /// The text with its variables' values, or all that is wrong with it.
    fn expand(&self, text: &str) -> Result<String, Vec<String>> {
        let mut expanded = String::with_capacity(text.len());
        let mut problems = Vec::new();
        let mut rest = text;
        while let Some(index) = rest.find('$') {
            expanded.push_str(&rest[..index]);
            rest = &rest[index + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let Some((inner, after)) = inner.split_once('}') else {
                    problems.push("`${` is not closed; `$$` stands for a `$`".to_owned());
                    break;
                };
                rest = after;
                match self.variable(inner) {
                    Ok(value) => expanded.push_str(&value),
                    Err(problem) => problems.push(problem),
                }
            } else {
                expanded.push('$');
            }
        }
        expanded.push_str(rest);
        if problems.is_empty() {
            Ok(expanded)
        } else {
            Err(problems)
        }
    }

    /// The value of what stands between the braces.
    fn variable(&self, inner: &str) -> Result<String, String> {
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{inner}}}` names no variable; allowed: `${{NAME}}`, `${{NAME:-default}}`; `$$` stands for a `$`"
            ));
        }
        if is_secret(name) {
            return Err(format!(
                "`${{{name}}}` looks like a secret, which would end in the plan and its files; `api_key_env: {name}` \
                 takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment"
            ));
        }
        let value = self.around.variable(name).map(OsString::into_string);
        let no_text = || format!("the value of the variable `{name}` is no text in UTF-8");
        let value = value.transpose().map_err(|_| no_text())?;
        let value = value.filter(|value| default.is_none() || !value.is_empty());
        match (value, default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable `{name}` is not set; set it, or write `${{{name}:-default}}`"
            )),
        }
    }
}

/// Only what came from a variable is typed anew: `$$` alone leaves a text a text.
fn put(scalar: &mut Scalar, text: String) {
    if without_escapes(&scalar.text).contains("${") {
        scalar.written = Some(std::mem::take(&mut scalar.text));
    }
    scalar.text = text;
}

fn without_escapes(text: &str) -> String {
    text.replace("$$", "")
}

fn may_change(text: &str) -> bool {
    text.contains("${") || text.contains("$$")
}

fn has_variable(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if without_escapes(&scalar.text).contains("${"))
}

fn is_secret_header(name: &str) -> bool {
    is_secret(name) || name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie")
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Form;

    fn expand(text: &str) -> String {
        let around = Surroundings::none().with_variables(|name| match name {
            "A" => Some("one".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        });
        let reading = Reading::new("", Form::Yaml);
        let walk = Walk {
            reading: &reading,
            around: &around,
        };
        walk.expand(text).unwrap_or_else(|problems| problems.join(" | "))
    }

    #[test]
    fn variables_are_put_in() {
        let check = |text, expected| assert_eq!(expand(text), expected, "{text}");
        check("${A}", "one");
        check("a-${A}${A}-b", "a-oneone-b");
        check("${A:-two}", "one");
        check("${B:-two}", "two");
        check("${B:-}", "");
        check("${EMPTY}", "");
        check("${EMPTY:-two}", "two");
        check("$A and $", "$A and $");
        check("$${A} $$", "${A} $");
        check("$$${A}", "$one");
        check("${", "`${` is not closed; `$$` stands for a `$`");
        check(
            "${B}${1}",
            "the environment variable `B` is not set; set it, or write `${B:-default}` | `${1}` names no variable; \
             allowed: `${NAME}`, `${NAME:-default}`; `$$` stands for a `$`",
        );
    }

    #[test]
    fn what_is_escaped_is_read_as_it_was() {
        for text in ["$HOME", "${A}", "$$", "a$${A}$", "no dollar"] {
            assert_eq!(expand(&escape(text)), text);
        }
    }
}
