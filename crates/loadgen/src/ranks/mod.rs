//! Several processes that send as one.
//!
//! They share the run's directory and nothing else. Rank 0 decides; it appends its orders as lines to one file, and each
//! other rank appends what it has to say to a file of its own. The threads of all ranks are one crew: thread w of n takes
//! the arrivals whose index modulo n is w, so that any split sends the same requests.
//!
//! Times travel on rank 0's axis. The difference of the processes' wall clocks converts one axis into the other, unless
//! what they write for each other proves it wrong ([`clocks`]).
//!
//! The directory may be slow: nobody waits for it but threads that do nothing else ([`post`]).

mod clocks;
mod company;
mod lines;
mod member;
mod part;
mod place;
mod post;
mod wire;

use std::path::{Path, PathBuf};

pub(crate) use company::{Company, Terms, say_that_it_is_over};
pub(crate) use member::serve;
pub(crate) use part::{ClosedParts, TakenParts, take_parts};
pub(crate) use place::Place;

/// The fact among a run's provenance that says how well the clocks of its ranks agree.
pub(crate) const CLOCKS: &str = "rank_clocks";

/// Where the ranks of a run meet.
fn meeting(directory: &Path) -> PathBuf {
    directory.join("ranks")
}

/// Where a rank says that it is there.
fn hello(directory: &Path, rank: u32) -> PathBuf {
    meeting(directory).join(format!("hello.{rank}.json"))
}

/// Where rank 0 says who takes part.
fn roll(directory: &Path) -> PathBuf {
    meeting(directory).join("roll.json")
}

/// Where the files of one session are.
fn session_directory(directory: &Path, session: &str) -> PathBuf {
    meeting(directory).join(session)
}
