//! A call as the handlers see it.

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::answer::Problem;

/// A request, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// In lower case, as the real server makes it, and decoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body was larger than any that is taken, and is left out.
    pub(crate) is_too_large: bool,
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

/// The pairs of a query or of a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "True" | "1" | "yes" | "on"))
    }

    /// A number of the query.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.parameter(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            Problem::validation("int_parsing", "query", json!(name), message)
        })
    }

    /// The path of a call on a file.
    pub(crate) fn path_parameter(&self) -> Result<&str, Problem> {
        let path = self.parameter("path").or_else(|| self.parameter("sourcePath"));
        path.or_else(|| self.parameter("source_path")).ok_or_else(no_path)
    }

    /// The body as JSON; a body that is none is refused before the server knows the user.
    pub(crate) fn json(&self) -> Result<Value, Problem> {
        serde_json::from_slice(&self.body).map_err(|_| {
            Problem::validation("json_invalid", "body", json!(1), "JSON decode error").anonymous()
        })
    }

    /// The fields of the body.
    pub(crate) fn fields(&self) -> Result<Fields, Problem> {
        match self.json()? {
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(Problem::validation(
                "model_attributes_type",
                "body",
                json!("body"),
                "Input should be a valid dictionary or object to extract fields from",
            )),
        }
    }
}

fn no_path() -> Problem {
    let text = "Unable to decode request and retreive the required path or source_path parameter.";
    Problem::bad_request(text).breaks_connection()
}

/// The fields of a JSON object, by either style of names.
#[derive(Clone, Debug)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// A field by its camel-case name or its snake-case one; `null` is as good as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.get(name).or_else(|| self.0.get(&snake_case(name)));
        found.filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Problem::validation(
                "string_type",
                "body",
                json!(name),
                "Input should be a valid string",
            )),
        }
    }

    pub(crate) fn required_text(&self, name: &str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| Problem::missing(name))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The path of a call on a file, which has two names.
    pub(crate) fn path(&self) -> Result<String, Problem> {
        match self.text("path")? {
            Some(path) => Ok(path),
            None => self.text("sourcePath")?.ok_or_else(no_path),
        }
    }

    /// An object inside.
    pub(crate) fn object(&self, name: &str) -> Result<Fields, Problem> {
        match self.get(name) {
            Some(Value::Object(map)) => Ok(Fields(map.clone())),
            _ => Err(Problem::missing(name)),
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_two_styles() {
        assert_eq!(snake_case("workingDirectory"), "working_directory");
        let fields = Fields(
            json!({"file_size": 3, "account": null})
                .as_object()
                .cloned()
                .unwrap_or_default(),
        );
        assert_eq!(fields.get("fileSize"), Some(&json!(3)));
        assert_eq!(fields.get("account"), None);
    }

    #[test]
    fn pairs_are_decoded() {
        let expected = vec![
            ("path".to_owned(), "/a b+c".to_owned()),
            ("x".to_owned(), String::new()),
        ];
        assert_eq!(pairs("path=%2Fa+b%2Bc&x"), expected);
    }
}
