//! `gipfel new`.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, anyhow};
use inquire::{InquireError, Select, Text, validator::Validation};
use reqwest::{StatusCode, redirect::Policy};

use crate::{
    cli::NewArguments,
    commands::results,
    exit::Exit,
    failure::Failure,
    new_file, peak, print,
    wizard::{self, Ask, Check, Listing, Question, Stop},
};

/// How long a server may take to say which models it has: the user waits.
const MODELS_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks what must be known and writes a commented configuration.
pub(crate) fn new(arguments: &NewArguments) -> Result<Exit, Failure> {
    let file = arguments.file.as_path();
    check_target(file, arguments.force)?;
    let runtime = results::runtime()?;
    let models = |url: &str, key: Option<&str>| runtime.block_on(list_models(url, key));
    let asker: &dyn Ask = if arguments.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        &Nobody
    } else {
        &Terminal
    };
    let answers = match wizard::answers(arguments, asker, &models) {
        Ok(answers) => answers,
        Err(stop) => return Err(failure(stop, arguments.yes)),
    };
    let name = file.display().to_string();
    let text = new_file::render(&answers, &name);
    gipfel_config::parse_yaml(&text, &name)
        .context("the file that was made is not valid; please report this")?;
    write(file, &text, arguments.force)?;
    print(&format!(
        "wrote {name}; look at it, then:\n  gipfel config check {name}\n  gipfel run {name}\n"
    ))?;
    Ok(Exit::Done)
}

fn check_target(file: &Path, force: bool) -> Result<(), Failure> {
    if file
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("toml"))
    {
        let error = anyhow!(
            "`{}` would be read as TOML, and what is written is YAML",
            file.display()
        );
        return Err(Failure::usage(error).hint("give a name that ends in .yaml"));
    }
    if file.exists() && !force {
        let error = anyhow!("`{}` exists already", file.display());
        return Err(Failure::usage(error).hint("give another name, or --force to replace it"));
    }
    Ok(())
}

/// A file that cannot be written whole is not left behind.
fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let opened = if force {
        File::create(file)
    } else {
        File::create_new(file)
    };
    let written = opened.and_then(|mut opened| {
        opened
            .write_all(text.as_bytes())
            .and_then(|()| opened.sync_all())
            .inspect_err(|_| {
                // The first failure is the one to report.
                let _ = fs::remove_file(file);
            })
    });
    written
        .with_context(|| format!("cannot write `{}`", file.display()))
        .map_err(Failure::usage)
}

fn failure(stop: Stop, yes: bool) -> Failure {
    match stop {
        Stop::Interrupted => Failure {
            exit: Exit::Interrupted,
            error: stop.into(),
            hint: None,
        },
        Stop::NoTerminal { argument, .. } => {
            let hint = if yes {
                format!("give {argument}")
            } else {
                format!("give {argument}; --yes takes the defaults of all that is left")
            };
            Failure::usage(stop).hint(hint)
        }
        Stop::Terminal(_) | Stop::Refused(_) => Failure::usage(stop),
    }
}

/// Asks the server which models it has.
async fn list_models(url: &str, key: Option<&str>) -> Listing {
    match ask_server(url, key).await {
        Ok(listing) => listing,
        Err(error) => Listing::Silent(format!("{:#}", anyhow::Error::new(error.without_url()))),
    }
}

async fn ask_server(url: &str, key: Option<&str>) -> Result<Listing, reqwest::Error> {
    let client = reqwest::Client::builder()
        .timeout(MODELS_TIMEOUT)
        .no_proxy()
        .redirect(Policy::none())
        .build()?;
    let mut request = client.get(format!("{url}/v1/models"));
    // A variable that is not set here may be set where the file is run.
    if let Some(key) = key.and_then(|name| std::env::var(name).ok()) {
        request = request.bearer_auth(key.trim());
    }
    let answer = request.send().await?;
    Ok(match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Listing::KeyNeeded,
        status if status.is_success() => Listing::Models(peak::listed_models(&answer.json().await?)),
        status => Listing::Silent(format!("it answers HTTP status {status}")),
    })
}

/// No terminal, or a user who does not want to be asked.
struct Nobody;

impl Ask for Nobody {
    fn choose(&self, question: &Question, _: &[String]) -> Result<usize, Stop> {
        Err(unanswered(question))
    }

    fn text(&self, question: &Question, _: Option<&str>, _: Check) -> Result<String, Stop> {
        Err(unanswered(question))
    }

    fn say(&self, words: &str) {
        say(words);
    }
}

fn unanswered(question: &Question) -> Stop {
    Stop::NoTerminal {
        missing: question.missing,
        argument: question.argument,
    }
}

fn say(words: &str) {
    // A closed terminal is no reason to fail.
    let _ = writeln!(io::stderr(), "{words}");
}

/// The user at the terminal.
struct Terminal;

impl Ask for Terminal {
    fn choose(&self, question: &Question, options: &[String]) -> Result<usize, Stop> {
        let mut prompt = Select::new(question.text, options.to_vec());
        if !question.help.is_empty() {
            prompt = prompt.with_help_message(question.help);
        }
        prompt.raw_prompt().map(|chosen| chosen.index).map_err(stopped)
    }

    fn text(&self, question: &Question, default: Option<&str>, check: Check) -> Result<String, Stop> {
        let validator = move |text: &str| {
            Ok(match check(text) {
                Ok(()) => Validation::Valid,
                Err(problem) => Validation::Invalid(problem.into()),
            })
        };
        let mut prompt = Text::new(question.text).with_validator(validator);
        if !question.help.is_empty() {
            prompt = prompt.with_help_message(question.help);
        }
        if let Some(default) = default {
            prompt = prompt.with_default(default);
        }
        prompt
            .prompt()
            .map(|text| text.trim().to_owned())
            .map_err(stopped)
    }

    fn say(&self, words: &str) {
        say(words);
    }
}

fn stopped(error: InquireError) -> Stop {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => Stop::Interrupted,
        other => Stop::Terminal(Box::new(other)),
    }
}
