//! The output of Slurm's commands.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::jobs::{
    job::Exit,
    record::{JobRecord, TaskRecord},
};

/// Between the columns; no name holds it.
pub(crate) const SEPARATOR: &str = "\u{1f}";

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

/// Jobs with their steps; the last row of a number is its last start.
pub(crate) fn read_rows(rows: &str) -> Vec<JobRecord> {
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
        jobs.retain(|known| known.id != id);
        jobs.push(JobRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            state: state.to_owned(),
            reason: "None".to_owned(),
            exit: exit(status).filter(|_| !is_pending),
            tasks: Vec::new(),
            elapsed_s: number(elapsed).unwrap_or_default(),
            start_s: number(start),
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

/// The jobs of the accounting, and those that it does not know yet; who is pending, the controller knows better.
pub(crate) fn merge(accounted: Vec<JobRecord>, remembered: Vec<JobRecord>) -> Vec<JobRecord> {
    let mut merged = accounted;
    for job in remembered {
        match merged.iter_mut().find(|known| known.id == job.id) {
            Some(known) if job.state == "PENDING" => *known = job,
            Some(_) => {}
            None => merged.push(job),
        }
    }
    merged
}

/// A field of a line of `scontrol --oneliner`, whose value may hold blanks.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = match line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
        Some(_) => name.len() + 1,
        None => line.find(&format!(" {name}="))? + name.len() + 2,
    };
    let rest = &line[start..];
    let Some(next) = rest.find('=') else {
        return Some(rest.trim());
    };
    Some(
        rest[..next]
            .rsplit_once(' ')
            .map_or("", |(value, _)| value.trim()),
    )
}

/// Jobs as the controller remembers them, each with its script as the only step.
pub(crate) fn read_remembered(text: &str, cluster: &str) -> Vec<JobRecord> {
    text.lines()
        .filter_map(|line| read_remembered_job(line, cluster))
        .collect()
}

fn read_remembered_job(line: &str, cluster: &str) -> Option<JobRecord> {
    let text = |name: &str| {
        field(line, name)
            .filter(|value| *value != "(null)")
            .unwrap_or_default()
            .to_owned()
    };
    // `user(number)`, of which the API shows the name.
    let person = |name: &str| text(name).split('(').next().unwrap_or_default().to_owned();
    let id = match (field(line, "ArrayJobId"), field(line, "ArrayTaskId")) {
        (Some(array), Some(task)) if number(task).is_some() => format!("{array}_{task}"),
        _ => field(line, "JobId")?.to_owned(),
    };
    let state = text("JobState");
    let is_pending = state == "PENDING";
    let is_running = state == "RUNNING";
    let exit = exit(&text("ExitCode")).filter(|_| !is_pending);
    let start_s = number(&text("StartTime"));
    let end_s = number(&text("EndTime")).filter(|_| !is_running);
    let elapsed_s = span_s(&text("RunTime")).unwrap_or_default();
    let task = TaskRecord {
        id: format!("{id}.batch"),
        name: "batch".to_owned(),
        state: state.clone(),
        exit,
        elapsed_s,
        start_s,
        end_s,
    };
    let nodes = text("NodeList");
    Some(JobRecord {
        name: text("JobName"),
        reason: if is_pending {
            text("Reason")
        } else {
            "None".to_owned()
        },
        exit,
        tasks: if is_pending || nodes.is_empty() {
            Vec::new()
        } else {
            vec![task]
        },
        elapsed_s,
        start_s,
        end_s,
        limit_s: span_s(&text("TimeLimit")),
        account: text("Account"),
        allocation_nodes: text("NumNodes").split('-').next()?.parse().unwrap_or_default(),
        cluster: cluster.to_owned(),
        group: person("GroupId"),
        nodes: if nodes.is_empty() && !is_pending {
            "None assigned".to_owned()
        } else {
            nodes
        },
        partition: text("Partition"),
        user: person("UserId"),
        working_directory: text("WorkDir"),
        id,
        state,
    })
}

/// `[days-]hours:minutes:seconds`.
fn span_s(text: &str) -> Option<i64> {
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let parts = rest.split(':').map(number).collect::<Option<Vec<i64>>>()?;
    match parts.as_slice() {
        [hours, minutes, seconds] => Some(number(days)? * 86_400 + hours * 3600 + minutes * 60 + seconds),
        _ => None,
    }
}

/// Allocated and idle processors of `allocated/idle/other/total`.
fn processors(text: &str) -> (i64, i64, i64) {
    let mut parts = text.split('/').map(|part| number(part).unwrap_or_default());
    let mut next = || parts.next().unwrap_or_default();
    let (allocated, idle) = (next(), next());
    next();
    (allocated, idle, next())
}

pub(crate) fn read_nodes(text: &str) -> Value {
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

pub(crate) fn read_partitions(text: &str) -> Value {
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
        let jobs = read_rows(&text);
        assert_eq!(jobs.len(), 2);
        assert_eq!(
            (jobs[0].state.as_str(), jobs[0].limit_s),
            ("CANCELLED by 25001", Some(600))
        );
        assert_eq!(jobs[0].tasks[0].exit, Some(Exit { code: 0, signal: 15 }));
        assert_eq!((jobs[1].start_s, jobs[1].exit), (None, None));
        assert_eq!((jobs[1].allocation_nodes, jobs[1].nodes.as_str()), (2, ""));
    }

    #[test]
    fn jobs_are_read_from_the_controllers_memory() {
        let text = "JobId=7 JobName=a job UserId=demo(25001) GroupId=lab(25100) Account=(null) JobState=FAILED \
                    Reason=NonZeroExitCode ExitCode=3:0 RunTime=00:00:05 TimeLimit=1-00:00:00 StartTime=1000 \
                    EndTime=1005 Partition=normal NodeList=n1 NumNodes=1 WorkDir=/w Power=\n\
                    JobId=8 JobName=b JobState=PENDING Reason=Resources ExitCode=0:0 RunTime=00:00:00 \
                    TimeLimit=UNLIMITED StartTime=Unknown EndTime=Unknown NodeList= NumNodes=2-2 WorkDir=/w\n";
        let jobs = read_remembered(text, "alps");
        let expected = JobRecord {
            id: "7".to_owned(),
            name: "a job".to_owned(),
            state: "FAILED".to_owned(),
            reason: "None".to_owned(),
            exit: Some(Exit { code: 3, signal: 0 }),
            tasks: jobs[0].tasks.clone(),
            elapsed_s: 5,
            start_s: Some(1000),
            end_s: Some(1005),
            limit_s: Some(86_400),
            account: String::new(),
            allocation_nodes: 1,
            cluster: "alps".to_owned(),
            group: "lab".to_owned(),
            nodes: "n1".to_owned(),
            partition: "normal".to_owned(),
            user: "demo".to_owned(),
            working_directory: "/w".to_owned(),
        };
        assert_eq!(jobs[0], expected);
        assert_eq!(jobs[0].tasks[0].exit, Some(Exit { code: 3, signal: 0 }));
        assert_eq!(
            (jobs[1].reason.as_str(), jobs[1].exit, jobs[1].limit_s),
            ("Resources", None, None)
        );
        assert_eq!((jobs[1].allocation_nodes, jobs[1].tasks.len()), (2, 0));
        let task = read_remembered("JobId=10 ArrayJobId=9 ArrayTaskId=1 NumNodes=1", "alps");
        assert_eq!(task[0].id, "9_1");
    }

    #[test]
    fn the_controller_knows_who_is_pending() {
        let job = |id: &str, state: &str, reason: &str| {
            let line = format!("JobId={id} JobState={state} Reason={reason} NumNodes=1");
            read_remembered(&line, "alps").remove(0)
        };
        let accounted = vec![job("1", "PENDING", "None"), job("2", "COMPLETED", "None")];
        let remembered = vec![
            job("1", "PENDING", "Resources"),
            job("2", "RUNNING", "None"),
            job("3", "RUNNING", "None"),
        ];
        let merged = merge(accounted, remembered);
        let found: Vec<_> = merged
            .iter()
            .map(|job| (job.state.as_str(), job.reason.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("PENDING", "Resources"),
                ("COMPLETED", "None"),
                ("RUNNING", "None")
            ]
        );
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
