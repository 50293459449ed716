//! The calls below `filesystem/{system}/ops/`.

use std::process::{Output, Stdio};

use http::Method;
use tokio::process::Command;

use crate::{
    answer::{Answer, Outcome, Problem},
    call::{Call, Fields},
    files::{
        access::CommandFailure,
        operations::{Files, Stop, compression_flag, split_path},
    },
    health::Needed,
    paths::Place,
    remote::Surface,
    state::Context,
};

/// A call below `ops/`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    Mkdir,
    Upload,
    Download,
    Ls,
    Stat,
    File,
    Checksum,
    Head,
    Tail,
    View,
    Chmod,
    Chown,
    Rm,
    Symlink,
    Compress,
    Extract,
}

impl Operation {
    /// The operation of a method and a name.
    pub(crate) fn find(method: &Method, name: &str) -> Option<Self> {
        Some(match (method.as_str(), name) {
            ("POST", "mkdir") => Self::Mkdir,
            ("POST", "upload") => Self::Upload,
            ("GET", "download") => Self::Download,
            ("GET", "ls") => Self::Ls,
            ("GET", "stat") => Self::Stat,
            ("GET", "file") => Self::File,
            ("GET", "checksum") => Self::Checksum,
            ("GET", "head") => Self::Head,
            ("GET", "tail") => Self::Tail,
            ("GET", "view") => Self::View,
            ("PUT", "chmod") => Self::Chmod,
            ("PUT", "chown") => Self::Chown,
            ("DELETE", "rm") => Self::Rm,
            ("POST", "symlink") => Self::Symlink,
            ("POST", "compress") => Self::Compress,
            ("POST", "extract") => Self::Extract,
            _ => return None,
        })
    }

    fn has_json_body(self) -> bool {
        matches!(
            self,
            Self::Mkdir | Self::Chmod | Self::Chown | Self::Symlink | Self::Compress | Self::Extract
        )
    }

    fn carry_out(self, files: &Files, call: &Call, fields: &Fields) -> Result<Answer, Stop> {
        match self {
            Self::Mkdir => files.mkdir(fields),
            Self::Upload => files.upload(call),
            Self::Download => files.download(call),
            Self::Ls => files.ls(call),
            Self::Stat => files.stat(call),
            Self::File => files.file(call),
            Self::Checksum => files.checksum(call),
            Self::Head => files.head(call),
            Self::Tail => files.tail(call),
            Self::View => files.view(call),
            Self::Chmod => files.chmod(fields),
            Self::Chown => files.chown(fields),
            Self::Rm => files.rm(call),
            Self::Symlink => files.symlink(fields),
            // These run as processes, so that the time limit can end them.
            Self::Compress | Self::Extract => Err(Stop::Hangs),
        }
    }
}

impl Context {
    pub(crate) async fn operate(&self, operation: Operation, call: &Call) -> Outcome {
        let fields = if operation.has_json_body() {
            call.fields()?
        } else {
            Fields(serde_json::Map::new())
        };
        self.system.health.require(&self.system.options, Needed::Ssh)?;
        let done = self.remote(Surface::Files, 1, async {
            let stopped = match operation {
                Operation::Compress => self.compress(&fields).await,
                Operation::Extract => self.extract(&fields).await,
                operation => {
                    let (files, call, held) = (self.files(), call.clone(), self.state.work.hold());
                    let work = move || {
                        let _held = held;
                        operation.carry_out(&files, &call, &fields)
                    };
                    let done = tokio::task::spawn_blocking(work).await;
                    done.unwrap_or_else(|error| Err(Problem::server_error(error.to_string()).into()))
                }
            };
            match stopped {
                Ok(answer) => Ok(answer),
                Err(Stop::Problem(problem)) => Err(problem),
                Err(Stop::Hangs) => std::future::pending().await,
            }
        });
        done.await?
    }

    async fn compress(&self, fields: &Fields) -> Result<Answer, Stop> {
        let files = self.files();
        let (source, target) = two_paths(&files, fields)?;
        files.may_archive_to(&target)?;
        let (folder, name) = split_path(&source.real);
        let mut command = tar(&["-c", compression_flag(fields)?]);
        command
            .arg("-f")
            .arg(&target.real)
            .arg("-C")
            .arg(folder)
            .arg(name);
        if fields.flag("dereference") {
            command.arg("--dereference");
        }
        let answer = finish(&files, command).await?;
        files
            .give_away(&target.real)
            .map_err(|error| Problem::server_error(error.to_string()))?;
        Ok(answer)
    }

    async fn extract(&self, fields: &Fields) -> Result<Answer, Stop> {
        let files = self.files();
        let (source, target) = two_paths(&files, fields)?;
        files.may_extract_to(&target)?;
        let mut command = tar(&["-x", compression_flag(fields)?]);
        command.arg("-f").arg(&source.real).arg("-C").arg(&target.real);
        finish(&files, command).await
    }
}

fn two_paths(files: &Files, fields: &Fields) -> Result<(Place, Place), Stop> {
    let source = files.resolve(&fields.path()?)?;
    let target = files.resolve(&fields.required_text("targetPath")?)?;
    Ok((source, target))
}

fn tar(arguments: &[&str]) -> Command {
    let mut command = Command::new("tar");
    command.args(arguments.iter().filter(|argument| !argument.is_empty()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn finish(files: &Files, mut command: Command) -> Result<Answer, Stop> {
    let output = command.output().await;
    let Output { status, stderr, .. } =
        output.map_err(|error| Problem::server_error(format!("tar could not be started: {error}")))?;
    if status.success() {
        return Ok(Answer::no_content());
    }
    let text = String::from_utf8_lossy(&stderr);
    let text = files
        .system
        .file_systems
        .iter()
        .fold(text.into_owned(), |text, file_system| {
            text.replace(&file_system.folder().display().to_string(), &file_system.path)
        });
    Err(CommandFailure::new(status.code().unwrap_or(2), text.trim_end()).into())
}
