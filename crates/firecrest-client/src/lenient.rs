//! Fields that servers write in more than one form.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// A text that may be written as a number.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Text).map(Option::unwrap_or_default)
}

/// A text that may be written as a number, as a list of which the first counts, or be missing.
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
        while let Some(item) = items.next_element::<String>()? {
            first.get_or_insert(item);
        }
        Ok(first)
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
