//! What shells say of the scripts, without carrying them out.

use std::{fs, process::Command};

use gipfel_model::BackendKind;
use gipfel_slurm_backend::RenderedJob;

use crate::cases;

/// Every script of every case, with its name.
fn scripts() -> Vec<(String, String)> {
    let sizes = [BackendKind::Vllm, BackendKind::Sglang, BackendKind::Dynamo].map(cases::sizes);
    let sized = sizes.into_iter().flatten().map(|server| {
        let name = format!("{}-{}", server.backend, server.model);
        (name, server.rendered())
    });
    let ways = cases::ways()
        .into_iter()
        .map(|(name, server)| (name.to_owned(), server.rendered()));
    let loads = [(1, 1, true), (2, 3, false)]
        .map(|(nodes, tasks, has_server)| (format!("load-{nodes}"), cases::load(nodes, tasks, has_server)));
    let mut all: Vec<(String, String)> = sized.chain(ways).chain(loads).flat_map(of_job).collect();
    let queued = cases::queued("/scratch/me", "/scratch/me/d-1", "/scratch/gipfel-loadgen");
    all.push(("queued".to_owned(), queued.content));
    all
}

fn of_job((name, job): (String, RenderedJob)) -> Vec<(String, String)> {
    let files = job.files.into_iter().filter(|file| file.name != "engine.toml");
    let files = files.map(|file| (format!("{name}-{}", file.name), file.content));
    std::iter::once((format!("{name}.sbatch"), job.script))
        .chain(files)
        .collect()
}

/// Has a program look at each script and gives what it says of those that it does not like.
fn said(program: &str, arguments: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut said = Vec::new();
    for (name, script) in scripts() {
        let file = directory.path().join(&name);
        fs::write(&file, script).expect("a file");
        let output = Command::new(program)
            .args(arguments)
            .arg(&file)
            .output()
            .expect("the program");
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            said.push(format!("{name}: {}", String::from_utf8_lossy(&text)));
        }
    }
    said
}

#[test]
fn bash_reads_every_script() {
    assert!(scripts().len() > 30);
    assert_eq!(said("bash", &["-n"]), Vec::<String>::new());
}

#[test]
#[expect(clippy::print_stderr, reason = "a check that is left out says so")]
fn shellcheck_has_no_objection() {
    if Command::new("shellcheck").arg("--version").output().is_err() {
        eprintln!("shellcheck is not installed: the scripts are not checked by it");
        return;
    }
    let arguments = ["--shell=bash", "--severity=warning"];
    assert_eq!(said("shellcheck", &arguments), Vec::<String>::new());
}

/// The user's texts of the nasty case are in the files and were carried out by nobody.
#[test]
fn nothing_of_a_text_is_carried_out() {
    let job = cases::nasty().rendered();
    assert!(job.script.contains("touch /tmp/gipfel-was-here"));
    let rank = job
        .files
        .iter()
        .find(|file| file.name == "rank.sh")
        .expect("the script");
    // The engine says what it is given; its words are the texts as they were.
    let stub = "exec() { printf '<%s>' \"$@\"; }\n";
    let script = rank.content.replace("set -u\n", &format!("set -u\n{stub}"));
    let output = Command::new("bash")
        .args([
            "-c", &script, "rank.sh", "0", "10.0.0.1", "10.0.0.1", "0.0.0.0", "8080",
        ])
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let text = "'; touch /tmp/gipfel-was-here; echo \"$(touch /tmp/gipfel-was-here)` #\n";
    assert!(said.contains(&format!("<--served-model-name><{text}>")), "{said}");
    assert!(said.ends_with(&format!("<{text}><8080><$port>")), "{said}");
    assert!(said.contains("<--tokenizer><$HOME>"), "{said}");
    assert!(!std::path::Path::new("/tmp/gipfel-was-here").exists());
}
