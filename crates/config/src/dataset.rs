//! The data set that prompts come from.

use std::path::PathBuf;

use gipfel_model::{
    AnswerLength, DataSetFile, DataSetForm, DataSetSpec, LengthDistribution, PromptSource, WorkloadSpec,
};
use serde_json::{Map, Value};

use crate::{
    fault::Place,
    field::Field,
    lengths::{self, INPUT, OUTPUT},
    reading::Reading,
    section::Section,
};

/// Foreign data sets hold prompts of any length; these bounds are the usual ones.
const USUAL_BOUNDS: (u32, u32) = (4, 1024);

/// The names of `source`.
pub(crate) const SOURCES: &[&str] = &["synthetic", "sharegpt", "codealpaca", "sonnet"];

#[derive(Clone, Debug, Default)]
pub(crate) struct DatasetSettings {
    source: Option<Source>,
    num_prompts: Option<(u32, Place)>,
    min_input: Option<(u32, Place)>,
    max_input: Option<(u32, Place)>,
    nonce: Option<(bool, Place)>,
    tokenizer: Option<String>,
    input_length: Option<(LengthDistribution, Place)>,
    output_length: Option<(OutputLength, Place)>,
    pub(crate) seed: Option<u64>,
}

/// Which prompts.
#[derive(Clone, Debug)]
enum Source {
    Synthetic,
    Known(DataSetForm),
    /// ShareGPT with this share, and CodeAlpaca.
    Mixed(f64),
    File {
        path: String,
        form: DataSetForm,
    },
}

#[derive(Clone, Copy, Debug)]
enum OutputLength {
    Dataset,
    Drawn(LengthDistribution),
}

impl DatasetSettings {
    /// Takes the key `dataset` and reads all below it.
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let field = section.take("dataset");
        let Some(mut section) = field.as_section() else {
            return Self::default();
        };
        let source = Source::take(&mut section);
        let mut count = |key| {
            let field = section.take(key);
            field.as_count().map(|count| (count, field.place()))
        };
        let (num_prompts, min_input, max_input) =
            (count("num_prompts"), count("min_input"), count("max_input"));
        if let (Some((min, _)), Some((max, place))) = (&min_input, &max_input)
            && min > max
        {
            let problem = format!("the minimum {min} is greater than the maximum {max}");
            section.reading.fault(place.clone(), problem);
        }
        let nonce = section.take("nonce");
        let tokenizer = section.take("tokenizer");
        let settings = Self {
            source,
            num_prompts,
            min_input,
            max_input,
            nonce: nonce.as_flag().map(|flag| (flag, nonce.place())),
            tokenizer: tokenizer
                .as_text("the path of a tokenizer.json")
                .map(str::to_owned),
            input_length: take_input(&mut section),
            output_length: take_output(&mut section),
            seed: section.take("seed").as_whole(0..=u64::MAX),
        };
        section.finish(&[]);
        settings
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            source: self.source.or_else(|| defaults.source.clone()),
            num_prompts: self.num_prompts.or_else(|| defaults.num_prompts.clone()),
            min_input: self.min_input.or_else(|| defaults.min_input.clone()),
            max_input: self.max_input.or_else(|| defaults.max_input.clone()),
            nonce: self.nonce.or_else(|| defaults.nonce.clone()),
            tokenizer: self.tokenizer.or_else(|| defaults.tokenizer.clone()),
            input_length: self.input_length.or_else(|| defaults.input_length.clone()),
            output_length: self.output_length.or_else(|| defaults.output_length.clone()),
            seed: self.seed.or(defaults.seed),
        }
    }

    /// Whether prompts are entries of files, which have lengths of their own.
    fn is_pool(&self) -> bool {
        match &self.source {
            None | Some(Source::Synthetic) => false,
            Some(Source::Known(form) | Source::File { form, .. }) => *form != DataSetForm::Sonnet,
            Some(Source::Mixed(_)) => true,
        }
    }

    /// Tokens of a prompt that is put together.
    pub(crate) fn input_length(&self) -> LengthDistribution {
        let given = self.input_length.as_ref().filter(|_| !self.is_pool());
        given.map_or_else(|| INPUT.default_length(), |(length, _)| *length)
    }

    /// Tokens of an answer, where the data set does not say them.
    pub(crate) fn output_length(&self) -> LengthDistribution {
        match &self.output_length {
            Some((OutputLength::Drawn(length), _)) => *length,
            Some((OutputLength::Dataset, _)) | None => OUTPUT.default_length(),
        }
    }

    /// Where prompts come from.
    pub(crate) fn prompts(&self, hf_home: Option<&str>) -> PromptSource {
        PromptSource {
            dataset: self.spec(hf_home),
            tokenizer: self.tokenizer.as_ref().map(PathBuf::from),
        }
    }

    fn spec(&self, hf_home: Option<&str>) -> Option<DataSetSpec> {
        let known = |form, share| DataSetFile {
            form,
            path: None,
            share,
        };
        let files = match self.source.as_ref()? {
            Source::Synthetic => return None,
            Source::Known(form) => vec![known(*form, 1.0)],
            Source::Mixed(share) => {
                let both = [
                    known(DataSetForm::Sharegpt, *share),
                    known(DataSetForm::Codealpaca, 1.0 - share),
                ];
                both.into_iter().filter(|file| file.share > 0.0).collect()
            }
            Source::File { path, form } => vec![DataSetFile {
                path: Some(PathBuf::from(path)),
                ..known(*form, 1.0)
            }],
        };
        let is_foreign = matches!(self.source, Some(Source::Known(_) | Source::Mixed(_)));
        let (min, max) = if is_foreign && self.is_pool() {
            USUAL_BOUNDS
        } else {
            (1, lengths::DEFAULT_MAX)
        };
        let answers = match self.output_length {
            Some((OutputLength::Drawn(_), _)) => AnswerLength::Distribution,
            None if !self.is_pool() => AnswerLength::Distribution,
            Some((OutputLength::Dataset, _)) | None => AnswerLength::Dataset,
        };
        let number =
            |setting: &Option<(u32, Place)>, default| setting.as_ref().map_or(default, |(number, _)| *number);
        Some(DataSetSpec {
            files,
            min_input: number(&self.min_input, min),
            max_input: number(&self.max_input, max),
            num_prompts: self.num_prompts.as_ref().map(|(count, _)| *count),
            answers,
            nonce: self.nonce.as_ref().is_none_or(|(nonce, _)| *nonce),
            hf_home: hf_home.map(PathBuf::from),
        })
    }

    /// Says what of the settings has no effect, or cannot be.
    pub(crate) fn remark(&self, reading: &Reading) {
        if self.is_pool() {
            if let Some((_, place)) = &self.input_length {
                reading.warn(
                    place,
                    "has no effect on the prompts of a data set, which have lengths of their own; `min_input` and \
                     `max_input` bound them",
                );
            }
            return;
        }
        if let Some((OutputLength::Dataset, place)) = &self.output_length {
            reading.fault(
                place.clone(),
                "these prompts have no answers that could say a length",
            );
        }
        if let Some((_, place)) = &self.num_prompts {
            reading.warn(
                place,
                "not used by synthetic prompts, of which there are as many as arrivals",
            );
        }
        for (_, place) in [&self.min_input, &self.max_input].into_iter().flatten() {
            reading.warn(
                place,
                "has no effect on synthetic prompts; `input_length` says how long they are",
            );
        }
        if let Some((_, place)) = &self.nonce {
            reading.warn(
                place,
                "has no effect: synthetic prompts always begin with a nonce",
            );
        }
    }

    /// The settings for the record.
    pub(crate) fn record(&self, workload: &WorkloadSpec) -> Map<String, Value> {
        let mut record = dataset_config(workload);
        if let Some(Source::Mixed(fraction)) = &self.source {
            record.insert("sharegpt_fraction".to_owned(), (*fraction).into());
        }
        if let Some((count, _)) = &self.num_prompts {
            record.insert("num_prompts".to_owned(), (*count).into());
        }
        record
    }
}

impl Source {
    /// Takes the keys of which one says where prompts come from.
    fn take(section: &mut Section<'_>) -> Option<Self> {
        let why = "each of them says which prompts are sent";
        section.exclusive("source", "path", why);
        section.exclusive("source", "sharegpt_fraction", why);
        section.exclusive("path", "sharegpt_fraction", why);
        let named = section.take("source").as_choice(SOURCES, |name| name);
        let path = section.take("path");
        let form_field = section.take("form");
        let form = form_field.as_choice(DataSetForm::ALL, DataSetForm::as_str);
        let share = section
            .take("sharegpt_fraction")
            .as_number("a fraction from 0 to 1", |share| (0.0..=1.0).contains(&share));
        if form_field.is_given() && !path.is_given() {
            form_field.fault("has no effect without `path`, whose form it says");
        }
        if let Some(text) = path.as_text("the path of a file of prompts") {
            let form = form.or_else(|| form_of(text));
            if form.is_none() && !form_field.is_given() {
                path.fault(
                    "the name does not say what the file looks like; end it in .jsonl, .json or .txt, or give `form`",
                );
            }
            return Some(Self::File {
                path: text.to_owned(),
                form: form?,
            });
        }
        match named {
            Some("synthetic") => Some(Self::Synthetic),
            Some(name) => name.parse().ok().map(Self::Known),
            None => share.map(Self::Mixed),
        }
    }
}

/// What a file looks like whose form is not given.
fn form_of(path: &str) -> Option<DataSetForm> {
    match path.rsplit_once('.')?.1 {
        "jsonl" => Some(DataSetForm::Jsonl),
        "json" => Some(DataSetForm::Prompts),
        "txt" => Some(DataSetForm::Sonnet),
        _ => None,
    }
}

fn take_input(section: &mut Section<'_>) -> Option<(LengthDistribution, Place)> {
    let place = section.place_of_key(INPUT.key);
    INPUT.take(section).map(|length| (length, place))
}

fn take_output(section: &mut Section<'_>) -> Option<(OutputLength, Place)> {
    let place = section.place_of_key(OUTPUT.key);
    let of_the_dataset = |field: Field<'_>| field.is_text("dataset");
    if section.peek(OUTPUT.key).is_some_and(of_the_dataset) {
        section.take(OUTPUT.key);
        return Some((OutputLength::Dataset, place));
    }
    let drawn = OUTPUT.take(section)?;
    Some((OutputLength::Drawn(drawn), place))
}

/// The data set's settings of a workload, as [`crate::parse_yaml`] records them.
pub fn dataset_config(workload: &WorkloadSpec) -> Map<String, Value> {
    let length = |length: &LengthDistribution| serde_json::to_value(length).unwrap_or_default();
    let mut record = Map::new();
    let dataset = workload.prompts.dataset.as_ref();
    if dataset.is_none_or(DataSetSpec::is_endless) {
        record.insert(INPUT.key.to_owned(), length(&workload.input_length));
    }
    let output = match dataset.map(|dataset| dataset.answers) {
        Some(AnswerLength::Dataset) => "dataset".into(),
        Some(AnswerLength::Distribution) | None => length(&workload.output_length),
    };
    record.insert(OUTPUT.key.to_owned(), output);
    record.insert("seed".to_owned(), workload.seed.into());
    if let Some(dataset) = dataset {
        let files = dataset.files.iter().map(|file| file.form.as_str());
        record.insert("source".to_owned(), files.collect::<Vec<_>>().join("+").into());
        if let Some(count) = dataset.num_prompts {
            record.insert("num_prompts".to_owned(), count.into());
        }
        if !dataset.is_endless() {
            record.insert("min_input".to_owned(), dataset.min_input.into());
            record.insert("max_input".to_owned(), dataset.max_input.into());
            record.insert("nonce".to_owned(), dataset.nonce.into());
        }
    }
    if let Some(tokenizer) = &workload.prompts.tokenizer {
        record.insert("tokenizer".to_owned(), tokenizer.display().to_string().into());
    }
    record
}
