//! The standard library's sources from Debian, fetched with lists and a cache of our own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::shell;

/// Suites that hold several versions of `rust-src`; older ones leave them in time.
const SUITES: [&str; 2] = ["trixie-backports", "sid"];

/// The folder `library` of the sources of exactly this compiler.
pub(crate) fn library(version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = folder.join(format!("rust-src-{version}"));
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    if library.join("Cargo.lock").exists() {
        return Ok(library);
    }
    let package = fetch(version, folder)?;
    // Under another name until it is whole.
    let fresh = folder.join(format!("rust-src-{version}.new"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("failed to remove {}", fresh.display()))?;
    }
    shell::run(Command::new("dpkg").arg("-x").arg(&package).arg(&fresh))?;
    fs::rename(&fresh, &unpacked).with_context(|| format!("failed to keep {}", unpacked.display()))?;
    ensure!(
        library.join("Cargo.lock").exists(),
        "{} holds no sources of rustc {version}",
        package.display()
    );
    Ok(library)
}

fn fetch(version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let cache = folder.join("cache");
    fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    if let Some(package) = downloaded(&cache, version)? {
        return Ok(package);
    }
    let mut faults = Vec::new();
    for archive in archives()? {
        for suite in SUITES {
            let apt = Apt::new(folder, &archive, suite)?;
            match apt.download(version, &cache) {
                Ok(()) => {
                    return downloaded(&cache, version)?
                        .context("apt-get downloaded the package to another place");
                }
                Err(error) => faults.push(format!("  {suite}: {error:#}")),
            }
        }
    }
    bail!(
        "no Debian archive of this machine has `rust-src` {version}, which this compiler needs:\n{}",
        faults.join("\n")
    );
}

fn downloaded(cache: &Path, version: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(cache).with_context(|| format!("failed to look into {}", cache.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_package = path.extension().is_some_and(|extension| extension == "deb");
        if is_package && name.starts_with(&format!("rust-src_{version}+")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The Debian archives that this machine's apt is set up for.
fn archives() -> anyhow::Result<Vec<String>> {
    let text = shell::read(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))
        .context("this machine has no apt, from whose archives the sources would come")?;
    let mut found: Vec<String> = debian_archives(&text);
    found.dedup();
    ensure!(!found.is_empty(), "this machine's apt knows no archive of Debian");
    Ok(found)
}

/// Those that end in `/debian`, which is the archive's name on every mirror.
fn debian_archives(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .lines()
        .map(|line| line.trim().trim_end_matches('/'))
        .filter(|line| line.ends_with("/debian"))
        .map(ToOwned::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// apt-get with a state of its own, so that the machine's stays as it is.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, archive: &str, suite: &str) -> anyhow::Result<Self> {
        let state = folder.join("apt").join(suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = state.join(part);
            fs::create_dir_all(&part).with_context(|| format!("failed to create {}", part.display()))?;
        }
        let sources = state.join("sources.list");
        fs::write(&sources, format!("deb {archive} {suite} main\n"))
            .with_context(|| format!("failed to write {}", sources.display()))?;
        let option = |name: &str, path: PathBuf| format!("-o{name}={}", path.display());
        let options = vec![
            option("Dir::State::lists", state.join("lists")),
            option("Dir::Cache", state.join("cache")),
            option("Dir::Etc::sourcelist", sources),
            "-oDir::Etc::sourceparts=-".to_owned(),
            // As root, apt would fetch as another user, who cannot write here.
            "-oAPT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { options })
    }

    fn download(&self, version: &str, into: &Path) -> anyhow::Result<()> {
        shell::read(Command::new("apt-get").args(&self.options).args(["-q", "update"]))?;
        let madison = ["madison", "rust-src"];
        let listed = shell::read(Command::new("apt-cache").args(&self.options).args(madison))?;
        let found = matching(&listed, version)
            .with_context(|| format!("it has only {}", versions(&listed).join(", ")))?;
        shell::say(&format!("fetching rust-src {found} with apt-get"));
        let package = format!("rust-src={found}");
        let download = ["-q", "download", &package];
        shell::read(
            Command::new("apt-get")
                .args(&self.options)
                .args(download)
                .current_dir(into),
        )?;
        Ok(())
    }
}

/// The versions in `apt-cache madison`'s table.
fn versions(madison: &str) -> Vec<String> {
    let rows = madison.lines().filter_map(|line| line.split('|').nth(1));
    rows.map(|version| version.trim().to_owned()).collect()
}

/// The package of exactly this compiler.
fn matching(madison: &str, version: &str) -> Option<String> {
    let prefix = format!("{version}+");
    versions(madison)
        .into_iter()
        .find(|found| found.starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_compilers_own_version_is_taken() {
        let listed = " rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.invalid/debian trixie-backports/main amd64 Packages\n \
             rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.invalid/debian trixie-backports/main amd64 Packages\n";
        let check = |version, expected: Option<&str>| {
            assert_eq!(matching(listed, version).as_deref(), expected, "{version}");
        };
        check("1.95.0", Some("1.95.0+dfsg1-2~bpo13+1"));
        check("1.95", None);
        check("1.9", None);
        check("1.97.0", None);
    }

    #[test]
    fn only_archives_of_debian_are_asked() {
        let text = "http://mirror.invalid/debian/\nhttp://mirror.invalid/debian/\nhttp://mirror.invalid/debian-security/\n\
             https://other.invalid/node_20.x/\n";
        assert_eq!(debian_archives(text), ["http://mirror.invalid/debian"]);
    }
}
