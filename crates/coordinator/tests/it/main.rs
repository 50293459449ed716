//! The program as its user runs it.

mod again;
mod campaigns;
mod docs;
mod failures;
mod loadgen;
mod output;
mod world;
