//! A real Slurm, by its commands.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::unix::process::CommandExt as _,
    process::Stdio,
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::{
    cluster::Filter,
    jobs::{
        directives::Refusal,
        job::{Exit, JobId},
        record::{JobRecord, MetadataRecord, TaskRecord},
        submission::{Submission, exported},
    },
    options::{ClusterOptions, SystemOptions, UserOptions},
    paths,
};

/// Between the columns; no name holds it.
const SEPARATOR: &str = "\u{1f}";

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
        }
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        command
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
        let mut command = self.command("sacct", Some(caller));
        command.args(["--noheader", "--parsable2", "--duplicates"]);
        command
            .arg(format!("--delimiter={SEPARATOR}"))
            .arg(format!("--format={COLUMNS}"));
        match (filter.id, &filter.user) {
            (Some(id), _) => command.arg(format!("--jobs={id}")),
            (None, Some(user)) => command.arg(format!("--user={user}")),
            (None, None) => command.arg("--allusers"),
        };
        if filter.id.is_none() {
            command
                .arg(format!("--starttime=uts{}", filter.since_s))
                .arg("--endtime=now");
        }
        let rows = self.output(command).await?;
        let mut queue = self.command("squeue", Some(caller));
        queue.args(["--noheader", "--states=PENDING"]);
        queue.arg(format!("--format=%i{SEPARATOR}%r{SEPARATOR}%S"));
        let queue = self.output(queue).await?;
        let mut jobs = read_rows(&rows, &read_queue(&queue));
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
        let field = |name: &str| {
            let start = shown.find(&format!(" {name}="))? + name.len() + 2;
            let end = shown[start..]
                .find(char::is_whitespace)
                .map_or(shown.len(), |end| start + end);
            Some(self.shown(&shown[start..end]))
        };
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

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn exit(text: &str) -> Option<Exit> {
    let (code, signal) = text.split_once(':')?;
    Some(Exit {
        code: code.parse().ok()?,
        signal: signal.parse().ok()?,
    })
}

/// The reasons and estimated starts of the pending jobs.
fn read_queue(text: &str) -> HashMap<String, (String, Option<i64>)> {
    let rows = text.lines().map(|line| line.split(SEPARATOR).collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [id, reason, start] => Some(((*id).to_owned(), ((*reason).to_owned(), number(start)))),
        _ => None,
    })
    .collect()
}

/// Jobs with their steps; the last row of a number is its last start.
fn read_rows(rows: &str, queue: &HashMap<String, (String, Option<i64>)>) -> Vec<JobRecord> {
    let mut jobs: Vec<JobRecord> = Vec::new();
    for line in rows.lines() {
        let row: Vec<&str> = line.split(SEPARATOR).collect();
        let &[
            id,
            name,
            state,
            status,
            elapsed,
            start,
            end,
            limit,
            account,
            nodes,
            asked,
            cluster,
            group,
            list,
            partition,
            user,
            folder,
        ] = row.as_slice()
        else {
            continue;
        };
        if let Some((job, _)) = id.split_once('.') {
            let task = TaskRecord {
                id: id.to_owned(),
                name: name.to_owned(),
                state: state.to_owned(),
                exit: exit(status),
                elapsed_s: number(elapsed).unwrap_or_default(),
                start_s: number(start),
                end_s: number(end),
            };
            jobs.iter_mut()
                .filter(|known| known.id == job)
                .for_each(|known| known.tasks.push(task.clone()));
            continue;
        }
        let is_pending = state == "PENDING";
        let waiting = queue.get(id);
        jobs.retain(|known| known.id != id);
        jobs.push(JobRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            state: state.to_owned(),
            reason: waiting.map_or("None", |(reason, _)| reason).to_owned(),
            exit: exit(status).filter(|_| !is_pending),
            tasks: Vec::new(),
            elapsed_s: number(elapsed).unwrap_or_default(),
            start_s: number(start).or_else(|| waiting.and_then(|(_, start)| *start)),
            end_s: number(end),
            limit_s: number(limit).map(|minutes| minutes * 60),
            account: account.to_owned(),
            allocation_nodes: (if is_pending { asked } else { nodes })
                .parse()
                .unwrap_or_default(),
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            nodes: if is_pending {
                String::new()
            } else {
                list.to_owned()
            },
            partition: partition.to_owned(),
            user: user.to_owned(),
            working_directory: folder.to_owned(),
        });
    }
    jobs
}

/// Allocated and idle processors of `allocated/idle/other/total`.
fn processors(text: &str) -> (i64, i64, i64) {
    let mut parts = text.split('/').map(|part| number(part).unwrap_or_default());
    let mut next = || parts.next().unwrap_or_default();
    let (allocated, idle) = (next(), next());
    next();
    (allocated, idle, next())
}

fn read_nodes(text: &str) -> Value {
    let mut nodes: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines() {
        let row: Vec<&str> = line.split(SEPARATOR).collect();
        let &[name, state, partition, cpus, memory, topology, features, usage] = row.as_slice() else {
            continue;
        };
        let partition = partition.trim_end_matches('*');
        if let Some(known) = nodes.get_mut(name) {
            if let Some(partitions) = known["partitions"].as_array_mut() {
                partitions.push(json!(partition));
            }
            continue;
        }
        let sockets = topology.split(':').next().and_then(number).unwrap_or(1);
        let (allocated, idle, _) = processors(usage);
        let state = state
            .trim_end_matches(|c: char| !c.is_alphanumeric())
            .to_uppercase();
        nodes.insert(
            name.to_owned(),
            json!({
                "sockets": sockets, "cores": sockets, "threads": sockets,
                "cpus": number(cpus), "cpuLoad": 0.0, "freeMemory": number(memory), "features": features,
                "name": name, "address": name, "hostname": name, "state": [state],
                "partitions": [partition], "weight": 1, "allocMemory": number(memory),
                "allocCpus": allocated, "idleCpus": idle,
            }),
        );
    }
    nodes.into_values().collect()
}

fn read_partitions(text: &str) -> Value {
    let rows = text.lines().map(|line| line.split(SEPARATOR).collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [name, state, nodes, usage] => Some(json!({
            "name": name,
            "cpus": processors(usage).2,
            "totalNodes": number(nodes),
            "partition": state.to_uppercase(),
        })),
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&str]) -> String {
        rows.iter()
            .map(|row| row.replace('|', SEPARATOR) + "\n")
            .collect()
    }

    #[test]
    fn jobs_are_read_with_their_steps() {
        let text = rows(&[
            "42|run|CANCELLED by 25001|0:0|8|1000|1008|10|a|2|2|c|g|nid[1-2]|normal|tester|/w",
            "42.batch|batch|CANCELLED|0:15|8|1000|1008||a|1|1|c|||||",
            "43|wait|PENDING|0:0|0|Unknown|Unknown|1|a|0|2|c|g|None assigned|normal|tester|/w",
        ]);
        let queue = read_queue(&rows(&["43|Resources|2000"]));
        let jobs = read_rows(&text, &queue);
        assert_eq!(jobs.len(), 2);
        assert_eq!(
            (jobs[0].state.as_str(), jobs[0].limit_s),
            ("CANCELLED by 25001", Some(600))
        );
        assert_eq!(jobs[0].tasks[0].exit, Some(Exit { code: 0, signal: 15 }));
        assert_eq!(
            (jobs[1].reason.as_str(), jobs[1].start_s, jobs[1].exit),
            ("Resources", Some(2000), None)
        );
        assert_eq!((jobs[1].allocation_nodes, jobs[1].nodes.as_str()), (2, ""));
    }

    #[test]
    fn nodes_and_partitions_are_read() {
        let nodes = read_nodes(&rows(&[
            "nid1|idle*|normal*|288|800000|4:72:1|gh200|2/286/0/288",
            "nid1|idle*|debug|288|800000|4:72:1|gh200|2/286/0/288",
        ]));
        assert_eq!(nodes[0]["partitions"], json!(["normal", "debug"]));
        assert_eq!(
            (&nodes[0]["state"], &nodes[0]["idleCpus"]),
            (&json!(["IDLE"]), &json!(286))
        );
        let partitions = read_partitions(&rows(&["normal|up|4|0/1152/0/1152"]));
        assert_eq!(
            partitions[0],
            json!({"name": "normal", "cpus": 1152, "totalNodes": 4, "partition": "UP"})
        );
    }
}
