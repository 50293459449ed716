//! Storage in the manner of S3: presigned addresses, uploads by parts, downloads by ranges.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use md5::{Digest as _, Md5};

use crate::{
    answer::{Answer, AnswerBody},
    call::Call,
    files::operations::hex,
    storage::{
        protocol::{StorageError, Wanted, escaped, read_parts, wanted},
        signing::Signing,
    },
    token::Secret,
};

pub(crate) mod protocol;
mod signing;

/// The storage and the key that signs its addresses.
pub(crate) struct Storage {
    pub(crate) url: String,
    folder: PathBuf,
    signing: Signing,
}

/// A new name, in the form of a UUID.
pub(crate) fn unique() -> String {
    let digits = format!("{:032x}", rand::random::<u128>());
    let part = |from: usize, to: usize| &digits[from..to];
    format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

impl Storage {
    pub(crate) fn new(host: String, folder: PathBuf, key: Secret) -> Self {
        Self {
            url: format!("http://{host}"),
            folder,
            signing: Signing { host, key },
        }
    }

    /// The bucket and key of a new object for a file.
    pub(crate) fn key(user: &str, path: &str) -> String {
        format!(
            "{user}/{}/{}",
            unique(),
            path.rsplit('/').next().unwrap_or("file")
        )
    }

    /// Where the object of a key lies.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.folder.join("objects").join(key)
    }

    /// Makes the folder of an object; jobs of all users write there.
    pub(crate) fn make_folder(&self, key: &str) -> io::Result<()> {
        let object = self.object(key);
        let folder = object.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
    }

    /// Begins an upload by parts.
    pub(crate) fn begin(&self, key: &str) -> io::Result<String> {
        self.make_folder(key)?;
        let upload = unique().replace('-', "");
        fs::create_dir_all(self.parts(&upload))?;
        Ok(upload)
    }

    fn parts(&self, upload: &str) -> PathBuf {
        self.folder.join("uploads").join(upload)
    }

    pub(crate) fn part_url(&self, key: &str, upload: &str, number: u64) -> String {
        let number = number.to_string();
        self.signing
            .presign("PUT", key, &[("uploadId", upload), ("partNumber", &number)])
    }

    pub(crate) fn complete_url(&self, key: &str, upload: &str) -> String {
        self.signing.presign("POST", key, &[("uploadId", upload)])
    }

    pub(crate) fn download_url(&self, key: &str) -> String {
        self.signing.presign("GET", key, &[])
    }

    /// Answers a call; `path` is as the caller wrote it, decoded.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        self.handle(call)
            .unwrap_or_else(|error| error.into_answer(&call.path))
    }

    fn handle(&self, call: &Call) -> Result<Answer, StorageError> {
        self.signing.authorise(call)?;
        let key = call.path.trim_start_matches('/');
        if key.split('/').any(|part| part == ".." || part.is_empty()) {
            return Err(StorageError::NO_SUCH_KEY);
        }
        let upload = call.parameter("uploadId");
        match (call.method.as_str(), upload, call.parameter("partNumber")) {
            ("PUT", Some(upload), Some(number)) => self.put_part(call, upload, number),
            ("POST", Some(upload), None) => self.complete(call, key, upload),
            ("GET", None, None) => self.get(call, key),
            _ => Err(StorageError::NOT_ALLOWED),
        }
    }

    fn existing_parts(&self, upload: &str) -> Result<PathBuf, StorageError> {
        let is_name = upload.chars().all(|c| c.is_ascii_alphanumeric());
        let folder = self.parts(upload);
        if is_name && folder.is_dir() {
            Ok(folder)
        } else {
            Err(StorageError::NO_SUCH_UPLOAD)
        }
    }

    fn put_part(&self, call: &Call, upload: &str, number: &str) -> Result<Answer, StorageError> {
        let folder = self.existing_parts(upload)?;
        if call.header("content-length").is_none() {
            return Err(StorageError::NO_LENGTH);
        }
        let number: u64 = number.parse().map_err(|_| StorageError::INVALID_PART)?;
        let digest = Md5::digest(&call.body);
        if call
            .header("content-md5")
            .is_some_and(|given| given != STANDARD.encode(digest))
        {
            return Err(StorageError::BAD_DIGEST);
        }
        let write = || {
            let partial = folder.join(format!("{number}.{}", unique()));
            fs::write(&partial, &call.body)?;
            fs::write(folder.join(format!("{number}.etag")), hex(&digest))?;
            fs::rename(partial, folder.join(number.to_string()))
        };
        write().map_err(|_: io::Error| StorageError::INTERNAL)?;
        let answer = Answer::text(StatusCode::OK, "text/html; charset=utf-8", Bytes::new());
        Ok(answer.header("etag", format!("\"{}\"", hex(&digest))))
    }

    fn complete(&self, call: &Call, key: &str, upload: &str) -> Result<Answer, StorageError> {
        let folder = self.existing_parts(upload)?;
        let text = str::from_utf8(&call.body).map_err(|_| StorageError::MALFORMED)?;
        let parts = read_parts(text).ok_or(StorageError::MALFORMED)?;
        let etag = self.join(&folder, key, &parts)?;
        let (bucket, name) = key.split_once('/').unwrap_or((key, ""));
        let (bucket, name) = (escaped(bucket), escaped(name));
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<CompleteMultipartUploadResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Location>{}/{bucket}/{name}</Location>\
             <Bucket>{bucket}</Bucket><Key>{name}</Key><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>",
            self.url
        );
        Ok(Answer::text(StatusCode::OK, "application/xml", text))
    }

    /// Makes the object of its parts; a second call with the same parts makes it again.
    fn join(&self, folder: &Path, key: &str, parts: &[(u64, String)]) -> Result<String, StorageError> {
        let mut digests = Md5::new();
        for (number, etag) in parts {
            let written = fs::read_to_string(folder.join(format!("{number}.etag")));
            if written.ok().as_deref() != Some(etag.as_str()) {
                return Err(StorageError::INVALID_PART);
            }
            for at in (0..etag.len()).step_by(2) {
                digests.update([u8::from_str_radix(&etag[at..at + 2], 16).unwrap_or_default()]);
            }
        }
        let join = || {
            let whole = folder.join("whole");
            let mut file = fs::File::create(&whole)?;
            for (number, _) in parts {
                io::copy(&mut fs::File::open(folder.join(number.to_string()))?, &mut file)?;
            }
            fs::rename(whole, self.object(key))
        };
        join().map_err(|_: io::Error| StorageError::INTERNAL)?;
        Ok(format!("{}-{}", hex(&digests.finalize()), parts.len()))
    }

    fn get(&self, call: &Call, key: &str) -> Result<Answer, StorageError> {
        let path = self.object(key);
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
        let metadata = metadata.ok_or(StorageError::NO_SUCH_KEY)?;
        let length = metadata.len();
        // The parts of an object that a job brought are not known; its tag is one of its name and size.
        let tag = hex(&Md5::digest(format!("{key} {length}")));
        let range = call
            .header("range")
            .map_or(Wanted::Whole, |range| wanted(range, length));
        let (status, first, count) = match range {
            Wanted::Whole => (StatusCode::OK, 0, length),
            Wanted::Inside { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Wanted::Outside => return Err(StorageError::INVALID_RANGE),
        };
        let mut answer = Answer::new(status)
            .header("content-type", "binary/octet-stream")
            .header("accept-ranges", "bytes")
            .header("etag", format!("\"{tag}-1\""))
            .body(AnswerBody::File {
                path,
                start: first,
                length_bytes: count,
            });
        if let Wanted::Inside { first, last } = range {
            answer = answer.header("content-range", format!("bytes {first}-{last}/{length}"));
        }
        Ok(answer)
    }
}
