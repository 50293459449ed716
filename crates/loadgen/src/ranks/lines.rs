//! Files that one process appends lines to and others follow.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Appends one JSON value a line.
#[derive(Debug)]
pub(super) struct LineWriter<T> {
    file: File,
    line: Vec<u8>,
    values: PhantomData<fn(T)>,
}

impl<T: Serialize> LineWriter<T> {
    /// Begins a file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self {
            file,
            line: Vec::new(),
            values: PhantomData,
        })
    }

    /// Appends a line in one write, so that a reader sees all of it or the begin of it.
    pub(super) fn write(&mut self, value: &T) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
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
    pub(super) fn read(&mut self) -> io::Result<Vec<T>> {
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
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
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
        assert_eq!(reader.read().expect("no file yet"), [0; 0]);
        let mut writer = LineWriter::create(&path).expect("a file");
        writer.write(&1).expect("a line");
        writer.write(&2).expect("a line");
        assert_eq!(reader.read().expect("lines"), [1, 2]);
        assert_eq!(reader.read().expect("nothing new"), [0; 0]);
        writer.file.write_all(b"3").expect("half a line");
        assert_eq!(reader.read().expect("nothing complete"), [0; 0]);
        writer.file.write_all(b"4\n5").expect("half a line");
        assert_eq!(reader.read().expect("a line"), [34]);
        writer.file.write_all(b"\nx\n").expect("a line");
        reader.read().expect_err("no number");
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
