//! Tests of the program as a whole.

mod docs;
mod output;
