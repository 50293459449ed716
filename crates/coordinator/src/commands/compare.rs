//! `gipfel results compare`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use gipfel_results_analysis::compare::{
    CompareError, Comparison, Outcome, Source, compare, render_comparison,
};

use super::{export::open, results};
use crate::{cli::CompareArguments, exit::Exit, failure::Failure, output::print};

/// The width that a comparison's text keeps.
const WIDTH: u16 = 100;

/// Compares two results, and says by the exit code whether the second is worse.
pub(crate) fn run(arguments: &CompareArguments) -> Result<Exit, Failure> {
    let runtime = results::runtime()?;
    let [a, b] = [&arguments.a, &arguments.b].map(|text| locate(text, &arguments.results_dir));
    let (a, b) = (a?, b?);
    let (a_db, b_db) = (open(&runtime, &a.database)?, open(&runtime, &b.database)?);
    let a = Source {
        db: &a_db,
        id: a.id.as_deref(),
        label: &arguments.a,
    };
    let b = Source {
        db: &b_db,
        id: b.id.as_deref(),
        label: &arguments.b,
    };
    let comparison = runtime
        .block_on(compare(a, b, arguments.force))
        .map_err(failure)?;
    if arguments.json {
        let text =
            serde_json::to_string_pretty(&comparison).context("failed to write the comparison as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&render_comparison(&comparison, WIDTH))?;
    }
    Ok(exit(&comparison))
}

fn exit(comparison: &Comparison) -> Exit {
    match comparison.peak.outcome {
        Outcome::NoDifference | Outcome::Better => Exit::Done,
        Outcome::Worse => Exit::Worse,
        Outcome::Unresolved => Exit::Unresolved,
    }
}

fn failure(error: CompareError) -> Failure {
    let hint = match &error {
        CompareError::Incomparable { .. } => Some("--force compares them all the same, and says so"),
        CompareError::SeveralExperiments { .. } => Some("name one as DATABASE#RUN"),
        _ => None,
    };
    let failure = Failure::usage(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Where a result lies.
#[derive(Debug, PartialEq)]
struct Place {
    database: PathBuf,
    /// The run or the campaign within it; absent: all that it holds.
    id: Option<String>,
}

/// Finds what the user names: a database, `DATABASE#RUN`, or a run or campaign of the results directory.
fn locate(text: &str, results_dir: &Path) -> Result<Place, Failure> {
    let place = |database: PathBuf, id: Option<&str>| Place {
        database,
        id: id.map(str::to_owned),
    };
    if Path::new(text).is_file() {
        return Ok(place(text.into(), None));
    }
    if let Some((database, id)) = text
        .rsplit_once('#')
        .filter(|(database, _)| Path::new(database).is_file())
    {
        return Ok(place(database.into(), Some(id)));
    }
    let looks_like_a_file = text.contains(['/', '#']) || Path::new(text).extension().is_some();
    if !looks_like_a_file && results_dir.is_dir() {
        let name = format!("run_{text}.db");
        let own = results::run_databases(results_dir)?
            .into_iter()
            .find(|path| path.file_name().is_some_and(|found| *found == *name));
        let merged = results_dir.join("results.db");
        if let Some(own) = own {
            return Ok(place(own, None));
        } else if merged.is_file() {
            return Ok(place(merged, Some(text)));
        }
    }
    let error = anyhow!(
        "`{text}` is neither a database nor a run or campaign of `{}`",
        results_dir.display()
    );
    Err(Failure::usage(error)
        .hint("name a database, DATABASE#RUN, or a run of the results directory (--results-dir)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_database_a_part_of_one_or_a_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let results = at("results");
        std::fs::create_dir_all(results.join("c-1/r-1")).expect("directories");
        for file in [
            "a.db",
            "odd#name.db",
            "results/results.db",
            "results/c-1/r-1/run_r-1.db",
        ] {
            std::fs::write(at(file), "").expect("a file");
        }
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = locate(text, &results).ok();
            let expected = expected.map(|(database, id)| Place {
                database: at(database),
                id: id.map(str::to_owned),
            });
            assert_eq!(found, expected, "{text}");
        };
        let path = |name: &str| at(name).display().to_string();
        check(&path("a.db"), Some(("a.db", None)));
        check(&path("a.db#r-1"), Some(("a.db", Some("r-1"))));
        check(&path("odd#name.db"), Some(("odd#name.db", None)));
        check(&path("odd#name.db#r-1"), Some(("odd#name.db", Some("r-1"))));
        check("r-1", Some(("results/c-1/r-1/run_r-1.db", None)));
        check("c-1", Some(("results/results.db", Some("c-1"))));
        check("missing.db", None);
        check("missing.db#r-1", None);
    }
}
