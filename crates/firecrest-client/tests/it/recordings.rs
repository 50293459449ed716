//! The recorded exchanges with a real server.

use std::{fs, path::Path};

use serde_json::Value;

/// A file of recorded exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    /// The file's name without its ending.
    pub(crate) name: String,
    pub(crate) exchanges: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// The path of the server, or `s3:` and the path of the storage.
    pub(crate) url: String,
    pub(crate) content_type: Option<String>,
    pub(crate) request: Value,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) response: Value,
}

impl Recording {
    /// All recordings, by name.
    pub(crate) fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
        let mut files: Vec<_> = fs::read_dir(directory)
            .expect("the recordings")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        files.sort();
        files.iter().map(|path| Self::read(path)).collect()
    }

    /// The recording of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::all()
            .into_iter()
            .find(|recording| recording.name == name)
            .expect("a recording")
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a text");
        let value: Value = serde_json::from_str(&text).expect("a document");
        let exchanges = value["exchanges"]
            .as_array()
            .expect("exchanges")
            .iter()
            .map(Exchange::read)
            .collect();
        Self {
            name: value["name"].as_str().expect("a name").to_owned(),
            exchanges,
        }
    }
}

impl Exchange {
    fn read(value: &Value) -> Self {
        let headers = value["response_headers"].as_object().expect("headers");
        Self {
            method: value["method"].as_str().expect("a method").to_owned(),
            url: value["url"].as_str().expect("a URL").to_owned(),
            content_type: value["request_headers"]["content-type"]
                .as_str()
                .map(str::to_owned),
            request: value["request_body"].clone(),
            status: value["status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok())
                .expect("a status"),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
                .collect(),
            response: value["response_body"].clone(),
        }
    }

    /// The path and the pairs of the query.
    pub(crate) fn target(&self) -> (String, Vec<(String, String)>) {
        let base = reqwest::Url::parse("http://server").expect("a URL");
        let url = base.join(self.url.trim_start_matches("s3:")).expect("a URL");
        (url.path().to_owned(), url.query_pairs().into_owned().collect())
    }

    /// The bytes of the answer. What was cut off is made whole again, and what was left out is made up.
    pub(crate) fn body(&self) -> Vec<u8> {
        if let Some(json) = self.response.get("json") {
            return json.to_string().into_bytes();
        }
        if let Some(text) = self.response["text"].as_str() {
            return text.as_bytes().to_vec();
        }
        if let Some(text) = self.response["truncated"].as_str() {
            let whole = text.rfind(",{\"jobId\"").expect("a job before the cut");
            return format!("{}]}}", &text[..whole]).into_bytes();
        }
        if let Some(size) = omitted(&self.response) {
            return content(size);
        }
        assert!(
            self.response.is_null(),
            "an answer of a form that the tests do not know: {}",
            self.response
        );
        Vec::new()
    }
}

/// The size of a body that the recording left out.
pub(crate) fn omitted(body: &Value) -> Option<usize> {
    body["omitted"].as_str()?.strip_suffix(" bytes")?.parse().ok()
}

/// So many bytes, the same each time.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}
