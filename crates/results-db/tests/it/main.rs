//! Tests of the result database through its public interface.

mod common;
mod kill;
mod merge;
mod open;
mod records;
mod views;
