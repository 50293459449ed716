//! The `gipfel` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gipfel::main(std::env::args_os())
}
