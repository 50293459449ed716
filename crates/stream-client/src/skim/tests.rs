use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::walker::string_end;

fn check(chunk: &str, expected: &str) {
    let shown = match skim(chunk.as_bytes()) {
        Ok(facts) => show(&facts),
        Err(Unsure) => "unsure".to_owned(),
    };
    assert_eq!(shown, expected, "{chunk}");
    if let (Ok(facts), Ok(value)) = (skim(chunk.as_bytes()), serde_json::from_str(chunk)) {
        assert_eq!(comparable(&facts), comparable(&read(&value)), "{chunk}");
    }
}

fn show(facts: &Facts<'_>) -> String {
    let flags = [
        (facts.choice, "choice"),
        (facts.role, "role"),
        (facts.text, "text"),
        (facts.reasoning, "reasoning"),
        (facts.tool_call, "tool"),
        (facts.usage.is_some(), "usage"),
        (facts.error, "error"),
    ];
    let mut words: Vec<String> = flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1.to_owned())
        .collect();
    words.extend(
        facts
            .finish_reason
            .as_ref()
            .map(|reason| format!("finish={reason}")),
    );
    words.join(" ")
}

/// The facts with the usage parsed, for its spelling differs between the two ways.
fn comparable(facts: &Facts<'_>) -> (String, Option<Value>) {
    (
        show(facts),
        facts
            .usage
            .as_ref()
            .map(|usage| serde_json::from_slice(usage).unwrap()),
    )
}

fn check_choice(choice: &str, expected: &str) {
    check(
        &format!(r#"{{"id":"a","choices":[{{{choice}}}],"created":17}}"#),
        expected,
    );
}

#[test]
fn deltas() {
    check_choice(r#""delta":{"role":"assistant","content":""}"#, "choice role");
    check_choice(r#""delta":{"role":"assistant","content":null}"#, "choice role");
    check_choice(
        r#""delta":{"content":"a","role":"assistant"}"#,
        "choice role text",
    );
    check_choice(r#""delta":{"content":" "},"finish_reason":null"#, "choice text");
    check_choice(r#""delta":{},"finish_reason":"length""#, "choice finish=length");
    check_choice(r#""delta":{"reasoning":"a","content":null}"#, "choice reasoning");
    check_choice(
        r#""delta":{"reasoning_content":"a","content":""}"#,
        "choice reasoning",
    );
    check_choice(r#""delta":{"refusal":"no"}"#, "choice text");
    check_choice(r#""delta":{"content":[{"type":"text"}]}"#, "choice text");
    check_choice(r#""delta":{"content":[ ]}"#, "choice");
    check_choice(r#""delta":null"#, "choice");
    check_choice(
        r#""index":0,"text":"a","finish_reason":"stop""#,
        "choice text finish=stop",
    );
    check_choice(r#""text":"""#, "choice");
}

#[test]
fn tool_calls() {
    let call = |function: &str| format!(r#""delta":{{"tool_calls":[{{"index":0,"function":{function}}}]}}"#);
    check_choice(&call(r#"{"name":"f","arguments":""}"#), "choice tool");
    check_choice(&call(r#"{"arguments":"{\"a\":"}"#), "choice tool");
    check_choice(&call(r#"{"arguments":""}"#), "choice");
    check_choice(&call("null"), "choice");
    check_choice(r#""delta":{"tool_calls":[]}"#, "choice");
    check_choice(r#""delta":{"tool_calls":null}"#, "choice");
}

#[test]
fn the_order_of_keys_does_not_matter() {
    check(r#"{"usage":{"a":[1,{"b":"}"}]},"choices":[],"id":"a"}"#, "usage");
    check(r#"{"id":"a","choices":[],"usage":null}"#, "");
    check(
        r#"{"choices":[{"finish_reason":"stop","delta":{"content":"a"}}],"id":"b"}"#,
        "choice text finish=stop",
    );
    check(
        "\n { \"choices\" : [ { \"delta\" : { \"content\" : \"a\" } } ] , \"usage\" : { } } ",
        "choice text usage",
    );
}

#[test]
fn text_cannot_pose_as_structure() {
    let posing = r#"{\"finish_reason\":\"stop\",\"usage\":{},\"error\":1}],\"error\":{\\"#;
    check_choice(&format!(r#""delta":{{"content":"{posing}"}}"#), "choice text");
    check_choice(r#""delta":{"content":"\\"},"finish_reason":null"#, "choice text");
    check_choice(r#""delta":{"content":"\""}"#, "choice text");
    check(
        r#"{"id":"\"error\":1","choices":[{"logprobs":{"content":["usage",{"error":1}]}}]}"#,
        "choice",
    );
    check(
        r#"{"choices":[{"usage":{},"error":1,"delta":{"finish_reason":"stop","text":"a"}}]}"#,
        "choice",
    );
}

#[test]
fn errors() {
    check(r#"{"error":{"message":"m"}}"#, "error");
    check(r#"{"error": "Unauthorized"}"#, "error");
    check(r#"{"error":null,"choices":[]}"#, "");
    check(r#"{"error":"","choices":[]}"#, "");
    check(r#"{"error":false,"choices":[]}"#, "");
}

#[test]
fn two_choices() {
    let chunk = r#"{"choices":[{"delta":{}},{"delta":{"content":"a"},"finish_reason":"stop"},{"finish_reason":"length"}]}"#;
    check(chunk, "choice text finish=stop");
}

#[test]
fn what_is_left_to_the_parser() {
    check(r#"{"ch\u006fices":[]}"#, "unsure");
    check_choice(r#""delta":{"content":"a","content":""}"#, "unsure");
    check_choice(r#""finish_reason":"st\u006fp""#, "unsure");
    check(r#"{"choices":{}}"#, "unsure");
    check(r#"{"choices":[1]}"#, "unsure");
    for broken in [
        "",
        "{",
        "[]",
        "null",
        "{}x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1"#,
        r#"{"a":"b"#,
        r#"{"a":1,}"#,
    ] {
        check(broken, "unsure");
    }
}

#[test]
fn nothing_of_the_fixtures_is_left_to_the_parser() {
    for (name, stream) in crate::answer::tests::FIXTURES {
        for event in stream
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: {"))
        {
            let event = format!("{{{event}");
            let facts = skim(event.as_bytes());
            let facts = facts.unwrap_or_else(|Unsure| panic!("{name}: {event}"));
            assert_eq!(
                comparable(&facts),
                comparable(&read(&serde_json::from_str(&event).unwrap())),
                "{name}"
            );
        }
    }
}

#[test]
fn ends_of_strings() {
    let check = |bytes: &str, expected| assert_eq!(string_end(bytes.as_bytes()), expected, "{bytes}");
    for length in 0..40 {
        let inside = "x".repeat(length);
        check(&inside, None);
        check(&format!("{inside}\"tail of it\""), Some(length));
        check(&format!("{inside}\\\"\"tail"), Some(length + 2));
        check(&format!("{inside}\\\\\"\"tail"), Some(length + 2));
        check(&format!("{inside}\\"), None);
        check(&format!("{inside}\\\""), None);
        check(&format!("{inside}\u{23}\u{5b}\u{5d}\u{21}é\""), Some(length + 6));
    }
}

/// JSON texts of values that try to be mistaken for something else.
fn value() -> BoxedStrategy<String> {
    let leaf = select(vec![
        "null",
        "true",
        "-1.5e3",
        "0",
        r#""""#,
        r#""a""#,
        r#"" ""#,
        r#""é\n""#,
        r#""\\""#,
        r#""\"""#,
        r#""}]""#,
        r#""{[,:""#,
        r#""\"finish_reason\":\"stop\"""#,
        r#""\u0041""#,
        "[]",
        "{}",
        "[ ]",
        "{ }",
        r#"["",null]"#,
        r#""stop""#,
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|values| format!("[{}]", values.join(","))),
                object(vec![
                    ("content", inner.clone()),
                    ("error", inner.clone()),
                    ("x\\\\", inner)
                ]),
            ]
        })
        .boxed()
}

/// An object with some of the members, in any order, now and then one of them twice, spaces anywhere.
fn object(members: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let count = members.len();
    let members: Vec<BoxedStrategy<String>> = members
        .into_iter()
        .map(|(key, value)| {
            let space = select(vec!["", "", "", " ", "\r\n\t"]);
            (space, value)
                .prop_map(move |(space, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
                .boxed()
        })
        .collect();
    (
        members,
        subsequence((0..count).collect::<Vec<_>>(), 0..=count).prop_shuffle(),
        0..20_u8,
    )
        .prop_map(|(members, mut picked, twice)| {
            if twice == 0 {
                picked.extend(picked.first().copied());
            }
            let picked: Vec<&str> = picked.iter().map(|index| members[*index].as_str()).collect();
            format!("{{{}}}", picked.join(","))
        })
        .boxed()
}

fn list(element: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        8 => proptest::collection::vec(element, 0..3).prop_map(|elements| format!("[{}]", elements.join(","))),
        1 => value(),
    ]
    .boxed()
}

fn mostly(strategy: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![8 => strategy, 1 => value()].boxed()
}

fn chunk() -> BoxedStrategy<String> {
    let function = object(vec![("name", value()), ("arguments", value()), ("x", value())]);
    let call = object(vec![
        ("index", value()),
        ("function", mostly(function)),
        ("id", value()),
    ]);
    let delta = object(vec![
        ("content", value()),
        ("role", value()),
        ("refusal", value()),
        ("reasoning", value()),
        ("reasoning_content", value()),
        ("tool_calls", list(call)),
        ("x", value()),
    ]);
    let choice = object(vec![
        ("index", value()),
        ("delta", mostly(delta)),
        ("text", value()),
        ("finish_reason", value()),
        ("logprobs", value()),
    ]);
    object(vec![
        ("id", value()),
        ("choices", list(choice)),
        ("usage", value()),
        (
            "error",
            prop_oneof![4 => Just("null".to_owned()), 1 => value()].boxed(),
        ),
        ("x\\u0041", Just("1".to_owned()).boxed()),
        ("object", value()),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn skimming_is_parsing(chunk in chunk()) {
        let parsed: Value = serde_json::from_str(&chunk).unwrap();
        if let Ok(facts) = skim(chunk.as_bytes()) {
            prop_assert_eq!(comparable(&facts), comparable(&read(&parsed)));
        }
    }

    #[test]
    fn a_scanner_sees_in_a_stream_what_skimming_sees_in_each_chunk(
        chunks in proptest::collection::vec(chunk(), 1..4),
        texts in proptest::collection::vec("[a\"\\\\]{0,12}", 1..12),
    ) {
        // Each chunk again and again with other strings where it has `"a"`, most of which break it.
        let mut scanner = crate::Scanner::new();
        for (index, text) in texts.iter().enumerate() {
            let chunk = &chunks[index * chunks.len() / texts.len()];
            for chunk in [chunk.clone(), chunk.replace("\"a\"", &format!("\"{text}\""))] {
                prop_assert_eq!(scanner.scan(chunk.as_bytes()), skim(chunk.as_bytes()));
            }
        }
    }

    #[test]
    fn a_cut_chunk_is_never_understood(chunk in chunk(), cut in 0.0..1.0) {
        let end = (chunk.len() as f64 * cut) as usize;
        prop_assert_eq!(skim(&chunk.as_bytes()[..end]), Err(Unsure));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(select(b"{}[]\":,\\n1 choiesdltanu".to_vec()), 0..60)) {
        let _ = skim(&bytes);
    }
}
