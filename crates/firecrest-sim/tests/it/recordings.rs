//! Every recording of the real server, replayed; what is not served is listed with the reason.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use firecrest_sim::{AccountLimit, Options, ReservationOptions, SchedulerState, Services, SshState};
use serde_json::json;

use crate::{
    replay::{Replay, content, folder},
    site::{Site, WORK},
};

/// Recordings that the simulator does not answer, and why.
const NOT_SERVED: &[(&str, &str)] = &[
    (
        "36-job-array",
        "job arrays are left out; a submission of one is refused",
    ),
    (
        "66-streamer",
        "the streamer is left out: it is unfit, and asks for ports of the cluster",
    ),
    (
        "66b-streamer-manual",
        "the streamer is left out: it is unfit, and asks for ports of the cluster",
    ),
];

macro_rules! replayed {
    ($($test:ident $name:literal $(with $change:expr)?, $script:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let change: fn(&mut Options) = [$($change,)? |_: &mut Options| {}][0];
                let mut replay = Replay::new($name, Site::start_with(change).await);
                $script(&mut replay).await;
                replay.finish().await;
            }
        )*
        const REPLAYED: &[&str] = &[$($name),*];
    };
}

replayed! {
    r01 "01-token", all;
    r02 "02-status-systems", systems;
    r03 "03-liveness", all;
    r04 "04-userinfo", all;
    r05 "05-partitions-nodes-reservations", all;
    r06 "06-mkdir", all;
    r07 "07-upload-small-download-small", files;
    r08 "08-upload-errors", files;
    r09 "09-upload-limit", upload_limit;
    r10 "10-download-limit", download_limit;
    r11 "11-ls", files;
    r12 "12-stat-file", files;
    r13 "13-checksum", files;
    r14 "14-head-tail", files;
    r15 "15-view", files;
    r16 "16-chmod", files;
    r17 "17-symlink-compress-extract", files;
    r18 "18-rm", files;
    r19 "19-path-and-routing-errors", files;
    r20 "20-job-submit-inline", paused;
    r21 "21-job-running", job_running;
    r22 "22-job-completed", job_completed;
    r23 "23-job-submit-path", job_by_path;
    r24 "24-job-env", job_env;
    r25 "25-job-failed", job_failed;
    r26 "26-job-killed-by-signal", job_killed;
    r27 "27-job-cancel-running", job_cancelled;
    r28 "28-job-pending", jobs_pending;
    r29 "29-job-list", jobs_listed;
    r30 "30-job-foreign", job_foreign;
    r31 "31-job-cancel-pending", job_cancelled_pending;
    r32 "32-job-unknown", all;
    r33 "33-job-submit-errors", paused;
    r34 "34-job-submit-validation", job_without_folder;
    r35 "35-job-attach", job_attached;
    r37 "37-job-timeout", job_timeout;
    r41 "41-upload-large-s3", large_upload;
    r42 "42-download-large-s3", large_download;
    r43 "43-transfer-errors", files;
    r44 "44-transfer-ops-jobs", transfer_jobs;
    r45 "45-transfer-compress-extract", transfer_archives;
    r46 "46-s3-down" with probed, storage_down;
    r51 "51-auth-errors", authentication;
    r52 "52-no-ssh-credentials", ghost;
    r53 "53-ssh-unreachable", unreachable_systems;
    r54 "54-command-timeout", fifo;
    r55 "55-slurm-hung", scheduler_hung;
    r56 "56-slurm-down-raw", scheduler_down;
    r57 "57-slurm-down-unhealthy" with probed, scheduler_unhealthy;
    r58 "58-slurmdbd-down", accounting_down;
    r59 "59-ssh-channel-limit", channel_limit;
    r60 "60-ssh-session-killed", files;
    r60b "60b-health-cache", health_cache;
    r61 "61-pyfirecrest-small", all;
    r62 "62-pyfirecrest-upload-s3", official_upload;
    r63 "63-pyfirecrest-download-s3", official_download;
    r64 "64-pyfirecrest-submit-wait", official_job;
    r65 "65-pyfirecrest-error", all;
    r67 "67-upload-s3-slow", slow_upload;
    r68 "68-reservation" with reserved, all;
    r69 "69-node-fail", node_fail;
    r70 "70-metadata-after-purge" with forgetful, metadata_after_purge;
    r71 "71-time-limit-enforced" with enforcing, all;
    r72 "72-quota-limit" with limited, all;
    r73 "73-job-steps", job_steps;
    r74 "74-pyfirecrest-token-window", token_window;
}

#[test]
fn all_recordings_are_accounted_for() {
    let names = fs::read_dir(folder()).expect("the recordings").map(|entry| {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        name.trim_end_matches(".json").to_owned()
    });
    let there: BTreeSet<String> = names.collect();
    let refused = NOT_SERVED.iter().map(|(name, _)| *name);
    let known: Vec<&str> = REPLAYED.iter().copied().chain(refused).collect();
    assert_eq!(there.len(), 69);
    assert_eq!(known.len(), there.len());
    assert_eq!(
        known.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
        there
    );
}

async fn all(replay: &mut Replay) {
    replay.rest().await;
}

/// Jobs stay pending.
async fn paused(replay: &mut Replay) {
    replay.site.pause(true);
    replay.rest().await;
}

/// The files that the recordings speak of.
fn write_files(site: &Site) {
    let lines: Vec<String> = (1..=100).map(|number| format!("line {number}\n")).collect();
    let write = |name: &str, bytes: &[u8]| site.write(&format!("{WORK}/run-1/{name}"), bytes);
    write("t.txt", lines.concat().as_bytes());
    write("server.edf", b"second\n");
    for (name, size) in [
        ("d3932157.bin", 3_932_157),
        ("d4000000.bin", 4_000_000),
        ("max.bin", 5_242_880),
    ] {
        write(name, &vec![0xff; size]);
    }
    fs::create_dir_all(site.real(&format!("{WORK}/run-1/logs"))).expect("a folder");
    site.write(&format!("{WORK}/big.bin"), vec![0xfe; 20_983_865]);
    site.write(
        &format!("{WORK}/job.sbatch"),
        "#!/bin/bash\n#SBATCH --time=1\ntrue\n",
    );
}

async fn files(replay: &mut Replay) {
    write_files(&replay.site);
    replay.rest().await;
}

async fn services(replay: &Replay, system: &str, services: Services) {
    replay
        .site
        .running
        .set_services(system, services)
        .await
        .expect("a known system");
    replay.site.running.check_health();
}

fn refusing() -> Services {
    Services {
        ssh: SshState::Refused,
        ..Services::default()
    }
}

async fn unreachable(replay: &Replay) {
    services(replay, "deadssh", refusing()).await;
    services(replay, "noprobe", refusing()).await;
    services(
        replay,
        "mutessh",
        Services {
            ssh: SshState::Mute,
            ..Services::default()
        },
    )
    .await;
}

async fn systems(replay: &mut Replay) {
    unreachable(replay).await;
    replay.rest().await;
}

async fn upload_limit(replay: &mut Replay) {
    write_files(&replay.site);
    for size in [5_242_880, 5_242_881] {
        replay.with_file("max.bin", size);
        replay.go(1).await;
    }
}

async fn download_limit(replay: &mut Replay) {
    write_files(&replay.site);
    for size in [3_932_157, 3_932_158, 4_000_000] {
        replay.with_file(&format!("d{size}.bin"), size);
        replay.go(2).await;
    }
    replay.rest().await;
}

async fn job_running(replay: &mut Replay) {
    replay.site.pause(true);
    replay.go(2).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

const COMPLETED: &str =
    "#!/bin/bash -l\n#SBATCH --nodes=2 --time=10 --output=o-%j.out\nscontrol show hostnames\n";

async fn job_completed(replay: &mut Replay) {
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

async fn job_by_path(replay: &mut Replay) {
    write_files(&replay.site);
    replay.rest().await;
}

async fn job_env(replay: &mut Replay) {
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

const FAILED: &str = "#!/bin/bash -l\n#SBATCH --job-name=qps-fail\n#SBATCH --output=%x-%j.out\n#SBATCH --error=%x-%j.err\n\
                      #SBATCH --time=00:05:00 --nodes=1\necho oops >&2; exit 3\n";

async fn ended(replay: &mut Replay, recorded: &str, name: &str, script: &str) {
    let id = replay.site.submit(name, script).await;
    replay.job_is(recorded, &id);
    replay.site.until_ended(&id).await;
}

async fn job_failed(replay: &mut Replay) {
    ended(replay, "48", "qps-fail", FAILED).await;
    replay.rest().await;
    let path = format!("{WORK}/qps-fail-{}.err", replay.job("48"));
    assert_eq!(
        fs::read_to_string(replay.site.real(&path)).expect("the errors"),
        "oops\n"
    );
}

async fn job_killed(replay: &mut Replay) {
    ended(
        replay,
        "49",
        "qps-sig",
        "#!/bin/bash\n#SBATCH --time=5\nkill -9 $$\n",
    )
    .await;
    replay.rest().await;
}

async fn started(replay: &mut Replay, recorded: &str, name: &str, script: &str) {
    let id = replay.site.submit(name, script).await;
    replay.job_is(recorded, &id);
    replay.site.until_state(&id, "RUNNING").await;
}

async fn job_cancelled(replay: &mut Replay) {
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
async fn queue(replay: &mut Replay) {
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

async fn jobs_pending(replay: &mut Replay) {
    queue(replay).await;
    for _ in 0..3 {
        replay.go_until_as_recorded().await;
    }
    replay.rest().await;
}

async fn jobs_listed(replay: &mut Replay) {
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

async fn job_foreign(replay: &mut Replay) {
    queue(replay).await;
    replay.act_as("other");
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

async fn job_cancelled_pending(replay: &mut Replay) {
    queue(replay).await;
    replay.go(2).await;
    replay.go_until_as_recorded().await;
}

async fn job_without_folder(replay: &mut Replay) {
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

async fn job_attached(replay: &mut Replay) {
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

async fn job_timeout(replay: &mut Replay) {
    ended(
        replay,
        "50",
        "qps-timeout",
        "#!/bin/bash\n#SBATCH --time=0:01\nsleep 300\n",
    )
    .await;
    replay.rest().await;
}

async fn large_upload(replay: &mut Replay) {
    replay.go(5).await;
    let id = replay.job("32");
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
    let path = replay.site.real(&format!("{WORK}/big.bin"));
    let mut expected = content(8_388_608);
    expected.extend(content(8_388_608));
    expected.extend(content(4_206_649));
    assert!(
        fs::read(path).expect("the file") == expected,
        "the file is what was uploaded"
    );
}

async fn large_download(replay: &mut Replay) {
    write_files(&replay.site);
    replay.site.pause(true);
    replay.go(2).await;
    replay.site.pause(false);
    let id = replay.job("33");
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}

async fn transfer_jobs(replay: &mut Replay) {
    write_files(&replay.site);
    replay.go(1).await;
    replay.go_until_as_recorded().await;
    for recorded in ["36", "37"] {
        replay.go(1).await;
        let id = replay.job(recorded);
        replay.site.until_state(&id, "COMPLETED").await;
    }
    assert!(!replay.site.real(&format!("{WORK}/big3.bin")).exists());
    replay.go(2).await;
    replay.go_until_as_recorded().await;
    replay.rest().await;
    let log = replay.job(
        "/capstor/scratch/cscs/tester/.f7t_file_handling_job_error_4a156ce8-a6cd-4bab-8c26-8eed5f16a1ed.log",
    );
    let log = fs::read_to_string(replay.site.real(&log)).expect("the log");
    let expected = "mv: cannot stat '/capstor/scratch/cscs/tester/qps/nosuch': No such file or directory\n";
    assert!(
        log.starts_with(expected) && log.ends_with("Unable to move files exit code:0 error: \n"),
        "{log}"
    );
}

async fn transfer_archives(replay: &mut Replay) {
    replay.site.write(&format!("{WORK}/a/b"), "c");
    for recorded in ["39", "40"] {
        replay.go(1).await;
        let id = replay.job(recorded);
        replay.site.until_state(&id, "COMPLETED").await;
    }
    replay.rest().await;
    let unpacked = replay.site.real("/iopsstor/scratch/cscs/tester/qps/a/b");
    assert_eq!(fs::read_to_string(unpacked).expect("the file"), "c");
}

/// Only the systems of which the recording holds the state.
fn probed(options: &mut Options) {
    options.systems.retain(|system| system.name == "clariden");
}

async fn storage_down(replay: &mut Replay) {
    services(
        replay,
        "clariden",
        Services {
            storage_down: true,
            ..Services::default()
        },
    )
    .await;
    replay.rest().await;
}

async fn authentication(replay: &mut Replay) {
    unreachable(replay).await;
    replay.go(2).await;
    let token = |user, life_s| replay.site.running.token(user, life_s).expose().to_owned();
    let tester = Some("tester");
    let tampered = format!("{}x", token(tester, 300));
    let tokens = [
        tampered,
        token(tester, -1),
        token(tester, 33),
        token(tester, 28),
        token(None, 300),
    ];
    for token in tokens {
        replay.with_token(&token);
        replay.go(1).await;
    }
    replay.rest().await;
}

async fn ghost(replay: &mut Replay) {
    replay.act_as("ghost");
    replay.rest().await;
}

async fn unreachable_systems(replay: &mut Replay) {
    unreachable(replay).await;
    replay.rest().await;
}

fn make_fifo(site: &Site) {
    let path = site.real(&format!("{WORK}/fifo"));
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

async fn fifo(replay: &mut Replay) {
    make_fifo(&replay.site);
    replay.rest().await;
}

fn scheduler(scheduler: SchedulerState) -> Services {
    Services {
        scheduler,
        ..Services::default()
    }
}

async fn scheduler_hung(replay: &mut Replay) {
    services(replay, "daint", scheduler(SchedulerState::Hung)).await;
    replay.go(3).await;
    assert_eq!(replay.site.running.submits(), []);
    services(replay, "daint", Services::default()).await;
    replay.go_until_as_recorded().await;
    let submits = replay.site.running.submits();
    assert_eq!(
        submits
            .iter()
            .map(|submit| submit.name.as_deref())
            .collect::<Vec<_>>(),
        [Some("ambig")]
    );
}

async fn scheduler_down(replay: &mut Replay) {
    ended(replay, "1", "qps-inline", COMPLETED).await;
    services(replay, "daint", scheduler(SchedulerState::Down)).await;
    replay.rest().await;
    services(replay, "daint", Services::default()).await;
    assert_eq!(
        replay.site.running.submits().len(),
        1,
        "nothing was submitted while the scheduler was down"
    );
}

async fn scheduler_unhealthy(replay: &mut Replay) {
    write_files(&replay.site);
    services(replay, "clariden", scheduler(SchedulerState::Down)).await;
    replay.rest().await;
}

async fn accounting_down(replay: &mut Replay) {
    services(
        replay,
        "clariden",
        Services {
            accounting_down: true,
            ..Services::default()
        },
    )
    .await;
    replay.site.pause(true);
    replay.rest().await;
}

async fn channel_limit(replay: &mut Replay) {
    make_fifo(&replay.site);
    let path = "/filesystem/clariden/ops/view?path=/capstor/scratch/cscs/tester/qps/fifo";
    // Each of them asks again, so that all channels are in use at some time.
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let request = replay.site.request("GET", path, None);
        slow.spawn(async move {
            loop {
                let reply = request.send().await.expect("an answer");
                assert!([408, 424].contains(&reply.status.as_u16()), "{}", reply.json());
            }
        });
    }
    for _ in 0..2 {
        replay.go_until_as_recorded().await;
    }
    slow.abort_all();
}

async fn health_cache(replay: &mut Replay) {
    write_files(&replay.site);
    services(replay, "clariden", refusing()).await;
    replay.go(1).await;
    // The service is back, and the server does not know until it looks again.
    replay
        .site
        .running
        .set_services("clariden", Services::default())
        .await
        .expect("a known system");
    replay.go(1).await;
    replay.site.running.check_health();
    replay.rest().await;
}

const TOO_QUICK: &str = "the job is over before it can be seen running; 21 has the same shape";

async fn official_upload(replay: &mut Replay) {
    fs::create_dir_all(replay.site.real(&format!("{WORK}/pyf"))).expect("a folder");
    replay.site.pause(true);
    replay.go(6).await;
    replay.site.pause(false);
    replay.skip(1, TOO_QUICK);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

async fn official_download(replay: &mut Replay) {
    replay
        .site
        .write(&format!("{WORK}/pyf/big.bin"), content(9_437_184));
    replay.site.pause(true);
    replay.go(6).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

async fn official_job(replay: &mut Replay) {
    replay.site.pause(true);
    replay.go(3).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.go(1).await;
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

async fn slow_upload(replay: &mut Replay) {
    replay.go(1).await;
    let id = replay.job("69");
    replay.site.until_state(&id, "RUNNING").await;
    replay.go(2).await;
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}

fn reserved(options: &mut Options) {
    options.clusters[0].reservations.push(ReservationOptions {
        name: "qps_res".to_owned(),
        node_list: "nid001004".to_owned(),
        start_s: 4_000_000_000,
        end_s: 4_000_003_600,
    });
}

async fn node_fail(replay: &mut Replay) {
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
    replay.rest().await;
}

fn forgetful(options: &mut Options) {
    options.clusters[0].minimum_job_age = Duration::ZERO;
}

async fn metadata_after_purge(replay: &mut Replay) {
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

fn enforcing(options: &mut Options) {
    options.clusters[0].enforce_time_limit = true;
}

fn limited(options: &mut Options) {
    options.clusters[0].account_job_limits.push(AccountLimit {
        account: "a-lab02".to_owned(),
        jobs: 1,
    });
}

async fn job_steps(replay: &mut Replay) {
    replay.go(1).await;
    let id = replay.job("73");
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}

async fn token_window(replay: &mut Replay) {
    unreachable(replay).await;
    for life_s in [34, 26] {
        let token = replay.site.running.token(Some("tester"), life_s);
        replay.with_token(token.expose());
        replay.go(1).await;
    }
}

#[tokio::test]
async fn an_array_is_refused_in_words() {
    let site = Site::start().await;
    let job = json!({"workingDirectory": WORK, "script": "#!/bin/bash\n#SBATCH --array=0-1\ntrue\n"});
    let reply = site
        .call("POST", "/compute/clariden/jobs", Some(&json!({ "job": job })))
        .await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.json()["message"]
            .to_string()
            .contains("job arrays are not part of this simulator")
    );
    site.running.stop().await;
}
