//! The program as its user runs it.

mod campaigns;
mod failures;
mod output;
mod world;
