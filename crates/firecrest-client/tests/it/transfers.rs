//! Transfers in spite of faults: whole and verified, or an error, and no job left behind.

use std::time::Duration;

use firecrest_client::{RemotePiece, Sha256, TransferError, TransferOptions, Transferred, Verify, Way};
use serde_json::json;

use crate::{
    recordings::content,
    server::{Reply, Server},
    stage::{Fault, Stage},
    support::{chain, path, quick, quick_wait, system},
};

fn options() -> TransferOptions {
    TransferOptions {
        part_size: 4000.try_into().expect("not zero"),
        wait: quick_wait(),
        ..TransferOptions::default()
    }
}

fn unavailable() -> Fault {
    Fault::Instead(Reply::new(503, "<Error><Code>SlowDown</Code></Error>"))
}

#[tokio::test]
async fn the_way_is_chosen_by_the_limit() {
    let stage = Stage::start(Vec::new()).await;
    assert_eq!(stage.upload(1000, &options()).await.expect("up").way, Way::Direct);
    assert_eq!(
        stage.with(|cluster| cluster.files["/scratch/file"].clone()),
        content(1000)
    );
    let staged = Way::Staged("7".parse().expect("an id"));
    assert_eq!(stage.upload(1001, &options()).await.expect("up").way, staged);
    assert_eq!(
        stage.with(|cluster| cluster.files["/scratch/file"].clone()),
        content(1001)
    );
    // Of 1000 bytes of text, 747 are left for the content.
    assert_eq!(
        stage.download(747, &options()).await.expect("down").way,
        Way::Direct
    );
    assert_eq!(std::fs::read(stage.destination()).expect("a file"), content(747));
    assert_eq!(stage.download(748, &options()).await.expect("down").way, staged);
    assert_eq!(std::fs::read(stage.destination()).expect("a file"), content(748));
    assert_eq!(stage.left_behind(), ["down"]);
}

#[tokio::test]
async fn parts_are_sent_again() {
    let faults = vec![
        ("PUT", unavailable()),
        ("PUT", Fault::Lost),
        ("PUT", Fault::Instead(Reply::nothing())),
        (
            "POST",
            Fault::Instead(Reply::new(200, "<Error><Code>InternalError</Code></Error>")),
        ),
    ];
    let stage = Stage::start(faults).await;
    stage
        .upload(10_000, &options())
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(
        stage.with(|cluster| cluster.files["/scratch/file"].clone()),
        content(10_000)
    );
    assert_eq!(
        stage.with(|cluster| (cluster.jobs, cluster.cancelled.len(), cluster.faults.len())),
        (1, 0, 0)
    );
    assert_eq!(
        stage.server.count("PUT /bucket/key"),
        6,
        "three parts, and three again"
    );
}

#[tokio::test]
async fn a_completion_without_an_answer_is_looked_for() {
    let gone = Fault::Instead(Reply::new(404, "<Error><Code>NoSuchUpload</Code></Error>"));
    let stage = Stage::start(vec![("POST", Fault::Lost), ("POST", gone)]).await;
    stage
        .upload(10_000, &options())
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(
        stage.with(|cluster| cluster.files["/scratch/file"].clone()),
        content(10_000)
    );
}

#[tokio::test]
async fn parts_that_are_cut_go_on_from_there() {
    let stage = Stage::start(vec![
        ("GET", Fault::Cut(1500)),
        ("GET", Fault::Cut(0)),
        ("GET", Fault::Cut(1000)),
    ])
    .await;
    let one_by_one = TransferOptions {
        parallel: 1.try_into().expect("not zero"),
        ..options()
    };
    stage
        .download(10_000, &one_by_one)
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(
        std::fs::read(stage.destination()).expect("a file"),
        content(10_000)
    );
    let seen = stage.server.seen();
    let ranges: Vec<_> = seen
        .iter()
        .filter(|request| request.path == "/bucket/key")
        .map(|request| {
            request
                .header("range")
                .expect("a range")
                .trim_start_matches("bytes=")
        })
        .collect();
    let expected = [
        "0-3999",
        "1500-3999",
        "1500-3999",
        "2500-3999",
        "4000-7999",
        "8000-9999",
    ];
    assert_eq!(ranges, expected, "what came before a cut is not asked for again");
    assert_eq!(stage.left_behind(), ["down"]);
}

#[tokio::test]
async fn the_storage_is_shown_no_credentials() {
    let stage = Stage::start(Vec::new()).await;
    stage.upload(10_000, &options()).await.expect("up");
    stage.download(10_000, &options()).await.expect("down");
    let seen = stage.server.seen();
    let storage: Vec<_> = seen
        .iter()
        .filter(|request| request.path == "/bucket/key")
        .collect();
    assert_eq!(storage.len(), 7);
    for request in storage {
        assert_eq!(request.header("x-api-key"), None);
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("transfer-encoding"), None);
        assert_eq!(
            request.header("content-length").is_some(),
            request.method != "GET"
        );
    }
}

/// A transfer that must fail, with its job ended and nothing left behind.
fn check_failure(stage: &Stage, outcome: Result<Transferred, TransferError>, expected: &str) {
    let text = chain(&outcome.expect_err("a failure"));
    assert!(text.contains(expected), "{text}");
    assert_eq!(stage.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn failed_transfers_leave_nothing_behind() {
    let denied = || {
        Fault::Instead(Reply::new(
            403,
            "<Error><Code>AccessDenied</Code><Message>Expired</Message></Error>",
        ))
    };
    for method in ["PUT", "POST"] {
        let stage = Stage::start(vec![(method, denied())]).await;
        check_failure(
            &stage,
            stage.upload(10_000, &options()).await,
            "the storage answered HTTP 403: AccessDenied: Expired",
        );
        assert_eq!(
            stage.with(|cluster| cluster.cancelled.clone()),
            ["7"],
            "the job is told to end"
        );
    }
    let stage = Stage::start(vec![("GET", denied())]).await;
    check_failure(
        &stage,
        stage.download(10_000, &options()).await,
        "the storage answered HTTP 403: AccessDenied: Expired",
    );
    assert_eq!(stage.with(|cluster| cluster.cancelled.clone()), ["7"]);

    let stage = Stage::start(vec![("PUT", unavailable()); 40]).await;
    check_failure(
        &stage,
        stage.upload(3000, &options()).await,
        "failed after 4 attempts",
    );
    assert_eq!(stage.server.count("PUT /bucket/key"), 4);

    let stage = Stage::start(Vec::new()).await;
    stage.with(|cluster| cluster.state = "FAILED");
    check_failure(
        &stage,
        stage.upload(3000, &options()).await,
        "job 7 ended as Failed; its log says: it broke",
    );

    let stage = Stage::start(vec![("GET", Fault::Instead(Reply::new(200, content(10_000))))]).await;
    check_failure(
        &stage,
        stage.download(10_000, &options()).await,
        "the storage serves no ranges",
    );
}

#[tokio::test]
async fn a_place_that_takes_no_file_is_found_before_a_job_is_begun() {
    let stage = Stage::start(Vec::new()).await;
    stage.put("/scratch/file", content(10_000));
    let transfers = stage.client().transfers(&system());
    let directory = stage.directory.path();
    for place in [
        directory.to_owned(),
        directory.join("missing/down"),
        "/dev/null".into(),
    ] {
        let outcome = transfers
            .download(&path("/scratch/file"), &place, &options())
            .await;
        assert!(matches!(outcome, Err(TransferError::Local { .. })), "{outcome:?}");
    }
    let source = directory.join("up");
    std::fs::write(&source, content(10_000)).expect("written");
    let outcome = transfers
        .upload(&source, &path("/scratch/directory/"), &options())
        .await;
    assert!(matches!(outcome, Err(TransferError::Upload(_))), "{outcome:?}");
    let outcome = transfers
        .upload(directory, &path("/scratch/file"), &options())
        .await;
    assert!(matches!(outcome, Err(TransferError::Local { .. })), "{outcome:?}");
    assert_eq!(stage.with(|cluster| cluster.jobs), 0);
    assert_eq!(stage.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn a_transfer_that_is_given_up_ends_its_job() {
    let late = || Fault::Instead(Reply::new(503, "").after(Duration::from_mins(1)));
    let ended = async |stage: &Stage| {
        while stage.with(|cluster| cluster.cancelled.is_empty()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(stage.with(|cluster| cluster.cancelled.clone()), ["7"]);
        assert_eq!(stage.left_behind(), Vec::<String>::new());
    };
    let begun = async |stage: &Stage, line: &str| {
        while stage.server.count(line) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let options = options();
    let stage = Stage::start(vec![("PUT", late())]).await;
    tokio::select! {
        outcome = stage.upload(10_000, &options) => panic!("it waits: {outcome:?}"),
        () = begun(&stage, "PUT /bucket/key") => {}
    }
    ended(&stage).await;
    let stage = Stage::start(vec![("GET", late())]).await;
    tokio::select! {
        outcome = stage.download(10_000, &options) => panic!("it waits: {outcome:?}"),
        () = begun(&stage, "GET /bucket/key") => {}
    }
    ended(&stage).await;
}

#[tokio::test]
async fn a_job_that_is_left_is_named() {
    let foreign = Fault::Instead(Reply::refusal(500, "scancel: error: Access/permission denied"));
    let gone = Fault::Instead(Reply::new(403, ""));
    let stage = Stage::start(vec![("PUT", gone), ("DELETE", foreign)]).await;
    let error = stage.upload(3000, &options()).await.expect_err("a failure");
    let text = chain(&error);
    assert!(
        text.starts_with("the transfer failed, and its job 7 could not be ended"),
        "{text}"
    );
    assert!(text.contains("the storage answered HTTP 403"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_verified_is_said() {
    let stage = Stage::start(Vec::new()).await;
    stage.with(|cluster| {
        cluster.faults = vec![("CHECKSUM", Fault::Instead(Reply::refusal(408, "too long"))); 9];
    });
    let text = chain(&stage.upload(500, &options()).await.expect_err("not verified"));
    assert!(
        text.starts_with("/scratch/file has arrived and could not be verified"),
        "{text}"
    );
    for verify in [Verify::Size, Verify::Sha256(Sha256::of(&content(500)))] {
        stage
            .upload(500, &TransferOptions { verify, ..options() })
            .await
            .expect("verified without the cluster");
    }
}

#[tokio::test]
async fn damage_is_found() {
    let stage = Stage::start(vec![("GET", Fault::Damage)]).await;
    let outcome = stage.download(10_000, &options()).await;
    assert!(
        matches!(outcome, Err(TransferError::Checksum { .. })),
        "{outcome:?}"
    );
    check_failure(&stage, outcome, "/scratch/file has the SHA-256 ");

    let stage = Stage::start(vec![("DIRECT", Fault::Damage)]).await;
    check_failure(
        &stage,
        stage.download(500, &options()).await,
        "/scratch/file has the SHA-256 ",
    );

    let stage = Stage::start(Vec::new()).await;
    let other = TransferOptions {
        verify: Verify::Sha256(Sha256::of(b"other")),
        ..options()
    };
    check_failure(
        &stage,
        stage.download(10_000, &other).await,
        "/scratch/file has the SHA-256 ",
    );
    check_failure(&stage, stage.upload(10_000, &other).await, "up has the SHA-256 ");
    assert_eq!(
        stage.with(|cluster| cluster.jobs),
        1,
        "what is not the right file is not sent"
    );
}

#[tokio::test]
async fn what_the_site_requires_is_said_before() {
    let stage = Stage::start(Vec::new()).await;
    stage.put("/scratch/dir", Vec::new());
    let server = Server::start(|request| match request.path.rsplit('/').next() {
        Some("stat") => Reply::json(200, &json!({ "output": { "mode": 16_877, "size": 4096 } })),
        _ => Reply::json(
            200,
            &json!({ "systems": [{ "name": "clariden", "dataOperation": {
            "max_ops_file_size": 10, "datatransfer_jobs_directives": ["#SBATCH --account={account}"],
            "data_transfer": { "service_type": "s3" },
        } }] }),
        ),
    })
    .await;
    let transfers = quick(&server.url()).transfers(&system());
    let source = stage.directory.path().join("up");
    std::fs::write(&source, content(100)).expect("written");
    let error = transfers
        .upload(&source, &path("/scratch/x"), &options())
        .await
        .expect_err("no account");
    assert!(matches!(error, TransferError::NoAccount), "{error:?}");
    let error = transfers
        .download(&path("/scratch/dir"), &stage.destination(), &options())
        .await
        .expect_err("no file");
    assert!(matches!(error, TransferError::NotAFile(_)), "{error:?}");
}

/// Cuts a file into pieces on the cluster and downloads them.
async fn pieces(
    faults: Vec<(&'static str, Fault)>,
    with_checksums: bool,
) -> (Stage, Result<Transferred, TransferError>) {
    let stage = Stage::start(faults).await;
    let whole = content(10_000);
    let pieces: Vec<_> = whole
        .chunks(700)
        .enumerate()
        .map(|(index, piece)| {
            let file = format!("/scratch/piece.{index:02}");
            stage.put(&file, piece.to_vec());
            RemotePiece {
                path: path(&file),
                sha256: with_checksums.then(|| Sha256::of(piece)),
            }
        })
        .collect();
    let transfers = stage.client().transfers(&system());
    let outcome = transfers
        .download_pieces(&pieces, Sha256::of(&whole), &stage.destination(), &options())
        .await;
    (stage, outcome)
}

#[tokio::test]
async fn pieces_make_the_file() {
    let cut = || {
        vec![
            ("DIRECT", Fault::Cut(100)),
            ("DIRECT", Fault::Instead(Reply::refusal(424, "no channel"))),
        ]
    };
    for (faults, with_checksums) in [
        (cut(), false),
        (cut(), true),
        (vec![("DIRECT", Fault::Damage)], true),
    ] {
        let (stage, outcome) = pieces(faults, with_checksums).await;
        let done = outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!((done.bytes, done.way), (10_000, Way::Direct));
        assert_eq!(
            std::fs::read(stage.destination()).expect("a file"),
            content(10_000)
        );
    }
}

#[tokio::test]
async fn damaged_pieces_are_found() {
    let (stage, outcome) = pieces(vec![("DIRECT", Fault::Damage)], false).await;
    check_failure(&stage, outcome, "the file made of the pieces has the SHA-256 ");
    let twice = vec![("DIRECT", Fault::Damage); 30];
    let (stage, outcome) = pieces(twice, true).await;
    check_failure(&stage, outcome, "/scratch/piece.");
}
