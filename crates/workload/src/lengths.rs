//! How long prompts and answers are.

use gipfel_model::{LengthDistribution, WorkloadSpec};

use crate::stream::{Key, Purpose, Stream};

/// Tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of the prompt.
    pub input: u32,
    /// Of the answer.
    pub output: u32,
}

/// The lengths of an arrival. The two are drawn independently of each other and of every other arrival.
pub fn draw_lengths(spec: &WorkloadSpec, segment: u32, arrival: u64) -> Lengths {
    let stream = |purpose| {
        Stream::new(Key {
            seed: spec.seed,
            purpose,
            segment,
            arrival,
            salt: 0,
        })
    };
    Lengths {
        input: draw(&spec.input_length, || stream(Purpose::InputLength)),
        output: draw(&spec.output_length, || stream(Purpose::OutputLength)),
    }
}

fn draw(distribution: &LengthDistribution, stream: impl FnOnce() -> Stream) -> u32 {
    let value = match *distribution {
        LengthDistribution::Fixed { value } => return value,
        LengthDistribution::Uniform { min, max } => return stream().between(min, max),
        LengthDistribution::Normal { mean, std, .. } => mean + std * stream().normal(),
        LengthDistribution::Lognormal { median, sigma, .. } => median * libm::exp(sigma * stream().normal()),
    };
    let (min, max) = distribution.bounds();
    // The cast saturates, which keeps the order of the clamps irrelevant.
    (libm::round(value) as u32).min(max).max(min)
}
