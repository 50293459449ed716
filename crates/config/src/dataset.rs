//! The data set that prompts come from.

use gipfel_model::{LengthDistribution, WorkloadSpec};
use serde_json::{Map, Value};

use crate::{
    fault::Place,
    lengths::{INPUT, OUTPUT},
    reading::Reading,
    section::Section,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct DatasetSettings {
    sharegpt_fraction: Option<(f64, Place)>,
    num_prompts: Option<(u64, Place)>,
    input_length: Option<LengthDistribution>,
    output_length: Option<LengthDistribution>,
    pub(crate) seed: Option<u64>,
}

impl DatasetSettings {
    /// Takes the key `dataset` and reads all below it.
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let field = section.take("dataset");
        let Some(mut section) = field.as_section() else {
            return Self::default();
        };
        let share = section.take("sharegpt_fraction");
        let prompts = section.take("num_prompts");
        let settings = Self {
            sharegpt_fraction: share
                .as_number("a fraction from 0 to 1", |share| (0.0..=1.0).contains(&share))
                .map(|fraction| (fraction, share.place())),
            num_prompts: prompts
                .as_count()
                .map(|count| (u64::from(count), prompts.place())),
            input_length: INPUT.take(&mut section),
            output_length: OUTPUT.take(&mut section),
            seed: section.take("seed").as_whole(0..=u64::MAX),
        };
        section.finish(&[]);
        settings
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            sharegpt_fraction: self
                .sharegpt_fraction
                .or_else(|| defaults.sharegpt_fraction.clone()),
            num_prompts: self.num_prompts.or_else(|| defaults.num_prompts.clone()),
            input_length: self.input_length.or(defaults.input_length),
            output_length: self.output_length.or(defaults.output_length),
            seed: self.seed.or(defaults.seed),
        }
    }

    pub(crate) fn input_length(&self) -> LengthDistribution {
        self.input_length.unwrap_or_else(|| INPUT.default_length())
    }

    pub(crate) fn output_length(&self) -> LengthDistribution {
        self.output_length.unwrap_or_else(|| OUTPUT.default_length())
    }

    /// Says what of the settings has no effect, or none yet.
    pub(crate) fn remark(&self, reading: &Reading) {
        match (&self.sharegpt_fraction, &self.num_prompts) {
            (Some((fraction, place)), _) if *fraction > 0.0 => {
                reading.unsupported(place, "prompts of ShareGPT", true);
            }
            (_, Some((_, place))) => {
                reading.warn(
                    place,
                    "not used by synthetic prompts, of which there are as many as arrivals",
                );
            }
            _ => {}
        }
    }

    /// The settings for the record.
    pub(crate) fn record(&self, workload: &WorkloadSpec) -> Map<String, Value> {
        let mut record = dataset_config(workload);
        if let Some((fraction, _)) = &self.sharegpt_fraction {
            record.insert("sharegpt_fraction".to_owned(), (*fraction).into());
        }
        if let Some((count, _)) = &self.num_prompts {
            record.insert("num_prompts".to_owned(), (*count).into());
        }
        record
    }
}

/// The data set's settings of a synthetic workload, as [`crate::parse_yaml`] records them.
pub fn dataset_config(workload: &WorkloadSpec) -> Map<String, Value> {
    let length = |length: &LengthDistribution| serde_json::to_value(length).unwrap_or_default();
    Map::from_iter([
        (INPUT.key.to_owned(), length(&workload.input_length)),
        (OUTPUT.key.to_owned(), length(&workload.output_length)),
        ("seed".to_owned(), workload.seed.into()),
    ])
}
