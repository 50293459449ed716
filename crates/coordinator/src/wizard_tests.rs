use std::cell::RefCell;

use clap::Parser;
use insta::assert_snapshot;

use super::*;
use crate::cli::{Cli, Command};

/// Answers from a list, and a record of what was asked and said.
struct Script {
    answers: RefCell<Vec<&'static str>>,
    record: RefCell<Vec<String>>,
}

impl Script {
    fn next(&self, question: &Question) -> Result<&'static str, Stop> {
        self.record.borrow_mut().push(question.text.to_owned());
        let mut answers = self.answers.borrow_mut();
        if answers.is_empty() {
            return Err(Stop::NoTerminal {
                missing: question.missing,
                argument: question.argument,
            });
        }
        Ok(answers.remove(0))
    }
}

impl Ask for Script {
    fn choose(&self, question: &Question, options: &[String]) -> Result<usize, Stop> {
        let answer = self.next(question)?;
        let found = options.iter().position(|option| option.contains(answer));
        Ok(found.unwrap_or_else(|| panic!("{answer} is none of {options:?}")))
    }

    fn text(&self, question: &Question, default: Option<&str>, check: Check) -> Result<String, Stop> {
        let answer = self.next(question)?;
        let answer = if answer.is_empty() {
            default.unwrap_or_default()
        } else {
            answer
        };
        check(answer).map_err(Stop::Refused)?;
        Ok(answer.to_owned())
    }

    fn say(&self, words: &str) {
        self.record.borrow_mut().push(format!("({words})"));
    }
}

fn arguments(words: &str) -> NewArguments {
    let words = ["gipfel", "new"].into_iter().chain(words.split_whitespace());
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::New(arguments)) => arguments,
        other => panic!("{other:?}"),
    }
}

/// What is asked, said and answered; the server has models where its name says so.
fn dialogue(words: &str, given: &[&'static str]) -> String {
    let script = Script {
        answers: RefCell::new(given.to_vec()),
        record: RefCell::default(),
    };
    let models = |url: &str, key: Option<&str>| {
        let found = |model: &str, backend| Found {
            model: model.to_owned(),
            backend,
        };
        match url {
            "http://one" => Listing::Models(vec![found("a", BackendKind::Vllm)]),
            "http://two" => Listing::Models(vec![
                found("a", BackendKind::Ollama),
                found("b", BackendKind::Ollama),
            ]),
            "http://closed" if key.is_none() => Listing::KeyNeeded,
            "http://closed" => Listing::Models(vec![found("c", BackendKind::Openai)]),
            _ => Listing::Silent("connection refused".to_owned()),
        }
    };
    let answers = answers(&arguments(words), &script, &models);
    let mut lines = script.record.into_inner();
    lines.push(match answers {
        Ok(Answers {
            server,
            model,
            backend,
            slos,
            rates,
            budget,
        }) => {
            let slos: Vec<String> = slos.iter().map(ToString::to_string).collect();
            format!("= {server:?} {model} {backend} {slos:?} {rates:?} {budget:?}")
        }
        Err(stop) => format!("! {stop}"),
    });
    lines.join("\n")
}

#[test]
fn everything_is_asked() {
    assert_snapshot!(dialogue("", &["URL", "http://one", "", "Search"]), @r#"
    Where is the server?
    The server's URL?
    (the server's model is a)
    Which objectives, separated by commas?
    Which rates?
    = Url { url: "http://one", api_key_env: None } a vllm ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("", &["URL", "http://two", "b", "tpot p95 <= 50ms, error_rate <= 1%", "list", "4,2,2"]), @r#"
    Where is the server?
    The server's URL?
    Which model?
    Which objectives, separated by commas?
    Which rates?
    The rates in requests per second, separated by commas?
    = Url { url: "http://two", api_key_env: None } b ollama ["tpot p95 <= 50ms", "error_rate <= 1%"] [ArrivalRate(2.0), ArrivalRate(4.0)] None
    "#);
    assert_snapshot!(dialogue("", &["URL", "", "m", "", "Search"]), @r#"
    Where is the server?
    The server's URL?
    (the server cannot be asked for its models now: connection refused)
    The model's name?
    Which objectives, separated by commas?
    Which rates?
    = Url { url: "http://127.0.0.1:8000", api_key_env: None } m openai ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("", &["this machine", "vllm", "org/m", "", "Search"]), @r#"
    Where is the server?
    Which engine?
    The model?
    Which objectives, separated by commas?
    Which rates?
    = ThisMachine org/m vllm ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("", &["this machine", "sim", "", "Search"]), @r#"
    Where is the server?
    Which engine?
    Which objectives, separated by commas?
    Which rates?
    = ThisMachine quickstart sim ["ttft p95 <= 500ms"] [] None
    "#);
}

#[test]
fn a_cluster_is_asked_for_its_account() {
    assert_snapshot!(dialogue("", &["Slurm cluster", "clariden", "a-1", "sglang", "org/m", "", "Search"]), @r#"
    Where is the server?
    Which cluster?
    Which account is charged?
    Which engine?
    The model?
    Which objectives, separated by commas?
    Which rates?
    = Slurm { profile: "clariden", system: Some("clariden"), account: Some("a-1") } org/m sglang ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("--yes --slurm generic --model org/m", &[]), @r#"= Slurm { profile: "generic", system: None, account: None } org/m vllm ["ttft p95 <= 500ms"] [] None"#);
    assert_snapshot!(dialogue("--yes --slurm eiger --model org/m", &[]), @"! there is no profile `eiger`; known are bristen, clariden, daint, generic, meluxina: name one of them under `site`, or a file of your own such as `./eiger.toml`");
    assert_snapshot!(dialogue("--yes --slurm clariden --backend llamacpp --model m", &[]), @"! llamacpp has no program of its own that could be started here: give the --url of a running server, or write `command` into the file of another engine");
}

#[test]
fn a_key_is_named_where_the_server_asks_for_one() {
    assert_snapshot!(dialogue("--yes --url http://closed", &["MODELS_KEY"]), @r#"
    The server asks for a key. Which environment variable holds it?
    (the server's model is c)
    = Url { url: "http://closed", api_key_env: Some("MODELS_KEY") } c openai ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("--yes --url http://closed", &["sk-123"]), @"
    The server asks for a key. Which environment variable holds it?
    ! the name of a variable, such as OPENAI_API_KEY; the key itself does not stand in the file
    ");
    assert_snapshot!(dialogue("--yes --url http://closed --api-key-env K", &[]), @r#"
    (the server's model is c)
    = Url { url: "http://closed", api_key_env: Some("K") } c openai ["ttft p95 <= 500ms"] [] None
    "#);
}

#[test]
fn arguments_answer_beforehand() {
    assert_snapshot!(dialogue("--yes", &[]), @r#"= ThisMachine quickstart sim ["ttft p95 <= 500ms"] [] None"#);
    assert_snapshot!(dialogue("--yes --url http://two", &[]), @r#"= Url { url: "http://two", api_key_env: None } a ollama ["ttft p95 <= 500ms"] [] None"#);
    assert_snapshot!(dialogue("--yes --url http://one --model z", &[]), @r#"
    (warning: the server does not list `z`; it lists a)
    = Url { url: "http://one", api_key_env: None } z openai ["ttft p95 <= 500ms"] [] None
    "#);
    assert_snapshot!(dialogue("--backend vllm --model m --slo 500 --rates 1,2", &[]), @r#"= ThisMachine m vllm ["ttft p95 <= 500ms"] [ArrivalRate(1.0), ArrivalRate(2.0)] None"#);
    assert_snapshot!(dialogue("--url http://one --slo 500 --for 6min", &[]), @r#"
    (the server's model is a)
    = Url { url: "http://one", api_key_env: None } a vllm ["ttft p95 <= 500ms"] [] Some(360s)
    "#);
}

#[test]
fn what_nobody_can_be_asked_is_named() {
    assert_snapshot!(dialogue("", &[]), @"
    Where is the server?
    ! nothing says where the server is, and nobody can be asked
    ");
    assert_snapshot!(dialogue("--yes --url http://gone", &[]), @"
    (the server cannot be asked for its models now: connection refused)
    The model's name?
    ! nothing says the model's name, and nobody can be asked
    ");
    assert_snapshot!(dialogue("--yes --backend vllm", &[]), @"
    The model?
    ! nothing says the model, and nobody can be asked
    ");
    assert_snapshot!(dialogue("--yes --backend dynamo", &[]), @"! dynamo has no program of its own that could be started here: give the --url of a running server, or write `command` into the file of another engine");
}
