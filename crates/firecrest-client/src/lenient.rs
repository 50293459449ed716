//! Fields that servers write in more than one form.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A text that may be written as a number.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Text).map(Option::unwrap_or_default)
}

/// A text that may be written as a number or as a list of which the first counts, or be missing. What is not
/// understood counts as missing: no document is refused for a field that is only shown.
pub(crate) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(Text)
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a number, a list of texts, or null")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut first = None;
        while let Some(Any(item)) = items.next_element()? {
            first = first.or(item);
        }
        Ok(first)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A text in any form.
struct Any(Option<String>);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text).map(Any)
    }
}

/// A number that may be written as a text, or be missing; what is not understood counts as missing.
pub(crate) fn optional_number<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: FromStr,
{
    Ok(optional_text(deserializer)?.and_then(|text| text.trim().parse().ok()))
}

/// Several texts that may be written as one, with plus signs between.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let split = |text: &str| {
        text.split('+')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Ok(split(&text)),
        serde_json::Value::Array(items) => Ok(items
            .iter()
            .filter_map(serde_json::Value::as_str)
            .map(str::to_owned)
            .collect()),
        _ => Ok(Vec::new()),
    }
}

/// A number that may be written as a text.
pub(crate) fn number<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: FromStr + TryFrom<u64> + TryFrom<i64>,
{
    deserializer.deserialize_any(Number(PhantomData))
}

struct Number<N>(PhantomData<N>);

impl<N: FromStr + TryFrom<u64> + TryFrom<i64>> Visitor<'_> for Number<N> {
    type Value = N;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number, as a number or a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<N, E> {
        text.trim()
            .parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        N::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<N, E> {
        N::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

/// A value or its default for null.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Deserialize)]
    struct Shown {
        #[serde(default, deserialize_with = "optional_number")]
        code: Option<i64>,
        #[serde(default, deserialize_with = "optional_text")]
        text: Option<String>,
        #[serde(default, deserialize_with = "texts")]
        states: Vec<String>,
    }

    #[test]
    fn what_is_only_shown_refuses_no_document() {
        let check = |value: serde_json::Value, expected: (Option<i64>, Option<&str>, &[&str])| {
            let Shown { code, text, states } = serde_json::from_value(value).expect("any form is taken");
            let states: Vec<&str> = states.iter().map(String::as_str).collect();
            assert_eq!((code, text.as_deref(), states.as_slice()), expected);
        };
        check(json!({}), (None, None, &[]));
        check(
            json!({ "code": 3, "text": "a", "states": ["IDLE", "DRAIN"] }),
            (Some(3), Some("a"), &["IDLE", "DRAIN"]),
        );
        check(
            json!({ "code": "3", "text": 3, "states": "IDLE+DRAIN" }),
            (Some(3), Some("3"), &["IDLE", "DRAIN"]),
        );
        check(
            json!({ "code": 3.0, "text": [1, "b"], "states": null }),
            (Some(3), Some("1"), &[]),
        );
        check(
            json!({ "code": { "return": 1 }, "text": { "a": [] }, "states": {} }),
            (None, None, &[]),
        );
        check(
            json!({ "code": [], "text": [{}], "states": 1 }),
            (None, None, &[]),
        );
        check(
            json!({ "code": -1, "text": true, "states": [] }),
            (Some(-1), Some("true"), &[]),
        );
    }

    #[derive(Deserialize)]
    struct Sample {
        #[serde(deserialize_with = "text")]
        id: String,
        #[serde(default, deserialize_with = "optional_text")]
        state: Option<String>,
        #[serde(deserialize_with = "number")]
        size: u64,
        #[serde(default, deserialize_with = "or_default")]
        list: Vec<u8>,
    }

    #[test]
    fn forms_are_read() {
        let show = |Sample {
                        id,
                        state,
                        size,
                        list,
                    }: Sample| format!("{id:?} {state:?} {size} {list:?}");
        let check = |value: serde_json::Value, expected: &str| {
            let found = serde_json::from_value::<Sample>(value);
            assert_eq!(found.map_or_else(|error| error.to_string(), show), expected);
        };
        check(
            json!({ "id": 7, "state": ["RUNNING", "x"], "size": "792", "list": null }),
            r#""7" Some("RUNNING") 792 []"#,
        );
        check(
            json!({ "id": "7", "state": null, "size": 792, "list": [1] }),
            r#""7" None 792 [1]"#,
        );
        check(
            json!({ "id": "7", "size": "many" }),
            r#"invalid value: string "many", expected a whole number, as a number or a text"#,
        );
        check(
            json!({ "id": "7", "size": -1 }),
            "invalid value: integer `-1`, expected a whole number, as a number or a text",
        );
    }
}
