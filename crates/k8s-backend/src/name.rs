//! Names of objects, which DNS has to carry.

use sha2::{Digest, Sha256};

/// What DNS allows for a label.
const MOST: usize = 63;

/// Digits of the hash that keeps shortened names apart.
const HASH: usize = 8;

/// What the pods of an indexed Job have after its name.
const ROOM: usize = 8;

const PREFIX: &str = "gipfel-";

/// The name of the objects of what has this id: lowercase letters, digits and hyphens, at most 63 of them.
///
/// It always ends with a hash of the id, since two ids may differ in what a name cannot hold.
pub fn object_name(id: &str) -> String {
    let id_part = slug(id, MOST - PREFIX.len() - HASH - 1);
    let separator = if id_part.is_empty() { "" } else { "-" };
    format!("{PREFIX}{id_part}{separator}{}", hash(id))
}

/// The name of what makes a server's pods by an operator: at most 30 characters, and never [`object_name`]'s.
///
/// LeaderWorkerSet makes a Service of its own under this name, and a label of it with 13 characters more; Dynamo's operator
/// takes 45 characters for it with the name of a part.
pub(crate) fn operated_name(id: &str) -> String {
    let id_part = slug(id, 30 - PREFIX.len() - HASH - 3);
    let separator = if id_part.is_empty() { "" } else { "-" };
    format!("{PREFIX}{id_part}{separator}{}-w", hash(id))
}

/// The same for one of several objects, with its number at the end and room for what a Job appends for its pods.
pub(crate) fn numbered_name(id: &str, number: u32) -> String {
    let end = format!("-{}-{number}", hash(id));
    let id_part = slug(id, MOST - ROOM - PREFIX.len() - end.len());
    format!("{PREFIX}{id_part}{end}")
}

/// The text as a label's value, which is the text itself where it can be one.
pub(crate) fn label_value(text: &str) -> String {
    let is_edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_value = text.len() <= MOST
        && text.bytes().all(is_allowed)
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().last());
    if is_value {
        text.to_owned()
    } else {
        object_name(text)
    }
}

fn slug(text: &str, most: usize) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(most);
    slug.trim_end_matches('-').to_owned()
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hexadecimal(&digest[..HASH / 2])
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_of_dns() {
        let check = |id: &str, expected: &str| {
            let name = object_name(id);
            assert!(name.len() <= MOST, "{name}");
            assert_eq!(&name[..name.len() - HASH], expected, "{id}");
        };
        check("d-1", "gipfel-d-1-");
        check("d-20261123_apertus.8b", "gipfel-d-20261123-apertus-8b-");
        check("_.-", "gipfel-");
        check(
            "d-20261123-101112_llama-4-maverick-17b-128e-instruct-fp8_vllm_k8s_12ab",
            "gipfel-d-20261123-101112-llama-4-maverick-17b-128e-ins-",
        );
    }

    #[test]
    fn an_operator_has_room_for_its_own_names() {
        let check = |id: &str, expected: &str| {
            let name = operated_name(id);
            assert!(name.len() <= 30, "{name}");
            assert_eq!(name, format!("{expected}{}-w", hash(id)));
            assert_ne!(name, object_name(id));
        };
        check("d-1", "gipfel-d-1-");
        check("_.-", "gipfel-");
        check(
            "d-20261123-101112_llama-4-maverick_vllm_k8s_12ab",
            "gipfel-d-20261123-1-",
        );
    }

    #[test]
    fn a_numbered_name_has_room_for_pods() {
        let check = |id: &str, number: u32, start: &str, end: &str| {
            let name = numbered_name(id, number);
            assert!(name.len() <= MOST - ROOM, "{name}");
            assert!(name.starts_with(start) && name.ends_with(end), "{name}");
        };
        check("r_1", 1, "gipfel-r-1-", "-1");
        check(&"x".repeat(80), 4_000_000_000, "gipfel-xxx", "-4000000000");
    }

    #[test]
    fn names_differ_where_ids_do() {
        assert_ne!(object_name("a_b"), object_name("a.b"));
        let long = "x".repeat(80);
        assert_ne!(object_name(&format!("{long}1")), object_name(&format!("{long}2")));
    }

    #[test]
    fn labels_keep_what_they_can() {
        let check = |text: &str, is_kept: bool| {
            let value = label_value(text);
            assert!(value.len() <= MOST, "{value}");
            assert_eq!(value == text, is_kept, "{text}");
        };
        check("d-20261123-101112_m.1_vllm_k8s_12ab", true);
        check(&"x".repeat(63), true);
        check(&"x".repeat(64), false);
        check("ends-with-", false);
        check("", false);
    }
}
