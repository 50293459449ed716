//! The file by which a job says itself that it was started.

use crate::names::RemotePath;

/// A file into which a job writes its own id, in a directory that no other submission uses.
///
/// The list of jobs may be late or lack a job; the mark is the job's own word. The job writes it by the
/// [lines](Self::script_lines) at the beginning of its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(RemotePath);

impl Mark {
    /// The mark in this file.
    pub fn new(path: RemotePath) -> Self {
        Self(path)
    }

    /// The file.
    pub fn path(&self) -> &RemotePath {
        &self.0
    }

    /// Lines of shell that write the mark, for the script after its `#SBATCH` lines.
    ///
    /// Of several jobs with one mark the first goes on and the others leave at once, so even a submission
    /// that was carried out twice runs once. A job that is requeued finds its own id and goes on.
    pub fn script_lines(&self) -> String {
        // The path has no character that the shell interprets. A link is made at once and with its content,
        // where a file would be seen empty.
        let mark = self.0.as_str();
        // All tasks of an array are one submission, under the array's id.
        let id = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}";
        format!(
            "echo \"{id}\" > {mark}.$SLURM_JOB_ID\n\
             ln {mark}.$SLURM_JOB_ID {mark} 2>/dev/null\n\
             rm -f {mark}.$SLURM_JOB_ID\n\
             if [ ! -s {mark} ]; then echo \"the mark {mark} cannot be written\" >&2; exit 1; fi\n\
             if [ \"$(cat {mark})\" != \"{id}\" ]; then\n  \
             echo \"job $(cat {mark}) has taken this submission\" >&2; exit 0\n\
             fi\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_first_job_goes_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jobid");
        let mark = Mark::new(RemotePath::try_new(path.to_str().expect("a text")).expect("a path"));
        let check_task = |job: &str, array: Option<&str>, expected: (&str, &str)| {
            let script = format!("{}echo went on", mark.script_lines());
            let array = array.map(|array| ("SLURM_ARRAY_JOB_ID", array));
            let output = Command::new("sh")
                .arg("-c")
                .arg(script)
                .env("SLURM_JOB_ID", job)
                .envs(array)
                .output()
                .expect("a shell");
            let texts = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            assert_eq!((texts.0.trim(), texts.1.trim()), expected);
            assert!(output.status.success());
        };
        let check = |job: &str, expected: (&str, &str)| check_task(job, None, expected);
        check("7", ("went on", ""));
        check("8", ("", "job 7 has taken this submission"));
        check("7", ("went on", ""));
        check_task("9", Some("7"), ("went on", ""));
        check_task("7", Some("6"), ("", "job 7 has taken this submission"));
        let files = std::fs::read_dir(directory.path())
            .expect("the directory")
            .count();
        assert_eq!(files, 1, "only the mark is left");
    }

    #[test]
    fn a_job_that_cannot_write_its_mark_fails() {
        let mark = Mark::new(RemotePath::try_new("/no/such/directory/jobid").expect("a path"));
        let script = format!("{}echo went on", mark.script_lines());
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .env("SLURM_JOB_ID", "7")
            .output()
            .expect("a shell");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
    }
}
