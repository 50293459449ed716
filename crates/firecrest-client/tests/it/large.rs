//! Large files: 200 MB through the storage with cuts, and a database of 12 MB in direct pieces.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use firecrest_client::{RemotePiece, Sha256, TransferOptions, Way};
use serde_json::json;

use crate::{
    recordings::content,
    replay_staged::{job, ranged},
    server::{Reply, Request, Server},
    support::{chain, path, quick, quick_wait, system},
};

const MEGABYTE: usize = 1024 * 1024;

/// 200 MB, of which no two megabytes are the same.
fn large() -> Vec<u8> {
    let block = content(MEGABYTE);
    let mut file = block.repeat(200);
    for (number, block) in (0u32..).zip(file.chunks_mut(MEGABYTE)) {
        block[..4].copy_from_slice(&number.to_le_bytes());
    }
    file
}

/// A storage that has the file: it compares what is sent and gives what is asked for. The second request of each
/// direction is cut in the middle.
struct Storage {
    file: Vec<u8>,
    puts: AtomicUsize,
    gets: AtomicUsize,
}

const PART: usize = 32 * MEGABYTE;

impl Storage {
    fn answer(&self, request: &Request, url: &str) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        match (request.method.as_str(), last) {
            ("GET", "systems") => Reply::json(200, &json!({ "systems": [] })),
            ("GET", "stat") => Reply::json(
                200,
                &json!({ "output": { "mode": 33_188, "size": self.file.len() } }),
            ),
            ("GET", "checksum") => {
                let checksum = Sha256::of(&self.file).to_string();
                Reply::json(
                    200,
                    &json!({ "output": { "algorithm": "SHA256", "checksum": checksum } }),
                )
            }
            ("POST", "upload" | "download") => {
                let parts: Vec<_> = (0..self.file.len().div_ceil(PART))
                    .map(|part| format!("{url}/bucket/key?part={part}"))
                    .collect();
                let whole = format!("{url}/bucket/key");
                let directives = json!({
                    "parts_upload_urls": parts, "complete_upload_url": whole, "max_part_size": PART, "download_url": whole,
                });
                Reply::json(
                    201,
                    &json!({ "transfer_job": { "job_id": 7 }, "transfer_directives": directives }),
                )
            }
            ("PUT", _) => {
                let part: usize = request
                    .parameter("part")
                    .expect("a part")
                    .parse()
                    .expect("a number");
                let right = &self.file[part * PART..self.file.len().min((part + 1) * PART)];
                assert!(request.body == right, "part {part} is not what was to be sent");
                match self.puts.fetch_add(1, Ordering::SeqCst) {
                    1 => Reply::nothing(),
                    _ => Reply::new(200, "").header("etag", format!("\"{part}\"")),
                }
            }
            ("POST", _) => Reply::new(200, "<Result/>"),
            ("GET", "key") => match self.gets.fetch_add(1, Ordering::SeqCst) {
                1 => ranged(&self.file, request).cut_after(PART / 3),
                _ => ranged(&self.file, request),
            },
            (_, id) => job(id, "COMPLETED"),
        }
    }
}

#[tokio::test]
async fn a_large_file_goes_up_and_down_in_spite_of_cuts() {
    let storage = Arc::new(Storage {
        file: large(),
        puts: AtomicUsize::new(0),
        gets: AtomicUsize::new(0),
    });
    let (serving, address) = (
        Arc::clone(&storage),
        Arc::new(std::sync::OnceLock::<String>::new()),
    );
    let known = Arc::clone(&address);
    let server =
        Server::start(move |request| serving.answer(request, known.get().expect("the address"))).await;
    address.set(server.url()).expect("set once");
    let directory = tempfile::tempdir().expect("a directory");
    let (up, down) = (directory.path().join("up"), directory.path().join("down"));
    std::fs::write(&up, &storage.file).expect("written");
    let options = TransferOptions {
        part_size: PART.try_into().expect("not zero"),
        wait: quick_wait(),
        ..TransferOptions::default()
    };
    let transfers = quick(&server.url()).transfers(&system());
    let staged = Way::Staged("7".parse().expect("an id"));
    let sent = transfers.upload(&up, &path("/scratch/large"), &options).await;
    assert_eq!(
        sent.unwrap_or_else(|error| panic!("{}", chain(&error))).way,
        staged
    );
    let fetched = transfers.download(&path("/scratch/large"), &down, &options).await;
    assert_eq!(
        fetched.unwrap_or_else(|error| panic!("{}", chain(&error))).way,
        staged
    );
    assert!(
        std::fs::read(&down).expect("a file") == storage.file,
        "the file is not what it was"
    );
    assert_eq!(
        (
            storage.puts.load(Ordering::SeqCst),
            storage.gets.load(Ordering::SeqCst)
        ),
        (8, 8)
    );
}

#[tokio::test]
async fn a_database_comes_in_direct_pieces() {
    const PIECE: usize = 3_500_000;
    let database = content(12 * MEGABYTE);
    let pieces: Vec<_> = database
        .chunks(PIECE)
        .enumerate()
        .map(|(index, piece)| RemotePiece {
            path: path(&format!("/scratch/{index}")),
            sha256: Some(Sha256::of(piece)),
        })
        .collect();
    let served = database.clone();
    let server = Server::start(move |request| {
        let file = request
            .parameter("path")
            .and_then(|path| path.rsplit('/').next())
            .expect("a path");
        let index: usize = file.parse().expect("a number");
        Reply::new(200, &served[index * PIECE..served.len().min((index + 1) * PIECE)])
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let destination = directory.path().join("results.db");
    let transfers = quick(&server.url()).transfers(&system());
    let options = TransferOptions::default();
    let done = transfers
        .download_pieces(&pieces, Sha256::of(&database), &destination, &options)
        .await;
    assert_eq!(
        done.unwrap_or_else(|error| panic!("{}", chain(&error))).bytes,
        database.len() as u64
    );
    assert!(
        std::fs::read(&destination).expect("a file") == database,
        "the file is not what it was"
    );
    assert_eq!(server.seen().len(), 4);
}
