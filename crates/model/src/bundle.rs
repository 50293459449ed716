//! What a packed load generator says of itself.

use serde::{Deserialize, Serialize};

use crate::format::{Format, FormatHeader};

/// The version of [`BundleManifest`].
pub const BUNDLE_FORMAT: Format = Format {
    name: "gipfel-bundle",
    major: 1,
    minor: 0,
};

/// The load generator's file in a bundle, and its name without one.
pub const BUNDLED_PROGRAM: &str = "gipfel-loadgen";

/// The manifest's file in a bundle.
pub const BUNDLE_MANIFEST: &str = "manifest.json";

/// `manifest.json` of a bundle: a gzip-packed tar archive with the load generator, this file and the notices of what
/// it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// The format and its version.
    pub header: FormatHeader,
    /// The program: `gipfel-loadgen`.
    pub name: String,
    /// Its version, as `--version` prints it.
    pub version: String,
    /// The whole commit that it was built from; absent outside a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Tracked files differed from the commit.
    #[serde(default)]
    pub modified: bool,
    /// The target, such as `aarch64-unknown-linux-musl`.
    pub target: String,
    /// SHA-256 of the program, in hexadecimal.
    pub sha256: String,
    /// The program's length in bytes.
    pub bytes: u64,
}
