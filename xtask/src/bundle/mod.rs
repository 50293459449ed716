//! `cargo xtask bundle`: the load generator as one static file for each kind of node.
//!
//! Everything that a build needs and makes stands under `target/bundle`; the machine's toolchain is only read.

mod debian;
mod elf;
pub(crate) mod licences;
pub(crate) mod pack;
pub(crate) mod program;
mod reproduce;
mod standard_library;
mod tools;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use gipfel_model::BundleManifest;

use crate::shell;

/// The most that a packed load generator may take; direct uploads of FirecREST end at 5,242,880 bytes.
const LIMIT_BYTES: u64 = 4_000_000;

/// `cargo xtask bundle`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only for this kind of node; both unless given.
    #[arg(long, value_enum)]
    pub(crate) arch: Vec<Arch>,
    /// Let rustup add the target to its toolchain, which other projects use too.
    #[arg(long)]
    pub(crate) install_target: bool,
    /// Build a second time, from a copy of the sources in another directory, and compare.
    #[arg(long)]
    pub(crate) twice: bool,
    /// With `gipfel-loadgen serve`, for images: larger than what one upload to a cluster may be.
    #[arg(long, conflicts_with = "twice")]
    pub(crate) service: bool,
}

/// What the program can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edition {
    /// Runs, for uploads to clusters.
    Plain,
    /// Also `gipfel-loadgen serve`, for images.
    Service,
}

impl Edition {
    /// The most that it may take packed; nothing uploads the other one.
    fn limit(self) -> Option<u64> {
        (self == Self::Plain).then_some(LIMIT_BYTES)
    }
}

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// Grace: the nodes of clariden, bristen and daint.
    #[value(name = "aarch64")]
    Aarch64,
    /// Other clusters.
    #[value(name = "x86_64")]
    X86_64,
}

impl Arch {
    const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// The name that rustc, and a bundle's file, have for it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::X86_64 => "x86_64-unknown-linux-musl",
        }
    }

    fn of_this_machine() -> anyhow::Result<Self> {
        match std::env::consts::ARCH {
            "aarch64" => Ok(Self::Aarch64),
            "x86_64" => Ok(Self::X86_64),
            other => bail!("there is no load generator for machines of kind {other}"),
        }
    }

    fn machine(self) -> object::elf::Machine {
        match self {
            Self::Aarch64 => object::elf::EM_AARCH64,
            Self::X86_64 => object::elf::EM_X86_64,
        }
    }
}

/// Where all of it stands.
pub(crate) fn folder() -> PathBuf {
    let target = shell::target();
    std::path::absolute(&target).unwrap_or(target).join("bundle")
}

/// The bundle of a kind of node.
pub(crate) fn archive(arch: Arch) -> PathBuf {
    folder().join(format!("gipfel-loadgen-{}.tar.gz", arch.target()))
}

/// The archive of an edition for a kind of node.
fn archive_of(edition: Edition, arch: Arch) -> PathBuf {
    match edition {
        Edition::Plain => archive(arch),
        Edition::Service => folder().join(format!("gipfel-loadgen-service-{}.tar.gz", arch.target())),
    }
}

/// The allocator of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocator {
    /// The one that it is delivered with.
    Chosen,
    /// musl's own.
    System,
}

/// The load generator for this machine's kind with an allocator, for a comparison.
pub(crate) fn with_allocator(allocator: Allocator) -> anyhow::Result<PathBuf> {
    let tools = tools::Tools::ensure(&folder())?;
    let arch = Arch::of_this_machine()?;
    let library = standard_library::find(arch.target(), false, &folder())?;
    let order = program::Order {
        target: arch.target(),
        sources: &shell::root(),
        products: &folder().join("build"),
        allocator,
        edition: Edition::Plain,
    };
    let built = program::build(&order, &tools, &library)?;
    let kept = folder().join(format!("gipfel-loadgen-{allocator:?}").to_lowercase());
    std::fs::copy(&built, &kept).with_context(|| format!("failed to keep {}", kept.display()))?;
    Ok(kept)
}

/// Builds, inspects and packs the load generator.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let began = Instant::now();
    let archs = if arguments.arch.is_empty() {
        Arch::ALL.to_vec()
    } else {
        arguments.arch.clone()
    };
    let edition = if arguments.service {
        Edition::Service
    } else {
        Edition::Plain
    };
    let tools = tools::Tools::ensure(&folder())?;
    let mut lines = Vec::new();
    for arch in archs {
        let since = Instant::now();
        let library = standard_library::find(arch.target(), arguments.install_target, &folder())?;
        shell::say(&format!("{}: {}", arch.target(), library.words()));
        let order = program::Order {
            target: arch.target(),
            sources: &shell::root(),
            products: &folder().join("build"),
            allocator: Allocator::Chosen,
            edition,
        };
        let built = program::build(&order, &tools, &library)?;
        let layout = elf::inspect(&built, arch.machine())?;
        let manifest = pack::manifest(&built, arch.target())?;
        let notices = licences::collect(arch.target())?;
        let archive = archive_of(edition, arch);
        let packed = pack::pack(&archive, &built, &manifest, &notices, edition.limit())?;
        if arguments.twice {
            reproduce::build_elsewhere(arch.target(), &tools, &manifest)?;
        }
        lines.push(report(
            &archive,
            &manifest,
            &layout,
            (packed, edition.limit()),
            since,
        ));
    }
    for line in lines {
        shell::say(&line);
    }
    shell::say(&format!("{} s in all", began.elapsed().as_secs()));
    Ok(())
}

fn report(
    archive: &Path,
    manifest: &BundleManifest,
    layout: &elf::Layout,
    (packed, limit): (u64, Option<u64>),
    since: Instant,
) -> String {
    let BundleManifest {
        version,
        target,
        sha256,
        bytes,
        ..
    } = manifest;
    let limit = limit.map_or_else(String::new, |limit| format!(" of at most {limit}"));
    format!(
        "{target}: gipfel-loadgen {version}, {bytes} bytes, packed {packed}{limit}; {layout}; {} s\n  \
         sha256 {sha256}\n  {}",
        since.elapsed().as_secs(),
        archive.display()
    )
}
