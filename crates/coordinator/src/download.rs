//! The download of one file: taken up where it ended, checked, and put in place whole.

use std::{
    fs::{self, File, TryLockError},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use gipfel_model::provenance::hexadecimal;
use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, RANGE},
};
use sha2::{Digest, Sha256};

use crate::{commands::data::size_words, failure::Failure};

/// A server that gives nothing for so long is asked again.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The pauses before further attempts, of which there are no more than these; progress begins the count anew.
const PAUSES: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// How often progress is shown on a terminal, and elsewhere.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A file to download.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// What it is called in messages.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) address: String,
    /// Where it goes.
    pub(crate) path: PathBuf,
    /// The sha256 that it must have.
    pub(crate) sha256: Option<String>,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Why an attempt ended.
enum Ended {
    /// Another one may succeed.
    ForNow(anyhow::Error),
    ForGood(Failure),
}

/// Where the sha256 of a file is recorded: in the form that `sha256sum --check` reads.
pub(crate) fn digest_path(path: &Path) -> PathBuf {
    beside(path, ".sha256")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Downloads the file, through the proxy that the environment names.
pub(crate) async fn run(download: &Download) -> Result<Done, Failure> {
    run_with(download, PAUSES).await
}

async fn run_with(download: &Download, pauses: &[Duration]) -> Result<Done, Failure> {
    let mut part = Part::open(download)?;
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .context("failed to make an HTTP client")?;
    let mut attempt = 0;
    loop {
        let before = part.bytes;
        let ended = match fetch(&client, download, &mut part).await {
            Ok(()) => return part.finish(download),
            Err(Ended::ForGood(failure)) => return Err(failure),
            Err(Ended::ForNow(error)) => error,
        };
        if part.bytes > before {
            attempt = 0;
        }
        let Some(pause) = pauses.get(attempt) else {
            let what = format!("failed to download `{}`", download.address);
            return Err(Failure::experiment(ended.context(what)).hint(
                "the same command goes on where this one ended; a proxy is taken from HTTPS_PROXY, another hub from \
                 HF_ENDPOINT",
            ));
        };
        attempt += 1;
        say(&format!(
            "{}: {:#}; again in {} s",
            download.name,
            ended,
            pause.as_secs()
        ));
        tokio::time::sleep(*pause).await;
    }
}

/// One attempt, from where the part ends.
async fn fetch(client: &reqwest::Client, download: &Download, part: &mut Part) -> Result<(), Ended> {
    let for_now = |error: reqwest::Error| Ended::ForNow(anyhow::Error::from(error.without_url()));
    let mut request = client.get(&download.address);
    if part.bytes > 0 {
        request = request.header(RANGE, format!("bytes={}-", part.bytes));
    }
    let mut answer = request.send().await.map_err(for_now)?;
    match answer.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => part.begin_anew()?,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            part.begin_anew()?;
            return Err(Ended::ForNow(anyhow!(
                "what is here already is no part of the file"
            )));
        }
        status if is_passing(status) => {
            return Err(Ended::ForNow(anyhow!("the server answered HTTP status {status}")));
        }
        status => {
            let error = anyhow!("the server answered HTTP status {status}");
            let error = error.context(format!("failed to download `{}`", download.address));
            return Err(Ended::ForGood(Failure::experiment(error).hint(
                "another address can be given with --url, another hub with HF_ENDPOINT",
            )));
        }
    }
    let length = answer.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let total = length.map(|length| part.bytes + length);
    let mut progress = Progress::new(&download.name, total);
    while let Some(bytes) = answer.chunk().await.map_err(for_now)? {
        part.write(&bytes)?;
        progress.show(part.bytes);
    }
    progress.end();
    match total {
        Some(total) if part.bytes < total => Err(Ended::ForNow(anyhow!("the connection ended early"))),
        _ => Ok(()),
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// The part of the file that is here so far. It is locked, so that two processes do not write the same one.
struct Part {
    file: File,
    path: PathBuf,
    bytes: u64,
    digest: Sha256,
}

impl Part {
    fn open(download: &Download) -> Result<Self, Failure> {
        let path = beside(&download.path, ".part");
        let what = || format!("failed to write `{}`", path.display());
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create `{}`", folder.display()))
            .map_err(Failure::usage)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(what)
            .map_err(Failure::usage)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let error = anyhow!(
                    "another process downloads `{}` at this moment",
                    download.path.display()
                );
                return Err(Failure::usage(error));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::usage(anyhow::Error::from(error).context(what())));
            }
        }
        let mut part = Self {
            file,
            path: path.clone(),
            bytes: 0,
            digest: Sha256::new(),
        };
        part.read_again().with_context(what).map_err(Failure::usage)?;
        Ok(part)
    }

    /// Takes into the digest what an earlier process has left.
    fn read_again(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.digest.update(&buffer[..read]);
            self.bytes += read as u64;
        }
    }

    fn begin_anew(&mut self) -> Result<(), Ended> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| self.unwritable(error))?;
        self.bytes = 0;
        self.digest = Sha256::new();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.file
            .write_all(bytes)
            .map_err(|error| self.unwritable(error))?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// A full disk does not become emptier by asking again.
    fn unwritable(&self, error: io::Error) -> Ended {
        let error = anyhow::Error::from(error).context(format!("failed to write `{}`", self.path.display()));
        Ended::ForGood(Failure::usage(error))
    }

    /// Checks the whole file, records its sha256 beside it, and puts it in place.
    fn finish(self, download: &Download) -> Result<Done, Failure> {
        let sha256 = hexadecimal(&self.digest.finalize());
        if let Some(expected) = download.sha256.as_ref().filter(|expected| **expected != sha256) {
            fs::remove_file(&self.path)
                .with_context(|| format!("failed to remove `{}`", self.path.display()))?;
            let error = anyhow!(
                "what `{}` gave is not the data set: its sha256 is {sha256}, and should be {expected}",
                download.address
            );
            return Err(Failure::experiment(error)
                .hint("a proxy may have answered in its place; the file was removed"));
        }
        let what = || format!("failed to write `{}`", download.path.display());
        self.file.sync_all().with_context(what)?;
        let name = download.path.file_name().unwrap_or_default().to_string_lossy();
        let record = digest_path(&download.path);
        fs::write(&record, format!("{sha256}  {name}\n"))
            .with_context(|| format!("failed to write `{}`", record.display()))?;
        fs::rename(&self.path, &download.path).with_context(what)?;
        Ok(Done {
            bytes: self.bytes,
            sha256,
        })
    }
}

/// Says on standard error how far a download has come.
struct Progress {
    name: String,
    total: Option<u64>,
    live: bool,
    shown: Instant,
}

impl Progress {
    fn new(name: &str, total: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            total,
            live: io::stderr().is_terminal(),
            shown: Instant::now(),
        }
    }

    fn show(&mut self, bytes: u64) {
        let interval = if self.live { LIVE_INTERVAL } else { LINE_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let so_far = size_words(bytes);
        let text = match self.total {
            Some(total) => {
                let percent = bytes as f64 / total.max(1) as f64 * 100.0;
                format!(
                    "{}: {so_far} of {} ({percent:.0} %)",
                    self.name,
                    size_words(total)
                )
            }
            None => format!("{}: {so_far}", self.name),
        };
        if self.live {
            // A terminal that is gone is no reason to end.
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        } else {
            say(&text);
        }
    }

    fn end(&self) {
        if self.live {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn say(text: &str) {
    // A terminal that is gone is no reason to end.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
        thread,
    };

    const TEXT: &str = "Shall I compare thee to a summer's day?";

    /// A server that gives one scripted answer per connection; the requests' ranges are what it returns.
    fn serve(answers: Vec<String>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/file", listener.local_addr().expect("an address"));
        let serving = thread::spawn(move || {
            let mut ranges = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let mut range = String::from("-");
                while let Some(Ok(line)) = lines
                    .next()
                    .filter(|line| !matches!(line, Ok(line) if line.is_empty()))
                {
                    if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
                        value.clone_into(&mut range);
                    }
                }
                ranges.push(range);
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
            ranges
        });
        (address, serving)
    }

    fn whole(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn part(body: &str) -> String {
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn cut(body: &str, bytes: usize) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
            body.len(),
            &body[..bytes]
        )
    }

    fn status(line: &str) -> String {
        format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    fn sha256(text: &str) -> String {
        hexadecimal(&Sha256::digest(text.as_bytes()))
    }

    /// What a download of scripted answers ends with, the ranges it asked for, and the files that are left.
    async fn check(
        answers: Vec<String>,
        expected: Option<String>,
    ) -> (Result<Done, String>, Vec<String>, Vec<String>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let (address, serving) = serve(answers);
        let download = Download {
            name: "test".to_owned(),
            address: address.clone(),
            path: folder.path().join("gipfel/file.txt"),
            sha256: expected,
        };
        let done = run_with(&download, &[Duration::ZERO; 2]).await;
        let mut files: Vec<String> = fs::read_dir(folder.path().join("gipfel"))
            .expect("the folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        files.sort();
        let done = done.map_err(|failure| failure.render().replace(&address, "URL"));
        (done, serving.join().expect("the server"), files)
    }

    #[tokio::test]
    async fn a_file_is_put_in_place_whole_with_its_digest() {
        let (done, ranges, files) = check(vec![whole(TEXT)], Some(sha256(TEXT))).await;
        let expected = Done {
            bytes: TEXT.len() as u64,
            sha256: sha256(TEXT),
        };
        assert_eq!(done, Ok(expected));
        assert_eq!(
            (ranges, files),
            (
                vec!["-".to_owned()],
                vec!["file.txt".to_owned(), "file.txt.sha256".to_owned()]
            )
        );
    }

    #[tokio::test]
    async fn a_download_goes_on_where_it_ended() {
        let (done, ranges, _) = check(vec![cut(TEXT, 10), status("503 Busy"), part(&TEXT[10..])], None).await;
        assert_eq!(done.map(|done| done.sha256), Ok(sha256(TEXT)));
        assert_eq!(ranges, ["-", "bytes=10-", "bytes=10-"]);
    }

    #[tokio::test]
    async fn a_server_without_ranges_begins_anew() {
        let (done, ranges, _) = check(vec![cut(TEXT, 10), whole(TEXT)], None).await;
        assert_eq!(done.map(|done| done.sha256), Ok(sha256(TEXT)));
        assert_eq!(ranges, ["-", "bytes=10-"]);
    }

    #[tokio::test]
    async fn another_file_is_refused_and_removed() {
        let (done, _, files) = check(vec![whole("<html>")], Some(sha256(TEXT))).await;
        insta::assert_snapshot!(done.expect_err("another file"), @r"
        error: what `URL` gave is not the data set: its sha256 is b7d082ee12e91b756ea22e8513b8594eebcf5d39fab813da3cb55794dc888ad7, and should be 027269a22bdb16b24b768017fd8c89aead597a4b49aac77fdf9dbbff340effba
        hint: a proxy may have answered in its place; the file was removed
        ");
        assert_eq!(files, Vec::<String>::new());
    }

    #[tokio::test]
    async fn attempts_are_bounded_and_what_is_final_is_not_tried_again() {
        let busy = || status("503 Service Unavailable");
        let (done, ranges, _) = check(vec![busy(), busy(), busy()], None).await;
        insta::assert_snapshot!(done.expect_err("busy"), @r"
        error: failed to download `URL`
          caused by: the server answered HTTP status 503 Service Unavailable
        hint: the same command goes on where this one ended; a proxy is taken from HTTPS_PROXY, another hub from HF_ENDPOINT
        ");
        assert_eq!(ranges.len(), 3);
        let (done, _, _) = check(vec![status("404 Not Found")], None).await;
        insta::assert_snapshot!(done.expect_err("not there"), @r"
        error: failed to download `URL`
          caused by: the server answered HTTP status 404 Not Found
        hint: another address can be given with --url, another hub with HF_ENDPOINT
        ");
    }
}
