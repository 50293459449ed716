//! Where prompts come from: words, or the files of data sets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::deployment::names;

names! {
    /// What a file of prompts looks like.
    DataSetForm {
        /// One JSON object per line, with `prompt`, `messages` or `conversations`.
        Jsonl = "jsonl",
        /// A JSON array of objects with `content` or `messages`, and `max_tokens`.
        Prompts = "prompts",
        /// A JSON array of conversations, as ShareGPT's.
        Sharegpt = "sharegpt",
        /// A JSON array of instructions, inputs and outputs, as CodeAlpaca's.
        Codealpaca = "codealpaca",
        /// Lines of text, of which prompts are put together.
        Sonnet = "sonnet",
    }
}

names! {
    /// What decides how long the answers to a data set's prompts are.
    AnswerLength {
        /// The entry itself: its expected tokens, or those of its answer.
        Dataset = "dataset",
        /// The workload's distribution of output lengths.
        Distribution = "distribution",
    }
}

/// A file of prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSetFile {
    /// What it looks like.
    pub form: DataSetForm,
    /// Where it lies, on the machine of the load generator; absent for a known data set that is not looked for yet.
    pub path: Option<PathBuf>,
    /// The share of prompts that come from it, from 0 to 1.
    pub share: f64,
}

/// Prompts from files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSetSpec {
    /// The files, whose shares add up to 1.
    pub files: Vec<DataSetFile>,
    /// Entries with fewer tokens of prompt are left out.
    pub min_input: u32,
    /// Entries with more are left out, too.
    pub max_input: u32,
    /// At most so many prompts, chosen by the seed.
    pub num_prompts: Option<u32>,
    /// What decides how long answers are.
    pub answers: AnswerLength,
    /// Whether prompts begin with a nonce of the run and the request.
    pub nonce: bool,
    /// The folder of Hugging Face's files in which known data sets are looked for; absent: `HF_HOME`, or its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hf_home: Option<PathBuf>,
}

impl DataSetSpec {
    /// Whether prompts are put together from lines, so that there is no end of them.
    pub fn is_endless(&self) -> bool {
        self.files.iter().any(|file| file.form == DataSetForm::Sonnet)
    }
}

/// Where prompts come from. Without a data set they are synthetic; without a tokenizer tokens are estimated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSource {
    /// The files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DataSetSpec>,
    /// The `tokenizer.json` that tokens are counted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
}

impl PromptSource {
    /// Whether it is the usual one: synthetic prompts with estimated tokens.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}
