//! Puts the commit into the version, when it is built from a repository, and the load generators for clusters into the
//! executable, when `GIPFEL_BUNDLES` names the folder that `cargo xtask bundle` has filled.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let suffix = commit().map_or_else(String::new, |commit| format!("+{commit}"));
    println!("cargo:rustc-env=GIPFEL_VERSION_SUFFIX={suffix}");
    println!("cargo:rerun-if-env-changed=GIPFEL_BUNDLES");
    let bundles = match env::var_os("GIPFEL_BUNDLES") {
        Some(folder) => bundles(Path::new(&folder))?,
        None => Vec::new(),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("bundles.rs"), embedding(&bundles)?)?;
    Ok(())
}

/// The bundles in a folder; one without any is a mistake.
fn bundles(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("gipfel-loadgen-") && name.ends_with(".tar.gz") {
            println!("cargo:rerun-if-changed={}", path.display());
            found.push(fs::canonicalize(path)?);
        }
    }
    if found.is_empty() {
        return Err(format!("GIPFEL_BUNDLES: {} holds no bundle", folder.display()).into());
    }
    found.sort();
    Ok(found)
}

fn embedding(bundles: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("static EMBEDDED: &[&[u8]] = &[");
    for path in bundles {
        let path = path.to_str().ok_or("a path that is no text")?;
        write!(text, "include_bytes!({path:?}), ")?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// The abbreviated commit of the repository that holds this crate; `None` for an unpacked archive or without git.
fn commit() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
