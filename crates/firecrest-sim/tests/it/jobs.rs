//! The life of jobs as processes.

use std::{fs, path::Path, time::Duration};

use firecrest_sim::{JobState, Options};
use rustix::process::{Pid, test_kill_process};
use serde_json::json;

use crate::{
    site::{Site, WORK},
    wire::eventually,
};

async fn output(site: &Site, name: &str) -> String {
    let path = site.real(&format!("{WORK}/{name}"));
    eventually(|| async { fs::read_to_string(&path).map_err(|error| error.to_string()) }).await
}

async fn completed(script: &str) -> (Site, String) {
    let site = Site::start().await;
    let id = site.submit("work", script).await;
    site.until_ended(&id).await;
    (site, id)
}

#[tokio::test]
async fn a_script_finds_its_job_in_the_environment() {
    let script = "#!/bin/bash -l\n#SBATCH --nodes=2 --ntasks=4 --output=%x.out --time=1\n\
                  pwd > where\nenv | grep '^SLURM_' | grep -v SUBMIT_DIR | sort\n";
    let (site, id) = completed(script).await;
    let found = output(&site, "work.out").await;
    insta::assert_snapshot!(found.replace(&format!("={id}\n"), "=ID\n"), @"
    SLURM_CLUSTER_NAME=clariden
    SLURM_JOBID=ID
    SLURM_JOB_ACCOUNT=a-lab01
    SLURM_JOB_ID=ID
    SLURM_JOB_NAME=work
    SLURM_JOB_NODELIST=nid[001001-001002]
    SLURM_JOB_NUM_NODES=2
    SLURM_JOB_PARTITION=normal
    SLURM_JOB_UID=25001
    SLURM_JOB_USER=tester
    SLURM_LOCALID=0
    SLURM_NNODES=2
    SLURM_NODEID=0
    SLURM_NODELIST=nid[001001-001002]
    SLURM_NPROCS=4
    SLURM_NTASKS=4
    SLURM_PROCID=0
    SLURM_RESTART_COUNT=0
    ");
    let folder = fs::canonicalize(site.real(WORK)).expect("the folder");
    assert_eq!(Path::new(output(&site, "where").await.trim()), folder);
    site.running.stop().await;
}

#[tokio::test]
async fn srun_starts_tasks_on_the_nodes() {
    let script = "#!/bin/bash -l\n#SBATCH --nodes=2 --time=1\n\
                  srun -n 4 --cpu-bind=none --output=task-%t.out \
                  bash -c 'echo $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID $SLURMD_NODENAME of $SLURM_NTASKS'\n\
                  srun --nodes=1 --ntasks=1 -w nid001002 bash -c 'echo $SLURMD_NODENAME > where; exit 7' &\n\
                  wait $!\n";
    let (site, id) = completed(script).await;
    let mut tasks = Vec::new();
    for task in 0..4 {
        tasks.push(output(&site, &format!("task-{task}.out")).await);
    }
    let expected = [
        "0 0 0 nid001001",
        "1 0 1 nid001001",
        "2 1 0 nid001002",
        "3 1 1 nid001002",
    ];
    assert_eq!(tasks, expected.map(|task| format!("{task} of 4\n")));
    assert_eq!(output(&site, "where").await, "nid001002\n");
    let job = site
        .call("GET", &format!("/compute/clariden/jobs/{id}"), None)
        .await
        .json();
    let steps: Vec<_> = job["jobs"][0]["tasks"]
        .as_array()
        .expect("the steps")
        .iter()
        .collect();
    let codes: Vec<_> = steps
        .iter()
        .map(|step| (&step["name"], &step["status"]["exitCode"]))
        .collect();
    // The script ends with what its last command came to.
    let expected = [
        (json!("batch"), json!(7)),
        (json!("bash"), json!(0)),
        (json!("bash"), json!(7)),
    ];
    assert_eq!(
        codes,
        expected
            .iter()
            .map(|(name, code)| (name, code))
            .collect::<Vec<_>>()
    );
    site.running.stop().await;
}

/// Starts a job that writes the number of a process of its own, and gives that.
async fn with_process(site: &Site, script: &str) -> (String, String) {
    let id = site.submit("work", script).await;
    site.until_state(&id, "RUNNING").await;
    let path = site.real(&format!("{WORK}/pid"));
    let pid = eventually(|| async {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with('\n') {
            Ok(text.trim().to_owned())
        } else {
            Err(text)
        }
    })
    .await;
    (id, pid)
}

async fn until_gone(pid: &str) {
    let number = Pid::from_raw(pid.parse().expect("a number")).expect("a number");
    eventually(|| async {
        // A process whose parent has not looked yet is gone, too.
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_there = test_kill_process(number).is_ok() && !state.contains(") Z ");
        if is_there { Err(state) } else { Ok(()) }
    })
    .await;
}

const STUBBORN: &str = "#!/bin/bash\n#SBATCH --time=5\ntrap '' TERM\nbash -c 'trap \"\" TERM; echo $$ > pid; \
                        while true; do sleep 1; done' &\nwait\n";

#[tokio::test]
async fn a_cancelled_job_leaves_no_process_behind() {
    let site = Site::start_with(|options| options.clusters[0].kill_wait = Duration::from_millis(200)).await;
    let (id, pid) = with_process(&site, STUBBORN).await;
    assert_eq!(
        site.call("DELETE", &format!("/compute/clariden/jobs/{id}"), None)
            .await
            .status,
        204
    );
    site.until_state(&id, "CANCELLED by 25001").await;
    until_gone(&pid).await;
    site.running.stop().await;
}

#[tokio::test]
async fn a_polite_job_has_time_to_end() {
    let script = "#!/bin/bash\n#SBATCH --time=0:01\ntrap 'echo saved > saved; exit 0' TERM\n\
                  while true; do sleep 0.05; done\n";
    let (site, id) = completed(script).await;
    site.until_state(&id, "TIMEOUT").await;
    assert_eq!(output(&site, "saved").await, "saved\n");
    site.running.stop().await;
}

#[tokio::test]
async fn what_a_script_leaves_running_ends_with_it() {
    let script = "#!/bin/bash\n#SBATCH --time=5\nsleep 300 &\necho $! > pid\n";
    let (site, id) = completed(script).await;
    site.until_state(&id, "COMPLETED").await;
    until_gone(output(&site, "pid").await.trim()).await;
    site.running.stop().await;
}

#[tokio::test]
async fn the_end_of_the_simulator_is_the_end_of_its_jobs() {
    let site = Site::start().await;
    let (_, stopped) = with_process(&site, STUBBORN).await;
    site.running.stop().await;
    until_gone(&stopped).await;
    let site = Site::start().await;
    let (_, dropped) = with_process(&site, STUBBORN).await;
    drop(site.running);
    until_gone(&dropped).await;
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_its_jobs() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (site, pid) = runtime.block_on(async {
        let site = Site::start().await;
        let (_, pid) = with_process(&site, STUBBORN).await;
        (site, pid)
    });
    drop(runtime);
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(until_gone(&pid));
    drop(site);
}

fn soon(options: &mut Options) {
    options.clusters[0].requeue_delay = Duration::from_millis(100);
}

#[tokio::test]
async fn a_job_that_lost_its_node_runs_again_under_its_number() {
    let site = Site::start_with(soon).await;
    let script = "#!/bin/bash\n#SBATCH --time=5\necho $SLURM_RESTART_COUNT $SLURM_JOB_NODELIST >> starts\n\
                  echo $$ > pid\nsleep 300\n";
    let (id, pid) = with_process(&site, script).await;
    site.running
        .set_node("clariden", "nid001001", true)
        .expect("a known node");
    until_gone(&pid).await;
    site.until_state(&id, "RUNNING").await;
    let path = site.real(&format!("{WORK}/starts"));
    eventually(|| async {
        let starts = fs::read_to_string(&path).unwrap_or_default();
        if starts == "0 nid001001\n1 nid001002\n" {
            Ok(())
        } else {
            Err(starts)
        }
    })
    .await;
    site.running.stop().await;
}

#[tokio::test]
async fn a_job_ends_on_command() {
    let site = Site::start().await;
    let (id, pid) = with_process(&site, STUBBORN).await;
    let number = id.parse().expect("a number");
    site.running
        .end_job("clariden", number, JobState::OutOfMemory)
        .expect("a running job");
    site.until_state(&id, "OUT_OF_MEMORY").await;
    until_gone(&pid).await;
    assert!(
        site.running
            .end_job("clariden", number, JobState::NodeFail)
            .is_err()
    );
    site.running.stop().await;
}

#[tokio::test]
async fn nodes_are_given_out_once() {
    let site = Site::start().await;
    let script = "#!/bin/bash\n#SBATCH --time=5 --nodes=3\nsleep 300\n";
    let first = site.submit("first", script).await;
    let second = site.submit("second", script).await;
    site.until_state(&first, "RUNNING").await;
    let path = format!("/compute/clariden/jobs/{second}");
    eventually(|| async {
        let job = site.call("GET", &path, None).await.json();
        let status = &job["jobs"][0]["status"];
        let waits = status["state"] == "PENDING" && status["stateReason"] == "Resources";
        if waits { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let nodes = site.call("GET", "/status/clariden/nodes", None).await.json();
    let states: Vec<_> = nodes["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| &node["state"][0])
        .collect();
    assert_eq!(states, ["ALLOCATED", "ALLOCATED", "ALLOCATED", "IDLE"]);
    site.running.stop().await;
}
