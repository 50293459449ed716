//! Order statistics with failures as positive infinity, and the few estimators that verdicts need.
//!
//! The crate knows numbers only: no requests, no objectives, no clock.

mod logistic;
mod sample;

pub use logistic::logistic_crossing;
pub use sample::{OrderStatistic, Sample};
