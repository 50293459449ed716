//! A map of the tree, read key by key.

use std::collections::HashSet;

use crate::{
    fault::{Fault, Place},
    field::{Field, printable},
    nearest::nearest,
    reading::Reading,
    tree::{Entry, Node, Position, Value},
};

/// A map whose known keys are taken one after the other; what is left at the end is unknown.
pub(crate) struct Section<'a> {
    pub(crate) reading: &'a Reading,
    path: String,
    at: Position,
    left: Vec<&'a Entry>,
    present: Vec<&'a Entry>,
    known: Vec<&'static str>,
}

/// Keys that stand in the wrong place, and the sentence that says where they belong.
pub(crate) struct Misplaced {
    pub(crate) keys: Vec<&'static str>,
    pub(crate) sentence: String,
}

impl<'a> Section<'a> {
    pub(crate) fn new(reading: &'a Reading, path: String, at: Position, entries: &'a [Entry]) -> Self {
        let mut section = Self {
            reading,
            path,
            at,
            left: Vec::new(),
            present: Vec::new(),
            known: Vec::new(),
        };
        section.fill(entries);
        section
    }

    fn fill(&mut self, entries: &'a [Entry]) {
        let mut own: HashSet<&str> = HashSet::new();
        let mut merges = Vec::new();
        for entry in entries {
            if entry.key == "<<" {
                merges.push(entry);
            } else if own.insert(&entry.key) {
                self.present.push(entry);
            } else {
                let first = self.present.iter().find(|other| other.key == entry.key);
                let line = first.map_or(0, |first| first.key_at.line);
                let place = self.place_of(entry.key_at, &entry.key);
                self.reading
                    .fault(place, format!("given twice; the first one is in line {line}"));
            }
        }
        for merge in merges {
            self.merge(merge, &mut own);
        }
        for entry in &self.present {
            self.reading.given(self.place_of(entry.key_at, &entry.key));
        }
        self.left.clone_from(&self.present);
    }

    /// A merge key adds what the map does not say itself; of several merged maps the first one wins.
    fn merge(&mut self, merge: &'a Entry, own: &mut HashSet<&'a str>) {
        let maps: Vec<&'a Node> = match &merge.node.value {
            Value::List(nodes) => nodes.iter().collect(),
            _ => vec![&merge.node],
        };
        for node in maps {
            if let Value::Map(entries) = &node.value {
                self.present
                    .extend(entries.iter().filter(|entry| own.insert(&entry.key)));
            } else {
                let place = self.place_of(merge.key_at, "<<");
                self.reading.fault(
                    place,
                    "a merge key takes an alias of a map, or a list of such aliases",
                );
            }
        }
    }

    /// Takes a known key.
    pub(crate) fn take(&mut self, key: &'static str) -> Field<'a> {
        self.known.push(key);
        let index = self.left.iter().position(|entry| entry.key == key);
        let entry = index.map(|index| self.left.remove(index));
        Field::new(
            self.reading,
            entry.map(|entry| (&entry.node, entry.key_at)),
            self.path_of(key),
            self.at,
        )
    }

    /// A key that is not taken yet, if it is given.
    pub(crate) fn peek(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.left.iter().find(|entry| entry.key == key)?;
        let found = Some((&entry.node, entry.key_at));
        Some(Field::new(self.reading, found, self.path_of(key), self.at))
    }

    /// Passes over a key that is reported elsewhere and allowed nowhere.
    pub(crate) fn skip(&mut self, key: &str) {
        self.left.retain(|entry| entry.key != key);
    }

    /// Keys that were taken for their faults only are no longer named as allowed.
    pub(crate) fn forget(&mut self, keys: &[&str]) {
        self.known.retain(|key| !keys.contains(key));
    }

    /// Takes every key that is left, whatever it is called.
    pub(crate) fn take_rest(&mut self) -> Vec<(&'a str, Field<'a>)> {
        std::mem::take(&mut self.left)
            .into_iter()
            .map(|entry| {
                let field = Field::new(
                    self.reading,
                    Some((&entry.node, entry.key_at)),
                    self.path_of(&entry.key),
                    self.at,
                );
                (entry.key.as_str(), field)
            })
            .collect()
    }

    /// Where a key of the section stands; the section itself when it is not given.
    pub(crate) fn place_of_key(&self, key: &str) -> Place {
        let entry = self.present.iter().find(|entry| entry.key == key);
        self.place_of(entry.map_or(self.at, |entry| entry.key_at), key)
    }

    /// Whether the key is given, taken or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.present.iter().any(|entry| entry.key == key)
    }

    /// Whether two keys that exclude each other are both given; a fault at the second one.
    pub(crate) fn exclusive(&self, first: &str, second: &str, why: &str) -> bool {
        let both = self.has(first) && self.has(second);
        if both {
            self.reading.fault(
                self.place_of_key(second),
                format!("given beside `{first}`; {why}"),
            );
        }
        both
    }

    /// The keys that were asked for so far.
    pub(crate) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Names what was not taken. What is allowed is listed once, at the section's first unknown key; a long list only
    /// where no name is near.
    pub(crate) fn finish(self, misplaced: &[Misplaced]) {
        let mut allowed = Some(list_keys(&self.known));
        for entry in &self.left {
            let place = self.place_of(entry.key_at, &entry.key);
            let elsewhere = misplaced
                .iter()
                .find(|misplaced| misplaced.keys.contains(&entry.key.as_str()));
            if let Some(elsewhere) = elsewhere {
                self.reading.fault(place, elsewhere.sentence.clone());
                continue;
            }
            let nearest = nearest(&entry.key, self.known.iter().copied());
            let is_wanted = nearest.is_none() || self.known.len() <= LONG_LIST;
            self.reading.push(Fault {
                place,
                problem: "unknown key".to_owned(),
                allowed: allowed.take_if(|_| is_wanted),
                nearest: nearest.map(str::to_owned),
            });
        }
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn place_of(&self, at: Position, key: &str) -> Place {
        self.reading.place(at, &self.path_of(key))
    }
}

/// More keys than these hide the one that was meant.
const LONG_LIST: usize = 20;

/// Lists keys, the two forms of a duration as one.
fn list_keys(keys: &[&str]) -> String {
    if keys.is_empty() {
        return "no key at all".to_owned();
    }
    let is_seconds = |key: &str| key.strip_suffix("_s").is_some_and(|key| keys.contains(&key));
    let listed: Vec<String> = keys
        .iter()
        .filter(|key| !is_seconds(key))
        .map(|key| {
            let both = keys.iter().any(|other| other.strip_suffix("_s") == Some(key));
            format!("{key}{}", if both { "[_s]" } else { "" })
        })
        .collect();
    listed.join(", ")
}

/// The path of a key below another one.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = if key.is_empty() {
        "``".to_owned()
    } else {
        printable(key)
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
