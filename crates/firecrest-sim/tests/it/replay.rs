//! Sends the requests of a recording and compares what comes back.

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    shape::differences,
    site::Site,
    wire::{Outgoing, Reply, eventually},
};

/// One request with its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) url: String,
    request_headers: BTreeMap<String, String>,
    request_body: Option<Value>,
    status: u16,
    response_headers: BTreeMap<String, String>,
    response_body: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Recording {
    exchanges: Vec<Exchange>,
}

/// The folder of the recordings.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../firecrest-client/tests/recordings")
}

/// A recording that is being replayed against a site.
pub(crate) struct Replay {
    pub(crate) site: Site,
    name: String,
    exchanges: Vec<Exchange>,
    next: usize,
    /// What stands here for a recorded text, such as the number of a job.
    words: Vec<(String, String)>,
    user: String,
    authorization: Option<String>,
    body: Option<(String, Vec<u8>)>,
}

impl Replay {
    pub(crate) fn new(name: &str, site: Site) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.json"))).expect("a recording");
        let recording: Recording = serde_json::from_str(&text).expect("a recording of the known form");
        let words = vec![("http://storage".to_owned(), site.running.storage_url.clone())];
        Self {
            site,
            name: name.to_owned(),
            exchanges: recording.exchanges,
            next: 0,
            words,
            user: "tester".to_owned(),
            authorization: None,
            body: None,
        }
    }

    /// The following exchanges are those of this user.
    pub(crate) fn act_as(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }

    /// The next exchange carries this in place of the recorded token.
    pub(crate) fn with_token(&mut self, token: &str) {
        self.authorization = Some(format!("Bearer {token}"));
    }

    /// The next exchange, whose body was not recorded, uploads a file.
    pub(crate) fn with_file(&mut self, name: &str, size: usize) {
        let mut body =
            format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n")
                .into_bytes();
        body.extend(content(size));
        body.extend(b"\r\n--b--\r\n");
        self.body = Some(("multipart/form-data; boundary=b".to_owned(), body));
    }

    /// A job of the site stands for a recorded one.
    pub(crate) fn job_is(&mut self, recorded: &str, id: &str) {
        self.words.push((recorded.to_owned(), id.to_owned()));
    }

    /// What stands here for a recorded job.
    pub(crate) fn job(&self, recorded: &str) -> String {
        self.words
            .iter()
            .rev()
            .find(|(word, _)| word == recorded)
            .expect("a known job")
            .1
            .clone()
    }

    /// Sends the next requests and compares the answers.
    pub(crate) async fn go(&mut self, count: usize) {
        for _ in 0..count {
            let (exchange, outgoing) = self.take();
            let reply = outgoing.send().await.expect("an answer");
            let found = self.compare(&exchange, &reply);
            assert!(
                found.is_empty(),
                "{} exchange {}: {found:#?}",
                self.name,
                self.next - 1
            );
            self.learn(&exchange, &reply);
        }
    }

    /// Sends the next request until its answer is the recorded one.
    pub(crate) async fn go_until_as_recorded(&mut self) {
        let (exchange, outgoing) = self.take();
        eventually(|| async {
            let reply = outgoing.send().await.expect("an answer");
            let found = self.compare(&exchange, &reply);
            if found.is_empty() {
                Ok(())
            } else {
                Err(format!("{found:#?}"))
            }
        })
        .await;
    }

    /// Leaves exchanges out, for a reason that the reader is told.
    pub(crate) fn skip(&mut self, count: usize, reason: &str) {
        assert!(!reason.is_empty());
        self.next += count;
    }

    pub(crate) async fn rest(&mut self) {
        self.go(self.exchanges.len() - self.next).await;
    }

    /// Every exchange was replayed or left out by name.
    pub(crate) async fn finish(self) {
        assert_eq!(
            self.next,
            self.exchanges.len(),
            "{}: exchanges are left",
            self.name
        );
        self.site.running.stop().await;
    }

    fn take(&mut self) -> (Exchange, Outgoing) {
        let exchange = self.exchanges.get(self.next).expect("another exchange").clone();
        self.next += 1;
        let outgoing = self.outgoing(&exchange);
        (exchange, outgoing)
    }

    fn outgoing(&mut self, exchange: &Exchange) -> Outgoing {
        let own = self.body.take();
        let body = own.as_ref().map(|(_, body)| body.clone());
        let body = body.unwrap_or_else(|| self.recorded_body(exchange));
        let mut outgoing = Outgoing::new(&exchange.method, self.address(&exchange.url)).body(body);
        for (name, value) in &exchange.request_headers {
            let value = match (name.as_str(), &own) {
                ("authorization", _) if value == "Bearer <redacted-jwt>" => self
                    .authorization
                    .take()
                    .unwrap_or_else(|| self.site.bearer(&self.user)),
                ("content-type", Some((content_type, _))) => content_type.clone(),
                _ => value.clone(),
            };
            outgoing = outgoing.header(name, value);
        }
        outgoing
    }

    fn recorded_body(&self, exchange: &Exchange) -> Vec<u8> {
        let Some(body) = &exchange.request_body else {
            return Vec::new();
        };
        if let Some(json) = body.get("json") {
            return json.to_string().into_bytes();
        }
        if let Some(text) = body["text"].as_str() {
            return self
                .put(text)
                .replace("<redacted-secret>", "secret-of-tester")
                .into_bytes();
        }
        if let Some(text) = body["base64"].as_str() {
            return STANDARD.decode(text).expect("base64");
        }
        let omitted = body["omitted"].as_str().and_then(|text| text.split(' ').next());
        content(
            omitted
                .and_then(|size| size.parse().ok())
                .expect("the size of a body"),
        )
    }

    fn address(&self, url: &str) -> String {
        let token_server = "http://127.0.0.1:8081";
        if let Some(path) = url.strip_prefix(token_server) {
            return self.site.url(path);
        }
        if let Some(rest) = url.strip_prefix("s3:") {
            let known = self
                .words
                .iter()
                .find(|(word, _)| *word == format!("http://storage{rest}"));
            return known.expect("a presigned address").1.clone();
        }
        let (path, query) = url
            .split_once('?')
            .map_or((url, None), |(path, query)| (path, Some(query)));
        let path: Vec<String> = path.split('/').map(|segment| self.put_word(segment)).collect();
        let query = query
            .map(|query| format!("?{}", self.put(query)))
            .unwrap_or_default();
        self.site.url(&format!("{}{query}", path.join("/")))
    }

    fn put_word(&self, word: &str) -> String {
        let known = self.words.iter().rev().find(|(recorded, _)| recorded == word);
        known.map_or(word, |(_, here)| here).to_owned()
    }

    /// A recorded text with what stands here for its parts.
    fn put(&self, text: &str) -> String {
        let long = self.words.iter().filter(|(word, _)| word.parse::<u64>().is_err());
        let text = long.fold(text.to_owned(), |text, (word, here)| text.replace(word, here));
        // The number of a job stands alone; digits inside of a name are part of it.
        let mut put = String::new();
        let mut word = String::new();
        for character in text.chars().chain(['\0']) {
            if character.is_alphanumeric() {
                word.push(character);
                continue;
            }
            put.push_str(&self.put_word(&word));
            word.clear();
            put.push(character);
        }
        put.pop();
        put
    }

    fn compare(&self, exchange: &Exchange, reply: &Reply) -> Vec<String> {
        let mut found = Vec::new();
        if reply.status.as_u16() != exchange.status {
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            found.push(format!(
                "status {}, recorded {}: {body}",
                reply.status, exchange.status
            ));
            return found;
        }
        found.extend(Self::compare_headers(exchange, reply));
        let Some(body) = &exchange.response_body else {
            if !reply.body.is_empty() {
                found.push("a body where none is recorded".to_owned());
            }
            return found;
        };
        if let Some(recorded) = body.get("json").or(body.get("truncated").map(|_| body)) {
            found.extend(self.compare_json(recorded, &reply.json()));
        } else if body.get("omitted").is_some() || body.get("bytes").is_some() {
            let text = body["omitted"]
                .as_str()
                .and_then(|text| text.split(' ').next()?.parse().ok());
            let size = text.or(body["bytes"].as_u64()).expect("the size of a body");
            if reply.body.len() as u64 != size {
                found.push(format!("{} bytes, recorded {size}", reply.body.len()));
            }
        } else if let Some(text) = body["text"].as_str() {
            found.extend(compare_text(text, &String::from_utf8_lossy(&reply.body)));
        }
        found
    }

    fn compare_headers(exchange: &Exchange, reply: &Reply) -> Vec<String> {
        let mut found = Vec::new();
        for (name, recorded) in &exchange.response_headers {
            let here = reply.header(name);
            let is_as_recorded = match name.as_str() {
                "auth-token" => here.is_some(),
                "etag" => here.is_some_and(|tag| tag.starts_with('"') && tag.ends_with('"')),
                "location" => here.is_some_and(|here| here.ends_with("/status/liveness/")),
                _ => here == Some(recorded.as_str()),
            };
            if !is_as_recorded {
                found.push(format!("header {name} is {here:?}, recorded {recorded:?}"));
            }
        }
        let is_api = exchange.url.starts_with('/');
        for name in ["f7t-appversion", "x-request-id", "x-correlation-id"] {
            if is_api && reply.header(name).is_none() {
                found.push(format!("header {name} is missing"));
            }
        }
        found
    }

    fn compare_json(&self, recorded: &Value, here: &Value) -> Vec<String> {
        if let Some(text) = recorded.get("truncated").and_then(Value::as_str) {
            let start = text.find('[').map_or(0, |at| at + 1);
            let mut entries = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            let first = entries.next().expect("an entry").expect("a whole entry");
            let second = text[start + entries.byte_offset()..].trim_start_matches(',');
            let mut entries = serde_json::Deserializer::from_str(second).into_iter::<Value>();
            let second = entries
                .next()
                .and_then(Result::ok)
                .unwrap_or_else(|| first.clone());
            return differences(&json!({"jobs": [first, second]}), here);
        }
        let mut found = differences(recorded, here);
        if recorded.get("errorType") == Some(&json!("error")) {
            for field in ["message", "causedBy", "user"] {
                let expected = self.put_json(&recorded[field]);
                if here[field] != expected {
                    found.push(format!("{field} is {}, recorded {expected}", here[field]));
                }
            }
        } else if recorded.get("errorType").is_some() {
            for field in ["data", "user"] {
                if here[field] != recorded[field] {
                    found.push(format!(
                        "{field} is {}, recorded {}",
                        here[field], recorded[field]
                    ));
                }
            }
        }
        found
    }

    fn put_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.put(text)),
            Value::Array(values) => values.iter().map(|value| self.put_json(value)).collect(),
            value => value.clone(),
        }
    }

    /// Remembers what the answer calls the job, its files and its addresses.
    fn learn(&mut self, exchange: &Exchange, reply: &Reply) {
        if let (Some(recorded), Some(here)) = (exchange.response_headers.get("etag"), reply.header("etag")) {
            self.words.push((recorded.clone(), here.to_owned()));
        }
        let Some(recorded) = exchange.response_body.as_ref().and_then(|body| body.get("json")) else {
            return;
        };
        let here = reply.json();
        let mut pairs = vec![(&recorded["jobId"], &here["jobId"])];
        let (old, new) = (&recorded["transferJob"], &here["transferJob"]);
        pairs.push((&old["jobId"], &new["jobId"]));
        pairs.push((&old["logs"]["outputLog"], &new["logs"]["outputLog"]));
        pairs.push((&old["logs"]["errorLog"], &new["logs"]["errorLog"]));
        let (old, new) = (&recorded["transferDirectives"], &here["transferDirectives"]);
        pairs.push((&old["completeUploadUrl"], &new["completeUploadUrl"]));
        pairs.push((&old["downloadUrl"], &new["downloadUrl"]));
        for index in 0..old["partsUploadUrls"].as_array().map_or(0, Vec::len) {
            pairs.push((&old["partsUploadUrls"][index], &new["partsUploadUrls"][index]));
        }
        let mut known: Vec<(String, String)> = pairs
            .into_iter()
            .filter_map(|(old, new)| Some((old.as_str()?.to_owned(), new.as_str()?.to_owned())))
            .collect();
        let encoded = |path: &String| path.replace('/', "%2F");
        let paths: Vec<(String, String)> = known
            .iter()
            .filter(|(old, _)| old.starts_with('/'))
            .map(|(old, new)| (encoded(old), encoded(new)))
            .collect();
        known.extend(paths);
        self.words.extend(known);
    }
}

fn compare_text(recorded: &str, here: &str) -> Vec<String> {
    // Documents of the storage have the same elements; every other text is the same.
    if !recorded.starts_with("<?xml") {
        return if recorded == here {
            Vec::new()
        } else {
            vec![format!("text {here:?}, recorded {recorded:?}")]
        };
    }
    let elements = |text: &str| {
        let names = text
            .split('<')
            .skip(1)
            .filter_map(|part| part.split(['>', ' ']).next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let code = |text: &str| Some(text.split_once("<Code>")?.1.split_once('<')?.0.to_owned());
    let same = elements(recorded) == elements(here) && code(recorded) == code(here);
    if same {
        Vec::new()
    } else {
        vec![format!("document {here}, recorded {recorded}")]
    }
}

/// Bytes that are no text.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}
