//! Where a command's result goes: standard output, or a file that appears only when it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Stdout, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::NamedTempFile;

/// Prints to standard output; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    unless_gone(written).context("cannot write to standard output")
}

/// Takes the failure of a write whose reader has gone as its end.
fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// An output that is being written.
pub(crate) enum Output {
    /// Standard output.
    Stdout(BufWriter<Stdout>),
    /// A device or a named pipe, which cannot be replaced.
    Special(BufWriter<File>, PathBuf),
    /// A file beside its target, which takes its place when it is finished and goes when it is not.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Output {
    /// Opens the output that the user names; standard output without a name, and for `-`.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            None => Ok(Self::Stdout(BufWriter::new(io::stdout()))),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout(BufWriter::new(io::stdout()))),
            Some(path) => Self::open_file(path).with_context(|| format!("cannot write `{}`", path.display())),
        }
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        // A link stays, and what it points at is replaced.
        let target = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            target => target?,
        };
        if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(&target)?;
            return Ok(Self::Special(BufWriter::new(file), path.to_owned()));
        }
        let directory = directory_of(&target);
        if !directory.is_dir() {
            let words = format!("there is no directory `{}`", directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, words));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".gipfel-").suffix(".part");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let part = builder.tempfile_in(directory)?;
        Ok(Self::File(BufWriter::new(part), target))
    }

    /// What a person calls it, after *cannot write*.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout(_) => "to standard output".to_owned(),
            Self::Special(_, path) | Self::File(_, path) => format!("`{}`", path.display()),
        }
    }

    /// Writes what is held back, and lets a file take its place.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let name = self.name();
        self.close().with_context(|| format!("cannot write {name}"))
    }

    fn close(mut self) -> io::Result<()> {
        let flushed = self.flush();
        match self {
            Self::Stdout(_) => unless_gone(flushed),
            Self::Special(..) => flushed,
            Self::File(writer, target) => {
                flushed?;
                let part = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                part.as_file().sync_all()?;
                part.persist(&target).map_err(|error| error.error)?;
                Ok(())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(writer) => writer.write(bytes),
            Self::Special(writer, _) => writer.write(bytes),
            Self::File(writer, _) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(writer) => writer.flush(),
            Self::Special(writer, _) => writer.flush(),
            Self::File(writer, _) => writer.flush(),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in a directory and what the file holds.
    fn state(directory: &Path, file: &str) -> (Vec<String>, String) {
        let mut names: Vec<String> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        (names, text)
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv");
        for text in ["first", "second"] {
            let mut output = Output::open(Some(&path)).expect("an output");
            output.write_all(text.as_bytes()).expect("room");
            output.finish().expect("a file");
            assert_eq!(
                state(directory.path(), "a.csv"),
                (vec!["a.csv".to_owned()], text.to_owned())
            );
        }
        let mut output = Output::open(Some(&path)).expect("an output");
        output.write_all(b"third").expect("room");
        drop(output);
        assert_eq!(
            state(directory.path(), "a.csv"),
            (vec!["a.csv".to_owned()], "second".to_owned())
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("a.csv"), directory.path().join("link"));
        fs::write(&file, "old").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let mut output = Output::open(Some(&link)).expect("an output");
        output.write_all(b"new").expect("room");
        output.finish().expect("a file");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("the file"), "new");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        let full = Path::new("/dev/full");
        let mut output = Output::open(Some(full)).expect("a device");
        output.write_all(b"text").expect("it is held back");
        let error = format!("{:#}", output.finish().expect_err("no room"));
        assert_eq!(
            error,
            "cannot write `/dev/full`: No space left on device (os error 28)"
        );
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |path: PathBuf| {
            let error = Output::open(Some(&path)).err().map(|error| error.to_string());
            assert_eq!(error, Some(format!("cannot write `{}`", path.display())));
        };
        check(directory.path().join("missing").join("a.csv"));
        check(directory.path().to_owned());
    }
}
