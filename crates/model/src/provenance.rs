//! Where the figures of a run come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Facts about engine, hardware and the tool itself, by name.
///
/// The names are open, so that a backend can record what only it knows; those below are the common ones. A fact
/// that is not known is absent, never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance(pub BTreeMap<String, String>);

impl Provenance {
    /// Version of the engine, as it says itself.
    pub const ENGINE_VERSION: &str = "engine_version";
    /// Digest of the container image.
    pub const IMAGE_DIGEST: &str = "image_digest";
    /// Revision of the model.
    pub const MODEL_REVISION: &str = "model_revision";
    /// Hosts of the server, separated by commas.
    pub const SERVER_NODES: &str = "server_nodes";
    /// Id of the server's job.
    pub const SERVER_JOB: &str = "server_job";
    /// How long the server's job waited for its nodes, in seconds.
    pub const SERVER_QUEUED: &str = "server_queued_s";
    /// What the server's job took, with all runs that it served.
    pub const SERVER_NODE_HOURS: &str = "server_node_hours";
    /// How long the steps of the server's start took by the engine's own word: a JSON object from step to seconds.
    pub const SERVER_LOAD_STEPS: &str = "server_load_steps";
    /// Type of the GPUs.
    pub const GPU_TYPE: &str = "gpu_type";
    /// Version of the GPU driver.
    pub const GPU_DRIVER: &str = "gpu_driver";
    /// Version of `gipfel`.
    pub const GIPFEL_VERSION: &str = "gipfel_version";
    /// Version of the load generator.
    pub const LOADGEN_VERSION: &str = "loadgen_version";
    /// SHA-256 of the load generator's file.
    pub const LOADGEN_SHA256: &str = "loadgen_sha256";
    /// Host of the load generator.
    pub const LOADGEN_NODE: &str = "loadgen_node";
    /// Id of the load generator's job.
    pub const LOADGEN_JOB: &str = "loadgen_job";
    /// How long the load generator's job waited for its nodes, in seconds.
    pub const LOADGEN_QUEUED: &str = "loadgen_queued_s";
    /// What the load generator's job took.
    pub const LOADGEN_NODE_HOURS: &str = "loadgen_node_hours";
    /// The server's URL, where it became known only when the run began.
    pub const ENDPOINT: &str = "endpoint";
    /// The run configuration, whole, as JSON.
    pub const RUN_CONFIG: &str = "run_config";
    /// SHA-256 of each rendered file, as a JSON object from name to digest.
    pub const RENDERED_FILES: &str = "rendered_files";
    /// Threads that sent.
    pub const WORKERS: &str = "workers";
    /// The version of the workload's algorithm.
    pub const WORKLOAD_VERSION: &str = "workload_version";
    /// The files of the data set, as a JSON array: path, form, sha256, entries, and what was left out.
    pub const DATASET: &str = "dataset";
    /// The tokenizer's file and its sha256.
    pub const TOKENIZER: &str = "tokenizer";

    /// Records a fact; an empty value is left out.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value);
        }
    }
}

/// A digest in lower-case hexadecimal digits, as provenance and journals write it.
pub fn hexadecimal(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_in_hexadecimal() {
        assert_eq!(hexadecimal(&[0x00, 0x0a, 0xff]), "000aff");
    }
}
