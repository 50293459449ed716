//! A cluster with a storage that fails as a test tells it to, and a place for local files.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use firecrest_client::{Client, Sha256, TransferError, TransferOptions, Transferred};
use serde_json::{Value, json};

use crate::{
    recordings::content,
    replay_staged::{job, ranged},
    server::{Reply, Request, Server},
    support::{path, quick, system},
};

/// A cluster with a storage that can be made to fail.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) limit: usize,
    pub(crate) part_size: usize,
    /// Files by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) target: String,
    pub(crate) uploaded: BTreeMap<usize, Vec<u8>>,
    /// What the storage answers to the next requests of a method in place of the right answer.
    pub(crate) faults: Vec<(&'static str, Fault)>,
    /// The job's state after the upload or download.
    pub(crate) state: &'static str,
    pub(crate) cancelled: Vec<String>,
    pub(crate) jobs: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This answer in place of the right one, and nothing done.
    Instead(Reply),
    /// The right answer with its body cut after so many bytes.
    Cut(usize),
    /// The effect, and no answer.
    Lost,
    /// One byte of the content changed.
    Damage,
}

impl Cluster {
    fn answer(&mut self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        if request.path.starts_with("/bucket/") {
            return self.storage(request);
        }
        match (request.method.as_str(), last) {
            ("GET", "systems") => Reply::json(200, &self.systems()),
            ("GET", "stat") => self.with_file(request, |file| {
                // Without it the size of a link would be told, and no transfer follows it.
                assert_eq!(request.parameter("dereference"), Some("true"));
                Reply::json(200, &json!({ "output": { "mode": 33_188, "size": file.len() } }))
            }),
            ("GET", "checksum") => {
                let reply = self.with_file(request, |file| {
                    let checksum = Sha256::of(file).to_string();
                    Reply::json(
                        200,
                        &json!({ "output": { "algorithm": "SHA256", "checksum": checksum } }),
                    )
                });
                self.faulty("CHECKSUM", reply, |_| ())
            }
            ("GET", "download") => {
                let reply = self.with_file(request, |file| Reply::new(200, file));
                self.faulty("DIRECT", reply, |_| ())
            }
            ("POST", "upload") if request.path.contains("/ops/") => self.store(request),
            ("POST", "upload" | "download") => self.start(request),
            ("DELETE", id) => {
                self.cancelled.push(id.to_owned());
                self.faulty("DELETE", Reply::new(204, ""), |_| ())
            }
            ("GET", "view") => Reply::json(200, &json!({ "output": "it broke\n" })),
            ("GET", id) => job(id, self.state),
            _ => Reply::refusal(404, "Not Found"),
        }
    }

    fn systems(&self) -> Value {
        let multipart = json!({ "max_part_size": self.part_size });
        json!({ "systems": [{ "name": "clariden", "dataOperation": {
            "max_ops_file_size": self.limit, "data_transfer": { "serviceType": "s3", "multipart": multipart },
        } }] })
    }

    fn with_file(&self, request: &Request, answer: impl Fn(&[u8]) -> Reply) -> Reply {
        match request.parameter("path").and_then(|path| self.files.get(path)) {
            Some(file) => answer(file),
            None => Reply::refusal(404, "No such file or directory"),
        }
    }

    /// A direct upload.
    fn store(&mut self, request: &Request) -> Reply {
        let head = request
            .body
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head")
            + 4;
        let boundary = request
            .header("content-type")
            .and_then(|text| text.split_once("boundary="))
            .expect("one")
            .1;
        let tail = format!("\r\n--{boundary}--\r\n").len();
        let content = request.body[head..request.body.len() - tail].to_vec();
        let text = String::from_utf8_lossy(&request.body[..head]).into_owned();
        let name = text
            .split("filename=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a name");
        self.files.insert(
            format!("{}/{name}", request.parameter("path").expect("a path")),
            content,
        );
        Reply::new(204, "")
    }

    pub(crate) fn start(&mut self, request: &Request) -> Reply {
        self.jobs += 1;
        let body = request.json();
        body["path"]
            .as_str()
            .expect("a path")
            .clone_into(&mut self.target);
        let url = |query: &str| format!("{}/bucket/key?{query}&X-Amz-Signature=abc", self.url);
        let size = body["transferDirectives"]["fileSize"]
            .as_u64()
            .unwrap_or_default() as usize;
        let parts: Vec<_> = (1..=size.div_ceil(self.part_size))
            .map(|number| url(&format!("partNumber={number}")))
            .collect();
        let directives = json!({
            "partsUploadUrls": parts, "completeUploadUrl": url("complete"), "maxPartSize": self.part_size,
            "downloadUrl": url("download"),
        });
        let logs = json!({ "outputLog": "/scratch/out", "errorLog": "/scratch/error" });
        Reply::json(
            201,
            &json!({ "transferJob": { "jobId": "7", "logs": logs }, "transferDirectives": directives }),
        )
    }

    fn storage(&mut self, request: &Request) -> Reply {
        let (method, request) = (request.method.clone(), request.clone());
        match method.as_str() {
            "PUT" => {
                let number: usize = request
                    .parameter("partNumber")
                    .expect("a number")
                    .parse()
                    .expect("a number");
                let right = Reply::new(200, "").header("etag", format!("\"tag-{number}\""));
                self.faulty("PUT", right, move |cluster| {
                    cluster.uploaded.insert(number, request.body.clone());
                })
            }
            "POST" => self.faulty("POST", Reply::new(200, "<Result/>"), |cluster| {
                let whole = cluster.uploaded.values().flatten().copied().collect();
                cluster.files.insert(cluster.target.clone(), whole);
            }),
            _ => {
                let right = ranged(&self.files[&self.target], &request);
                self.faulty("GET", right, |_| ())
            }
        }
    }

    /// The right answer with its effect, unless a fault of this kind is due.
    fn faulty(&mut self, kind: &str, right: Reply, effect: impl Fn(&mut Self)) -> Reply {
        let Some(due) = self.faults.iter().position(|(of, _)| *of == kind) else {
            effect(self);
            return right;
        };
        match self.faults.remove(due).1 {
            Fault::Instead(reply) => reply,
            Fault::Cut(bytes) => right.cut_after(bytes),
            Fault::Lost => {
                effect(self);
                Reply::nothing()
            }
            Fault::Damage => right.damaged(),
        }
    }
}

/// A cluster that serves, and a place for local files.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    pub(crate) server: Server,
    pub(crate) directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn start(faults: Vec<(&'static str, Fault)>) -> Self {
        let cluster = Cluster {
            limit: 1000,
            part_size: 4000,
            state: "COMPLETED",
            faults,
            ..Cluster::default()
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let answering = Arc::clone(&cluster);
        let server = Server::start(move |request| answering.lock().expect("no panic").answer(request)).await;
        cluster.lock().expect("no panic").url = server.url();
        Self {
            cluster,
            server,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn client(&self) -> Client {
        quick(&self.server.url())
    }

    pub(crate) fn with<T>(&self, of: impl FnOnce(&mut Cluster) -> T) -> T {
        of(&mut self.cluster.lock().expect("no panic"))
    }

    pub(crate) fn put(&self, file: &str, content: Vec<u8>) {
        self.with(|cluster| cluster.files.insert(file.to_owned(), content));
    }

    pub(crate) fn destination(&self) -> PathBuf {
        self.directory.path().join("down")
    }

    pub(crate) async fn upload(
        &self,
        size: usize,
        options: &TransferOptions,
    ) -> Result<Transferred, TransferError> {
        let source = self.directory.path().join("up");
        std::fs::write(&source, content(size)).expect("written");
        self.client()
            .transfers(&system())
            .upload(&source, &path("/scratch/file"), options)
            .await
    }

    pub(crate) async fn download(
        &self,
        size: usize,
        options: &TransferOptions,
    ) -> Result<Transferred, TransferError> {
        self.put("/scratch/file", content(size));
        self.client()
            .transfers(&system())
            .download(&path("/scratch/file"), &self.destination(), options)
            .await
    }

    /// What is in the local directory besides the source.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory");
        let names = entries.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        });
        names.filter(|name| name != "up").collect()
    }
}
