//! What users see of a configuration.

mod broken;
mod damaged;
mod docs;
mod included;
mod properties;
mod valid;

use std::{fs, path::Path};

/// A file below `tests`.
fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
