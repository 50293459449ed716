//! Where results go: files, pipes, full disks.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use gipfel_results_db::ResultsDb;

fn gipfel(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gipfel"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    gipfel(arguments).output().expect("the program runs")
}

fn check(output: &Output, code: i32, stderr: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(stderr), "`{text}` lacks `{stderr}`");
}

/// A database without runs, and its directory.
fn database() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let created = runtime.block_on(async { ResultsDb::create(&path).await?.close().await });
    created.expect("a database");
    (directory, path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let (_directory, database) = database();
    let commands: [&[&str]; 4] = [
        &["results", "summary", text(&database)],
        &["results", "summary", text(&database), "--json"],
        &["results", "export", text(&database), "--format", "csv"],
        &["results", "export", text(&database), "--format", "json"],
    ];
    for arguments in commands {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let output = gipfel(arguments).stdout(full).output().expect("the program runs");
        check(
            &output,
            1,
            "error: cannot write to standard output\n  caused by: No space left on device",
        );
    }
    let output = run(&[
        "results",
        "export",
        text(&database),
        "--format",
        "csv",
        "-o",
        "/dev/full",
    ]);
    check(
        &output,
        1,
        "error: cannot write `/dev/full`\n  caused by: No space left on device",
    );
}

#[test]
fn a_reader_that_has_gone_is_none() {
    let (_directory, database) = database();
    let commands: [&[&str]; 3] = [
        &["results", "summary", text(&database), "--json"],
        &["results", "export", text(&database), "--format", "csv"],
        &["results", "export", text(&database), "--format", "json"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = gipfel(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the program runs");
        check(&output, 0, "");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn an_export_is_a_file_or_a_stream() {
    let (directory, database) = database();
    let csv = directory.path().join("a.csv");
    let streamed = run(&["results", "export", text(&database), "--format", "csv"]);
    check(&streamed, 0, "");
    let file = run(&[
        "results",
        "export",
        text(&database),
        "--format",
        "csv",
        "-o",
        text(&csv),
    ]);
    check(&file, 0, "");
    assert!(file.stdout.is_empty());
    assert_eq!(std::fs::read(&csv).expect("the file"), streamed.stdout);
    assert!(streamed.stdout.starts_with(b"run_id,rate,level,"));
    let is_part = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().contains(".part")
    };
    let entries = std::fs::read_dir(directory.path()).expect("a directory");
    assert!(!entries.into_iter().any(is_part), "nothing half written is left");
}

#[test]
fn what_cannot_be_exported_is_said() {
    let (directory, database) = database();
    let export = |more: &[&str]| {
        let mut arguments = vec!["results", "export", text(&database), "--format"];
        arguments.extend(more);
        run(&arguments)
    };
    check(&export(&["parquet"]), 2, "hint: name it with -o FILE");
    check(&export(&["vllm-bench"]), 2, "hint: name it with -o DIRECTORY");
    check(&export(&["json", "--table", "runs"]), 2, "json holds no table");
    check(&export(&["csv", "--run", "run-a"]), 2, "there is no run `run-a`");
    let missing = directory.path().join("missing").join("a.csv");
    check(
        &export(&["csv", "-o", text(&missing)]),
        2,
        "there is no directory",
    );
    check(
        &export(&["csv", "-o", text(directory.path())]),
        2,
        "Is a directory",
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (_directory, database) = database();
    let compare = |a: &str, b: &str| run(&["results", "compare", a, b, "--results-dir", "/nowhere"]);
    check(&compare(text(&database), text(&database)), 2, "holds no run");
    check(
        &compare(text(&database), "20261121-224312_m_sim_local_0a1f"),
        2,
        "is neither a database nor a run",
    );
}
