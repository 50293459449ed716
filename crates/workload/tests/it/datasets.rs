//! Files of prompts: what is read, what is refused, and in which order it is used.

use std::{collections::HashSet, sync::Arc};

use gipfel_model::{
    AnswerLength, DataSetFile, DataSetForm, DataSetSpec, LengthDistribution, PromptSource, WorkloadSpec,
};
use gipfel_workload::{
    Contents, Corpus, CountTokens, DataFaults, Entry, EstimateTokens, LeftOut, Message, Pool, Requests,
    Selection, read_entries, read_lines,
};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::workload;

fn read(form: DataSetForm, text: &str, needs_output: bool) -> Result<Contents, DataFaults> {
    let selection = Selection {
        min_input: 1,
        max_input: 10,
        needs_output,
        tokens: &EstimateTokens,
    };
    read_entries(form, text.as_bytes(), selection)
}

/// The entries one per line, what was left out, or the faults.
fn shown(form: DataSetForm, text: &str) -> String {
    match read(form, text, true) {
        Ok(Contents { entries, left_out }) => {
            let entries = entries.iter().map(|entry| {
                let messages = entry
                    .messages
                    .iter()
                    .map(|Message { role, content }| format!("{role}: {content:?}"));
                let messages = messages.collect::<Vec<_>>().join(", ");
                format!("{messages} ({} -> {:?})", entry.input, entry.output)
            });
            let LeftOut {
                short,
                long,
                repeated,
                unusable,
            } = left_out;
            let left_out =
                format!("left out: {short} short, {long} long, {repeated} repeated, {unusable} unusable");
            entries.chain([left_out]).collect::<Vec<_>>().join("\n")
        }
        Err(faults) => faults.lines("data").join("\n"),
    }
}

#[test]
fn own_lines_have_three_forms() {
    let text = r#"
{"prompt": "Name a river.", "output_tokens": 8, "id": 7, "label": "short"}
{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}], "answer": "Because."}

{"conversations": [{"from": "human", "value": "A fish?"}, {"from": "gpt", "value": "A trout."}]}
{"prompt": "Name a river.", "output_tokens": 9}
{"prompt": "one two three four five six seven eight nine ten", "output_tokens": 9}
"#;
    assert_snapshot!(shown(DataSetForm::Jsonl, text), @r#"
    user: "Name a river." (4 -> Some(8))
    system: "Be brief.", user: "Why?" (4 -> Some(2))
    user: "A fish?" (2 -> Some(2))
    left out: 0 short, 1 long, 1 repeated, 0 unusable
    "#);
}

#[test]
fn faults_of_lines_are_named_all_at_once() {
    let text = r#"{"prompt": "Name a river."}
{"prompt": "Name", "output_tokens": 0}
{"prompt": "Name", "output_token": 4}
{"output_tokens": 4}
{"prompt": "", "output_tokens": 4}
{"prompt": "Name", "messages": [], "output_tokens": 4}
{"messages": [{"role": "usr", "content": "x"}], "output_tokens": 4}
{"messages": [{"role": "assistant", "content": "x"}], "output_tokens": 4}
{"prompt": "x"
[1]
{"prompt": 5}"#;
    assert_snapshot!(shown(DataSetForm::Jsonl, text), @r"
    data:1: there is neither a length of the answer nor an answer; give one, or `output_length` in the configuration
    data:2: an answer of 0 tokens cannot be asked for
    data:3: unknown field `output_token`, expected one of `prompt`, `messages`, `conversations`, `answer`, `output_tokens`, `id`, `label`, at column 33
    data:4: one of `prompt`, `messages`, `conversations` is required
    data:5: the prompt is empty
    data:6: only one of `prompt`, `messages`, `conversations` may be given
    data:7: the role `usr` is none of system, user, assistant, tool, developer
    data:8: the conversation has no message that could be answered
    data:9: EOF while parsing an object, at column 14
    data:10: invalid type: integer `1`, expected a string, at column 2
    data:11: invalid type: integer `5`, expected a string, at column 12
    ");
    let many = "x\n".repeat(50);
    let faults = read(DataSetForm::Jsonl, &many, true).expect_err("no JSON");
    assert_eq!((faults.first.len(), faults.more), (20, 30));
}

#[test]
fn the_predecessors_prompts_are_read() {
    let text = r#"[
        {"label": "short", "max_tokens": 64, "content": "Name a lake."},
        {"label": "chat", "max_tokens": 32, "messages": [{"role": "user", "content": "Why?"}]}
    ]"#;
    assert_snapshot!(shown(DataSetForm::Prompts, text), @r#"
    user: "Name a lake." (3 -> Some(64))
    user: "Why?" (1 -> Some(32))
    left out: 0 short, 0 long, 0 repeated, 0 unusable
    "#);
    let text = r#"[{"max_tokens": 64}, {"content": "x", "max_tokens": "64"}, {"content": "x"}, 5]"#;
    assert_snapshot!(shown(DataSetForm::Prompts, text), @r#"
    data: entry 1: one of `content` and `messages` is required, and not both
    data: entry 2: invalid type: string "64", expected u32
    data: entry 3: there is neither a length of the answer nor an answer; give one, or `output_length` in the configuration
    data: entry 4: invalid type: integer `5`, expected struct Prompt
    "#);
    assert_snapshot!(shown(DataSetForm::Prompts, "{}"), @"data: invalid type: map, expected an array of entries at line 1 column 1");
    assert_snapshot!(shown(DataSetForm::Prompts, "[{}"), @"data: EOF while parsing a list at line 1 column 3");
}

#[test]
fn foreign_sets_are_read_as_other_tools_read_them() {
    let sharegpt = r#"[
        {"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello there"}, {"from": "human", "value": "More"}]},
        {"id": "b", "conversations": [{"from": "gpt", "value": "Hi"}, {"from": "human", "value": "Hello"}]},
        {"id": "c", "conversations": []},
        {"id": "d", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": " "}]}
    ]"#;
    assert_snapshot!(shown(DataSetForm::Sharegpt, sharegpt), @r#"
    user: "Hi" (1 -> Some(3))
    left out: 0 short, 0 long, 0 repeated, 3 unusable
    "#);
    let codealpaca = r#"[
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "print('hi')"},
        {"instruction": "Nothing.", "input": "", "output": ""}
    ]"#;
    assert_snapshot!(shown(DataSetForm::Codealpaca, codealpaca), @r#"
    user: "Add.\n\n1 and 2" (4 -> Some(1))
    user: "Say hi." (2 -> Some(3))
    left out: 0 short, 0 long, 0 repeated, 1 unusable
    "#);
    assert_snapshot!(shown(DataSetForm::Codealpaca, sharegpt), @r"
    data: entry 1: missing field `instruction`
    data: entry 2: missing field `instruction`
    data: entry 3: missing field `instruction`
    data: entry 4: missing field `instruction`
    ");
}

fn entries(prefix: &str, count: u32) -> Vec<Entry> {
    let entry = |number| Entry {
        messages: vec![Message::user(format!("{prefix}{number}"))],
        input: 1,
        output: Some(number + 1),
    };
    (0..count).map(entry).collect()
}

fn order(pool: &Pool) -> Vec<String> {
    let prompts = (0..pool.len()).filter_map(|request| pool.get(request));
    prompts.map(|entry| entry.messages[0].content.clone()).collect()
}

#[test]
fn the_seed_decides_the_order() {
    let pool = |seed, most| order(&Pool::mix(seed, vec![(entries("p", 8), 1.0)], most)).join(" ");
    assert_snapshot!(pool(1, None), @"p5 p7 p0 p6 p3 p1 p2 p4");
    assert_snapshot!(pool(2, None), @"p7 p6 p0 p1 p3 p5 p2 p4");
    assert_snapshot!(pool(1, Some(3)), @"p5 p7 p0");
    let mixed = Pool::mix(1, vec![(entries("s", 8), 0.7), (entries("c", 8), 0.3)], None);
    assert_snapshot!(order(&mixed).join(" "), @"c4 s5 s7 c5 s0 s6 c2 s3 c1 c0 s1 c6 s2 c7 s4");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_used_twice_and_shares_hold(seed: u64, share in 0.0_f64..=1.0) {
        let sets = vec![(entries("s", 2_000), share), (entries("c", 2_000), 1.0 - share)];
        let order = order(&Pool::mix(seed, sets, None));
        prop_assert_eq!(order.iter().collect::<HashSet<_>>().len(), order.len());
        prop_assert!(order.len() >= 2_000);
        let first = order.iter().filter(|prompt| prompt.starts_with('s')).count() as f64;
        let n = order.len() as f64;
        // A set that runs out ends the order at a random place.
        prop_assert!((first - share * n).abs() <= 6.0 * (n * share * (1.0 - share)).sqrt() + 1.0, "{} of {}", first, n);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(text in ".{0,200}", form in prop::sample::select(DataSetForm::ALL)) {
        let _ = read(form, &text, true);
    }

    #[test]
    fn any_json_is_read_without_a_panic(text in r#"[\[\]{}:,"a-f0-9 \\n]{0,80}"#, form in prop::sample::select(DataSetForm::ALL)) {
        let _ = read(form, &text, false);
    }
}

fn spec(answers: AnswerLength, nonce: bool) -> WorkloadSpec {
    let fixed = LengthDistribution::Fixed { value: 7 };
    let file = DataSetFile {
        form: DataSetForm::Jsonl,
        path: Some("data.jsonl".into()),
        share: 1.0,
    };
    let dataset = DataSetSpec {
        files: vec![file],
        min_input: 1,
        max_input: u32::MAX,
        num_prompts: None,
        answers,
        nonce,
        hf_home: None,
    };
    WorkloadSpec {
        prompts: PromptSource {
            dataset: Some(dataset),
            tokenizer: None,
        },
        ..workload(42, fixed, fixed)
    }
}

#[test]
fn a_request_is_an_entry_with_a_nonce() {
    let check = |answers, nonce| {
        let spec = spec(answers, nonce);
        let pool = Pool::mix(spec.seed, vec![(entries("p", 4), 1.0)], None);
        let requests = Requests::new(spec, "run-1", Corpus::Pool(Arc::new(pool)), None);
        assert_eq!(requests.len(), Some(4));
        assert_eq!(requests.get(9, 5, 4), None);
        let request = requests.get(0, 0, 2).expect("an entry");
        let gipfel_workload::Lengths { input, output } = request.lengths;
        format!("{} {input} {output}", request.messages[0].content)
    };
    assert_snapshot!(check(AnswerLength::Dataset, true), @"[tiojchkgaeuanf] p2 1 3");
    assert_snapshot!(check(AnswerLength::Dataset, false), @"p2 1 3");
    assert_snapshot!(check(AnswerLength::Distribution, false), @"p2 1 7");
}

#[test]
fn prompts_of_lines_have_their_words() {
    let lines = read_lines("Shall I compare\n\n  thee to a day\n".as_bytes()).expect("lines");
    assert_eq!(lines.len(), 2);
    let fixed = LengthDistribution::Fixed { value: 9 };
    let requests = Requests::new(
        workload(42, fixed, fixed),
        "run-1",
        Corpus::Lines(lines.into()),
        None,
    );
    assert_eq!(requests.len(), None);
    let prompt = |arrival| {
        requests.get(0, arrival, 0).expect("no end").messages[0]
            .content
            .clone()
    };
    assert_snapshot!(prompt(0).replace('\n', " / "), @"tiojchkgaeuanf / Shall I compare / Shall I compare / thee to");
    assert_eq!(prompt(1).split_whitespace().count(), 9);
    assert!(read_lines(" \n".as_bytes()).is_err());
}

/// A tokenizer of pieces of at most three letters; the space before a word belongs to its first piece.
#[derive(Debug)]
struct Pieces;

impl CountTokens for Pieces {
    fn count(&self, text: &str) -> Option<u32> {
        let pieces = text
            .split(' ')
            .map(|word| word.chars().count().div_ceil(3).max(1));
        u32::try_from(pieces.sum::<usize>()).ok()
    }
}

#[test]
fn a_tokenizer_makes_lengths_exact() {
    for wanted in [6, 7, 16, 100, 511, 2_000] {
        let fixed = LengthDistribution::Fixed { value: wanted };
        let tokens: Arc<dyn CountTokens> = Arc::new(Pieces);
        let requests = Requests::new(
            workload(3, fixed, fixed),
            "run-1",
            Corpus::Words,
            Some(Arc::clone(&tokens)),
        );
        for arrival in 0..20 {
            let request = requests.get(0, arrival, 0).expect("no end");
            let text = &request.messages[0].content;
            assert_eq!(
                (request.lengths.input, tokens.count(text)),
                (wanted, Some(wanted)),
                "{text}"
            );
        }
    }
}
