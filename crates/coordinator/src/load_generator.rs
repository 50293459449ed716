//! The load generator of a campaign, when it is another program than gipfel itself.
//!
//! It is kept in the results directory under its SHA-256, which the journal names, so that a campaign that is taken up
//! goes on with the program that it began with, whatever became of the file that the user named.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow};
use gipfel_model::bundle::BUNDLED_PROGRAM;

use crate::{
    bundles::{self, Bundle},
    failure::Failure,
    program::{Linux, Program},
};

/// A program that is kept in a results directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadGenerator {
    /// SHA-256 of the program, in hexadecimal.
    pub sha256: String,
    /// Where it is kept.
    pub program: PathBuf,
}

impl LoadGenerator {
    /// Takes the program, or the bundle, at `path` into the results directory.
    ///
    /// # Errors
    /// It cannot be read or is no load generator. One of another kind of machine than this cannot be tried out: it is for
    /// clusters, and its header must say that it needs nothing but a kernel.
    pub(crate) fn take(path: &Path, results_dir: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path)
            .with_context(|| format!("cannot read the load generator `{}`", path.display()))
            .map_err(Failure::usage)?;
        let program = if bundles::is_packed(&bytes) {
            let bundle = Bundle::unpack(&bytes)
                .with_context(|| format!("cannot use the load generator `{}`", path.display()))
                .map_err(Failure::usage)?;
            bundle.program
        } else {
            bytes
        };
        let kept = Self {
            program: keep(&program, results_dir).map_err(Failure::usage)?,
            sha256: bundles::sha256(&program),
        };
        match Program::read(&program) {
            Program::Linux(foreign) if !Program::Linux(foreign).runs_here() => {
                check_foreign(foreign, path)?;
            }
            Program::Linux(_) | Program::Other => kept.try_out(path)?,
        }
        Ok(kept)
    }

    /// The one that a journal names.
    ///
    /// # Errors
    /// It is not there any more, or not the same.
    pub(crate) fn find(results_dir: &Path, sha256: &str) -> anyhow::Result<Self> {
        let kept = Self::kept(results_dir, sha256.to_owned());
        let found = fs::read(&kept.program).map(|bytes| bundles::sha256(&bytes));
        match found {
            Ok(found) if found == sha256 => Ok(kept),
            Ok(found) => Err(anyhow!(
                "the campaign began with the load generator {sha256}, but `{}` is {found}",
                kept.program.display()
            )),
            Err(error) => Err(anyhow::Error::from(error).context(format!(
                "the campaign began with the load generator {sha256}, and `{}` cannot be read",
                kept.program.display()
            ))),
        }
    }

    fn kept(results_dir: &Path, sha256: String) -> Self {
        let program = results_dir
            .join("load-generators")
            .join(&sha256)
            .join(BUNDLED_PROGRAM);
        Self { sha256, program }
    }

    fn try_out(&self, path: &Path) -> Result<(), Failure> {
        let output = Command::new(&self.program).arg("--version").output();
        let reason = match output {
            Ok(output) if output.stdout.starts_with(BUNDLED_PROGRAM.as_bytes()) => return Ok(()),
            Ok(_) => "it is another program".to_owned(),
            Err(error) if error.raw_os_error() == Some(NOT_EXECUTABLE) => {
                format!("it is no program for this machine ({})", std::env::consts::ARCH)
            }
            Err(error) => error.to_string(),
        };
        Err(
            Failure::usage(anyhow!("`{}` is no load generator that runs here: {reason}", path.display()))
                .hint("`cargo xtask bundle` makes load generators; `gipfel loadgen --extract` writes those that gipfel carries"),
        )
    }
}

/// Whether a program of another kind of machine may run on a cluster's nodes.
fn check_foreign(program: Linux, path: &Path) -> Result<(), Failure> {
    let hint = "`cargo xtask bundle` makes load generators; `gipfel loadgen --extract` writes those that gipfel carries";
    let reason = match program {
        Linux {
            architecture: None, ..
        } => "it is for neither aarch64 nor x86_64",
        Linux { is_static: false, .. } => {
            "it is for another kind of machine than this, and needs libraries of the one that it was made on"
        }
        Linux { .. } => return Ok(()),
    };
    Err(Failure::usage(anyhow!(
        "`{}` is no load generator for a cluster's nodes: {reason}",
        path.display()
    ))
    .hint(hint))
}

/// `ENOEXEC`, on Linux and macOS.
const NOT_EXECUTABLE: i32 = 8;

/// Whether a program that was taken can be started on this machine.
pub(crate) fn runs_here(program: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(program)
        .with_context(|| format!("cannot read the load generator `{}`", program.display()))?;
    Ok(Program::read(&bytes).runs_here())
}

/// Keeps a program in the results directory under its SHA-256.
pub(crate) fn keep(program: &[u8], results_dir: &Path) -> anyhow::Result<PathBuf> {
    let kept = LoadGenerator::kept(results_dir, bundles::sha256(program)).program;
    if !kept.exists() {
        store(&kept, program)
            .with_context(|| format!("cannot keep the load generator in `{}`", results_dir.display()))?;
    }
    Ok(kept)
}

/// Under its name only once it is whole.
fn store(target: &Path, program: &[u8]) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = target.with_extension(format!("{}.new", std::process::id()));
    write_program(&fresh, program)?;
    fs::rename(&fresh, target)
}

/// Writes a file that can be run.
pub(crate) fn write_program(path: &Path, program: &[u8]) -> io::Result<()> {
    fs::write(path, program)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::tests::header;

    const SCRIPT: &str = "#!/bin/sh\necho gipfel-loadgen 1.2.3\n";

    #[test]
    fn a_program_is_kept_under_its_sum() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mine");
        fs::write(&path, SCRIPT).expect("written");
        let taken = LoadGenerator::take(&path, directory.path()).expect("taken");
        assert_eq!(taken.sha256, bundles::sha256(SCRIPT.as_bytes()));
        fs::remove_file(&path).expect("removed");
        let found = LoadGenerator::find(directory.path(), &taken.sha256).expect("found");
        assert_eq!(found, taken);

        fs::write(&taken.program, "other").expect("written");
        let error = LoadGenerator::find(directory.path(), &taken.sha256).expect_err("changed");
        assert!(error.to_string().contains(", but `"), "{error}");
        fs::remove_file(&taken.program).expect("removed");
        assert!(LoadGenerator::find(directory.path(), &taken.sha256).is_err());
    }

    #[test]
    fn a_bundle_is_unpacked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bundle.tar.gz");
        let packed = crate::bundles::tests::packed(SCRIPT.as_bytes(), |_| ());
        fs::write(&path, packed).expect("written");
        let taken = LoadGenerator::take(&path, directory.path()).expect("taken");
        assert_eq!(fs::read(&taken.program).expect("readable"), SCRIPT.as_bytes());
    }

    #[test]
    fn a_program_of_another_machine_is_taken_for_clusters() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let (aarch64, x86_64) = (183, 62);
        let foreign = if cfg!(target_arch = "aarch64") {
            x86_64
        } else {
            aarch64
        };
        fs::write(&path, header(foreign, &[1])).expect("written");
        LoadGenerator::take(&path, directory.path()).expect("it is taken");
        let check = |bytes: &[u8], expected: &str| {
            fs::write(&path, bytes).expect("written");
            let failure = LoadGenerator::take(&path, directory.path()).expect_err("refused");
            assert!(failure.error.to_string().contains(expected), "{failure:?}");
        };
        check(&header(foreign, &[1, 3]), "needs libraries");
        check(&header(243, &[1]), "neither aarch64 nor x86_64");
    }

    #[test]
    fn what_is_no_load_generator_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let check = |bytes: &[u8], expected: &str| {
            fs::write(&path, bytes).expect("written");
            let failure = LoadGenerator::take(&path, directory.path()).expect_err("refused");
            assert!(format!("{:#}", failure.error).contains(expected), "{failure:?}");
        };
        check(b"\x7fELF of another machine", "no program for this machine");
        check(b"#!/bin/sh\necho hello\n", "it is another program");
        check(b"\x1f\x8b", "it is no packed load generator");
        let failure = LoadGenerator::take(Path::new("/nowhere"), directory.path()).expect_err("refused");
        assert!(
            failure
                .error
                .to_string()
                .contains("cannot read the load generator `/nowhere`")
        );
    }
}
