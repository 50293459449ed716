//! The recordings of transfers, and those of the official client.

use std::fs;

use crate::{
    recordings::write_files,
    replay::{Replay, content},
    site::WORK,
};

pub(super) async fn large_upload(replay: &mut Replay) {
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

pub(super) async fn large_download(replay: &mut Replay) {
    write_files(&replay.site);
    replay.site.pause(true);
    replay.go(2).await;
    replay.site.pause(false);
    let id = replay.job("33");
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}

pub(super) async fn transfer_jobs(replay: &mut Replay) {
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

pub(super) async fn transfer_archives(replay: &mut Replay) {
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

pub(super) const TOO_QUICK: &str = "the job is over before it can be seen running; 21 has the same shape";

pub(super) async fn official_upload(replay: &mut Replay) {
    fs::create_dir_all(replay.site.real(&format!("{WORK}/pyf"))).expect("a folder");
    replay.site.pause(true);
    replay.go(6).await;
    replay.site.pause(false);
    replay.skip(1, TOO_QUICK);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) async fn official_download(replay: &mut Replay) {
    replay
        .site
        .write(&format!("{WORK}/pyf/big.bin"), content(9_437_184));
    replay.site.pause(true);
    replay.go(6).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) async fn official_job(replay: &mut Replay) {
    replay.site.pause(true);
    replay.go(3).await;
    replay.site.pause(false);
    replay.go_until_as_recorded().await;
    replay.go(1).await;
    replay.go_until_as_recorded().await;
    replay.rest().await;
}

pub(super) async fn slow_upload(replay: &mut Replay) {
    replay.go(1).await;
    let id = replay.job("69");
    replay.site.until_state(&id, "RUNNING").await;
    replay.go(2).await;
    replay.site.until_state(&id, "COMPLETED").await;
    replay.rest().await;
}
