//! `cargo xtask dist`: the release of gipfel for this kind of machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use gipfel_model::BundleManifest;

use crate::{
    bundle::{self, Arch, licences, pack, program},
    shell,
};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Builds gipfel with the load generators in it and packs it with what a package holds beside it.
pub(crate) fn run() -> anyhow::Result<()> {
    for arch in [Arch::Aarch64, Arch::X86_64] {
        ensure!(
            bundle::archive(arch).exists(),
            "{} is missing: `cargo xtask bundle` comes first",
            bundle::archive(arch).display()
        );
    }
    for arch in [Arch::Aarch64, Arch::X86_64] {
        check_fresh(&bundled(arch)?)?;
    }
    let mut build = shell::cargo(&["build", "--locked", "--release", "--package", "gipfel"]);
    shell::run(build.env("GIPFEL_BUNDLES", bundle::folder()))?;
    let folder = shell::target().join("dist");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let program = stripped(&folder)?;
    check_carried(&program, &folder)?;
    let name = format!("gipfel-{}-{}", version(&program)?, host()?);
    let archive = folder.join(format!("{name}.tar.gz"));
    let files = contents(&program, &folder)?;
    let files: Vec<(String, u32, Vec<u8>)> = files
        .into_iter()
        .map(|(path, mode, bytes)| (format!("{name}/{path}"), mode, bytes))
        .collect();
    let views: Vec<(&str, u32, &[u8])> = files
        .iter()
        .map(|(path, mode, bytes)| (path.as_str(), *mode, bytes.as_slice()))
        .collect();
    let packed = pack::gzip_tar(&views, pack::Effort::Ordinary)?;
    fs::write(&archive, &packed).with_context(|| format!("failed to write {}", archive.display()))?;
    let sums = format!("{}  {name}.tar.gz\n", pack::sha256_hex(&packed));
    fs::write(folder.join("SHA256SUMS"), &sums).context("failed to write SHA256SUMS")?;
    shell::say(&format!(
        "{}: {} bytes; gipfel itself {} bytes; {} files",
        archive.display(),
        packed.len(),
        fs::metadata(&program)?.len(),
        files.len()
    ));
    Ok(())
}

/// The program without symbols, which only a debugger needs.
fn stripped(folder: &Path) -> anyhow::Result<PathBuf> {
    let program = folder.join("gipfel");
    fs::copy(shell::target().join("release/gipfel"), &program).context("failed to copy gipfel")?;
    shell::run(Command::new("strip").arg(&program))
        .context("hint: `strip` is in Debian's package binutils")?;
    Ok(program)
}

/// What the bundle says of its program.
fn bundled(arch: Arch) -> anyhow::Result<BundleManifest> {
    let mut tar = Command::new("tar");
    tar.arg("xOzf").arg(bundle::archive(arch)).arg("manifest.json");
    serde_json::from_str(&shell::read(&mut tar)?).context("the bundle's manifest is damaged")
}

/// Fails if a load generator is of another commit than gipfel will be.
fn check_fresh(manifest: &BundleManifest) -> anyhow::Result<()> {
    let words = |commit: Option<&str>, modified: bool| {
        let changes = if modified { " with changes" } else { "" };
        format!("{}{changes}", commit.unwrap_or("unknown"))
    };
    let bundled = words(manifest.commit.as_deref(), manifest.modified);
    let here = words(program::commit().as_deref(), program::is_modified());
    ensure!(
        bundled == here,
        "the load generator for {} is of commit {bundled}, and this is {here}: `cargo xtask bundle` comes first",
        manifest.target
    );
    Ok(())
}

/// Fails unless gipfel writes the very load generators that were bundled.
fn check_carried(program: &Path, folder: &Path) -> anyhow::Result<()> {
    for arch in [Arch::Aarch64, Arch::X86_64] {
        let extracted = folder.join("extracted");
        let mut command = Command::new(program);
        command
            .args(["loadgen", "--extract", arch.target(), "--out"])
            .arg(&extracted);
        let said = shell::read(&mut command)?;
        let found = pack::sha256_hex(&fs::read(&extracted).context("gipfel wrote no load generator")?);
        fs::remove_file(&extracted).context("failed to remove what was extracted")?;
        let manifest = bundled(arch)?;
        ensure!(
            found == manifest.sha256,
            "gipfel carries {found} for {}, the bundle holds {}",
            arch.target(),
            manifest.sha256
        );
        shell::say(said.trim_end());
    }
    Ok(())
}

/// What `gipfel --version` prints after the name.
fn version(program: &Path) -> anyhow::Result<String> {
    let text = shell::read(Command::new(program).arg("--version"))?;
    let version = text.trim().strip_prefix("gipfel ");
    Ok(version.context("gipfel prints no version")?.to_owned())
}

fn host() -> anyhow::Result<String> {
    let text = shell::read(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

type Contents = Vec<(String, u32, Vec<u8>)>;

fn contents(program: &Path, folder: &Path) -> anyhow::Result<Contents> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let mut files: Contents = vec![("gipfel".to_owned(), 0o755, read(program)?)];
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        files.push((name.to_owned(), 0o644, read(&shell::root().join(name))?));
    }
    let notices = licences::notices("gipfel", None)?;
    files.push(("LICENSES.txt".to_owned(), 0o644, notices.into_bytes()));
    for name in SHELLS {
        let script = shell::read(Command::new(program).args(["completions", name]))?;
        files.push((format!("completions/gipfel.{name}"), 0o644, script.into_bytes()));
    }
    let pages = folder.join("man");
    shell::read(Command::new(program).args(["man", "--out"]).arg(&pages))?;
    for entry in fs::read_dir(&pages).context("gipfel wrote no man pages")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.push((format!("man/{name}"), 0o644, read(&path)?));
    }
    Ok(files)
}
