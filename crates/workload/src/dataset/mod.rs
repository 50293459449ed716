//! Prompts from the files of data sets: read strictly, shuffled by the seed, none used twice.

mod arrays;
mod entry;
mod lines;
mod pool;

use std::{
    fmt,
    io::{BufRead, Read},
};

use gipfel_model::DataSetForm;

use self::{entry::Collector, lines::read_jsonl};
pub use self::{
    entry::{Entry, Message},
    pool::Pool,
};

/// Faults that are named of one file; the rest is only counted.
const MOST_FAULTS: usize = 20;

/// Counts the tokens of texts.
pub trait CountTokens: fmt::Debug + Send + Sync {
    /// How many tokens the text has; `None` if the tokenizer cannot tell.
    fn count(&self, text: &str) -> Option<u32>;
}

/// Estimates tokens without a tokenizer: one for every four characters, which is about right for English.
#[derive(Clone, Copy, Debug, Default)]
pub struct EstimateTokens;

impl CountTokens for EstimateTokens {
    fn count(&self, text: &str) -> Option<u32> {
        let characters = text.chars().count();
        Some(u32::try_from(characters.div_ceil(4)).unwrap_or(u32::MAX))
    }
}

/// Which entries of a file are taken.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The least tokens of a prompt.
    pub min_input: u32,
    /// The most.
    pub max_input: u32,
    /// Whether an entry without an expected length of its answer is a fault.
    pub needs_output: bool,
    /// What counts tokens.
    pub tokens: &'a dyn CountTokens,
}

/// What was left out of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Prompts with too few tokens.
    pub short: u64,
    /// Prompts with too many.
    pub long: u64,
    /// Prompts that the file has already.
    pub repeated: u64,
    /// Entries of a foreign data set that hold no question with an answer.
    pub unusable: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The entries that are taken, in the order of the file.
    pub entries: Vec<Entry>,
    /// How many others there are.
    pub left_out: LeftOut,
}

/// Where in a file a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPlace {
    /// A line, from 1.
    Line(u64),
    /// An entry of an array, from 1.
    Entry(u64),
    /// The file as a whole.
    File,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// Where.
    pub place: DataPlace,
    /// What.
    pub problem: String,
}

/// What is wrong with a file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFaults {
    /// The first ones.
    pub first: Vec<DataFault>,
    /// How many more there are.
    pub more: u64,
}

impl DataFaults {
    fn of_file(problem: impl fmt::Display) -> Self {
        Self {
            first: vec![DataFault {
                place: DataPlace::File,
                problem: problem.to_string(),
            }],
            more: 0,
        }
    }

    /// The faults as lines that begin with the name of the file.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let mut lines: Vec<String> = self
            .first
            .iter()
            .map(|DataFault { place, problem }| match place {
                DataPlace::Line(line) => format!("{file}:{line}: {problem}"),
                DataPlace::Entry(entry) => format!("{file}: entry {entry}: {problem}"),
                DataPlace::File => format!("{file}: {problem}"),
            })
            .collect();
        if self.more > 0 {
            lines.push(format!("{file}: and {} more faults", self.more));
        }
        lines
    }
}

/// Reads the entries of a file.
///
/// # Errors
/// What is wrong with it, every fault up to some number.
///
/// ```
/// use gipfel_model::DataSetForm;
/// use gipfel_workload::{EstimateTokens, Selection, read_entries};
///
/// let text = r#"{"prompt": "Name a river.", "output_tokens": 8}"#;
/// let selection = Selection { min_input: 1, max_input: 1024, needs_output: true, tokens: &EstimateTokens };
/// let contents = read_entries(DataSetForm::Jsonl, text.as_bytes(), selection).expect("no fault");
/// assert_eq!(contents.entries[0].output, Some(8));
/// ```
pub fn read_entries(
    form: DataSetForm,
    input: impl BufRead,
    selection: Selection<'_>,
) -> Result<Contents, DataFaults> {
    let mut collector = Collector::new(selection);
    match form {
        DataSetForm::Jsonl => read_jsonl(input, &mut collector)?,
        DataSetForm::Prompts => arrays::read_array(input, &mut collector, arrays::prompt)?,
        DataSetForm::Sharegpt => arrays::read_array(input, &mut collector, arrays::conversation)?,
        DataSetForm::Codealpaca => arrays::read_array(input, &mut collector, arrays::instruction)?,
        DataSetForm::Sonnet => return Err(DataFaults::of_file("lines of a text are no entries")),
    }
    collector.finish()
}

/// Reads the lines of a text that prompts are put together from, without the empty ones.
///
/// # Errors
/// The text is not UTF-8, or has no line.
pub fn read_lines(mut input: impl Read) -> Result<Vec<String>, DataFaults> {
    let mut text = String::new();
    input.read_to_string(&mut text).map_err(DataFaults::of_file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(DataFaults::of_file("it has no line of text"));
    }
    Ok(lines)
}
