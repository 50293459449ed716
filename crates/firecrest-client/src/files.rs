//! Files of a system, by commands that the server carries out at once.

mod types;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

pub use self::types::{Entry, EntryKind, FileMode, ListOptions, Piece, Portion, Sha256, Sha256Error, Stat};
use crate::{
    call::{Call, Content, path},
    classify::CallKind,
    client::Client,
    error::Error,
    names::{RemotePath, SystemName},
};

/// The calls below `/filesystem/{system}/ops`.
///
/// Each is a command on a login node and ends within some seconds, or is refused with 408.
#[derive(Debug, Clone)]
pub struct Files {
    client: Client,
    system: SystemName,
}

/// Most answers of file operations have their content below this key.
#[derive(Deserialize)]
struct Output<T> {
    output: T,
}

#[derive(Deserialize)]
struct Checksum {
    algorithm: String,
    checksum: String,
}

/// Why a direct upload could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The path ends with no file's name.
    #[error("`{0}` names no file to write")]
    NoFile(RemotePath),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Error),
}

/// What `Files::checksum` reports.
const SHA256: &str = "SHA256";

impl Files {
    pub(crate) fn new(client: Client, system: SystemName) -> Self {
        Self { client, system }
    }

    fn operation(&self, name: &str) -> String {
        path::operation(&self.system, name)
    }

    fn get(&self, name: &str, path: &RemotePath) -> Call {
        Call::get(self.operation(name)).query("path", path)
    }

    /// Makes a directory with all those above it. A directory that exists already is no error.
    pub async fn make_directory(&self, path: &RemotePath) -> Result<Entry, Error> {
        let call = Call::post(CallKind::Repeatable, self.operation("mkdir"))
            .json(json!({ "path": path.as_str(), "parent": true }));
        self.client
            .run(call)
            .await?
            .json::<Output<Entry>>()
            .map(|answer| answer.output)
    }

    /// Lists a directory. Of a file it gives the one entry, with its whole path as the name.
    pub async fn list(&self, path: &RemotePath, options: ListOptions) -> Result<Vec<Entry>, Error> {
        let call = self
            .get("ls", path)
            .flag("showHidden", options.show_hidden)
            .flag("numericUid", options.numeric_ids)
            .flag("recursive", options.recursive)
            .flag("dereference", options.dereference);
        self.client
            .run(call)
            .await?
            .json::<Output<Vec<Entry>>>()
            .map(|answer| answer.output)
    }

    /// Size, owner, times and kind of a file, a directory or a link itself.
    pub async fn stat(&self, path: &RemotePath) -> Result<Stat, Error> {
        self.stat_call(self.get("stat", path)).await
    }

    /// Size, owner, times and kind of what a path leads to: of a link, what it points to.
    pub async fn stat_target(&self, path: &RemotePath) -> Result<Stat, Error> {
        self.stat_call(self.get("stat", path).query("dereference", true))
            .await
    }

    async fn stat_call(&self, call: Call) -> Result<Stat, Error> {
        self.client
            .run(call)
            .await?
            .json::<Output<Stat>>()
            .map(|answer| answer.output)
    }

    /// What the command `file` says of a file, such as `ASCII text`.
    pub async fn kind(&self, path: &RemotePath) -> Result<String, Error> {
        self.client
            .run(self.get("file", path))
            .await?
            .json::<Output<String>>()
            .map(|answer| answer.output)
    }

    /// The beginning of a text file.
    pub async fn head(&self, path: &RemotePath, portion: Portion) -> Result<Piece, Error> {
        self.portion("head", path, portion, "skipTrailing").await
    }

    /// The end of a text file.
    pub async fn tail(&self, path: &RemotePath, portion: Portion) -> Result<Piece, Error> {
        self.portion("tail", path, portion, "skipHeading").await
    }

    async fn portion(
        &self,
        name: &str,
        path: &RemotePath,
        portion: Portion,
        skip: &'static str,
    ) -> Result<Piece, Error> {
        let call = self.get(name, path);
        let call = match portion {
            Portion::Usual => call,
            Portion::Lines(lines) => call.query("lines", lines),
            Portion::Bytes(bytes) => call.query("bytes", bytes),
            Portion::AllButLines(lines) => call.query("lines", lines).query(skip, true),
            Portion::AllButBytes(bytes) => call.query("bytes", bytes).query(skip, true),
        };
        self.client
            .run(call)
            .await?
            .json::<Output<Piece>>()
            .map(|answer| answer.output)
    }

    /// A whole text file, as far as the server's limit allows.
    ///
    /// What is not UTF-8 is replaced: binary files come by [`download`](Self::download).
    pub async fn view(&self, path: &RemotePath) -> Result<String, Error> {
        self.view_call(self.get("view", path)).await
    }

    /// The bytes of a text file from an offset on; empty past its end.
    ///
    /// To follow a growing file, ask for no more than its [`stat`](Self::stat) has, and go on by what was
    /// asked for: a character that is cut at the boundary is replaced in both pieces.
    pub async fn view_range(&self, path: &RemotePath, offset: u64, size: u64) -> Result<String, Error> {
        let call = self.get("view", path).query("size", size);
        // The server begins at the beginning by itself.
        let call = if offset == 0 {
            call
        } else {
            call.query("offset", offset)
        };
        self.view_call(call).await
    }

    /// One look at a file, without retries.
    pub(crate) async fn view_once(&self, path: &RemotePath) -> Result<String, Error> {
        self.view_call(self.get("view", path).single(true)).await
    }

    async fn view_call(&self, call: Call) -> Result<String, Error> {
        self.client
            .run(call)
            .await?
            .json::<Output<String>>()
            .map(|answer| answer.output)
    }

    /// The SHA-256 of a file. The server has some seconds for it, which bounds the size of the file.
    pub async fn checksum(&self, path: &RemotePath) -> Result<Sha256, Error> {
        let done = self.client.run(self.get("checksum", path)).await?;
        done.json_then(|answer: Output<Checksum>| {
            let Checksum { algorithm, checksum } = answer.output;
            if !algorithm.replace('-', "").eq_ignore_ascii_case(SHA256) {
                return Err(format!(
                    "it holds a checksum by {algorithm} where SHA-256 is expected"
                ));
            }
            checksum.parse().map_err(|fault: Sha256Error| fault.to_string())
        })
    }

    /// Changes the permissions of a file or directory.
    pub async fn change_mode(&self, path: &RemotePath, mode: FileMode) -> Result<Entry, Error> {
        let call = Call::put(self.operation("chmod"))
            .json(json!({ "path": path.as_str(), "mode": mode.to_string() }));
        self.client
            .run(call)
            .await?
            .json::<Output<Entry>>()
            .map(|answer| answer.output)
    }

    /// Removes a file, or a directory with all that is in it.
    ///
    /// A path that is missing after a failed attempt counts as removed by it.
    pub async fn remove(&self, path: &RemotePath) -> Result<(), Error> {
        let call = Call::delete(self.operation("rm")).query("path", path);
        match self.client.run(call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing_file() && error.attempts() > 1 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a file in one call, over one that is there already.
    ///
    /// The server takes as much as [`System::direct_upload_limit`](crate::System::direct_upload_limit) says.
    /// The write is not atomic: a reader may see a part of it.
    pub async fn upload(&self, path: &RemotePath, content: impl Into<Bytes>) -> Result<(), UploadError> {
        let (directory, name) = path.split().ok_or_else(|| UploadError::NoFile(path.clone()))?;
        let bytes = content.into();
        let is_empty = bytes.is_empty();
        let mut call = Call::post(CallKind::Repeatable, self.operation("upload")).query("path", &directory);
        // A slow line is no fault of the server's: 64 KiB a second are granted.
        call.extra_time = std::time::Duration::from_secs(bytes.len() as u64 / 65_536);
        call.content = Content::File {
            name: name.to_owned(),
            bytes,
        };
        call.last_status = is_empty.then_some(408);
        match self.client.run(call).await {
            Ok(_) => Ok(()),
            // The server waits for the end of a file without content until its time is up, and writes it.
            Err(error) if is_empty && error.status() == Some(408) => {
                let stat = self.stat_target(path).await;
                if stat.is_ok_and(|stat| stat.size == 0) {
                    Ok(())
                } else {
                    Err(error.into())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a file in one call, byte for byte.
    ///
    /// The server gives as much as [`System::direct_download_limit`](crate::System::direct_download_limit)
    /// says, and answers 413 above.
    pub async fn download(&self, path: &RemotePath) -> Result<Bytes, Error> {
        let mut call = self.get("download", path);
        call.extra_time = std::time::Duration::from_mins(1);
        self.client.run(call).await.map(|done| done.body)
    }
}
