//! A real Slurm, by its commands.

use std::{
    collections::BTreeMap, io, os::unix::process::CommandExt as _, path::PathBuf, process::Stdio, sync::Arc,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::{
    cluster::Filter,
    jobs::{
        directives::Refusal,
        job::JobId,
        record::{JobRecord, MetadataRecord},
        slurm_output::{SEPARATOR, field, merge, read_nodes, read_partitions, read_remembered, read_rows},
        submission::{Submission, exported},
    },
    options::{ClusterOptions, SystemOptions, UserOptions},
    paths,
};

const COLUMNS: &str = "JobID,JobName,State,ExitCode,ElapsedRaw,Start,End,TimelimitRaw,Account,AllocNodes,\
                       ReqNodes,Cluster,Group,NodeList,Partition,User,WorkDir";

/// The commands of a Slurm.
pub(crate) struct Slurm {
    pub(crate) cluster: ClusterOptions,
    systems: BTreeMap<String, Arc<SystemOptions>>,
}

impl Slurm {
    pub(crate) fn new(cluster: ClusterOptions, systems: BTreeMap<String, Arc<SystemOptions>>) -> Self {
        Self { cluster, systems }
    }

    /// A command, as the caller where this process may become somebody else.
    fn command(&self, program: &str, caller: Option<&UserOptions>) -> Command {
        let path = match &self.cluster.slurm_commands {
            Some(folder) => folder.join(program),
            None => program.into(),
        };
        let mut command = std::process::Command::new(path);
        command
            .env("SLURM_TIME_FORMAT", "%s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        if let Some(caller) = caller
            && rustix::process::getuid().is_root()
        {
            command.uid(caller.uid).gid(caller.group().1);
            command
                .env("HOME", self.home(caller))
                .env("USER", &caller.name)
                .env("LOGNAME", &caller.name);
        }
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        command
    }

    /// Where a login of the user would begin.
    fn home(&self, caller: &UserOptions) -> PathBuf {
        let system = self.systems.values().next();
        let own = system.and_then(|system| paths::place(system, &format!("/users/{}", caller.name)));
        let first = system.and_then(|system| system.file_systems.first());
        let own = own.map(|place| place.real).filter(|home| home.is_dir());
        own.or(first.map(|file_system| file_system.folder().join(&caller.name)))
            .unwrap_or_default()
    }

    async fn output(&self, command: Command) -> Result<String, Refusal> {
        self.output_of(command, "").await
    }

    async fn output_of(&self, mut command: Command, input: &str) -> Result<String, Refusal> {
        let failed = |error: io::Error| Refusal::new(127, format!("slurm command: {error}"));
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input says why by its exit.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Refusal::new(output.status.code().unwrap_or(-1), text))
    }

    fn real(&self, system: &str, shown: &str) -> String {
        let place = self
            .systems
            .get(system)
            .and_then(|system| paths::place(system, shown));
        place.map_or_else(|| shown.to_owned(), |place| place.real.display().to_string())
    }

    /// A text with the paths as they are on this machine.
    fn real_text(&self, submission: &Submission, text: &str) -> String {
        match self.systems.get(&submission.system) {
            Some(system) if submission.paths_are_shown => paths::translate(system, text),
            _ => text.to_owned(),
        }
    }

    fn shown(&self, real: &str) -> String {
        let mut systems = self.systems.values();
        let shown = systems.next().map(|system| paths::shown(system, real.as_ref()));
        shown.unwrap_or_else(|| real.to_owned())
    }

    pub(crate) async fn submit(&self, submission: &Submission) -> Result<String, Refusal> {
        let system = submission.system.as_str();
        let mut command = self.command("sbatch", Some(&submission.user));
        command.arg("--parsable");
        command.arg(format!(
            "--chdir={}",
            self.real(system, &submission.working_directory)
        ));
        let options = [
            ("job-name", submission.name.clone()),
            ("account", submission.account.clone()),
            ("partition", submission.partition.clone()),
            ("reservation", submission.reservation.clone()),
            ("constraint", submission.constraints.clone()),
            (
                "output",
                submission
                    .standard_output
                    .as_ref()
                    .map(|path| self.real(system, path)),
            ),
            (
                "error",
                submission
                    .standard_error
                    .as_ref()
                    .map(|path| self.real(system, path)),
            ),
            (
                "input",
                submission
                    .standard_input
                    .as_ref()
                    .map(|path| self.real(system, path)),
            ),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                command.arg(format!("--{name}={value}"));
            }
        }
        let variables = exported(&submission.environment);
        let mut export = "--export=ALL".to_owned();
        for (name, value) in variables {
            export.extend([",", &name, "=", &self.real_text(submission, &value)]);
        }
        command.arg(export);
        let script = self.real_text(submission, &submission.script);
        let output = self.output_of(command, &script).await?;
        let id = output.trim().split(';').next().unwrap_or_default();
        if id.is_empty() {
            Err(Refusal::new(0, "sbatch: no job id in its output"))
        } else {
            Ok(id.to_owned())
        }
    }

    pub(crate) async fn jobs(
        &self,
        filter: &Filter,
        caller: &UserOptions,
    ) -> Result<Vec<JobRecord>, Refusal> {
        let accounted = match self.accounted_jobs(filter, caller).await {
            // A Slurm without a database has only the controller's memory.
            Err(refusal) if refusal.standard_error.contains("storage is disabled") => Vec::new(),
            jobs => jobs?,
        };
        let mut jobs = merge(accounted, self.remembered_jobs(filter, caller).await?);
        jobs.retain(|job| {
            filter.name.as_ref().is_none_or(|name| *name == job.name)
                && filter
                    .account
                    .as_ref()
                    .is_none_or(|account| *account == job.account)
        });
        for job in &mut jobs {
            job.working_directory = self.shown(&job.working_directory);
        }
        Ok(jobs)
    }

    async fn accounted_jobs(&self, filter: &Filter, caller: &UserOptions) -> Result<Vec<JobRecord>, Refusal> {
        let mut command = self.command("sacct", Some(caller));
        command.args(["--noheader", "--parsable2"]);
        command
            .arg(format!("--delimiter={SEPARATOR}"))
            .arg(format!("--format={COLUMNS}"));
        match (filter.id, &filter.user) {
            (Some(id), _) => command.arg(format!("--jobs={id}")),
            (None, Some(_)) => command.arg(format!("--uid={}", caller.uid)),
            (None, None) => command.arg("--allusers"),
        };
        if filter.id.is_none() {
            command
                .arg(format!("--starttime=uts{}", filter.since_s))
                .arg("--endtime=now");
        }
        Ok(read_rows(&self.output(command).await?))
    }

    async fn remembered_jobs(
        &self,
        filter: &Filter,
        caller: &UserOptions,
    ) -> Result<Vec<JobRecord>, Refusal> {
        let mut command = self.command("scontrol", Some(caller));
        command.args(["show", "job", "--oneliner"]);
        if let Some(id) = filter.id {
            command.arg(id.to_string());
        }
        let mut jobs = match self.output(command).await {
            Ok(text) => read_remembered(&text, &self.cluster.name),
            Err(refusal) if refusal.standard_error.contains("Invalid job id") => Vec::new(),
            Err(refusal) => return Err(refusal),
        };
        let is_ours = |user: &String| filter.user.as_ref().is_none_or(|wanted| wanted == user);
        jobs.retain(|job| is_ours(&job.user) && job.end_s.is_none_or(|end_s| end_s >= filter.since_s));
        Ok(jobs)
    }

    pub(crate) async fn metadata(
        &self,
        id: JobId,
        caller: &UserOptions,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let mut command = self.command("scontrol", Some(caller));
        command.args(["show", "job", "--oneliner", &id.to_string()]);
        let shown = match self.output(command).await {
            Ok(shown) => shown,
            Err(refusal) if refusal.standard_error.contains("Invalid job id") => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let mut command = self.command("scontrol", Some(caller));
        command.args(["write", "batch_script", &id.to_string(), "-"]);
        // The script is its owner's; to others the API shows an empty one.
        let script = self.output(command).await.unwrap_or_default();
        let field = |name: &str| field(&shown, name).map(|path| self.shown(path));
        Ok(Some(MetadataRecord {
            id: id.to_string(),
            script,
            standard_input: field("StdIn").unwrap_or_default(),
            standard_output: field("StdOut").unwrap_or_default(),
            standard_error: field("StdErr").unwrap_or_default(),
        }))
    }

    pub(crate) async fn cancel(&self, id: JobId, caller: &UserOptions) -> Result<(), Refusal> {
        let mut command = self.command("scancel", Some(caller));
        command.args(["--verbose", &id.to_string()]);
        let mut child = command
            .spawn()
            .map_err(|error| Refusal::new(127, format!("scancel: {error}")))?;
        drop(child.stdin.take());
        let output = child.wait_with_output().await;
        let output = output.map_err(|error| Refusal::new(127, format!("scancel: {error}")))?;
        let text = String::from_utf8_lossy(&output.stderr);
        // The command ends well although it has cancelled nothing.
        if output.status.success() && !text.contains("error:") {
            return Ok(());
        }
        Err(Refusal::new(output.status.code().unwrap_or(-1), text))
    }

    pub(crate) fn attach(&self, id: JobId, caller: &UserOptions, text: &str) -> io::Result<Child> {
        let mut command = self.command("srun", Some(caller));
        command.args([&format!("--jobid={id}"), "--overlap", "/bin/bash", "-c", text]);
        command.spawn()
    }

    pub(crate) async fn nodes(&self) -> Result<Value, Refusal> {
        let mut command = self.command("sinfo", None);
        command.args(["--noheader", "--Node"]);
        command.arg(format!(
            "--format={}",
            ["%N", "%T", "%P", "%c", "%m", "%z", "%f", "%C"].join(SEPARATOR)
        ));
        Ok(read_nodes(&self.output(command).await?))
    }

    pub(crate) async fn partitions(&self) -> Result<Value, Refusal> {
        let mut command = self.command("sinfo", None);
        command.args(["--noheader", "--summarize"]);
        command.arg(format!("--format={}", ["%R", "%a", "%D", "%C"].join(SEPARATOR)));
        Ok(read_partitions(&self.output(command).await?))
    }
}
