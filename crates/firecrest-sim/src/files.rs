//! Files of a system: the calls below `ops/`, as the commands behind them answer.

pub(crate) mod access;
pub(crate) mod content;
pub(crate) mod listing;
pub(crate) mod operations;
pub(crate) mod scripts;
pub(crate) mod transfers;
