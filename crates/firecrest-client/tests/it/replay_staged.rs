//! The recorded exchanges that are part of a longer conversation: tokens, and transfers through the storage.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use firecrest_client::{
    Cause, Class, Client, RetryPolicy, Sha256, TransferError, TransferOptions, Transfers, Verify, Way,
};
use serde_json::{Value, json};

use crate::{
    recordings::{Exchange, Recording, content, omitted},
    replay::differences,
    server::{Reply, Request, Server},
    support::{chain, path, quick_wait, system, token_reply, with_tokens},
};

/// What stands for the signatures that the recordings left out; no text may show it.
pub(crate) const SIGNATURE: &str = "presigned-signature";

/// A recording and the numbers of its exchanges.
type Numbered = (&'static str, &'static [usize]);

const TOKENS: Numbered = ("01-token", &[0, 1]);
const UPLOADS: &[Numbered] = &[
    ("41-upload-large-s3", &[0, 1, 2, 3, 4]),
    ("62-pyfirecrest-upload-s3", &[0, 1, 2, 3]),
    ("67-upload-s3-slow", &[0, 1, 2]),
];
const DOWNLOADS: &[Numbered] = &[
    ("42-download-large-s3", &[0, 2, 3]),
    ("63-pyfirecrest-download-s3", &[1, 8]),
];
const REFUSED_UPLOADS: &[Numbered] = &[
    ("43-transfer-errors", &[2]),
    ("46-s3-down", &[0]),
    ("57-slurm-down-unhealthy", &[4]),
];
const REFUSED_DOWNLOAD: Numbered = ("43-transfer-errors", &[4]);
const FAILED_DOWNLOAD: Numbered = ("43-transfer-errors", &[5]);

/// Whether the exchange is spoken by one of the tests here.
pub(crate) fn is_staged_elsewhere(recording: &Recording, index: usize) -> bool {
    let singles = [TOKENS, REFUSED_DOWNLOAD, FAILED_DOWNLOAD];
    let all = UPLOADS
        .iter()
        .chain(DOWNLOADS)
        .chain(REFUSED_UPLOADS)
        .chain(&singles);
    all.into_iter()
        .any(|(name, indices)| *name == recording.name && indices.contains(&index))
}

#[tokio::test]
async fn tokens_are_asked_for_as_recorded() {
    let recording = Recording::named(TOKENS.0);
    for (exchange, secret) in recording
        .exchanges
        .into_iter()
        .zip(["<redacted-secret>", "wrong"])
    {
        let (path, _) = exchange.target();
        let recorded = exchange.clone();
        let server = Server::start(move |request| match request.path.as_str() {
            path if path == recorded.target().0 => Reply::new(recorded.status, recorded.body()),
            _ => Reply::new(200, r#"{"systems":[]}"#),
        })
        .await;
        let credentials = firecrest_client::ClientCredentials {
            token_url: format!("{}{path}", server.url()).parse().expect("a URL"),
            id: "f7t-tester".to_owned(),
            secret: secret.into(),
            scopes: Vec::new(),
        };
        let client = with_tokens(&server.url())
            .authentication(firecrest_client::Authentication::ClientCredentials(credentials))
            .build()
            .expect("a client");
        let outcome = client.status().systems().await;
        let requests = server.seen();
        let pairs = |text: &str| {
            let url = reqwest::Url::parse(&format!("http://server/?{text}")).expect("a URL");
            url.query_pairs().into_owned().collect::<Vec<_>>()
        };
        let ours = String::from_utf8(requests[0].body.clone()).expect("a form");
        assert_eq!(
            pairs(&ours),
            pairs(exchange.request["text"].as_str().expect("a form"))
        );
        assert_eq!(
            requests[0].header("content-type"),
            exchange.content_type.as_deref()
        );
        match outcome {
            Ok(_) => assert_eq!((exchange.status, requests.len()), (200, 2)),
            Err(error) => {
                assert_eq!(
                    (exchange.status, requests.len()),
                    (401, 1),
                    "wrong credentials are shown once"
                );
                let Cause::Token(token) = error.cause() else {
                    panic!("{error:?}")
                };
                assert_eq!(token.attempts, 1);
                let text = chain(&error);
                assert!(
                    text.contains("invalid_client: Invalid client or Invalid client credentials"),
                    "{text}"
                );
                assert!(!text.contains("wrong"), "{text}");
            }
        }
    }
}

/// A recording without its redactions.
fn exchanges((name, indices): Numbered) -> Vec<Exchange> {
    let recording = Recording::named(name);
    let pick = |index: &usize| {
        let mut exchange = recording.exchanges[*index].clone();
        exchange.url = exchange.url.replace("<redacted>", SIGNATURE);
        exchange
    };
    indices.iter().map(pick).collect()
}

/// The systems of an API whose direct limit is 16 bytes up and 9 down, so that all transfers are staged.
pub(crate) fn systems() -> Value {
    json!({ "systems": [{
        "name": "clariden",
        "dataOperation": {
            "datatransfer_jobs_directives": ["#SBATCH --account={account}"],
            "max_ops_file_size": 5,
            "data_transfer": { "serviceType": "s3", "multipart": { "max_part_size": 8_388_608 } },
        },
    }] })
}

/// A job in this state.
pub(crate) fn job(id: &str, state: &str) -> Reply {
    Reply::json(
        200,
        &json!({ "jobs": [{ "jobId": id, "name": "Transfer", "status": { "state": state } }] }),
    )
}

/// One conversation: the recorded exchanges of the start and of the storage, and what stands around them.
struct Conversation {
    server_url: String,
    exchanges: Vec<Exchange>,
    file: Vec<u8>,
    final_state: &'static str,
    looks: usize,
    spoken: Vec<bool>,
    differences: Vec<String>,
}

impl Conversation {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.path.starts_with("/tester/") {
            return self.storage(request);
        }
        match (
            request.method.as_str(),
            request.path.rsplit('/').next().unwrap_or_default(),
        ) {
            ("POST", "token") => token_reply(0, 300),
            ("GET", "systems") => Reply::json(200, &systems()),
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
            ("GET", "view") => Reply::json(200, &json!({ "output": "cp: omitting directory\n" })),
            ("GET", id) => {
                self.looks += 1;
                job(
                    id,
                    if self.looks > 2 {
                        self.final_state
                    } else {
                        "RUNNING"
                    },
                )
            }
            ("DELETE", _) => Reply::new(204, ""),
            ("POST", _) => self.start(request),
            _ => Reply::refusal(404, "Not Found"),
        }
    }

    fn start(&mut self, request: &Request) -> Reply {
        let exchange = &self.exchanges[0];
        self.differences.extend(differences(exchange, request));
        self.spoken[0] = true;
        let body = String::from_utf8(exchange.body()).expect("a text");
        let body = body
            .replace("http://storage", &self.server_url)
            .replace("<redacted>", SIGNATURE);
        Reply::new(exchange.status, body)
    }

    fn storage(&mut self, request: &Request) -> Reply {
        for name in ["authorization", "x-api-key", "transfer-encoding"] {
            if request.header(name).is_some() {
                self.differences.push(format!("the storage was sent {name}"));
            }
        }
        let same = |exchange: &&Exchange| {
            exchange.method == request.method
                && exchange.target() == (request.path.clone(), request.query.clone())
        };
        let Some(exchange) = self.exchanges.iter().find(same).cloned() else {
            self.differences.push(format!(
                "no recorded exchange is {} {}",
                request.method, request.target
            ));
            return Reply::new(404, "");
        };
        for (index, other) in self.exchanges.iter().enumerate() {
            if other.url == exchange.url && other.method == exchange.method {
                self.spoken[index] = true;
            }
        }
        match request.method.as_str() {
            "PUT" => {
                let size = omitted(&exchange.request)
                    .or(exchange.request["bytes"].as_u64().map(|size| size as usize));
                if size != Some(request.body.len()) {
                    self.differences.push(format!(
                        "a part has {} bytes where {size:?} were recorded",
                        request.body.len()
                    ));
                }
            }
            "POST" => {
                let ours = String::from_utf8_lossy(&request.body).into_owned();
                let recorded = exchange.request["text"].as_str().expect("a message");
                if parts(&ours) != parts(recorded) {
                    self.differences.push(format!(
                        "the upload is completed by {ours} where {recorded} was recorded"
                    ));
                }
            }
            _ => return ranged(&self.file, request),
        }
        exchange.headers.iter().fold(
            Reply::new(exchange.status, exchange.body()),
            |reply, (name, value)| reply.header(name, value.as_str()),
        )
    }
}

/// Numbers and tags of a message that completes an upload, in whichever order a part has them.
fn parts(message: &str) -> Vec<(String, String)> {
    let field = |part: &str, name: &str| {
        let (_, after) = part.split_once(&format!("<{name}>")).expect("a field");
        after
            .split_once(&format!("</{name}>"))
            .expect("its end")
            .0
            .to_owned()
    };
    message
        .split("<Part>")
        .skip(1)
        .map(|part| (field(part, "PartNumber"), field(part, "ETag")))
        .collect()
}

/// The range of a file that a request asks for.
pub(crate) fn ranged(file: &[u8], request: &Request) -> Reply {
    let range = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="))
        .expect("a range");
    let (start, end) = range.split_once('-').expect("a range");
    let (start, end): (usize, usize) = (start.parse().expect("a start"), end.parse().expect("an end"));
    Reply::new(206, &file[start..=end]).header("content-range", format!("bytes {start}-{end}/{}", file.len()))
}

/// Starts a server that holds the conversation.
async fn hold(
    numbered: Numbered,
    size: usize,
    final_state: &'static str,
) -> (Server, Arc<Mutex<Conversation>>) {
    let exchanges = exchanges(numbered);
    let conversation = Arc::new(Mutex::new(Conversation {
        server_url: String::new(),
        spoken: vec![false; exchanges.len()],
        exchanges,
        file: content(size),
        final_state,
        looks: 0,
        differences: Vec::new(),
    }));
    let holding = Arc::clone(&conversation);
    let server = Server::start(move |request| holding.lock().expect("no panic").answer(request)).await;
    conversation.lock().expect("no panic").server_url = server.url();
    (server, conversation)
}

fn check(conversation: &Mutex<Conversation>) {
    let conversation = conversation.lock().expect("no panic");
    assert!(
        conversation.differences.is_empty(),
        "{}",
        conversation.differences.join("; ")
    );
    assert!(
        conversation.spoken.iter().all(|spoken| *spoken),
        "{:?}",
        conversation.spoken
    );
}

fn transfers(server: &Server) -> Transfers {
    client(server).transfers(&system())
}

fn client(server: &Server) -> Client {
    with_tokens(&server.url())
        .retry_policy(RetryPolicy::never())
        .build()
        .expect("a client")
}

fn options() -> TransferOptions {
    TransferOptions {
        account: Some("a-lab01".to_owned()),
        part_size: (8 * 1024 * 1024).try_into().expect("not zero"),
        wait: quick_wait(),
        ..TransferOptions::default()
    }
}

fn start_of(numbered: Numbered) -> (Value, String) {
    let start = exchanges(numbered).remove(0);
    let body = crate::replay::one_style(&start.request["json"]);
    let target = body["path"].as_str().expect("a path").to_owned();
    (body, target)
}

fn local(directory: &Path, size: usize) -> std::path::PathBuf {
    let file = directory.join("local");
    std::fs::write(&file, content(size)).expect("written");
    file
}

#[tokio::test]
async fn uploads_through_the_storage_are_spoken() {
    let directory = tempfile::tempdir().expect("a directory");
    for numbered in UPLOADS {
        let (body, target) = start_of(*numbered);
        let size = body["transferDirectives"]["fileSize"].as_u64().expect("a size") as usize;
        let (server, conversation) = hold(*numbered, size, "COMPLETED").await;
        let done = transfers(&server)
            .upload(&local(directory.path(), size), &path(&target), &options())
            .await;
        let done = done.unwrap_or_else(|error| panic!("{}: {}", numbered.0, chain(&error)));
        assert_eq!(done.bytes, size as u64);
        let job = exchanges(*numbered)[0].response["json"]["transferJob"]["jobId"]
            .as_str()
            .expect("an id")
            .to_owned();
        assert_eq!(done.way, Way::Staged(job.parse().expect("an id")));
        check(&conversation);
    }
}

#[tokio::test]
async fn downloads_through_the_storage_are_spoken() {
    let directory = tempfile::tempdir().expect("a directory");
    for numbered in DOWNLOADS {
        let (_, target) = start_of(*numbered);
        let size = omitted(&exchanges(*numbered)[1].response).expect("a size");
        let (server, conversation) = hold(*numbered, size, "COMPLETED").await;
        let destination = directory.path().join("down");
        let done = transfers(&server)
            .download(&path(&target), &destination, &options())
            .await;
        let done = done.unwrap_or_else(|error| panic!("{}: {}", numbered.0, chain(&error)));
        assert_eq!(done.sha256, Sha256::of(&content(size)));
        assert_eq!(std::fs::read(&destination).expect("a file"), content(size));
        check(&conversation);
    }
}

#[tokio::test]
async fn refused_transfers_are_heard() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = |error: TransferError| match error {
        TransferError::Call(error) => error,
        error => panic!("{}", chain(&error)),
    };
    for numbered in REFUSED_UPLOADS {
        let (body, target) = start_of(*numbered);
        let size = body["transferDirectives"]["fileSize"].as_u64().expect("a size") as usize;
        let (server, conversation) = hold(*numbered, size, "COMPLETED").await;
        let account = body["account"].as_str().expect("an account").to_owned();
        let options = TransferOptions {
            account: Some(account),
            ..options()
        };
        let done = transfers(&server)
            .upload(&local(directory.path(), size), &path(&target), &options)
            .await;
        let error = refused(done.expect_err("refused"));
        let recorded = &exchanges(*numbered)[0];
        assert_eq!(error.status(), Some(recorded.status), "{}", numbered.0);
        let class = if numbered.0 == "43-transfer-errors" {
            Class::Permanent
        } else {
            Class::Retry
        };
        assert_eq!(error.class(), class, "{}", numbered.0);
        check(&conversation);
    }
    let (_, target) = start_of(REFUSED_DOWNLOAD);
    let (server, conversation) = hold(REFUSED_DOWNLOAD, 100, "COMPLETED").await;
    let done = transfers(&server)
        .download(&path(&target), &directory.path().join("down"), &options())
        .await;
    assert_eq!(refused(done.expect_err("refused")).status(), Some(404));
    check(&conversation);
}

#[tokio::test]
async fn a_transfer_job_that_fails_is_heard() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, target) = start_of(FAILED_DOWNLOAD);
    let (server, conversation) = hold(FAILED_DOWNLOAD, 100, "FAILED").await;
    let destination = directory.path().join("down");
    let options = TransferOptions {
        verify: Verify::Size,
        ..options()
    };
    let error = transfers(&server)
        .download(&path(&target), &destination, &options)
        .await
        .expect_err("failed");
    assert_eq!(
        error.to_string(),
        "the transfer job 34 ended as Failed; its log says: cp: omitting directory"
    );
    assert_eq!(
        std::fs::read_dir(directory.path())
            .expect("the directory")
            .count(),
        0,
        "nothing is left behind"
    );
    check(&conversation);
}
