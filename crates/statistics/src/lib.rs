//! Order statistics with failures as positive infinity, intervals of shares, and what correlated events are worth.
//!
//! The crate knows numbers only: no requests, no objectives, no clock.

mod binomial;
mod correlation;
mod logistic;
mod sample;

pub use binomial::{clopper_pearson, order_statistic_interval};
pub use correlation::{Batch, effective_sample_size, variance_inflation};
pub use logistic::logistic_crossing;
pub use sample::{OrderStatistic, Sample};
