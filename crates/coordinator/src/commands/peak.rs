//! `gipfel peak`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use gipfel_config::Plan;
use reqwest::{StatusCode, redirect::Policy};

use crate::{
    cli::PeakArguments,
    commands::{results, run},
    display::Display,
    exit::Exit,
    failure::Failure,
    peak::{self, Found},
    print,
};

/// How long a server may take to say which models it has.
const MODELS_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the peak of the server behind a URL, or prints the configuration that does.
pub(crate) fn peak(arguments: &PeakArguments) -> Result<Exit, Failure> {
    if let Some(exit) = run::hand_over(&arguments.output)? {
        return Ok(exit);
    }
    let schedule = peak::schedule(arguments).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    let found = results::runtime()?.block_on(ask_models(arguments))?;
    let experiment = peak::experiment(arguments, schedule, found);
    if arguments.print_config {
        let plan = Plan {
            experiments: vec![experiment],
            max_parallel_experiments: 1,
            ..Plan::default()
        };
        print(&gipfel_config::render_yaml(&plan))?;
        return Ok(Exit::Done);
    }
    let options = run::options(&arguments.output)?;
    run::start(
        vec![experiment],
        &options,
        &arguments.output,
        &Display::of(&arguments.output.show),
    )
}

/// Asks the server which models it has, so that nothing needs to be typed.
async fn ask_models(arguments: &PeakArguments) -> Result<Found, Failure> {
    let url = format!("{}/v1/models", arguments.url.0);
    let what = || format!("failed to ask `{url}` for its models");
    // The load generator knows neither proxies nor redirects, so what they would answer is not the server's word.
    let client = reqwest::Client::builder()
        .timeout(MODELS_TIMEOUT)
        .no_proxy()
        .redirect(Policy::none())
        .build();
    let mut request = client.with_context(what).map_err(Failure::experiment)?.get(&url);
    if let Some(name) = &arguments.api_key_env {
        let key = std::env::var(name).with_context(|| format!("failed to read the API key from `{name}`"));
        request = request.bearer_auth(key.map_err(Failure::usage)?.trim());
    }
    let answer = request
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(what)
        .map_err(|error| {
            Failure::experiment(error)
                .hint("is the server running, and is the URL its base, such as http://127.0.0.1:8000?")
        })?;
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let error = anyhow!("the server answered HTTP status {status}").context(what());
        return Err(Failure::usage(error).hint("name the variable that holds the API key with --api-key-env"));
    }
    let listing = if status.is_success() {
        answer.json().await.ok()
    } else {
        None
    };
    peak::read_models(arguments, listing.as_ref()).map_err(|problem| {
        Failure::usage(anyhow!("{problem} (`{url}` answered HTTP status {status})"))
            .hint("name the model with --model")
    })
}
