//! Several processes that send as one.
//!
//! They share the run's directory and nothing else. Rank 0 decides; it appends its orders as lines to one file, and each
//! other rank appends what it has to say to a file of its own. The threads of all ranks are one crew: thread w of n takes
//! the arrivals whose index modulo n is w, so that any split sends the same requests.
//!
//! Times travel on rank 0's axis. Each process knows the wall-clock time of its own monotonic anchor, and the difference
//! of the two anchors' wall-clock times is all that converts one axis into the other.

mod company;
mod lines;
mod member;
mod part;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

pub(crate) use company::{Company, Terms, say_that_it_is_over};
pub(crate) use member::serve;
pub(crate) use part::{TakenParts, take_parts};

/// Which of how many processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) rank: u32,
    pub(crate) of: u32,
}

impl Place {
    /// The place that the command line names, else the one that Slurm's environment does, else alone.
    pub(crate) fn find(
        rank: Option<u32>,
        of: Option<u32>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let number = |name: &str| -> anyhow::Result<Option<u32>> {
            let value = environment(name);
            let parse = |text: String| {
                text.parse()
                    .with_context(|| format!("`{name}` is `{text}`, which is no number"))
            };
            value.map(parse).transpose()
        };
        let place = match (rank, of) {
            (Some(rank), Some(of)) => Self { rank, of },
            (None, Some(of @ 0..=1)) => Self { rank: 0, of },
            (None, Some(of)) => Self {
                rank: number("SLURM_PROCID")?
                    .context("`--of` needs `--rank`, the number of this process from 0")?,
                of,
            },
            (Some(_), None) => anyhow::bail!("`--rank` needs `--of`, the number of processes"),
            (None, None) => match (number("SLURM_PROCID")?, number("SLURM_NTASKS")?) {
                (Some(rank), Some(of)) => Self { rank, of },
                _ => Self { rank: 0, of: 1 },
            },
        };
        let Self { rank, of } = place;
        ensure!(of >= 1, "there must be at least one process, found `--of {of}`");
        ensure!(
            rank < of,
            "rank {rank} of {of} does not exist: ranks count from 0"
        );
        Ok(place)
    }

    /// Whether there is no other process.
    pub(crate) fn is_alone(self) -> bool {
        self.of == 1
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found() {
        let check = |rank, of, slurm: &[(&str, &str)], expected: Result<(u32, u32), &str>| {
            let environment = |name: &str| {
                let found = slurm.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let place = Place::find(rank, of, environment);
            let place = place
                .map(|place| (place.rank, place.of))
                .map_err(|error| error.to_string());
            assert_eq!(place, expected.map_err(str::to_owned));
        };
        let slurm = [("SLURM_PROCID", "2"), ("SLURM_NTASKS", "4")];
        check(None, None, &[], Ok((0, 1)));
        check(Some(1), Some(3), &[], Ok((1, 3)));
        check(None, None, &slurm, Ok((2, 4)));
        check(None, None, &slurm[..1], Ok((0, 1)));
        check(None, Some(1), &slurm, Ok((0, 1)));
        check(Some(1), Some(2), &slurm, Ok((1, 2)));
        check(None, Some(3), &slurm, Ok((2, 3)));
        check(
            None,
            Some(3),
            &[],
            Err("`--of` needs `--rank`, the number of this process from 0"),
        );
        check(
            Some(1),
            None,
            &slurm,
            Err("`--rank` needs `--of`, the number of processes"),
        );
        check(
            Some(2),
            Some(2),
            &[],
            Err("rank 2 of 2 does not exist: ranks count from 0"),
        );
        check(
            None,
            Some(0),
            &[],
            Err("there must be at least one process, found `--of 0`"),
        );
        let odd = [("SLURM_PROCID", "x"), ("SLURM_NTASKS", "4")];
        check(None, None, &odd, Err("`SLURM_PROCID` is `x`, which is no number"));
    }
}
