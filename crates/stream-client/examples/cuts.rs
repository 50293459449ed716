//! Reads every capture of an answer below a directory whole, byte by byte, and cut in two at each of its bytes.
//!
//! `cargo run -p gipfel-stream-client --example cuts -- DIRECTORY` takes `*.sse` for streams of events, `*.ndjson` for
//! streams of lines and `*.json` for answers in one piece, says what is seen of each, and fails when that depends on the cut.

use std::{
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use gipfel_stream_client::{
    AnswerForm,
    replay::{Mismatch, Replay},
};

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: cuts DIRECTORY")?;
    let mut captures = Vec::new();
    find(Path::new(&directory), &mut captures)?;
    captures.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut bytes_of_all, mut ways_of_all, mut failed) = (0, 0, 0);
    for (path, form) in &captures {
        let bytes = fs::read(path)?;
        let replay = Replay::new(*form, &bytes);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match check(&replay) {
            Ok(ways) => {
                let (ending, chunks) = (replay.reading().ending, replay.reading().chunks);
                println!("{name}: {ending}, {chunks} chunks, {ways} ways");
                bytes_of_all += bytes.len();
                ways_of_all += ways;
            }
            Err(mismatch) => {
                println!("{name}: {mismatch}");
                failed += 1;
            }
        }
    }
    let count = captures.len();
    println!(
        "{count} captures, {bytes_of_all} bytes, {ways_of_all} ways to cut them, {failed} captures read differently"
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// In how many ways the answer was read, byte by byte among them.
fn check(replay: &Replay<'_>) -> Result<usize, Mismatch> {
    replay.check_chunks()?;
    Ok(replay.check_each_cut()? + 1)
}

fn find(directory: &Path, captures: &mut Vec<(PathBuf, AnswerForm)>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, captures)?;
            continue;
        }
        let form = match path.extension().and_then(OsStr::to_str) {
            Some("sse") => AnswerForm::Events,
            Some("ndjson") => AnswerForm::Lines,
            Some("json") => AnswerForm::Whole,
            _ => continue,
        };
        captures.push((path, form));
    }
    Ok(())
}
