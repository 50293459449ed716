//! Reads every capture of an answer below a directory whole, byte by byte, and cut in two at each of its bytes.
//!
//! `cargo run -p gipfel-stream-client --example cuts -- DIRECTORY` takes `*.sse` for streams of events, `*.ndjson` for
//! streams of lines and `*.json` for answers in one piece, says what is seen of each, and fails when that depends on the cut.
//! On Linux it takes `*.http` for whole responses over HTTP/1.1, with their heads.

use std::{
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[cfg(target_os = "linux")]
use gipfel_stream_client::replay::ResponseReplay;
use gipfel_stream_client::{AnswerForm, replay::Replay};

/// What a file holds.
#[derive(Clone, Copy)]
enum Kind {
    Answer(AnswerForm),
    #[cfg(target_os = "linux")]
    Response,
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: cuts DIRECTORY")?;
    let mut captures = Vec::new();
    find(Path::new(&directory), &mut captures)?;
    captures.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut bytes_of_all, mut ways_of_all, mut failed) = (0, 0, 0);
    for (path, kind) in &captures {
        let bytes = fs::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = match kind {
            Kind::Answer(form) => check(*form, &bytes),
            #[cfg(target_os = "linux")]
            Kind::Response => check_response(&bytes),
        };
        match read {
            Ok((seen, ways)) => {
                println!("{name}: {seen}, {ways} ways");
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

/// What is seen of the answer, and in how many ways it was read, byte by byte among them.
fn check(form: AnswerForm, bytes: &[u8]) -> Result<(String, usize), Box<dyn Error>> {
    let replay = Replay::new(form, bytes);
    replay.check_chunks()?;
    let ways = replay.check_each_cut()? + 1;
    let reading = replay.reading();
    Ok((format!("{}, {} chunks", reading.ending, reading.chunks), ways))
}

/// The same of a response.
#[cfg(target_os = "linux")]
fn check_response(bytes: &[u8]) -> Result<(String, usize), Box<dyn Error>> {
    let replay = ResponseReplay::new(bytes);
    let ways = replay.check_each_cut()? + 1;
    let reading = replay.reading();
    let status = reading.head.as_ref().map_or(0, |head| head.0);
    let length = reading.body.len();
    let seen = format!("{status}, {length} bytes of body, {}", reading.ending);
    Ok((seen, ways))
}

fn find(directory: &Path, captures: &mut Vec<(PathBuf, Kind)>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, captures)?;
            continue;
        }
        let kind = match path.extension().and_then(OsStr::to_str) {
            Some("sse") => Kind::Answer(AnswerForm::Events),
            Some("ndjson") => Kind::Answer(AnswerForm::Lines),
            Some("json") => Kind::Answer(AnswerForm::Whole),
            #[cfg(target_os = "linux")]
            Some("http") => Kind::Response,
            _ => continue,
        };
        captures.push((path, kind));
    }
    Ok(())
}
