//! Files that are whole whenever they are read, and the ends of logs.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// Replaces a file: a reader sees the old text or the new one, also after a crash.
pub(crate) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other("the path names no file"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// The text of a log from the byte `from` on, of a long one only the last `most` bytes from a line's begin. A log
/// that does not exist is empty.
pub(crate) fn log_end(path: &Path, from: u64, most: u64) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let begin = from.max(length.saturating_sub(most));
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let cut = if begin > from {
        text.find('\n').map_or(0, |end| end + 1)
    } else {
        0
    };
    Ok(text[cut..].to_owned())
}

/// The last `lines` lines of a text.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_logs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(log_end(&path, 0, 10).unwrap(), "");
        replace(&path, b"one\ntwo\nthree\n").unwrap();
        let check = |from, most, expected: &str| assert_eq!(log_end(&path, from, most).unwrap(), expected);
        check(0, 100, "one\ntwo\nthree\n");
        check(4, 100, "two\nthree\n");
        check(0, 12, "two\nthree\n");
        check(8, 3, "");
        check(99, 100, "");
        let lines = |count, expected: &str| assert_eq!(last_lines("one\ntwo\nthree\n", count), expected);
        lines(2, "two\nthree");
        lines(9, "one\ntwo\nthree");
        lines(0, "");
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
