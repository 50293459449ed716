//! Files of lines, written and followed by threads of their own: a file system that does not answer holds nobody up.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self as channel, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use gipfel_stream_client::Clock;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::lines::{LineReader, LineWriter, Stamped};

/// Between two looks no more than this counts as silence: if more time passes, it was the reader who did not look.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What a look at a file has shown.
#[derive(Debug)]
pub(super) struct Look<T> {
    /// Whose file it is.
    pub(super) rank: u32,
    /// What is new, with the writer's time.
    pub(super) lines: io::Result<Vec<Stamped<T>>>,
    /// The reader's time when it had been read.
    pub(super) read_ns: i64,
}

/// Follows the files of one rank or of several.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    looks: mpsc::UnboundedReceiver<Look<T>>,
    /// How long to wait between two looks; the thread ends when it is dropped.
    pace: channel::Sender<Duration>,
}

impl<T: DeserializeOwned + Send + 'static> Inbox<T> {
    /// Looks at each of the files, of the rank that stands beside it.
    pub(super) fn follow(files: Vec<(u32, PathBuf)>, pace: Duration, clock: Clock) -> io::Result<Self> {
        let (say, looks) = mpsc::unbounded_channel();
        let (set_pace, paces) = channel::channel();
        let mut readers: Vec<(u32, LineReader<T>)> = files
            .into_iter()
            .map(|(rank, path)| (rank, LineReader::new(path)))
            .collect();
        let look = move || {
            readers.iter_mut().all(|(rank, reader)| {
                let lines = match reader.read() {
                    // A file system that fails for a moment says no more than one that is slow.
                    Err(error) if !is_malformed(&error) => {
                        tracing::debug!(rank, %error, "a file of the ranks cannot be read");
                        Ok(Vec::new())
                    }
                    lines => lines,
                };
                let look = Look {
                    rank: *rank,
                    lines,
                    read_ns: clock.now_ns(),
                };
                say.send(look).is_ok()
            })
        };
        thread::Builder::new()
            .name("inbox".to_owned())
            .spawn(move || look_again_and_again(look, pace, &paces))?;
        Ok(Self {
            looks,
            pace: set_pace,
        })
    }

    /// From now on so long lies between two looks.
    pub(super) fn set_pace(&self, pace: Duration) {
        // The thread has ended only if it panicked, which the next look shows.
        let _ = self.pace.send(pace);
    }

    /// The next look; `None` if there is none any more.
    pub(super) async fn look(&mut self) -> Option<Look<T>> {
        self.looks.recv().await
    }
}

/// Whether the file could be read, and is none of ours.
fn is_malformed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn look_again_and_again(
    mut look: impl FnMut() -> bool,
    mut pace: Duration,
    paces: &channel::Receiver<Duration>,
) {
    while look() {
        match paces.recv_timeout(pace) {
            Ok(other) => pace = other,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

enum Letter<T> {
    Line(T),
    /// Say when all before it is written.
    Receipt(channel::Sender<()>),
}

/// Appends lines to a file.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    letters: channel::Sender<Letter<T>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl<T: Serialize + Send + 'static> Outbox<T> {
    pub(super) fn new(mut writer: LineWriter<T>, clock: Clock) -> io::Result<Self> {
        let (letters, to_write) = channel::channel();
        let failure = Arc::new(Mutex::new(None));
        let failed = Arc::clone(&failure);
        thread::Builder::new().name("outbox".to_owned()).spawn(move || {
            for letter in to_write {
                match letter {
                    Letter::Line(value) => {
                        if let Err(error) = writer.write(clock.now_ns(), &value) {
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                            return;
                        }
                    }
                    // Nobody may wait for it any more.
                    Letter::Receipt(written) => drop(written.send(())),
                }
            }
        })?;
        Ok(Self { letters, failure })
    }

    /// Has the value appended after those before it.
    ///
    /// # Errors
    /// An earlier one could not be written.
    pub(super) fn write(&self, value: T) -> io::Result<()> {
        self.letters.send(Letter::Line(value)).map_err(|_| {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            io::Error::other(
                failure
                    .clone()
                    .unwrap_or_else(|| "its thread has panicked".to_owned()),
            )
        })
    }

    /// Waits until all is written, or the time is up; whether it is written.
    pub(super) fn settle(&self, limit: Duration) -> bool {
        let (written, receipt) = channel::channel();
        self.letters.send(Letter::Receipt(written)).is_ok() && receipt.recv_timeout(limit).is_ok()
    }
}

/// For how long nothing was heard of somebody, while his file was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    looked: Instant,
    lasted: Duration,
}

impl Silence {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            looked: now,
            lasted: Duration::ZERO,
        }
    }

    /// Counts a look that showed something or nothing; for how long it has been silent.
    pub(super) fn after_look(&mut self, heard: bool, now: Instant) -> Duration {
        let step = now.saturating_duration_since(self.looked).min(LONGEST_LOOK);
        self.looked = now;
        self.lasted = if heard { Duration::ZERO } else { self.lasted + step };
        self.lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_count_as_silence() {
        let start = Instant::now();
        let mut silence = Silence::since(start);
        let mut check = |at_ms: u64, heard: bool, expected_ms: u64| {
            let lasted = silence.after_look(heard, start + Duration::from_millis(at_ms));
            assert_eq!(lasted, Duration::from_millis(expected_ms), "at {at_ms}");
        };
        check(100, false, 100);
        check(200, false, 200);
        check(300, true, 0);
        check(400, false, 100);
        // The file system answered nothing for ten seconds.
        check(10_400, false, 600);
        check(10_500, false, 700);
    }

    #[tokio::test]
    async fn lines_come_with_their_times() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lines");
        let clock = Clock::start();
        let mut inbox =
            Inbox::<u32>::follow(vec![(7, path.clone())], Duration::from_millis(1), clock).expect("a thread");
        let writer = LineWriter::create(&path).expect("a file");
        let outbox = Outbox::new(writer, clock).expect("a thread");
        outbox.write(1).expect("a line");
        outbox.write(2).expect("a line");
        assert!(outbox.settle(Duration::from_secs(30)));
        let mut values = Vec::new();
        while values.len() < 2 {
            let look = inbox.look().await.expect("a look");
            assert_eq!(look.rank, 7);
            for line in look.lines.expect("lines") {
                assert!(line.at_ns <= look.read_ns, "{line:?} read at {}", look.read_ns);
                values.push(line.value);
            }
        }
        assert_eq!(values, [1, 2]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gone").join("lines");
        let outbox = Outbox::new(LineWriter::<u32>::to(path), Clock::start()).expect("a thread");
        let _ = outbox.write(1);
        assert!(!outbox.settle(Duration::from_secs(30)));
        let error = outbox.write(2).expect_err("the directory is not there");
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
