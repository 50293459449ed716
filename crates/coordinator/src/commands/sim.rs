//! `gipfel sim`.

use gipfel_inference_sim::{Faults, Ready, SimArguments, run_blocking};

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
        faults: Faults::of(&arguments.faults).map_err(Failure::usage)?,
    };
    run_blocking(arguments, announce).map_err(Failure::usage)?;
    Ok(Exit::Done)
}

fn announce(ready: &Ready) {
    // It serves all the same when nobody can read where.
    let _ = print(&format!(
        "simulating {} as model `{}` on http://{}\n",
        ready.profile, ready.model, ready.address
    ));
}
