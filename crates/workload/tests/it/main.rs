//! The crate as its users see it.

mod datasets;
mod golden;
mod properties;

use gipfel_model::{ArrivalProcess, ArrivalRate, LengthDistribution, WorkloadSpec};
use gipfel_workload::{Segment, SegmentEnd};

fn segment(index: u32, per_second: f64, start_ns: i64, end: SegmentEnd) -> Segment {
    let rate = ArrivalRate::per_second(per_second).expect("a rate");
    Segment {
        index,
        rate,
        ramp_ns: 0,
        start_ns,
        end,
    }
}

fn workload(seed: u64, input_length: LengthDistribution, output_length: LengthDistribution) -> WorkloadSpec {
    WorkloadSpec {
        prompts: gipfel_model::PromptSource::default(),
        arrivals: ArrivalProcess::Poisson,
        input_length,
        output_length,
        seed,
        requests: gipfel_model::RequestForm::default(),
    }
}
