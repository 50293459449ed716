//! Which of how many processes this one is.

use anyhow::{Context, bail, ensure};

/// How many pods an indexed Job of Kubernetes has; set by its manifest, for the pods are not told.
const RANKS: &str = "GIPFEL_RANKS";
/// Which of them this one is; set by Kubernetes.
const INDEX: &str = "JOB_COMPLETION_INDEX";
const TASK: &str = "SLURM_PROCID";
const TASKS: &str = "SLURM_NTASKS";

/// Which of how many processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) rank: u32,
    pub(crate) of: u32,
}

impl Place {
    /// The place that the command line names, else the one that Slurm's environment does, else the one of a pod of an
    /// indexed Job, else alone.
    pub(crate) fn find(
        rank: Option<u32>,
        of: Option<u32>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let number = |name| number(name, &environment);
        let place = match (rank, of) {
            (Some(rank), Some(of)) => Self { rank, of },
            (None, Some(of @ 0..=1)) => Self { rank: 0, of },
            (None, Some(of)) => {
                let rank = match number(TASK)? {
                    Some(task) => Some(task),
                    None => number(INDEX)?,
                };
                let rank = rank.context("`--of` needs `--rank`, the number of this process from 0")?;
                Self { rank, of }
            }
            (Some(_), None) => bail!("`--rank` needs `--of`, the number of processes"),
            (None, None) => match (number(TASK)?, number(TASKS)?) {
                (Some(rank), Some(of)) => Self { rank, of },
                (Some(rank @ 1..), None) => {
                    bail!("`{TASK}` is {rank}, but `{TASKS}` is not set: give `--rank` and `--of`")
                }
                // A batch script that does not start its tasks with `srun`.
                (Some(0), None) | (None, Some(_)) => Self { rank: 0, of: 1 },
                (None, None) => Self::of_indexed_job(number(INDEX)?, number(RANKS)?)?,
            },
        };
        let Self { rank, of } = place;
        ensure!(of >= 1, "there must be at least one process, found {of}");
        ensure!(
            rank < of,
            "rank {rank} of {of} does not exist: ranks count from 0"
        );
        Ok(place)
    }

    fn of_indexed_job(index: Option<u32>, ranks: Option<u32>) -> anyhow::Result<Self> {
        match (index, ranks) {
            (Some(rank), Some(of)) => Ok(Self { rank, of }),
            (Some(index), None) => bail!(
                "`{INDEX}` is {index}, but nothing says how many pods there are: set `{RANKS}` to the Job's `completions`, \
                 or give `--of`"
            ),
            (None, Some(of @ 2..)) => bail!(
                "`{RANKS}` is {of}, but `{INDEX}` is not set: give the Job `completionMode: Indexed`, or give `--rank`"
            ),
            (None, Some(of)) => Ok(Self { rank: 0, of }),
            (None, None) => Ok(Self { rank: 0, of: 1 }),
        }
    }

    /// Whether there is no other process.
    pub(crate) fn is_alone(self) -> bool {
        self.of == 1
    }
}

fn number(name: &str, environment: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<u32>> {
    let parse = |text: String| {
        text.parse()
            .with_context(|| format!("`{name}` is `{text}`, which is no number"))
    };
    environment(name).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rank: Option<u32>, of: Option<u32>, environment: &str, expected: Result<(u32, u32), &str>) {
        let variables: Vec<_> = environment
            .split_whitespace()
            .filter_map(|one| one.split_once('='))
            .collect();
        let look = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let place = Place::find(rank, of, look);
        let place = place
            .map(|place| (place.rank, place.of))
            .map_err(|error| error.to_string());
        assert_eq!(place, expected.map_err(str::to_owned), "{environment}");
    }

    #[test]
    fn the_command_line_says_it() {
        let slurm = "SLURM_PROCID=2 SLURM_NTASKS=4";
        check(None, None, "", Ok((0, 1)));
        check(Some(1), Some(3), "", Ok((1, 3)));
        check(None, Some(1), slurm, Ok((0, 1)));
        check(Some(1), Some(2), slurm, Ok((1, 2)));
        check(
            None,
            Some(3),
            "",
            Err("`--of` needs `--rank`, the number of this process from 0"),
        );
        check(
            Some(1),
            None,
            slurm,
            Err("`--rank` needs `--of`, the number of processes"),
        );
        check(
            Some(2),
            Some(2),
            "",
            Err("rank 2 of 2 does not exist: ranks count from 0"),
        );
        check(
            None,
            Some(0),
            "",
            Err("there must be at least one process, found 0"),
        );
    }

    #[test]
    fn slurm_says_it() {
        let slurm = "SLURM_PROCID=2 SLURM_NTASKS=4";
        check(None, None, slurm, Ok((2, 4)));
        check(None, Some(3), slurm, Ok((2, 3)));
        check(
            None,
            None,
            &format!("{slurm} JOB_COMPLETION_INDEX=1 GIPFEL_RANKS=2"),
            Ok((2, 4)),
        );
        check(None, None, "SLURM_PROCID=0", Ok((0, 1)));
        check(None, None, "SLURM_NTASKS=4", Ok((0, 1)));
        check(
            None,
            None,
            "SLURM_PROCID=2",
            Err("`SLURM_PROCID` is 2, but `SLURM_NTASKS` is not set: give `--rank` and `--of`"),
        );
        check(
            None,
            None,
            "SLURM_PROCID=x SLURM_NTASKS=4",
            Err("`SLURM_PROCID` is `x`, which is no number"),
        );
    }

    #[test]
    fn an_indexed_job_says_it() {
        check(None, None, "JOB_COMPLETION_INDEX=3 GIPFEL_RANKS=4", Ok((3, 4)));
        check(None, Some(4), "JOB_COMPLETION_INDEX=3", Ok((3, 4)));
        check(None, None, "GIPFEL_RANKS=1", Ok((0, 1)));
        check(
            None,
            None,
            "JOB_COMPLETION_INDEX=0",
            Err(
                "`JOB_COMPLETION_INDEX` is 0, but nothing says how many pods there are: set `GIPFEL_RANKS` to the Job's \
                 `completions`, or give `--of`",
            ),
        );
        check(
            None,
            None,
            "GIPFEL_RANKS=4",
            Err(
                "`GIPFEL_RANKS` is 4, but `JOB_COMPLETION_INDEX` is not set: give the Job `completionMode: Indexed`, or \
                 give `--rank`",
            ),
        );
        check(
            None,
            None,
            "JOB_COMPLETION_INDEX=4 GIPFEL_RANKS=4",
            Err("rank 4 of 4 does not exist: ranks count from 0"),
        );
    }
}
