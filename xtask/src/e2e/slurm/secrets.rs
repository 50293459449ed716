//! A whole campaign through FirecREST, after which its secrets are looked for everywhere.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    firecrest::SECRET,
    scene::{Scene, Terms},
    site::Site,
};
use crate::{e2e::world::pause, shell};

/// The content of the file that the server's job reads.
const HF_TOKEN: &str = "hf_e2eOfAModelThatIsGated";

/// How an access token of the simulator begins: a signed one is three parts of base64, of which the first is an object.
const TOKEN: &str = "eyJ";

/// Runs the campaign and looks.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    let folder = shell::target().join("e2e/slurm-secrets-token");
    fs::create_dir_all(&folder)?;
    let file = folder.join("token");
    fs::write(&file, HF_TOKEN)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let terms = Terms {
        way: "firecrest",
        lines: vec![format!("hf_token_path: {}", file.display())],
        ..Terms::default()
    };
    let scene = Scene::new("secrets", site, terms)?;
    let arguments = Arguments::watch();
    let run = scene.run_with(&[("GIPFEL_LOG", "trace"), ("RUST_LOG", "trace")])?;
    let ended = run.end(Duration::from_mins(5))?;
    let arguments = arguments.seen()?;
    ended.expect(0)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    // Who finds nothing must be able to find something.
    ensure!(
        shown_in(&file)?.is_some(),
        "a secret in its own file is not found"
    );
    ensure!(
        ended.said.contains("TRACE"),
        "gipfel does not tell as much as it can"
    );
    let server_log = files_below(&scene.scratch())?
        .into_iter()
        .find(|path| path.ends_with("server.log"));
    let server_log = fs::read_to_string(server_log.context("there is no server.log")?)?;
    ensure!(
        !server_log.contains("there is no Hugging Face token"),
        "the job has not read the token"
    );
    let mut looked = 0;
    for folder in [scene.scratch(), scene.world.results(), site.folder().join("logs")] {
        for path in files_below(&folder)? {
            let found = shown_in(&path)?;
            ensure!(
                found.is_none(),
                "{} holds {}",
                path.display(),
                found.unwrap_or_default()
            );
            looked += 1;
        }
    }
    let said = secret_in(ended.said.as_bytes());
    ensure!(said.is_none(), "gipfel prints {}", said.unwrap_or_default());
    for line in &arguments {
        ensure!(secret_in(line).is_none(), "a command line holds a secret");
    }
    private_below(&scene.scratch())?;
    shell::say(&format!(
        "campaign secrets: as expected: no secret in {looked} files, {} bytes of traces and {} command lines",
        ended.said.len(),
        arguments.len()
    ));
    scene.close()
}

/// Which secret these bytes hold, in words.
fn secret_in(bytes: &[u8]) -> Option<String> {
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    let named = [
        (SECRET, "the client's secret"),
        (HF_TOKEN, "the token of Hugging Face"),
        (TOKEN, "an access token"),
    ];
    named
        .into_iter()
        .find(|(word, _)| holds(word))
        .map(|(_, name)| name.to_owned())
}

fn shown_in(path: &Path) -> anyhow::Result<Option<String>> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(secret_in(&bytes))
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to look into {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Fails if others may read, or look into, something below a directory of ours.
fn private_below(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        ensure!(
            mode % 0o100 == 0,
            "others may use {}: its mode is {mode:o}",
            entry.path().display()
        );
        if entry.path().is_dir() {
            private_below(&entry.path())?;
        }
    }
    Ok(())
}

/// The command lines of all processes, looked at again and again.
struct Arguments {
    over: Arc<AtomicBool>,
    watcher: JoinHandle<BTreeSet<Vec<u8>>>,
}

impl Arguments {
    fn watch() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let watcher = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !told.load(Ordering::Relaxed) {
                let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
                // A process may have ended in the meantime.
                seen.extend(entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()));
                pause(Duration::from_millis(50));
            }
            seen
        });
        Self { over, watcher }
    }

    fn seen(self) -> anyhow::Result<BTreeSet<Vec<u8>>> {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.watcher.join();
        seen.map_err(|_| anyhow::anyhow!("the look at command lines failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_seen() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(secret_in(text.as_bytes()).as_deref(), expected, "{text}");
        };
        check("client_secret=e2e-secret&", Some("the client's secret"));
        check("Authorization: Bearer eyJhbGciOi", Some("an access token"));
        check(
            "HF_TOKEN=hf_e2eOfAModelThatIsGated",
            Some("the token of Hugging Face"),
        );
        check("GET /status/systems", None);
    }
}
