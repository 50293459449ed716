//! Where the standard library for a target comes from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use super::debian;
use crate::shell;

/// The standard library for a target.
pub(crate) enum StandardLibrary {
    /// The toolchain's own.
    Installed {
        /// The toolchain's folder.
        toolchain: PathBuf,
    },
    /// Built with the program, from sources that match the compiler.
    Sources {
        /// A toolchain that has them at the place where cargo looks.
        toolchain: PathBuf,
        /// Where the sources really stand.
        library: PathBuf,
        /// Where they came from.
        origin: &'static str,
    },
}

impl StandardLibrary {
    /// Which way it went.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Installed { .. } => "the toolchain's own standard library".to_owned(),
            Self::Sources { origin, .. } => format!("standard library built from {origin}"),
        }
    }

    /// The toolchain to build with.
    pub(crate) fn toolchain(&self) -> &Path {
        match self {
            Self::Installed { toolchain } | Self::Sources { toolchain, .. } => toolchain,
        }
    }
}

/// Finds the library, or the sources to build it from.
pub(crate) fn find(target: &str, install: bool, folder: &Path) -> anyhow::Result<StandardLibrary> {
    let toolchain = PathBuf::from(rustc(&["--print", "sysroot"])?);
    if is_installed(target)? {
        return Ok(StandardLibrary::Installed { toolchain });
    }
    if install {
        // In the workspace, whose file names the toolchain.
        let mut add = Command::new("rustup");
        shell::run(add.args(["target", "add", target]).current_dir(shell::root()))?;
        ensure!(
            is_installed(target)?,
            "rustup has added {target}, but not to the toolchain of this workspace"
        );
        return Ok(StandardLibrary::Installed { toolchain });
    }
    let library = toolchain.join("lib/rustlib/src/rust/library");
    if library.join("Cargo.lock").exists() {
        return Ok(StandardLibrary::Sources {
            toolchain,
            library,
            origin: "the toolchain's component rust-src",
        });
    }
    let version = compiler_version()?;
    let library = match debian::library(&version, folder) {
        Ok(library) => library,
        Err(error) => bail!("{}", remedies(target, &version, &error)),
    };
    let copy = copy_toolchain(&toolchain, &version, folder, &library)?;
    Ok(StandardLibrary::Sources {
        toolchain: copy,
        library,
        origin: "Debian's package rust-src",
    })
}

fn remedies(target: &str, version: &str, error: &anyhow::Error) -> String {
    format!(
        "no standard library for {target}: {error:#}\n\
         hint: with access to rustup's server, `cargo xtask bundle --install-target` adds it to the toolchain;\n\
         hint: without, put Debian's package of rust-src {version} into target/bundle/cache"
    )
}

fn rustc(arguments: &[&str]) -> anyhow::Result<String> {
    let output = shell::read(Command::new("rustc").args(arguments).current_dir(shell::root()))?;
    Ok(output.trim().to_owned())
}

fn is_installed(target: &str) -> anyhow::Result<bool> {
    let folder = PathBuf::from(rustc(&["--print", "target-libdir", "--target", target])?);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(false);
    };
    Ok(entries.flatten().map(|entry| entry.path()).any(|path| {
        let is_library = path.extension().is_some_and(|extension| extension == "rlib");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        is_library && name.starts_with("libstd-")
    }))
}

/// `1.95.0` of `rustc 1.95.0 (…)`.
fn compiler_version() -> anyhow::Result<String> {
    let text = rustc(&["--version"])?;
    let version = text
        .split(' ')
        .nth(1)
        .context("`rustc --version` names no version")?;
    Ok(version.to_owned())
}

/// A copy of the toolchain, since rustc finds its library beside itself: hard links, but for what rustup edits in place.
fn copy_toolchain(toolchain: &Path, version: &str, folder: &Path, library: &Path) -> anyhow::Result<PathBuf> {
    let copy = folder.join(format!("toolchain-{version}"));
    let sources = copy.join("lib/rustlib/src/rust/library");
    if sources.join("Cargo.lock").exists() {
        return Ok(copy);
    }
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("failed to remove {}", copy.display()))?;
    }
    for part in ["bin", "lib", "libexec"] {
        let from = toolchain.join(part);
        if from.exists() {
            link_tree(&from, &copy.join(part))?;
        }
    }
    let parent = sources.parent().unwrap_or(&copy);
    fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
    // Last: a copy that was cut off has no sources and is made anew.
    std::os::unix::fs::symlink(library, &sources)
        .with_context(|| format!("failed to link {}", sources.display()))?;
    Ok(copy)
}

fn link_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to look into {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            link_tree(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if is_edited_in_place(&source) || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target).with_context(|| format!("failed to copy {}", source.display()))?;
        }
    }
    Ok(())
}

/// rustup's own notes, which lie directly in `lib/rustlib`.
fn is_edited_in_place(path: &Path) -> bool {
    path.parent()
        .is_some_and(|parent| parent.ends_with("lib/rustlib"))
}
