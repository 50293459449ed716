//! Tests of the program as a whole.

mod again;
mod docs;
mod output;
