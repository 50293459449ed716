//! The program as its user runs it.

mod campaigns;
mod output;
mod world;
