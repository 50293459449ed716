//! The C compiler and linker: zig, and cargo-zigbuild that lets cargo use it, both from PyPI in an environment of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::shell;

const ZIG: &str = "ziglang==0.17.1";
const CARGO_ZIGBUILD: &str = "cargo-zigbuild==0.24.0";

/// Programs for a build.
pub(crate) struct Tools {
    programs: PathBuf,
    zig_cache: PathBuf,
}

impl Tools {
    /// Installs what is not there yet.
    pub(crate) fn ensure(folder: &Path) -> anyhow::Result<Self> {
        let environment = folder.join("tools");
        let complete = environment.join("complete");
        let wanted = format!("{ZIG} {CARGO_ZIGBUILD}\n");
        if fs::read_to_string(&complete).ok().as_deref() != Some(&wanted) {
            shell::run(
                Command::new("python3")
                    .args(["-m", "venv", "--clear"])
                    .arg(&environment),
            )
            .context(
                "hint: install Python with its `venv` module (Debian: python3-venv); zig is installed by it",
            )?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            let python = environment.join("bin/python3");
            shell::run(Command::new(python).args(pip).args([ZIG, CARGO_ZIGBUILD]))?;
            fs::write(&complete, wanted).context("failed to note that the tools are complete")?;
        }
        Ok(Self {
            programs: environment.join("bin"),
            zig_cache: folder.join("zig"),
        })
    }

    /// `cargo-zigbuild zigbuild` with the tools in reach and zig's caches in the folder of the build.
    pub(crate) fn zigbuild(&self, toolchain: Option<&Path>) -> anyhow::Result<Command> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let first = toolchain.map(|toolchain| toolchain.join("bin"));
        let folders = first.into_iter().chain([self.programs.clone()]);
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&inherited)))
            .context("PATH cannot be extended")?;
        let mut command = Command::new(self.programs.join("cargo-zigbuild"));
        command
            .arg("zigbuild")
            .env("PATH", path)
            .env("ZIG_GLOBAL_CACHE_DIR", self.zig_cache.join("global"))
            .env("ZIG_LOCAL_CACHE_DIR", self.zig_cache.join("local"))
            .env("CARGO_ZIGBUILD_CACHE_DIR", self.zig_cache.join("wrappers"));
        Ok(command)
    }
}
