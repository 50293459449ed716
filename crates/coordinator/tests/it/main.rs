//! The program as its user runs it.

mod again;
mod campaigns;
mod clusters;
mod docs;
mod doctor;
mod failures;
mod loadgen;
mod output;
mod world;
