//! Files by FirecREST.

use std::{num::NonZeroU64, path::Path};

use firecrest_client::{Error, FileMode, ListOptions, Portion, RemotePath, Sha256};

use super::{
    super::{
        ClusterError, FileFacts, FilePiece,
        assembly::{self, Assembly, AssemblyError},
        paths, text,
    },
    FirecrestCluster,
    errors::Fault,
};

/// Nothing for a file that is not there.
fn if_there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing_file() => Ok(None),
        Err(error) => Err(error),
    }
}

impl FirecrestCluster {
    pub(super) async fn make_directory_now(&self, path: &RemotePath) -> Result<(), ClusterError> {
        let made = async {
            let missing = self.missing_from(path).await?;
            if missing.is_empty() {
                return Ok(());
            }
            self.files.make_directory(path).await?;
            // The uppermost one closes those below.
            for directory in missing.iter().rev() {
                self.files.change_mode(directory, FileMode::OWN_DIRECTORY).await?;
            }
            Ok(())
        };
        made.await
            .map_err(|error: Error| self.error(format!("make the directory {path}"), error))
    }

    /// The directories of a path that are not there, the lowest first. Those of others are left as they are.
    async fn missing_from(&self, path: &RemotePath) -> Result<Vec<RemotePath>, Error> {
        let mut missing = Vec::new();
        let mut directory = path.clone();
        while if_there(self.files.stat(&directory).await)?.is_none() {
            let above = directory.split().map(|(above, _)| above);
            missing.push(directory);
            match above {
                Some(above) if above.as_str() != "/" => directory = above,
                _ => break,
            }
        }
        Ok(missing)
    }

    pub(super) async fn write_now(
        &self,
        path: &RemotePath,
        content: &[u8],
        mode: FileMode,
    ) -> Result<(), ClusterError> {
        let operation = || format!("write {path}");
        let written = self.files.upload(path, content.to_vec()).await;
        written.map_err(|error| self.error(operation(), error))?;
        let arrived = self.files.checksum(path).await;
        let found = arrived.map_err(|error| self.error(operation(), error))?;
        let expected = Sha256::of(content);
        if found != expected {
            let what = path.to_string();
            let fault = AssemblyError::Checksum {
                what,
                expected,
                found,
            };
            return Err(self.error(operation(), fault));
        }
        let changed = self.files.change_mode(path, mode).await;
        changed.map_err(|error| self.error(operation(), error))?;
        Ok(())
    }

    pub(super) async fn put_now(
        &self,
        local: &Path,
        path: &RemotePath,
        mode: FileMode,
    ) -> Result<(), ClusterError> {
        let operation = || format!("bring {} to {path}", local.display());
        let put = async {
            let content = assembly::sha256_of(local)
                .await
                .map_err(|source| AssemblyError::Local {
                    action: "reading",
                    path: local.to_owned(),
                    source,
                })?;
            if if_there(self.files.checksum(path).await)? != Some(content) {
                self.transfers
                    .upload(local, path, &self.transfer_options())
                    .await?;
            }
            self.files.change_mode(path, mode).await?;
            Ok(())
        };
        put.await.map_err(|fault: Fault| self.error(operation(), fault))
    }

    pub(super) async fn read_now(
        &self,
        path: &RemotePath,
        most: u64,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let operation = || format!("read {path}");
        let content = if_there(self.files.download(path).await);
        let content = content.map_err(|error| self.error(operation(), error))?;
        if content
            .as_ref()
            .is_some_and(|content| content.len() as u64 > most)
        {
            let reason = format!("it has more than {most} bytes");
            return Err(self.error(operation(), Fault::Invalid(reason)));
        }
        Ok(content.map(|content| content.to_vec()))
    }

    pub(super) async fn tail_now(
        &self,
        path: &RemotePath,
        bytes: u64,
    ) -> Result<Option<String>, ClusterError> {
        let portion = NonZeroU64::MIN.saturating_add(bytes);
        let end = if_there(self.files.tail(path, Portion::Bytes(portion)).await);
        let end = end.map_err(|error| self.error(format!("read the end of {path}"), error))?;
        Ok(end.map(|end| text::tail_of(end.content.as_bytes(), bytes)))
    }

    pub(super) async fn stat_now(&self, path: &RemotePath) -> Result<Option<FileFacts>, ClusterError> {
        let stat = if_there(self.files.stat(path).await);
        let stat = stat.map_err(|error| self.error(format!("look at {path}"), error))?;
        Ok(stat.map(|stat| FileFacts {
            bytes: stat.size,
            modified: stat.modified_s.unwrap_or_default(),
            mode: u16::try_from(stat.mode & 0o777).unwrap_or_default(),
        }))
    }

    pub(super) async fn list_now(&self, path: &RemotePath) -> Result<Option<Vec<String>>, ClusterError> {
        let options = ListOptions {
            show_hidden: true,
            ..ListOptions::default()
        };
        let entries = if_there(self.files.list(path, options).await);
        let entries = entries.map_err(|error| self.error(format!("list {path}"), error))?;
        let is_name = |name: &String| !matches!(name.as_str(), "." | "..");
        Ok(entries.map(|entries| {
            entries
                .into_iter()
                .map(|entry| entry.name)
                .filter(is_name)
                .collect()
        }))
    }

    pub(super) async fn remove_now(&self, path: &RemotePath) -> Result<(), ClusterError> {
        let operation = || format!("remove {path}");
        if let Err(reason) = paths::check_removable(path) {
            return Err(self.error(operation(), Fault::Invalid(reason.to_owned())));
        }
        let removed = if_there(self.files.remove(path).await);
        removed.map_err(|error| self.error(operation(), error))?;
        Ok(())
    }

    pub(super) async fn fetch_now(
        &self,
        pieces: &[FilePiece],
        whole: Sha256,
        local: &Path,
    ) -> Result<(), ClusterError> {
        let fetched = async {
            let Some(assembly) = Assembly::begin(pieces, whole, local).await? else {
                return Ok(());
            };
            for piece in assembly.missing().await? {
                let content = self.files.download(&piece.path).await?;
                if assembly.keep(piece, &content).await.is_err() {
                    let content = self.files.download(&piece.path).await?;
                    assembly.keep(piece, &content).await?;
                }
            }
            assembly.finish().await?;
            Ok(())
        };
        fetched
            .await
            .map_err(|fault: Fault| self.error(format!("bring {} home", local.display()), fault))
    }
}
