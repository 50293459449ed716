//! The questions of `gipfel new`: only what the arguments leave open is asked.

use gipfel_model::{ArrivalRate, BackendKind, Slo};
use gipfel_slurm_backend::Site;

use crate::{
    cli::{BaseUrl, NewArguments},
    new_file::{Answers, Server},
    peak::Found,
};

const DEFAULT_URL: &str = "http://127.0.0.1:8000";
const DEFAULT_SLO: &str = "ttft p95 <= 500ms";

/// Why there are no answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The user left.
    #[error("interrupted: nothing was written")]
    Interrupted,
    /// Nobody can be asked.
    #[error("nothing says {missing}, and nobody can be asked")]
    NoTerminal {
        /// What is not known.
        missing: &'static str,
        /// The argument that says it.
        argument: &'static str,
    },
    /// The terminal failed.
    #[error("failed to ask")]
    Terminal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An argument does not fit.
    #[error("{0}")]
    Refused(String),
}

/// A question, and the argument that would have answered it.
pub(crate) struct Question {
    pub(crate) text: &'static str,
    pub(crate) help: &'static str,
    pub(crate) missing: &'static str,
    pub(crate) argument: &'static str,
}

/// Whether a text is an answer, else what would be one.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// Somebody who answers.
pub(crate) trait Ask {
    /// The index of one of the options.
    fn choose(&self, question: &Question, options: &[String]) -> Result<usize, Stop>;
    /// A text that passes the check.
    fn text(&self, question: &Question, default: Option<&str>, check: Check) -> Result<String, Stop>;
    /// Says something between two questions.
    fn say(&self, words: &str);
}

/// What the server behind a URL says of its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// They are these; perhaps none.
    Models(Vec<Found>),
    /// It asks for a key.
    KeyNeeded,
    /// It does not answer, and why.
    Silent(String),
}

/// Asks for what the arguments leave open; `models` asks the server behind a URL, with the name of the key's variable.
pub(crate) fn answers(
    arguments: &NewArguments,
    ask: &dyn Ask,
    models: &dyn Fn(&str, Option<&str>) -> Listing,
) -> Result<Answers, Stop> {
    let (server, backend, model) = match place(arguments, ask)? {
        Place::Url => behind_url(arguments, ask, models)?,
        Place::ThisMachine => started(arguments, ask, ENGINES, |_| Ok(Server::ThisMachine))?,
        Place::Slurm => started(arguments, ask, ENGINES_OF_JOBS, |ask| cluster(arguments, ask))?,
    };
    let slos = slos(arguments, ask)?;
    let rates = rates(arguments, ask)?;
    Ok(Answers {
        server,
        model,
        backend,
        slos,
        rates,
        budget: arguments.total_time,
    })
}

/// Where the server is, or is to be.
#[derive(Clone, Copy)]
enum Place {
    Url,
    ThisMachine,
    Slurm,
}

fn place(arguments: &NewArguments, ask: &dyn Ask) -> Result<Place, Stop> {
    if arguments.url.is_some() {
        return Ok(Place::Url);
    }
    if arguments.slurm.is_some() {
        return Ok(Place::Slurm);
    }
    if arguments.yes || arguments.backend.is_some() {
        return Ok(Place::ThisMachine);
    }
    let question = Question {
        text: "Where is the server?",
        help: "Kubernetes comes with a later version.",
        missing: "where the server is",
        argument: "--url URL, --slurm CLUSTER, or --backend ENGINE for one that gipfel starts on this machine",
    };
    let options = [
        "It runs already, behind a URL",
        "Gipfel starts it on this machine",
        "Gipfel starts it as a job of a Slurm cluster",
    ];
    Ok(match ask.choose(&question, &options.map(str::to_owned))? {
        0 => Place::Url,
        1 => Place::ThisMachine,
        _ => Place::Slurm,
    })
}

/// The cluster of a server's job, and the account that is charged.
fn cluster(arguments: &NewArguments, ask: &dyn Ask) -> Result<Server, Stop> {
    let names = gipfel_slurm_backend::site::names();
    let profile = if let Some(named) = &arguments.slurm {
        named.clone()
    } else {
        let question = Question {
            text: "Which cluster?",
            help: "generic is any cluster whose Slurm commands this machine has; others need a profile of your own.",
            missing: "which cluster",
            argument: "--slurm CLUSTER",
        };
        let options: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let index = ask.choose(&question, &options)?;
        options.get(index).cloned().unwrap_or_default()
    };
    let site = Site::load(&profile).map_err(|error| Stop::Refused(error.to_string()))?;
    let account = match &arguments.account {
        Some(account) => Some(account.clone()),
        None if arguments.yes => None,
        None => {
            let question = Question {
                text: "Which account is charged?",
                help: "Empty for the one that Slurm takes by itself.",
                missing: "the account",
                argument: "--account ACCOUNT",
            };
            Some(ask.text(&question, Some(""), check_account)?).filter(|account| !account.is_empty())
        }
    };
    Ok(Server::Slurm {
        profile,
        system: site.firecrest.map(|facts| facts.system),
        account,
    })
}

fn check_account(text: &str) -> Result<(), String> {
    let is_word = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_word && !text.starts_with('-') {
        Ok(())
    } else {
        Err("an account has letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn behind_url(
    arguments: &NewArguments,
    ask: &dyn Ask,
    models: &dyn Fn(&str, Option<&str>) -> Listing,
) -> Result<(Server, BackendKind, String), Stop> {
    let url = if let Some(url) = &arguments.url {
        url.0.clone()
    } else {
        ask_url(ask)?
    };
    let mut api_key_env = arguments.api_key_env.clone();
    let mut listing = models(&url, api_key_env.as_deref());
    if listing == Listing::KeyNeeded && api_key_env.is_none() {
        let question = Question {
            text: "The server asks for a key. Which environment variable holds it?",
            help: "The file holds the name, never the key.",
            missing: "which variable holds the key that the server asks for",
            argument: "--api-key-env NAME",
        };
        let name = ask.text(&question, None, check_variable)?;
        listing = models(&url, Some(&name));
        api_key_env = Some(name);
    }
    let found = choose_model(arguments, ask, listing)?;
    let server = Server::Url { url, api_key_env };
    Ok((server, found.backend, found.model))
}

fn ask_url(ask: &dyn Ask) -> Result<String, Stop> {
    let question = Question {
        text: "The server's URL?",
        help: "Its base, as it stands before /v1.",
        missing: "the server's URL",
        argument: "--url URL",
    };
    let check: Check = |text| text.parse::<BaseUrl>().map(|_| ());
    let text = ask.text(&question, Some(DEFAULT_URL), check)?;
    text.parse::<BaseUrl>().map(|url| url.0).map_err(Stop::Refused)
}

fn choose_model(arguments: &NewArguments, ask: &dyn Ask, listing: Listing) -> Result<Found, Stop> {
    let listed = match listing {
        Listing::Models(listed) => listed,
        Listing::KeyNeeded => {
            ask.say("the server does not take the key");
            Vec::new()
        }
        Listing::Silent(why) => {
            ask.say(&format!("the server cannot be asked for its models now: {why}"));
            Vec::new()
        }
    };
    let backend_of = |found: Option<&Found>| {
        let listed = found.map(|found| found.backend);
        arguments.backend.or(listed).unwrap_or(BackendKind::Openai)
    };
    let named = |model: &str| Found {
        model: model.to_owned(),
        backend: backend_of(listed.iter().find(|found| found.model == model)),
    };
    if let Some(model) = &arguments.model {
        let found = named(model);
        if !listed.is_empty() && listed.iter().all(|listed| listed.model != found.model) {
            let names: Vec<&str> = listed.iter().map(|listed| listed.model.as_str()).collect();
            ask.say(&format!(
                "warning: the server does not list `{model}`; it lists {}",
                names.join(", ")
            ));
        }
        return Ok(found);
    }
    match listed.as_slice() {
        [] => {
            let question = Question {
                text: "The model's name?",
                help: "As the server lists it in /v1/models.",
                missing: "the model's name",
                argument: "--model NAME",
            };
            Ok(named(&ask.text(&question, None, check_filled)?))
        }
        [only] => {
            ask.say(&format!("the server's model is {}", only.model));
            Ok(named(&only.model))
        }
        [first, ..] if arguments.yes => Ok(named(&first.model)),
        several => {
            let question = Question {
                text: "Which model?",
                help: "",
                missing: "which of the server's models",
                argument: "--model NAME",
            };
            let names: Vec<String> = several.iter().map(|found| found.model.clone()).collect();
            let index = ask.choose(&question, &names)?;
            let model = names.get(index).map_or("", String::as_str);
            Ok(named(model))
        }
    }
}

/// Engines that need no command of one's own, and what to call a model of theirs.
const ENGINES: &[(BackendKind, &str)] = &[
    (BackendKind::Vllm, "A repository of Hugging Face, or a folder."),
    (BackendKind::Sglang, "A repository of Hugging Face, or a folder."),
    (BackendKind::Llamacpp, "The path of a .gguf file."),
    (BackendKind::Ollama, "As `ollama list` has it."),
    (BackendKind::Sim, "Any name."),
];

/// Engines of jobs that need no command of one's own.
const ENGINES_OF_JOBS: &[(BackendKind, &str)] = &[
    (
        BackendKind::Vllm,
        "A repository of Hugging Face, or a folder of the cluster.",
    ),
    (
        BackendKind::Sglang,
        "A repository of Hugging Face, or a folder of the cluster.",
    ),
    (
        BackendKind::Dynamo,
        "A repository of Hugging Face, or a folder of the cluster.",
    ),
];

/// A server that gipfel starts, with one of these engines; the first is what `--yes` takes, on this machine the simulator.
fn started(
    arguments: &NewArguments,
    ask: &dyn Ask,
    engines: &[(BackendKind, &'static str)],
    place: impl FnOnce(&dyn Ask) -> Result<Server, Stop>,
) -> Result<(Server, BackendKind, String), Stop> {
    let server = place(ask)?;
    let usual = match &server {
        Server::Slurm { .. } => BackendKind::Vllm,
        Server::ThisMachine | Server::Url { .. } => BackendKind::Sim,
    };
    let backend = match arguments.backend {
        Some(backend) => backend,
        None if arguments.yes => usual,
        None => {
            let question = Question {
                text: "Which engine?",
                help: match server {
                    Server::Slurm { .. } => "It comes in a container where the profile names an image.",
                    Server::ThisMachine | Server::Url { .. } => {
                        "sim is gipfel's own simulator, to try things out."
                    }
                },
                missing: "which engine",
                argument: "--backend ENGINE",
            };
            let names: Vec<String> = engines.iter().map(|(backend, _)| backend.to_string()).collect();
            let index = ask.choose(&question, &names)?;
            engines.get(index).map_or(usual, |(backend, _)| *backend)
        }
    };
    let Some((_, help)) = engines.iter().find(|(engine, _)| *engine == backend) else {
        return Err(Stop::Refused(format!(
            "{backend} has no program of its own that could be started here: give the --url of a running server, or \
             write `command` into the file of another engine"
        )));
    };
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None if backend == BackendKind::Sim => "quickstart".to_owned(),
        None => {
            let question = Question {
                text: "The model?",
                help,
                missing: "the model",
                argument: "--model MODEL",
            };
            ask.text(&question, None, check_filled)?
        }
    };
    Ok((server, backend, model))
}

fn slos(arguments: &NewArguments, ask: &dyn Ask) -> Result<Vec<Slo>, Stop> {
    if !arguments.slos.is_empty() {
        return Ok(arguments.slos.clone());
    }
    let text = if arguments.yes {
        DEFAULT_SLO.to_owned()
    } else {
        let question = Question {
            text: "Which objectives, separated by commas?",
            help: "ttft, tpot, itl or e2e at a percentile, such as `tpot p95 <= 50ms`; or `error_rate <= 1%`.",
            missing: "the objectives",
            argument: "--slo OBJECTIVE",
        };
        ask.text(&question, Some(DEFAULT_SLO), |text| parse_slos(text).map(|_| ()))?
    };
    parse_slos(&text).map_err(Stop::Refused)
}

fn rates(arguments: &NewArguments, ask: &dyn Ask) -> Result<Vec<ArrivalRate>, Stop> {
    if !arguments.rates.is_empty() || arguments.yes || arguments.total_time.is_some() {
        return Ok(arguments.rates.clone());
    }
    let question = Question {
        text: "Which rates?",
        help: "",
        missing: "whether to search",
        argument: "--yes to search the peak, or --rates RATE,…",
    };
    let options = [
        "Search the peak, in about a quarter of an hour",
        "Rates that I list",
    ];
    if ask.choose(&question, &options.map(str::to_owned))? == 0 {
        return Ok(Vec::new());
    }
    let question = Question {
        text: "The rates in requests per second, separated by commas?",
        help: "Such as 1, 2, 4, 8.",
        missing: "the rates",
        argument: "--rates RATE,…",
    };
    let text = ask.text(&question, None, |text| parse_rates(text).map(|_| ()))?;
    parse_rates(&text).map_err(Stop::Refused)
}

fn parse_slos(text: &str) -> Result<Vec<Slo>, String> {
    text.split(',')
        .map(|slo| {
            slo.trim()
                .parse()
                .map_err(|error: gipfel_model::SloError| error.to_string())
        })
        .collect()
}

fn parse_rates(text: &str) -> Result<Vec<ArrivalRate>, String> {
    let rates: Result<Vec<ArrivalRate>, String> = text
        .split(',')
        .map(|rate| {
            let what = || {
                format!(
                    "`{}` is no rate; write numbers such as 1, 2.5, 90/min",
                    rate.trim()
                )
            };
            rate.trim().parse().map_err(|_| what())
        })
        .collect();
    let mut rates = rates?;
    rates.sort_by(|a, b| a.get().total_cmp(&b.get()));
    rates.dedup();
    Ok(rates)
}

fn check_filled(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("a name is needed".to_owned())
    } else {
        Ok(())
    }
}

fn check_variable(text: &str) -> Result<(), String> {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err(
            "the name of a variable, such as OPENAI_API_KEY; the key itself does not stand in the file"
                .to_owned(),
        )
    }
}

#[cfg(test)]
#[path = "wizard_tests.rs"]
mod tests;
