//! `gipfel loadgen`: the load generator in this executable, and those that it carries for clusters.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use gipfel_loadgen::{Options, Task, self_test};
use gipfel_model::{RunState, bundle::BUNDLED_PROGRAM};

use crate::{
    VERSION,
    bundles::{Architecture, Bundle, embedded},
    cli::LoadgenArguments,
    exit::Exit,
    failure::Failure,
    load_generator::write_program,
    print,
};

/// `gipfel loadgen`.
pub(crate) fn loadgen(arguments: LoadgenArguments) -> Result<Exit, Failure> {
    if arguments.list {
        return list();
    }
    if let Some(architecture) = arguments.extract {
        return extract(architecture, arguments.out.as_deref());
    }
    match arguments.arguments.task().map_err(Failure::usage)? {
        Task::Run(options) => run(&options),
        Task::SelfTest { directory } => {
            let program = self_test::Program {
                version: VERSION,
                allocator: "the system's",
            };
            Ok(if self_test::passes(&program, &directory) {
                Exit::Done
            } else {
                Exit::Fault
            })
        }
    }
}

/// Carries out a run as `gipfel-loadgen` does.
fn run(options: &Options) -> Result<Exit, Failure> {
    match gipfel_loadgen::run_blocking(options) {
        Ok(RunState::Completed) => Ok(Exit::Done),
        Ok(_) => Ok(Exit::Interrupted),
        Err(error) => Err(Failure::experiment(error)),
    }
}

fn bundles() -> Result<Vec<Bundle>, Failure> {
    let bundles: Result<Vec<Bundle>, _> = embedded().collect();
    let bundles = bundles.context("a load generator that this gipfel carries is damaged")?;
    if bundles.is_empty() {
        return Err(
            Failure::usage(anyhow!("this gipfel was built without load generators for clusters"))
                .hint("releases carry them; with the sources, `cargo xtask bundle` builds them, and `--loadgen FILE` names one"),
        );
    }
    Ok(bundles)
}

fn list() -> Result<Exit, Failure> {
    let mut text = String::new();
    for Bundle { manifest, .. } in bundles()? {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {}, {} bytes, sha256 {}",
            manifest.target, manifest.version, manifest.bytes, manifest.sha256
        );
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn extract(architecture: Architecture, out: Option<&Path>) -> Result<Exit, Failure> {
    let target = architecture.target();
    let bundle = bundles()?
        .into_iter()
        .find(|bundle| bundle.manifest.target == target);
    let Bundle { manifest, program } = bundle
        .ok_or_else(|| Failure::usage(anyhow!("this gipfel carries no load generator for {target}")))?;
    let path = out.map_or_else(|| PathBuf::from(BUNDLED_PROGRAM), Path::to_owned);
    write_program(&path, &program)
        .with_context(|| format!("cannot write `{}`", path.display()))
        .map_err(Failure::usage)?;
    print(&format!(
        "wrote {}: gipfel-loadgen {} for {target}, sha256 {}\n",
        path.display(),
        manifest.version,
        manifest.sha256
    ))?;
    Ok(Exit::Done)
}
