//! The recordings of jobs.

use std::{fs, time::Duration};

use firecrest_sim::{AccountLimit, Options, ReservationOptions};
use serde_json::json;

use crate::{recordings::write_files, replay::Replay, site::WORK};

pub(super) async fn job_running(replay: &mut Replay) {
    replay.site.pause(true);
    replay.go(2).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) const COMPLETED: &str =
    "#!/bin/bash -l\n#SBATCH --nodes=2 --time=10 --output=o-%j.out\nscontrol show hostnames\n";

pub(super) async fn job_completed(replay: &mut Replay) {
    let id = replay.site.submit("qps-inline", COMPLETED).await;
    replay.job_is("42", &id);
    replay.site.until_state(&id, "COMPLETED").await;
    replay.go(2).await;
    let output = replay.site.real(&format!("{WORK}/o-{id}.out"));
    assert_eq!(
        fs::read_to_string(&output).expect("the output"),
        "nid001001\nnid001002\n"
    );
    fs::write(output, "q=12 m=llama v=\nnid001001\nnid001002\n").expect("the recorded output");
    replay.rest().await;
}

pub(super) async fn job_by_path(replay: &mut Replay) {
    write_files(&replay.site);
    replay.rest().await;
}

pub(super) async fn job_env(replay: &mut Replay) {
    for recorded in ["46", "47"] {
        replay.go(1).await;
        let id = replay.job(recorded);
        replay.site.until_state(&id, "COMPLETED").await;
        let output =
            fs::read_to_string(replay.site.real(&format!("{WORK}/env-{id}.out"))).expect("the output");
        let expected = if recorded == "46" {
            "A=[x] y=[z] B=[sp ace] HOME=["
        } else {
            "A=[] HOME=["
        };
        assert!(output.starts_with(expected), "{output}");
        replay.go(1).await;
    }
}

pub(super) const FAILED: &str = "#!/bin/bash -l\n#SBATCH --job-name=qps-fail\n#SBATCH --output=%x-%j.out\n#SBATCH --error=%x-%j.err\n\
                      #SBATCH --time=00:05:00 --nodes=1\necho oops >&2; exit 3\n";

pub(super) async fn ended(replay: &mut Replay, recorded: &str, name: &str, script: &str) {
    let id = replay.site.submit(name, script).await;
    replay.job_is(recorded, &id);
    replay.site.until_ended(&id).await;
}

pub(super) async fn job_failed(replay: &mut Replay) {
    ended(replay, "48", "qps-fail", FAILED).await;
    replay.rest().await;
    let path = format!("{WORK}/qps-fail-{}.err", replay.job("48"));
    assert_eq!(
        fs::read_to_string(replay.site.real(&path)).expect("the errors"),
        "oops\n"
    );
}

pub(super) async fn job_killed(replay: &mut Replay) {
    ended(
        replay,
        "49",
        "qps-sig",
        "#!/bin/bash\n#SBATCH --time=5\nkill -9 $$\n",
    )
    .await;
    replay.rest().await;
}

pub(super) async fn started(replay: &mut Replay, recorded: &str, name: &str, script: &str) {
    let id = replay.site.submit(name, script).await;
    replay.job_is(recorded, &id);
    replay.site.until_state(&id, "RUNNING").await;
}

pub(super) async fn job_cancelled(replay: &mut Replay) {
    started(
        replay,
        "51",
        "qps-cancel",
        "#!/bin/bash\n#SBATCH --time=5\nsleep 300\n",
    )
    .await;
    replay.rest().await;
}

/// A job on all nodes, one that waits for them, one behind it, one that depends on it, and one that begins later.
pub(super) async fn queue(replay: &mut Replay) {
    started(
        replay,
        "52",
        "qps-full",
        "#!/bin/bash\n#SBATCH --time=5 --nodes=4\nsleep 300\n",
    )
    .await;
    replay
        .site
        .submit("qps-first", "#!/bin/bash\n#SBATCH --time=5 --nodes=3\nsleep 5\n")
        .await;
    let waiting = replay
        .site
        .submit("qps-pend", "#!/bin/bash\n#SBATCH --time=5 --nodes=2\nsleep 5\n")
        .await;
    let script = format!("#!/bin/bash\n#SBATCH --time=5 --dependency=afterok:{waiting}\ntrue\n");
    let dependent = replay.site.submit("qps-dep", &script).await;
    let later = replay
        .site
        .submit(
            "qps-begin",
            "#!/bin/bash\n#SBATCH --time=5 --begin=now+1hour\ntrue\n",
        )
        .await;
    for (recorded, id) in [("53", &waiting), ("54", &dependent), ("55", &later)] {
        replay.job_is(recorded, id);
    }
}

pub(super) async fn jobs_pending(replay: &mut Replay) {
    queue(replay).await;
    for _ in 0..3 {
        replay.go_until_as_recorded().await;
    }
    replay.rest().await;
}

pub(super) async fn jobs_listed(replay: &mut Replay) {
    ended(replay, "1", "qps-inline", COMPLETED).await;
    replay.go(1).await;
    // The other jobs are of another account, by which the third exchange does not ask.
    let script =
        |nodes: u32| format!("#!/bin/bash\n#SBATCH --account=a-lab02 --time=5 --nodes={nodes}\nsleep 300\n");
    replay.site.pause(true);
    let cancelled = replay.site.submit("qps-pend", &script(1)).await;
    let path = format!("/compute/clariden/jobs/{cancelled}");
    assert_eq!(replay.site.call("DELETE", &path, None).await.status, 204);
    replay.site.pause(false);
    started(replay, "52", "qps-full", &script(4)).await;
    replay.site.submit("qps-first", &script(3)).await;
    replay.site.submit("qps-pend", &script(2)).await;
    replay.go_until_as_recorded().await;
    replay.go(3).await;
    replay.act_as("other");
    replay.rest().await;
}

pub(super) async fn job_foreign(replay: &mut Replay) {
    queue(replay).await;
    replay.act_as("other");
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) async fn job_cancelled_pending(replay: &mut Replay) {
    queue(replay).await;
    replay.go(2).await;
    replay.go_until_as_recorded().await;
}

pub(super) async fn job_without_folder(replay: &mut Replay) {
    let job = json!({
        "workingDirectory": "/capstor/scratch/cscs/nosuch",
        "script": "#!/bin/bash\n#SBATCH --time=1\ntrue\n",
    });
    let reply = replay
        .site
        .call("POST", "/compute/clariden/jobs", Some(&json!({ "job": job })))
        .await;
    let id = reply.json()["jobId"]
        .as_str()
        .expect("the job's number")
        .to_owned();
    replay.job_is("60", &id);
    replay.site.until_ended(&id).await;
    replay.rest().await;
}

pub(super) async fn job_attached(replay: &mut Replay) {
    started(
        replay,
        "61",
        "qps-attach",
        "#!/bin/bash\n#SBATCH --time=5\nsleep 300\n",
    )
    .await;
    replay.go(1).await;
    assert!(replay.site.real(&format!("{WORK}/attached.txt")).exists());
    replay.rest().await;
}

pub(super) async fn job_array(replay: &mut Replay) {
    replay.go(1).await;
    replay.go_until_as_recorded().await;
    replay.go_until_as_recorded().await;
    let id = replay.job("62");
    let shown: Vec<String> = replay.site.running.jobs().into_iter().map(|job| job.id).collect();
    assert_eq!(shown, [format!("{id}_0"), format!("{id}_1")]);
    assert!(replay.site.real(&format!("{WORK}/slurm-{id}_1.out")).exists());
}

pub(super) async fn job_timeout(replay: &mut Replay) {
    ended(
        replay,
        "50",
        "qps-timeout",
        "#!/bin/bash\n#SBATCH --time=0:01\nsleep 300\n",
    )
    .await;
    replay.rest().await;
}

pub(super) fn reserved(options: &mut Options) {
    options.clusters[0].reservations.push(ReservationOptions {
        name: "qps_res".to_owned(),
        node_list: "nid001004".to_owned(),
        start_s: 4_000_000_000,
        end_s: 4_000_003_600,
    });
}

pub(super) async fn node_fail(replay: &mut Replay) {
    replay.go(2).await;
    for recorded in ["70", "71"] {
        let id = replay.job(recorded);
        replay.site.until_state(&id, "RUNNING").await;
    }
    for node in ["nid001001", "nid001002"] {
        replay
            .site
            .running
            .set_node("clariden", node, true)
            .expect("a known node");
    }
    replay.go(2).await;
    for node in ["nid001001", "nid001002"] {
        replay
            .site
            .running
            .set_node("clariden", node, false)
            .expect("a node that is down");
    }
    // A node is its job's until the processes are gone.
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) fn forgetful(options: &mut Options) {
    options.clusters[0].minimum_job_age = Duration::ZERO;
}

pub(super) async fn metadata_after_purge(replay: &mut Replay) {
    ended(replay, "48", "qps-fail", FAILED).await;
    ended(replay, "42", "qps-inline", COMPLETED).await;
    let id = replay.job("48");
    let metadata = replay
        .site
        .call("GET", &format!("/compute/clariden/jobs/{id}/metadata"), None)
        .await
        .json();
    let expected = format!("{WORK}/%x-{id}.out");
    assert_eq!(metadata["jobs"][0]["standardOutput"], json!(expected));
    assert_eq!(metadata["jobs"][0]["script"], json!(FAILED.trim_end()));
    replay.rest().await;
}

pub(super) fn enforcing(options: &mut Options) {
    options.clusters[0].enforce_time_limit = true;
}

pub(super) fn limited(options: &mut Options) {
    options.clusters[0].account_job_limits.push(AccountLimit {
        account: "a-lab02".to_owned(),
        jobs: 1,
    });
}

pub(super) async fn job_steps(replay: &mut Replay) {
    replay.go(1).await;
    let id = replay.job("73");
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}
