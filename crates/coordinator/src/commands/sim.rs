//! `gipfel sim`.

use gipfel_inference_sim::{Ready, SimArguments, run_blocking};

use crate::{exit::Exit, failure::Failure, print};

/// Serves until it is told to end.
pub(crate) fn serve(arguments: &crate::cli::SimArguments) -> Result<Exit, Failure> {
    let arguments = SimArguments {
        profile: arguments.profile.clone(),
        profiles: arguments.profiles.clone(),
        host: arguments.host.clone(),
        port: arguments.port,
        seed: arguments.seed,
        model: arguments.model.clone(),
        ..SimArguments::default()
    };
    run_blocking(arguments, announce).map_err(Failure::usage)?;
    Ok(Exit::Done)
}

fn announce(ready: &Ready) {
    print(&format!(
        "simulating {} as model `{}` on http://{}\n",
        ready.profile, ready.model, ready.address
    ));
}
