//! Tests of the result database through its public interface.

mod common;
mod kill;
mod merge;
mod open;
mod part;
mod publish;
mod records;
mod views;
