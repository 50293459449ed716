//! Files that one process appends lines to and others follow.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// A value, and when it was appended by the writer's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamped<T> {
    pub(super) at_ns: i64,
    pub(super) value: T,
}

/// Appends one value a line, with its time.
#[derive(Debug)]
pub(super) struct LineWriter<T> {
    path: PathBuf,
    line: Vec<u8>,
    values: PhantomData<fn(T)>,
}

impl<T: Serialize> LineWriter<T> {
    /// Begins a file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self::to(path.to_owned()))
    }

    /// Goes on with a file, or begins it.
    pub(super) fn to(path: PathBuf) -> Self {
        Self {
            path,
            line: Vec::new(),
            values: PhantomData,
        }
    }

    /// Appends a line in one write, so that a reader sees all of it or the begin of it.
    pub(super) fn write(&mut self, at_ns: i64, value: &T) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &(at_ns, value))?;
        self.line.push(b'\n');
        // Opened anew each time: a network file system hands on what was written when the file is closed.
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        file.write_all(&self.line)
    }
}

/// Follows a file of lines. It need not exist yet, and its last line may still be incomplete.
#[derive(Debug)]
pub(super) struct LineReader<T> {
    path: PathBuf,
    offset: u64,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> LineReader<T> {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            values: PhantomData,
        }
    }

    /// The complete lines since the last time.
    pub(super) fn read(&mut self) -> io::Result<Vec<Stamped<T>>> {
        // Opened anew each time: only then does a network file system ask its server for what is new.
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        self.offset += end as u64 + 1;
        let lines = text[..end].split(|byte| *byte == b'\n');
        lines
            .map(|line| {
                let (at_ns, value) = serde_json::from_slice(line)?;
                Ok(Stamped { at_ns, value })
            })
            .collect()
    }
}

/// Replaces a file by rename, so that a reader never sees half of it.
pub(super) fn publish(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp.{}", std::process::id()));
    fs::write(&temporary, serde_json::to_vec_pretty(value)?)?;
    fs::rename(temporary, path)
}

/// Reads what was published; nothing if nothing was.
pub(super) fn published<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_followed_as_they_come() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lines");
        let mut reader = LineReader::<u32>::new(path.clone());
        let mut read = move || -> io::Result<Vec<(i64, u32)>> {
            let lines = reader.read()?;
            Ok(lines.into_iter().map(|line| (line.at_ns, line.value)).collect())
        };
        let append = |text: &[u8]| {
            let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
            file.write_all(text).expect("half a line");
        };
        assert_eq!(read().expect("no file yet"), []);
        let mut writer = LineWriter::create(&path).expect("a file");
        writer.write(10, &1).expect("a line");
        writer.write(20, &2).expect("a line");
        assert_eq!(read().expect("lines"), [(10, 1), (20, 2)]);
        assert_eq!(read().expect("nothing new"), []);
        append(b"[30,3");
        assert_eq!(read().expect("nothing complete"), []);
        append(b"4]\n[5");
        assert_eq!(read().expect("a line"), [(30, 34)]);
        append(b"\nx\n");
        read().expect_err("no line");
        LineWriter::<u32>::create(&path).expect_err("it is there");
    }

    #[test]
    fn a_file_is_published_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.json");
        assert_eq!(published::<u32>(&path).expect("no file yet"), None);
        publish(&path, &1).expect("a file");
        publish(&path, &2).expect("a file");
        assert_eq!(published::<u32>(&path).expect("a file"), Some(2));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }
}
