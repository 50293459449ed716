//! Counting tokens as a model does, by its `tokenizer.json`.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use gipfel_model::provenance::hexadecimal;
use gipfel_workload::CountTokens;
use sha2::{Digest, Sha256};

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("failed to read the tokenizer `{}`", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no tokenizer.
    #[error("`{}` is no tokenizer.json of Hugging Face", path.display())]
    Faulty {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A model's tokenizer. The template of a chat, which only the server knows, adds tokens to what it counts.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The sha256 of its file.
    pub sha256: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let path = path.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(TokenizerError::Unreadable { path, source }),
        };
        match tokenizers::Tokenizer::from_bytes(&bytes) {
            Ok(inner) => Ok(Self {
                inner,
                sha256: hexadecimal(&Sha256::digest(&bytes)),
            }),
            Err(source) => Err(TokenizerError::Faulty { path, source }),
        }
    }
}

impl CountTokens for Tokenizer {
    fn count(&self, text: &str) -> Option<u32> {
        let encoding = self.inner.encode_fast(text, false).ok()?;
        u32::try_from(encoding.len()).ok()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_by_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tokenizer.json");
        let text = r#"{
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "river": 1, "?": 2}, "unk_token": "?"}
        }"#;
        fs::write(&path, text).expect("a file");
        let tokenizer = Tokenizer::open(&path).expect("a tokenizer");
        assert_eq!(tokenizer.count("a river, a lake"), Some(5));
        assert_eq!(tokenizer.count(""), Some(0));
        fs::write(&path, "{}").expect("a file");
        let error = Tokenizer::open(&path).expect_err("no tokenizer");
        assert!(
            error
                .to_string()
                .ends_with("is no tokenizer.json of Hugging Face"),
            "{error}"
        );
        assert!(Tokenizer::open(&directory.path().join("none")).is_err());
    }
}
