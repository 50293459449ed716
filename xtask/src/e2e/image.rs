//! The file system that an image would hold, made without a container engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::shell;

/// What a Dockerfile says, as far as ours go.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Directory(String),
    Copy { files: Vec<String>, to: String },
    Entry(String),
}

/// A command in the file system that `deploy/docker/loadgen` makes of an unpacked bundle.
pub(crate) fn command(context: &Path, file_system: &Path) -> anyhow::Result<Command> {
    let text = fs::read_to_string(shell::root().join("deploy/docker/loadgen/Dockerfile"))
        .context("failed to read the Dockerfile")?;
    let mut entry = None;
    let mut working = "/".to_owned();
    for step in steps(&text)? {
        match step {
            Step::Directory(path) => {
                fs::create_dir_all(within(file_system, &path))?;
                working = path;
            }
            Step::Copy { files, to } => copy(context, file_system, &files, &to)?,
            Step::Entry(program) => entry = Some(program),
        }
    }
    let entry = entry.context("the image has no ENTRYPOINT")?;
    // What every container engine adds.
    fs::create_dir_all(file_system.join("etc"))?;
    fs::write(file_system.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    // Who is not root enters a namespace in which they are.
    let root = shell::read(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = Command::new(if root { "chroot" } else { "unshare" });
    if !root {
        command.args(["--map-root-user", "chroot"]);
    }
    command
        .arg(file_system)
        .arg(entry)
        .args(["--directory", &working]);
    Ok(command)
}

fn within(file_system: &Path, path: &str) -> PathBuf {
    file_system.join(path.trim_start_matches('/'))
}

fn copy(context: &Path, file_system: &Path, files: &[String], to: &str) -> anyhow::Result<()> {
    fs::create_dir_all(file_system)?;
    for file in files {
        let target = within(file_system, to);
        let target = if to.ends_with('/') {
            target.join(file)
        } else {
            target
        };
        fs::copy(context.join(file), &target)
            .with_context(|| format!("failed to copy {file} into the image"))?;
    }
    Ok(())
}

/// The steps of a Dockerfile that begins from nothing.
fn steps(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut scratch = false;
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let instruction = words.next().unwrap_or_default();
        let mut rest: Vec<String> = words.collect();
        match (instruction.as_str(), rest.as_slice()) {
            ("FROM", [base]) if base == "scratch" => scratch = true,
            ("WORKDIR", [path]) => steps.push(Step::Directory(path.clone())),
            ("COPY", [_, _, ..]) => {
                let to = rest.pop().unwrap_or_default();
                steps.push(Step::Copy { files: rest, to });
            }
            ("ENTRYPOINT", [list]) => {
                let program: Vec<String> =
                    serde_json::from_str(list).with_context(|| format!("`{line}` is no JSON list"))?;
                steps.push(Step::Entry(program.join(" ")));
            }
            _ => bail!("`{line}` in the Dockerfile is not understood by its check"),
        }
    }
    ensure!(scratch, "the image does not begin FROM scratch");
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_read() {
        let text = "# words\nFROM scratch\nWORKDIR /work\nCOPY a b /\nENTRYPOINT [\"/a\"]\n";
        let expected = [
            Step::Directory("/work".to_owned()),
            Step::Copy {
                files: vec!["a".to_owned(), "b".to_owned()],
                to: "/".to_owned(),
            },
            Step::Entry("/a".to_owned()),
        ];
        assert_eq!(steps(text).expect("understood"), expected);
        let check = |text, expected: &str| {
            let error = steps(text).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("FROM debian\n", "not understood");
        check("WORKDIR /\n", "FROM scratch");
        check("FROM scratch\nRUN true\n", "`RUN true`");
    }
}
