//! `gipfel completions` and `gipfel man`: what a package installs beside the program.

use std::{fs, path::Path};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit, failure::Failure, print};

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gipfel", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Prints the man page, or writes those of all subcommands into a directory.
pub(crate) fn man(directory: Option<&Path>) -> Result<Exit, Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .context("failed to render the man page")?;
        print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .with_context(|| format!("cannot write the man pages into `{}`", directory.display()))
        .map_err(Failure::usage)?;
    print(&format!("wrote the man pages into {}\n", directory.display()))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_subcommand() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "gipfel", &mut script);
            let script = String::from_utf8(script).expect("a text");
            for word in ["resume", "summary", "rerun"] {
                assert!(script.contains(word), "{shell} {word}");
            }
            assert!(!script.contains("max-memory"), "{shell}");
        }
    }

    #[test]
    fn there_is_a_page_for_each_subcommand() {
        let directory = tempfile::tempdir().expect("a directory");
        man(Some(directory.path())).expect("the pages are written");
        for name in [
            "gipfel.1",
            "gipfel-run.1",
            "gipfel-loadgen.1",
            "gipfel-results-compare.1",
            "gipfel-config-check.1",
        ] {
            let page = fs::read_to_string(directory.path().join(name)).expect("a page");
            assert!(page.contains(".TH"), "{name}");
        }
    }
}
