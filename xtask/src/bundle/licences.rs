//! The notices of everything that is linked into a program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::shell;

/// What no crate says: the parts that come with the compiler and the linker.
const OTHER_PARTS: &str = "\
Rust's standard library: MIT OR Apache-2.0, Copyright The Rust Project Contributors.
musl, the C library: MIT, Copyright 2005-2020 Rich Felker, et al.
compiler-rt of LLVM: Apache-2.0 WITH LLVM-exception.
SQLite: in the public domain.
";

/// A crate of the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    /// The texts, by their content.
    texts: Vec<String>,
}

/// The notices of the load generator for a target.
pub(crate) fn collect(target: &str) -> anyhow::Result<String> {
    notices("gipfel-loadgen", Some(target))
}

/// The notices of a package of the workspace, with what its normal dependencies bring.
pub(crate) fn notices(package: &str, target: Option<&str>) -> anyhow::Result<String> {
    let mut tree = vec![
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
    ];
    tree.extend(["--format", "{p}"]);
    if let Some(target) = target {
        tree.extend(["--target", target]);
    }
    let listed = shell::read(&mut shell::cargo(&tree))?;
    let wanted: BTreeSet<(String, String)> = listed.lines().filter_map(name_and_version).collect();
    let metadata = shell::read(&mut shell::cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut found = Vec::new();
    for entry in packages {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        if wanted.contains(&(text("name"), text("version"))) {
            let manifest = PathBuf::from(text("manifest_path"));
            found.push(Package {
                name: text("name"),
                version: text("version"),
                licence: text("license"),
                texts: texts(manifest.parent().unwrap_or(&manifest))?,
            });
        }
    }
    ensure!(
        found.len() == wanted.len(),
        "cargo tree lists {} packages, cargo metadata {} of them",
        wanted.len(),
        found.len()
    );
    found.sort();
    render(&found)
}

/// Of a line such as `anyhow v1.0.104` or `gipfel-model v0.1.0 (/path)`.
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    Some((name.to_owned(), version.to_owned()))
}

/// The licence and notice files of a crate's folder.
fn texts(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to look into {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        let is_notice = ["LICEN", "COPYING", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_notice && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes)
            .replace("\r\n", "\n")
            .trim_end()
            .to_owned())
    };
    paths.iter().map(read).collect()
}

/// The list of crates, then each text once with the crates that it belongs to.
fn render(packages: &[Package]) -> anyhow::Result<String> {
    let mut list = String::from("What this program is made of, each part under its licence.\n\n");
    list.push_str(OTHER_PARTS);
    let mut by_text: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in packages {
        let Package {
            name,
            version,
            licence,
            texts,
        } = package;
        ensure!(!licence.is_empty(), "{name} {version} names no licence");
        writeln!(list, "{name} {version}: {licence}")?;
        for text in texts {
            by_text.entry(text).or_default().push(format!("{name} {version}"));
        }
    }
    let mut groups: Vec<_> = by_text.into_iter().collect();
    groups.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, owners) in groups {
        write!(list, "\n{}\n{}\n\n{text}\n", "-".repeat(80), owners.join(", "))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_lines_are_read() {
        let check = |line, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
            assert_eq!(name_and_version(line), expected, "{line}");
        };
        check("anyhow v1.0.104", Some(("anyhow", "1.0.104")));
        check(
            "gipfel-model v0.1.0 (/somewhere)",
            Some(("gipfel-model", "0.1.0")),
        );
        check(
            "serde_derive v1.0.229 (proc-macro)",
            Some(("serde_derive", "1.0.229")),
        );
        check("", None);
    }

    #[test]
    fn a_text_stands_once_with_all_its_crates() {
        let package = |name: &str, texts: &[&str]| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            texts: texts.iter().map(ToString::to_string).collect(),
        };
        let text = render(&[package("a", &["same"]), package("b", &["other", "same"])]).expect("notices");
        assert_eq!(text.matches("\nsame\n").count(), 1, "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n\nsame\n"), "{text}");
        assert!(text.contains("b 1.0.0: MIT\n"), "{text}");
        let mut unknown = package("c", &[]);
        unknown.licence.clear();
        assert!(render(&[unknown]).is_err());
    }
}
