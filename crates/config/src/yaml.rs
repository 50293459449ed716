//! YAML text into the spanned tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::tree::{Entry, Node, Position, Scalar, SyntaxFault, Value};

/// Deeper nesting is no configuration; the limit keeps recursive walks of the tree shallow.
const MAX_DEPTH: usize = 64;

/// Aliases multiply: a short text can stand for a huge tree.
const MAX_NODES: usize = 100_000;

/// Reads the one document of `text`; absent when it is empty.
pub(crate) fn read(text: &str) -> Result<Option<Node>, SyntaxFault> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| SyntaxFault {
            at: position(error.marker()),
            problem: format!("this is no YAML: {}", error.info()),
        })?;
        builder.accept(event, position(&span.start))?;
    }
    Ok(builder.root)
}

fn position(marker: &Marker) -> Position {
    Position {
        file: 0,
        line: marker.line().max(1) as u32,
        column: marker.col() as u32 + 1,
    }
}

struct Open {
    at: Position,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Position)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    documents: usize,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn accept(&mut self, event: Event<'_>, at: Position) -> Result<(), SyntaxFault> {
        match event {
            Event::DocumentStart(_) => self.start_document(at),
            Event::Scalar(text, style, anchor, tag) => {
                let forced_text = is_text_tag(tag.as_deref(), at)?;
                let value = Value::Scalar(Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && !forced_text,
                    written: None,
                });
                self.complete(Node { value, at }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(OpenKind::List(Vec::new()), anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                let (entries, key) = (Vec::new(), None);
                self.begin(OpenKind::Map { entries, key }, anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, at: Position) -> Result<(), SyntaxFault> {
        self.documents += 1;
        if self.documents > 1 {
            return fault(
                at,
                "a second document begins here; a configuration is one document",
            );
        }
        Ok(())
    }

    fn begin(
        &mut self,
        kind: OpenKind,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), SyntaxFault> {
        if is_text_tag(tag, at)? {
            return fault(at, "the tag `!!str` stands before something that is no text");
        }
        if self.open.len() >= MAX_DEPTH {
            return fault(at, &format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxFault> {
        let Some(Open { at, anchor, kind }) = self.open.pop() else {
            return Ok(());
        };
        let value = match kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, .. } => Value::Map(entries),
        };
        self.complete(Node { value, at }, anchor)
    }

    /// The alias's copy keeps the places of its anchor: a fault in it is mended there.
    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), SyntaxFault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return fault(at, "an alias stands inside of what it repeats");
        };
        self.nodes += node.size();
        self.complete(node, 0)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxFault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return fault(node.at, &format!("more than {MAX_NODES} values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key }) => match (key.take(), node) {
                (Some((key, key_at)), node) => entries.push(Entry { key, key_at, node }),
                (
                    None,
                    Node {
                        value: Value::Scalar(scalar),
                        at,
                    },
                ) => *key = Some((scalar.text, at)),
                (None, node) => return fault(node.at, "a key is a text, not a list or a map"),
            },
        }
        Ok(())
    }
}

/// Whether the tag makes a text of what follows; other tags are refused, since they would change what a value is.
fn is_text_tag(tag: Option<&Tag>, at: Position) -> Result<bool, SyntaxFault> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => fault(at, &format!("the tag `{tag}` is not read; only `!!str` is")),
    }
}

fn fault<T>(at: Position, problem: &str) -> Result<T, SyntaxFault> {
    Err(SyntaxFault {
        at,
        problem: problem.to_owned(),
    })
}
