//! Every recording of the real server, replayed; what is not served is listed with the reason.

use std::{collections::BTreeSet, fs};

use firecrest_sim::Options;

use crate::{
    replay::{Replay, folder},
    site::{Site, WORK},
};

mod faults;
mod jobs;
mod transfers;

/// Recordings that the simulator does not answer, and why.
const NOT_SERVED: &[(&str, &str)] = &[
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
    r21 "21-job-running", jobs::job_running;
    r22 "22-job-completed", jobs::job_completed;
    r23 "23-job-submit-path", jobs::job_by_path;
    r24 "24-job-env", jobs::job_env;
    r25 "25-job-failed", jobs::job_failed;
    r26 "26-job-killed-by-signal", jobs::job_killed;
    r27 "27-job-cancel-running", jobs::job_cancelled;
    r28 "28-job-pending", jobs::jobs_pending;
    r29 "29-job-list", jobs::jobs_listed;
    r30 "30-job-foreign", jobs::job_foreign;
    r31 "31-job-cancel-pending", jobs::job_cancelled_pending;
    r32 "32-job-unknown", all;
    r33 "33-job-submit-errors", paused;
    r34 "34-job-submit-validation", jobs::job_without_folder;
    r35 "35-job-attach", jobs::job_attached;
    r36 "36-job-array", jobs::job_array;
    r37 "37-job-timeout", jobs::job_timeout;
    r41 "41-upload-large-s3", transfers::large_upload;
    r42 "42-download-large-s3", transfers::large_download;
    r43 "43-transfer-errors", files;
    r44 "44-transfer-ops-jobs", transfers::transfer_jobs;
    r45 "45-transfer-compress-extract", transfers::transfer_archives;
    r46 "46-s3-down" with faults::probed, faults::storage_down;
    r51 "51-auth-errors", faults::authentication;
    r52 "52-no-ssh-credentials", faults::ghost;
    r53 "53-ssh-unreachable", faults::unreachable_systems;
    r54 "54-command-timeout", faults::fifo;
    r55 "55-slurm-hung", faults::scheduler_hung;
    r56 "56-slurm-down-raw", faults::scheduler_down;
    r57 "57-slurm-down-unhealthy" with faults::probed, faults::scheduler_unhealthy;
    r58 "58-slurmdbd-down", faults::accounting_down;
    r59 "59-ssh-channel-limit", faults::channel_limit;
    r60 "60-ssh-session-killed", files;
    r60b "60b-health-cache", faults::health_cache;
    r61 "61-pyfirecrest-small", all;
    r62 "62-pyfirecrest-upload-s3", transfers::official_upload;
    r63 "63-pyfirecrest-download-s3", transfers::official_download;
    r64 "64-pyfirecrest-submit-wait", transfers::official_job;
    r65 "65-pyfirecrest-error", all;
    r67 "67-upload-s3-slow", transfers::slow_upload;
    r68 "68-reservation" with jobs::reserved, all;
    r69 "69-node-fail", jobs::node_fail;
    r70 "70-metadata-after-purge" with jobs::forgetful, jobs::metadata_after_purge;
    r71 "71-time-limit-enforced" with jobs::enforcing, all;
    r72 "72-quota-limit" with jobs::limited, all;
    r73 "73-job-steps", jobs::job_steps;
    r74 "74-pyfirecrest-token-window", faults::token_window;
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

async fn systems(replay: &mut Replay) {
    faults::unreachable(replay).await;
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
