//! Headless Chromium: found or installed, and asked what it makes of a page.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::shell;

/// The variable that names the browser.
const VARIABLE: &str = "CHROMIUM";
const NAMES: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
];

/// Arguments with which the browser leaves the world alone: no sandbox, which needs rights that a container lacks, no
/// traffic of its own, and no host but this one.
const QUIET: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// What the net log says of a request that the browser made by itself.
const OF_THE_BROWSER: &str = "not an origin";

/// A browser.
pub(crate) struct Chromium {
    program: PathBuf,
    /// Where its profiles and logs go.
    folder: PathBuf,
}

/// What came of loading a page.
pub(crate) struct Loaded {
    /// The document after loading, as HTML.
    pub(crate) dom: String,
    /// What was written to the console.
    pub(crate) console: Vec<String>,
    /// The URLs that the page asked for, itself left out.
    pub(crate) requests: Vec<String>,
}

impl Chromium {
    /// Takes the browser that the variable `CHROMIUM` names, or one of the path; installs Debian's where that can be.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let program = match locate() {
            Some(program) => program,
            None => install()?,
        };
        shell::say(&format!("the browser is {}", program.display()));
        Ok(Self {
            program,
            folder: folder.to_owned(),
        })
    }

    /// Loads a page, and looks at what it asked for and what it complained of.
    pub(crate) fn load(&self, page: &Path) -> anyhow::Result<Loaded> {
        let log = self.folder.join("net-log.json");
        let mut net_log = OsString::from("--log-net-log=");
        net_log.push(&log);
        let mut command = self.command();
        command
            .arg(net_log)
            .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
            .arg(url(page)?);
        let output = shell::capture(&mut command)?;
        ensure!(
            output.status.success(),
            "the browser ended with {}",
            output.status
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        Ok(Loaded {
            dom: String::from_utf8_lossy(&output.stdout).into_owned(),
            console: errors
                .lines()
                .filter(|line| line.contains(":CONSOLE"))
                .map(str::to_owned)
                .collect(),
            requests: requests(&fs::read_to_string(&log).context("the browser wrote no net log")?)?,
        })
    }

    /// Takes a picture of a page, as wide and as high as asked for.
    pub(crate) fn picture(
        &self,
        page: &Path,
        (width, height): (u32, u32),
        dark: bool,
        to: &Path,
    ) -> anyhow::Result<()> {
        let mut command = self.command();
        command
            .arg(format!("--window-size={width},{height}"))
            .arg("--hide-scrollbars")
            // 0 is dark, 1 is light.
            .arg(format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(!dark)
            ))
            .arg(format!("--screenshot={}", to.display()))
            .arg(url(page)?);
        make(&mut command, to)
    }

    /// Prints a page into a PDF file.
    pub(crate) fn print(&self, page: &Path, to: &Path) -> anyhow::Result<()> {
        let mut command = self.command();
        command
            .arg("--no-pdf-header-footer")
            .arg(format!("--print-to-pdf={}", to.display()))
            .arg(url(page)?);
        make(&mut command, to)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(QUIET).arg(format!(
            "--user-data-dir={}",
            self.folder.join("profile").display()
        ));
        command
    }
}

/// Runs the browser, which is to write a file.
fn make(command: &mut Command, to: &Path) -> anyhow::Result<()> {
    let output = shell::capture(command)?;
    let is_there = fs::metadata(to).is_ok_and(|file| file.len() > 0);
    ensure!(
        output.status.success() && is_there,
        "the browser made no {}:\n{}",
        to.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn locate() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Installs Debian's Chromium; fails with what to do where it cannot.
fn install() -> anyhow::Result<PathBuf> {
    let hint = format!(
        "install Chromium (on Debian: `apt-get install chromium`), or name a browser of its kind with {VARIABLE}"
    );
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("there is no Chromium on the path, and no apt-get to install it; {hint}");
    }
    for arguments in [
        &["update", "-q"][..],
        &["install", "-q", "-y", "--no-install-recommends", "chromium"],
    ] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        shell::run(&mut command).with_context(|| format!("there is no Chromium on the path; {hint}"))?;
    }
    locate().with_context(|| format!("apt-get installed no Chromium; {hint}"))
}

fn url(page: &Path) -> anyhow::Result<String> {
    let page = page
        .canonicalize()
        .with_context(|| format!("there is no page {}", page.display()))?;
    Ok(format!("file://{}", page.display()))
}

/// The URLs that a page asked for: those of the net log's requests that the browser did not make by itself.
fn requests(net_log: &str) -> anyhow::Result<Vec<String>> {
    let log: Value = serde_json::from_str(net_log).context("the net log is no JSON")?;
    let events = log["events"].as_array().context("the net log has no events")?;
    let mut found: Vec<String> = events
        .iter()
        .map(|event| &event["params"])
        .filter(|params| {
            params["initiator"]
                .as_str()
                .is_some_and(|by| by != OF_THE_BROWSER)
        })
        .filter_map(|params| params["url"].as_str().map(str::to_owned))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_requests_of_the_page_count() {
        let log = r#"{"events": [
            {"params": {"initiator": "not an origin", "url": "https://update.example"}},
            {"params": {"initiator": "null", "url": "http://127.0.0.1:9/a.png"}},
            {"params": {"url": "http://127.0.0.1:9/b.png"}},
            {}
        ]}"#;
        assert_eq!(requests(log).expect("a log"), ["http://127.0.0.1:9/a.png"]);
        assert!(requests("{}").is_err());
    }
}
