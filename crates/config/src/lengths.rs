//! How many tokens prompts and answers have.

use gipfel_model::LengthDistribution;

use crate::{
    field::Field,
    section::{Misplaced, Section},
};

/// The most that is drawn when a distribution names no maximum.
pub(crate) const DEFAULT_MAX: u32 = 1_000_000;

/// No parameter of a distribution is larger.
pub(crate) const MOST: f64 = 1e9;

const NAMES: &[&str] = &["normal", "uniform", "fixed", "lognormal"];

/// The side of a request, with the predecessor's defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    /// The key.
    pub(crate) key: &'static str,
    mean: f64,
    std: f64,
    pub(crate) min: u32,
}

pub(crate) const INPUT: Side = Side {
    key: "input_length",
    mean: 512.0,
    std: 200.0,
    min: 16,
};

pub(crate) const OUTPUT: Side = Side {
    key: "output_length",
    mean: 256.0,
    std: 128.0,
    min: 2,
};

impl Side {
    pub(crate) fn default_length(&self) -> LengthDistribution {
        LengthDistribution::Normal {
            mean: self.mean,
            std: self.std,
            min: self.min,
            max: DEFAULT_MAX,
        }
    }

    /// Takes the side's key: a whole number, or a distribution.
    pub(crate) fn take(&self, section: &mut Section<'_>) -> Option<LengthDistribution> {
        let field = section.take(self.key);
        if !field.is_map() {
            let allowed = "a whole number of tokens from 1, or a map with `distribution`";
            let value = field.as_count_or(allowed)?;
            return Some(LengthDistribution::Fixed { value });
        }
        self.read(field.as_section()?)
    }

    fn read(&self, mut section: Section<'_>) -> Option<LengthDistribution> {
        let named = section
            .take("distribution")
            .required("one of normal, uniform, fixed, lognormal")
            .as_choice(NAMES, |name| name);
        let length = match named {
            Some("fixed") => read_fixed(&mut section),
            Some("uniform") => read_uniform(&mut section),
            Some("normal") => self.read_normal(&mut section),
            Some("lognormal") => self.read_lognormal(&mut section),
            _ => {
                section.take_rest();
                None
            }
        };
        let misplaced = parameters_of_others(named.unwrap_or_default());
        section.finish(&misplaced);
        length
    }

    fn read_normal(&self, section: &mut Section<'_>) -> Option<LengthDistribution> {
        let mean = section
            .take("mean")
            .required("the mean in tokens")
            .as_number("a number of tokens greater than 0", |mean| {
                mean > 0.0 && mean <= MOST
            });
        let std = section
            .take("std")
            .required("the standard deviation in tokens")
            .as_number("a number of tokens from 0", |std| (0.0..=MOST).contains(&std));
        let (min, max) = self.read_bounds(section)?;
        Some(LengthDistribution::Normal {
            mean: mean?,
            std: std?,
            min,
            max,
        })
    }

    fn read_lognormal(&self, section: &mut Section<'_>) -> Option<LengthDistribution> {
        let median = section
            .take("median")
            .required("the median in tokens")
            .as_number("a number of tokens greater than 0", |median| {
                median > 0.0 && median <= MOST
            });
        let sigma = section
            .take("sigma")
            .required("the standard deviation of the logarithm")
            .as_number("a number from 0 to 10", |sigma| (0.0..=10.0).contains(&sigma));
        let (min, max) = self.read_bounds(section)?;
        Some(LengthDistribution::Lognormal {
            median: median?,
            sigma: sigma?,
            min,
            max,
        })
    }

    fn read_bounds(&self, section: &mut Section<'_>) -> Option<(u32, u32)> {
        let (min, max) = (section.take("min"), section.take("max"));
        let least = min.as_count().unwrap_or(self.min);
        let most = max.as_count().unwrap_or(DEFAULT_MAX);
        let reported = if max.is_given() { &max } else { &min };
        ordered(reported, least, most)
    }
}

fn read_fixed(section: &mut Section<'_>) -> Option<LengthDistribution> {
    let value = section
        .take("value")
        .required("the number of tokens")
        .as_count()?;
    Some(LengthDistribution::Fixed { value })
}

fn read_uniform(section: &mut Section<'_>) -> Option<LengthDistribution> {
    let min = section.take("min").required("the least number of tokens");
    let max = section.take("max").required("the largest number of tokens");
    let (least, most) = (min.as_count(), max.as_count());
    let (min, max) = ordered(&max, least?, most?)?;
    Some(LengthDistribution::Uniform { min, max })
}

fn ordered(reported: &Field<'_>, min: u32, max: u32) -> Option<(u32, u32)> {
    if min > max {
        reported.fault(format!("the minimum {min} is greater than the maximum {max}"));
        return None;
    }
    Some((min, max))
}

fn parameters_of_others(own: &str) -> Vec<Misplaced> {
    let parameters: [(&str, &[&'static str]); 3] = [
        ("fixed", &["value"]),
        ("normal", &["mean", "std"]),
        ("lognormal", &["median", "sigma"]),
    ];
    let others = parameters.iter().filter(|(name, _)| *name != own);
    let mut misplaced: Vec<Misplaced> = others
        .map(|(name, keys)| Misplaced {
            keys: keys.to_vec(),
            sentence: format!("a parameter of `distribution: {name}`, and this one is `{own}`"),
        })
        .collect();
    if own == "fixed" {
        misplaced.push(Misplaced {
            keys: vec!["min", "max"],
            sentence: "a fixed length has no bounds".to_owned(),
        });
    }
    misplaced
}
