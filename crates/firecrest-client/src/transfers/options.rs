//! How a transfer is made.

use std::{num::NonZeroUsize, time::Duration};

use crate::{files::Sha256, jobs::WaitOptions, limits::at_least_one};

/// How a transfer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferOptions {
    /// The account of the transfer job; some sites require one.
    pub account: Option<String>,
    /// How many parts or pieces are on their way at once.
    pub parallel: NonZeroUsize,
    /// The size of the parts of a download. The server chooses that of uploads.
    pub part_size: NonZeroUsize,
    /// How the transfer is verified.
    pub verify: Verify,
    /// How the end of the transfer job is waited for.
    pub wait: WaitOptions,
}

impl Default for TransferOptions {
    /// Four parts of 64 MiB at once, verified by checksum, with half an hour for the transfer job.
    fn default() -> Self {
        Self {
            account: None,
            parallel: at_least_one(4),
            part_size: at_least_one(64 * 1024 * 1024),
            verify: Verify::Checksum,
            wait: WaitOptions {
                total: Duration::from_mins(30),
                ..WaitOptions::default()
            },
        }
    }
}

/// How a transfer is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// By a checksum that the cluster computes. It has some seconds for it, which bounds the file's size.
    Checksum,
    /// By this checksum, which the local file must have: for files that are too large for the cluster's. After an
    /// upload the size on the cluster is compared.
    Sha256(Sha256),
    /// By the size alone.
    Size,
}
