//! Files of a cluster that is reached by a shell.

use std::path::Path;

use firecrest_client::{FileMode, RemotePath, Sha256};

use super::{
    super::{
        ClusterError, FileFacts, FilePiece, assembly,
        assembly::{Assembly, AssemblyError},
        paths, text,
    },
    CommandError, Input, ShellCluster, ShellCommand,
    commands::{self, Draft},
    output,
};

impl ShellCluster {
    pub(super) async fn make_directory_now(&self, path: &RemotePath) -> Result<(), ClusterError> {
        let line = commands::make_directory(path);
        self.run(|| format!("make the directory {path}"), line).await?;
        Ok(())
    }

    pub(super) async fn write_now(
        &self,
        path: &RemotePath,
        content: &[u8],
        mode: FileMode,
    ) -> Result<(), ClusterError> {
        let written = self.store(path, Sha256::of(content), Input::Bytes(content.to_vec()), mode);
        written
            .await
            .map_err(|error| self.error(format!("write {path}"), error))
    }

    pub(super) async fn put_now(
        &self,
        local: &Path,
        path: &RemotePath,
        mode: FileMode,
    ) -> Result<(), ClusterError> {
        let operation = || format!("bring {} to {path}", local.display());
        let brought = async {
            let content = assembly::sha256_of(local).await.map_err(|source| {
                CommandError::Local(AssemblyError::Local {
                    action: "reading",
                    path: local.to_owned(),
                    source,
                })
            })?;
            if self.checksum(path).await? == Some(content) {
                self.repeat(&self.command(commands::change_mode(path, mode)))
                    .await?;
                return Ok(());
            }
            self.store(path, content, Input::File(local.to_owned()), mode)
                .await
        };
        brought.await.map_err(|error| self.error(operation(), error))
    }

    /// Puts an input into a file's place.
    async fn store(
        &self,
        path: &RemotePath,
        content: Sha256,
        input: Input,
        mode: FileMode,
    ) -> Result<(), CommandError> {
        let draft = Draft::of(path).ok_or_else(|| CommandError::Refused(format!("{path} names no file")))?;
        let command = ShellCommand {
            line: commands::write(&draft, path, content, mode),
            input,
            time: self.policy.command,
        };
        self.repeat(&command).await.map(|_| ())
    }

    /// The checksum of a file that is there.
    async fn checksum(&self, path: &RemotePath) -> Result<Option<Sha256>, CommandError> {
        match self.repeat(&self.command(commands::checksum(path))).await {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                Ok(text.split_whitespace().next().and_then(|sum| sum.parse().ok()))
            }
            Err(CommandError::Exit { text, .. }) if super::words::is_missing_file(&text) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read_now(
        &self,
        path: &RemotePath,
        most: u64,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let operation = || format!("read {path}");
        let line = commands::read(path, most.saturating_add(1));
        let content = self.look(operation, line).await?;
        if content
            .as_ref()
            .is_some_and(|content| content.len() as u64 > most)
        {
            let reason = format!("it has more than {most} bytes");
            return Err(self.error(operation(), CommandError::Refused(reason)));
        }
        Ok(content)
    }

    pub(super) async fn tail_now(
        &self,
        path: &RemotePath,
        bytes: u64,
    ) -> Result<Option<String>, ClusterError> {
        let line = commands::tail(path, bytes.saturating_add(1));
        let end = self.look(|| format!("read the end of {path}"), line).await?;
        Ok(end.map(|end| text::tail_of(&end, bytes)))
    }

    pub(super) async fn stat_now(&self, path: &RemotePath) -> Result<Option<FileFacts>, ClusterError> {
        let operation = || format!("look at {path}");
        let Some(found) = self.look(operation, commands::stat(path)).await? else {
            return Ok(None);
        };
        let found = String::from_utf8_lossy(&found);
        let facts = output::read_stat(&found).ok_or_else(|| {
            let reason = format!("the answer of stat is not understood: {}", found.trim());
            self.error(operation(), CommandError::Refused(reason))
        })?;
        Ok(Some(facts))
    }

    pub(super) async fn list_now(&self, path: &RemotePath) -> Result<Option<Vec<String>>, ClusterError> {
        let found = self.look(|| format!("list {path}"), commands::list(path)).await?;
        Ok(found.map(|names| {
            let names = String::from_utf8_lossy(&names);
            names.lines().map(str::to_owned).collect()
        }))
    }

    pub(super) async fn remove_now(&self, path: &RemotePath) -> Result<(), ClusterError> {
        let operation = || format!("remove {path}");
        if let Err(reason) = paths::check_removable(path) {
            return Err(self.error(operation(), CommandError::Refused(reason.to_owned())));
        }
        self.run(operation, commands::remove(path)).await?;
        Ok(())
    }

    pub(super) async fn fetch_now(
        &self,
        pieces: &[FilePiece],
        whole: Sha256,
        local: &Path,
    ) -> Result<(), ClusterError> {
        let fetched = async {
            let Some(assembly) = Assembly::begin(pieces, whole, local)
                .await
                .map_err(CommandError::Local)?
            else {
                return Ok(());
            };
            for piece in assembly.missing().await.map_err(CommandError::Local)? {
                self.fetch_piece(&assembly, piece).await?;
            }
            assembly.finish().await.map_err(CommandError::Local)
        };
        fetched
            .await
            .map_err(|error| self.error(format!("bring {} home", local.display()), error))
    }

    /// Brings a piece, once more if it arrives otherwise than it should.
    async fn fetch_piece(&self, assembly: &Assembly<'_>, piece: &FilePiece) -> Result<(), CommandError> {
        let command = self.command(commands::whole(&piece.path));
        let content = self.repeat(&command).await?.stdout;
        if assembly.keep(piece, &content).await.is_ok() {
            return Ok(());
        }
        let content = self.repeat(&command).await?.stdout;
        assembly.keep(piece, &content).await.map_err(CommandError::Local)
    }
}
