//! The build of the load generator.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Allocator, Edition, standard_library::StandardLibrary, tools::Tools};
use crate::shell;

/// What is built.
pub(crate) struct Order<'a> {
    /// For which kind of node.
    pub(crate) target: &'static str,
    /// The workspace's folder.
    pub(crate) sources: &'a Path,
    /// Where cargo puts its products.
    pub(crate) products: &'a Path,
    /// With which allocator.
    pub(crate) allocator: Allocator,
    /// What the program can do.
    pub(crate) edition: Edition,
}

/// Flags of the C compiler: no tables for unwinding, and no time of the build.
const C_FLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables -Wno-builtin-macro-redefined \
                       -D__DATE__=\"\" -D__TIME__=\"\"";

/// Builds the program and returns its path.
pub(crate) fn build(order: &Order<'_>, tools: &Tools, library: &StandardLibrary) -> anyhow::Result<PathBuf> {
    let mut command = tools.zigbuild(Some(library.toolchain()))?;
    isolate(&mut command);
    command
        .current_dir(order.sources)
        .env("CARGO", library.toolchain().join("bin/cargo"))
        .env("RUSTC", library.toolchain().join("bin/rustc"))
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("CARGO_TARGET_DIR", order.products)
        .env("GIPFEL_LOADGEN_VERSION", version()?)
        .env(
            "SOURCE_DATE_EPOCH",
            commit_time().unwrap_or_else(|| "0".to_owned()),
        )
        .env(
            flags_variable(order.target),
            flags(order.sources, library)?.join(" "),
        )
        // Nothing unwinds, so the tables for it would only be carried around; and what is the same has the same bytes.
        .env("CFLAGS", C_FLAGS)
        .args(["--locked", "--profile", "bundle", "--target", order.target])
        .args(["--package", "gipfel-loadgen", "--bin", "gipfel-loadgen"]);
    command.arg("--no-default-features");
    if order.allocator == Allocator::Chosen {
        command.args(["--features", "mimalloc"]);
    }
    if order.edition == Edition::Service {
        command.args(["--features", "service"]);
    }
    if let StandardLibrary::Sources { .. } = library {
        // Without backtraces, which a stripped program could not name the functions of.
        let library = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=default"];
        command.args(library).env("RUSTC_BOOTSTRAP", "1");
    }
    shell::run(&mut command)?;
    let program = order.products.join(order.target).join("bundle/gipfel-loadgen");
    ensure!(program.exists(), "cargo left no {}", program.display());
    Ok(program)
}

/// Takes away what the caller's cargo and shell would add to the build.
fn isolate(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_cargo = text.starts_with("CARGO_")
            && ![
                "CARGO_HOME",
                "CARGO_BUILD_JOBS",
                "CARGO_NET_",
                "CARGO_HTTP_",
                "CARGO_REGISTR",
            ]
            .iter()
            .any(|kept| text.starts_with(kept));
        let of_compilers = [
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "CFLAGS",
            "CXXFLAGS",
            "LD_LIBRARY_PATH",
        ];
        if of_cargo
            || text.starts_with("RUSTC")
            || text == "RUSTUP_TOOLCHAIN"
            || of_compilers.contains(&&*text)
        {
            command.env_remove(name);
        }
    }
}

fn flags_variable(target: &str) -> String {
    format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    )
}

/// rustc's flags. The start files and the C library are zig's; no path of this machine gets into the program.
fn flags(sources: &Path, library: &StandardLibrary) -> anyhow::Result<Vec<String>> {
    let home = cargo_home()?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        "-Clink-self-contained=no".to_owned(),
        "-Cforce-unwind-tables=no".to_owned(),
        remap(sources, "/gipfel"),
        remap(&home, "/cargo"),
    ];
    if let StandardLibrary::Sources {
        toolchain, library, ..
    } = library
    {
        flags.push(remap(&toolchain.join("lib/rustlib/src/rust"), "/rust"));
        flags.push(remap(library.parent().unwrap_or(library), "/rust"));
    }
    for flag in &flags {
        ensure!(
            !flag.contains(' '),
            "a path with a space cannot be told to rustc here: `{flag}`"
        );
    }
    Ok(flags)
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().context("this user has no home directory")?;
    Ok(home.join(".cargo"))
}

/// The version that the program prints: with the commit when there is one.
pub(crate) fn version() -> anyhow::Result<String> {
    let manifest = shell::root().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).context("failed to read Cargo.toml")?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = \""));
    let number = line
        .and_then(|rest| rest.split('"').next())
        .context("Cargo.toml names no version")?;
    Ok(match commit() {
        Some(commit) => format!("{number}+{}", &commit[..commit.len().min(10)]),
        None => number.to_owned(),
    })
}

/// The whole commit; `None` outside a repository.
pub(crate) fn commit() -> Option<String> {
    git(&["rev-parse", "HEAD"])
}

/// Tracked files differ from the commit.
pub(crate) fn is_modified() -> bool {
    git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty())
}

/// Seconds since 1970.
fn commit_time() -> Option<String> {
    git(&["log", "-1", "--format=%ct"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = shell::capture(Command::new("git").args(arguments).current_dir(shell::root())).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}
