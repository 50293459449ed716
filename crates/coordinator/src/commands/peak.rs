//! `gipfel peak`.

use anyhow::anyhow;
use gipfel_config::Plan;
use gipfel_local_backend::listed_models;
use gipfel_model::EndpointSpec;

use crate::{
    cli::PeakArguments,
    commands::{results, run},
    display::Display,
    exit::Exit,
    failure::Failure,
    peak::{self, Found},
    print, remedy,
};

/// Finds the peak of the server behind a URL, or prints the configuration that does.
pub(crate) fn peak(arguments: &PeakArguments) -> Result<Exit, Failure> {
    if let Some(exit) = run::hand_over(&arguments.output)? {
        return Ok(exit);
    }
    let schedule = peak::schedule(arguments).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    peak::check_objectives(arguments).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    let endpoint = peak::endpoint(arguments);
    let found = results::runtime()?.block_on(ask_models(arguments, &endpoint))?;
    let experiment = peak::experiment(arguments, schedule, endpoint, found);
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
async fn ask_models(arguments: &PeakArguments, endpoint: &EndpointSpec) -> Result<Found, Failure> {
    let listing = listed_models(endpoint).await.map_err(|error| {
        let exit = if error.retryable {
            Failure::experiment
        } else {
            Failure::usage
        };
        let failure = exit(anyhow::Error::from(error));
        match remedy::of_error(&failure.error) {
            Some(_) => failure,
            None => {
                failure.hint("is the server running, and is the URL its base, such as http://127.0.0.1:8000?")
            }
        }
    })?;
    peak::read_models(arguments, listing.as_ref()).map_err(|problem| Failure::usage(anyhow!(problem)))
}
