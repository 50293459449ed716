//! The files that prompts come from: found, read whole and strictly, and known by their sha256.
//!
//! The same code looks at them before a run is started and when the load generator begins.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use gipfel_model::{
    AnswerLength, DataSetFile, DataSetForm, DataSetSpec, WorkloadSpec, provenance::hexadecimal,
};
use gipfel_workload::{
    Contents, Corpus, CountTokens, EstimateTokens, LeftOut, Pool, Requests, Selection, read_entries,
    read_lines,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why prompts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file is not there.
    #[error("there is no file `{}` with the prompts of the data set", path.display())]
    Missing {
        /// Which one.
        path: PathBuf,
        /// The known data set that it should hold; absent for a file of the user's own.
        known: Option<DataSetForm>,
    },
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Files are not of the documented form.
    #[error("the data set has faults:\n  {}", .0.join("\n  "))]
    Faulty(Vec<String>),
    /// No prompt is left.
    #[error("the data set has no prompt within the bounds of length: {0}")]
    Empty(String),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// What is known of a file that prompts came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileFacts {
    /// Where it was.
    pub path: PathBuf,
    /// What it looks like.
    pub form: DataSetForm,
    /// Its sha256.
    pub sha256: String,
    /// The prompts, or lines, that it has for the run.
    pub entries: u64,
    /// Prompts below the least length.
    pub too_short: u64,
    /// Prompts above the greatest length.
    pub too_long: u64,
    /// Prompts that it has more than once.
    pub repeated: u64,
    /// Entries without a question and an answer.
    pub unusable: u64,
}

/// What a run sends, read.
#[derive(Debug)]
pub struct Prompts {
    /// What prompts are made of.
    pub corpus: Corpus,
    /// What counts their tokens.
    pub tokens: Option<Arc<Tokenizer>>,
    /// The files.
    pub files: Vec<FileFacts>,
}

impl Prompts {
    /// Reads what the workload names; nothing for synthetic prompts of estimated length.
    ///
    /// # Errors
    /// A file is not there or not as it should be; of what is wrong in files, everything at once.
    pub fn load(workload: &WorkloadSpec) -> Result<Self, DataError> {
        let tokens = workload.prompts.tokenizer.as_deref().map(Tokenizer::open);
        let tokens = tokens.transpose()?.map(Arc::new);
        let mut prompts = Self {
            corpus: Corpus::Words,
            tokens,
            files: Vec::new(),
        };
        if let Some(dataset) = &workload.prompts.dataset {
            prompts.read(dataset, workload.seed)?;
        }
        Ok(prompts)
    }

    fn read(&mut self, dataset: &DataSetSpec, seed: u64) -> Result<(), DataError> {
        let paths: Vec<PathBuf> = dataset
            .files
            .iter()
            .map(|file| locate(file, dataset.hf_home.as_deref()))
            .collect();
        for (file, path) in dataset.files.iter().zip(&paths) {
            if !path.is_file() {
                let known = file.path.is_none().then_some(file.form);
                let path = path.clone();
                return Err(DataError::Missing { path, known });
            }
        }
        let (mut faults, mut sets) = (Vec::new(), Vec::new());
        for (file, path) in dataset.files.iter().zip(&paths) {
            if file.form == DataSetForm::Sonnet {
                self.read_text(path, &mut faults)?;
            } else if let Some(contents) = self.read_file(file.form, path, dataset, &mut faults)? {
                sets.push((contents.entries, file.share));
            }
        }
        if !faults.is_empty() {
            return Err(DataError::Faulty(faults));
        }
        if !sets.is_empty() {
            let pool = Pool::mix(seed, sets, dataset.num_prompts);
            if pool.is_empty() {
                let files = self.files.iter().map(FileFacts::words).collect::<Vec<_>>();
                return Err(DataError::Empty(files.join("; ")));
            }
            self.corpus = Corpus::Pool(Arc::new(pool));
        }
        Ok(())
    }

    fn read_text(&mut self, path: &Path, faults: &mut Vec<String>) -> Result<(), DataError> {
        let (read, sha256) = hashed(path, |input| read_lines(input))?;
        match read {
            Ok(lines) => {
                let left_out = LeftOut::default();
                let facts = facts(path, DataSetForm::Sonnet, sha256, lines.len(), left_out);
                self.files.push(facts);
                self.corpus = Corpus::Lines(lines.into());
            }
            Err(found) => faults.extend(found.lines(&path.display().to_string())),
        }
        Ok(())
    }

    fn read_file(
        &mut self,
        form: DataSetForm,
        path: &Path,
        dataset: &DataSetSpec,
        faults: &mut Vec<String>,
    ) -> Result<Option<Contents>, DataError> {
        let tokens: &dyn CountTokens = match &self.tokens {
            Some(tokenizer) => &**tokenizer,
            None => &EstimateTokens,
        };
        let selection = Selection {
            min_input: dataset.min_input,
            max_input: dataset.max_input,
            needs_output: dataset.answers == AnswerLength::Dataset,
            tokens,
        };
        let (read, sha256) = hashed(path, |input| read_entries(form, input, selection))?;
        match read {
            Ok(contents) => {
                let (entries, left_out) = (contents.entries.len(), contents.left_out);
                let facts = facts(path, form, sha256, entries, left_out);
                self.files.push(facts);
                Ok(Some(contents))
            }
            Err(found) => {
                faults.extend(found.lines(&path.display().to_string()));
                Ok(None)
            }
        }
    }

    /// How many prompts there are; absent when there is no end of them.
    pub fn count(&self) -> Option<u64> {
        match &self.corpus {
            Corpus::Pool(pool) => Some(pool.len()),
            Corpus::Words | Corpus::Lines(_) => None,
        }
    }

    /// The requests of the run with this id.
    pub(crate) fn requests(&self, workload: &WorkloadSpec, run: &str) -> Requests {
        let tokens = self.tokens.clone().map(|tokens| tokens as Arc<dyn CountTokens>);
        Requests::new(workload.clone(), run, self.corpus.clone(), tokens)
    }
}

impl FileFacts {
    /// The facts in a few words.
    pub fn words(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let what = match self.form {
            DataSetForm::Sonnet => "lines",
            _ => "prompts",
        };
        let left_out = [
            (self.too_short, "too short"),
            (self.too_long, "too long"),
            (self.repeated, "repeated"),
            (self.unusable, "without question and answer"),
        ];
        let left_out = left_out.iter().filter(|(count, _)| *count > 0);
        let left_out: Vec<String> = left_out.map(|(count, why)| format!("{count} {why}")).collect();
        let entries = self.entries;
        if left_out.is_empty() {
            format!("{entries} {what} of {name}")
        } else {
            format!("{entries} {what} of {name} (left out: {})", left_out.join(", "))
        }
    }
}

/// The folder of Hugging Face's files: the given one, else `HF_HOME`, else `~/.cache/huggingface`.
pub fn hf_home(given: Option<&Path>) -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match given {
        Some(given) => given.to_owned(),
        None => match named("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(named("HOME").unwrap_or_default()).join(".cache/huggingface"),
        },
    }
}

/// Where a known data set lies below the folder of Hugging Face's files; own forms have no such place.
pub fn known_path(form: DataSetForm, hf_home: &Path) -> Option<PathBuf> {
    let name = match form {
        DataSetForm::Sharegpt => "ShareGPT_V3_unfiltered_cleaned_split.json",
        DataSetForm::Codealpaca => "code_alpaca_20k.json",
        DataSetForm::Sonnet => "sonnet.txt",
        DataSetForm::Jsonl | DataSetForm::Prompts => return None,
    };
    Some(hf_home.join("gipfel").join(name))
}

fn locate(file: &DataSetFile, given: Option<&Path>) -> PathBuf {
    let known = || known_path(file.form, &hf_home(given)).unwrap_or_default();
    file.path.clone().unwrap_or_else(known)
}

fn facts(path: &Path, form: DataSetForm, sha256: String, entries: usize, left_out: LeftOut) -> FileFacts {
    FileFacts {
        path: path.to_owned(),
        form,
        sha256,
        entries: entries as u64,
        too_short: left_out.short,
        too_long: left_out.long,
        repeated: left_out.repeated,
        unusable: left_out.unusable,
    }
}

/// Reads a file through `read`, and its sha256 on the way.
fn hashed<T>(path: &Path, read: impl FnOnce(&mut dyn BufRead) -> T) -> Result<(T, String), DataError> {
    let unreadable = |source| DataError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut hasher = Hashing {
        inner: file,
        digest: Sha256::new(),
    };
    let mut input = BufReader::with_capacity(1 << 18, &mut hasher);
    let found = read(&mut input);
    // A reader that has met a fault may have left something; the digest is the whole file's.
    io::copy(&mut input, &mut io::sink()).map_err(unreadable)?;
    drop(input);
    Ok((found, hexadecimal(&hasher.digest.finalize())))
}

struct Hashing {
    inner: File,
    digest: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::{ArrivalProcess, LengthDistribution, PromptSource};

    fn workload(files: &[(&Path, DataSetForm, f64)]) -> WorkloadSpec {
        let length = LengthDistribution::Fixed { value: 8 };
        let files = files.iter().map(|(path, form, share)| DataSetFile {
            form: *form,
            path: Some((*path).to_owned()),
            share: *share,
        });
        let dataset = DataSetSpec {
            files: files.collect(),
            min_input: 2,
            max_input: 100,
            num_prompts: None,
            answers: AnswerLength::Dataset,
            nonce: true,
            hf_home: None,
        };
        WorkloadSpec {
            prompts: PromptSource {
                dataset: Some(dataset),
                tokenizer: None,
            },
            arrivals: ArrivalProcess::Poisson,
            input_length: length,
            output_length: length,
            seed: 1,
            requests: gipfel_model::RequestForm::default(),
        }
    }

    #[test]
    fn a_file_is_read_and_known_by_its_digest() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("own.jsonl");
        let text = "{\"prompt\": \"Name a river.\", \"output_tokens\": 8}\n{\"prompt\": \"x\", \"output_tokens\": 8}\n";
        std::fs::write(&path, text).expect("a file");
        let prompts = Prompts::load(&workload(&[(&path, DataSetForm::Jsonl, 1.0)])).expect("prompts");
        assert_eq!(prompts.count(), Some(1));
        let facts = &prompts.files[0];
        assert_eq!(facts.sha256, hexadecimal(&Sha256::digest(text.as_bytes())));
        assert_eq!(facts.words(), "1 prompts of own.jsonl (left out: 1 too short)");
    }

    #[test]
    fn what_is_wrong_is_said_of_all_files_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let save = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let check = |files: &[(&Path, DataSetForm, f64)]| {
            let error = Prompts::load(&workload(files)).expect_err("a fault");
            error
                .to_string()
                .replace(&directory.path().display().to_string(), "DATA")
        };
        let (lines, array) = (save("a.jsonl", "{}\n\nx\n"), save("b.json", "[{}]"));
        let (empty, none) = (save("c.jsonl", "\n"), directory.path().join("d.json"));
        let jsonl = DataSetForm::Jsonl;
        insta::assert_snapshot!(check(&[(&lines, jsonl, 0.5), (&array, DataSetForm::Sharegpt, 0.5)]), @r"
        the data set has faults:
          DATA/a.jsonl:1: one of `prompt`, `messages`, `conversations` is required
          DATA/a.jsonl:3: expected value, at column 1
          DATA/b.json: entry 1: missing field `conversations`
        ");
        insta::assert_snapshot!(check(&[(&empty, jsonl, 1.0)]), @"the data set has no prompt within the bounds of length: 0 prompts of c.jsonl");
        insta::assert_snapshot!(check(&[(&lines, jsonl, 0.5), (&none, DataSetForm::Sharegpt, 0.5)]), @"there is no file `DATA/d.json` with the prompts of the data set");
        insta::assert_snapshot!(check(&[(&empty, DataSetForm::Sonnet, 1.0)]), @r"
        the data set has faults:
          DATA/c.jsonl: it has no line of text
        ");
    }
}
