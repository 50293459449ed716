//! The lines of shell: pure texts. Paths, names and ids have no character that a shell interprets.

use firecrest_client::{FileMode, JobId, JobName, RemotePath, Sha256, TimeWindow};

use super::{NOT_TAKEN, NOT_WHOLE};

/// Between the fields of Slurm's answers stands a character that no name has.
pub(super) const SEPARATOR: char = '\u{1f}';

/// Before Slurm's commands: where a login without a terminal does not find them, the profile may.
const PREPARE: &str = "command -v sbatch >/dev/null 2>&1 || . /etc/profile >/dev/null 2>&1 </dev/null; \
                       SLURM_TIME_FORMAT=%s; export SLURM_TIME_FORMAT; s=$(printf \"\\037\")";

/// A file beside its place, until it is whole; nobody else uses it.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) directory: RemotePath,
    pub(super) name: &'a str,
    pub(super) unique: String,
}

impl<'a> Draft<'a> {
    /// A draft of a file; nothing for a path that names none.
    pub(super) fn of(path: &'a RemotePath) -> Option<Self> {
        let (directory, name) = path.split()?;
        Some(Self {
            directory,
            name,
            unique: format!("{:016x}", rand::random::<u64>()),
        })
    }

    fn path(&self) -> String {
        let Self {
            directory,
            name,
            unique,
        } = self;
        format!(
            "{}/.{name}.{unique}.part",
            directory.as_str().trim_end_matches('/')
        )
    }

    /// Takes the input into the draft, goes on with `then` if it arrived whole, and leaves no draft behind.
    ///
    /// A connection that breaks ends the input like any other end, so its checksum tells whether it is whole.
    fn line(&self, content: Sha256, then: &str) -> String {
        format!(
            "umask 077; t={draft}; cat >$t || {{ rm -f $t; exit {NOT_TAKEN}; }}; if [ \"$(sha256sum <$t)\" = \"{content}  -\" ]; then {then}; c=$?; \
             else echo \"the input did not arrive whole\" >&2; c={NOT_WHOLE}; fi; rm -f $t; exit $c",
            draft = self.path()
        )
    }
}

/// Puts the input into a file's place.
pub(super) fn write(draft: &Draft<'_>, path: &RemotePath, content: Sha256, mode: FileMode) -> String {
    draft.line(content, &format!("chmod {mode} $t && mv -fT $t {path}"))
}

/// Submits the input as a job's script.
pub(super) fn submit(draft: &Draft<'_>, name: &JobName, script: Sha256) -> String {
    let directory = &draft.directory;
    let submission = format!("sbatch --parsable --job-name={name} --chdir={directory} <$t");
    format!("{PREPARE}; {}", draft.line(script, &submission))
}

/// Tries the input out as a job's script.
pub(super) fn try_out(draft: &Draft<'_>, name: &JobName, script: Sha256) -> String {
    let submission = format!("sbatch --test-only --job-name={name} <$t");
    format!("{PREPARE}; {}", draft.line(script, &submission))
}

/// Partitions, reservations, kinds of nodes, and the user's qualities of service.
pub(super) fn offers() -> String {
    format!(
        "{PREPARE}; scontrol --oneliner show partition || exit; scontrol --oneliner show reservation; \
         sinfo --noheader --format=\"nodes${{s}}%R${{s}}%G${{s}}%f\"; \
         sacctmgr --noheader --parsable2 show associations user=\"$(id -un)\" format=QOS 2>/dev/null | sed s/^/qos=/; true"
    )
}

/// How full the file system of a directory is.
pub(super) fn free(directory: &RemotePath) -> String {
    format!("df -P -B 1 {directory}")
}

pub(super) fn make_directory(path: &RemotePath) -> String {
    format!("umask 077; mkdir -p {path}")
}

/// The beginning of a file.
pub(super) fn read(path: &RemotePath, bytes: u64) -> String {
    format!("head -c {bytes} {path}")
}

/// The whole of a file.
pub(super) fn whole(path: &RemotePath) -> String {
    format!("cat {path}")
}

/// The end of a file.
pub(super) fn tail(path: &RemotePath, bytes: u64) -> String {
    format!("tail -c {bytes} {path}")
}

/// Length, time and mode of a file.
pub(super) fn stat(path: &RemotePath) -> String {
    format!("stat -L -c %s,%Y,%a {path}")
}

/// The names in a directory, hidden ones included, one a line.
pub(super) fn list(path: &RemotePath) -> String {
    format!("ls -1A {path}/")
}

pub(super) fn checksum(path: &RemotePath) -> String {
    format!("sha256sum {path}")
}

pub(super) fn change_mode(path: &RemotePath, mode: FileMode) -> String {
    format!("chmod {mode} {path}")
}

pub(super) fn remove(path: &RemotePath) -> String {
    format!("rm -rf {path}")
}

/// Who the user is, the directories for work, and the accounts if Slurm knows them.
pub(super) fn facts() -> String {
    format!(
        "{PREPARE}; echo \"user=$(id -un)\"; echo \"root=$SCRATCH\"; echo \"root=$HOME\"; \
         sacctmgr --noheader --parsable2 show user \"$(id -un)\" format=DefaultAccount 2>/dev/null | sed s/^/account=/; \
         sacctmgr --noheader --parsable2 show associations user=\"$(id -un)\" format=Account 2>/dev/null | \
         sed s/^/account=/; true"
    )
}

/// Jobs as the controller knows them: the user's, or one.
pub(super) fn queue(job: Option<&JobId>) -> String {
    let which = match job {
        Some(id) => format!("--jobs={id}"),
        None => "--user=\"$(id -un)\"".to_owned(),
    };
    let fields = ["%i", "%T", "%r", "%N", "%P", "%M", "%l", "%S", "%j", "%k"];
    format!(
        "{PREPARE}; squeue --noheader --states=all {which} --format=\"{}\"",
        fields.join("${s}")
    )
}

/// Jobs as the accounting knows them: the user's of this window, or one.
pub(super) fn accounting(which: Accounted<'_>) -> String {
    let which = match which {
        Accounted::Job(id) => format!("--jobs={id}"),
        Accounted::Window(window) => {
            format!("--user=\"$(id -un)\" --starttime=now-{}hours", hours(window))
        }
    };
    format!(
        "{PREPARE}; sacct --allocations --noheader --parsable2 --delimiter=\"$s\" {which} \
         --format=JobID,State,ExitCode,ElapsedRaw,Start,TimelimitRaw,NodeList,Partition,JobName,Comment"
    )
}

/// What is asked of the accounting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Accounted<'a> {
    Job(&'a JobId),
    Window(TimeWindow),
}

fn hours(window: TimeWindow) -> u32 {
    match window {
        TimeWindow::Hour => 1,
        TimeWindow::EightHours => 8,
        TimeWindow::Day => 24,
        TimeWindow::ThreeDays => 72,
        TimeWindow::Week => 168,
    }
}

/// All that the controller knows of a job.
pub(super) fn details(job: &JobId) -> String {
    format!("{PREPARE}; scontrol --oneliner show job {job}")
}

pub(super) fn cancel(job: &JobId) -> String {
    format!("{PREPARE}; scancel {job}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        text.parse().expect("a path")
    }

    fn draft() -> Draft<'static> {
        Draft {
            directory: path("/scratch/d-1"),
            name: "server.sbatch",
            unique: "0123".to_owned(),
        }
    }

    #[test]
    fn lines_pass_through_every_login_shell() {
        let (file, mode) = (path("/scratch/d-1/server.sbatch"), FileMode::try_new(0o600));
        let (id, name) = (JobId::try_new("42"), JobName::try_new("gipfel-d-1"));
        let (id, name) = (id.expect("an id"), name.expect("a name"));
        let content = Sha256::of(b"");
        let lines = [
            write(&draft(), &file, content, mode.expect("a mode")),
            submit(&draft(), &name, content),
            try_out(&draft(), &name, content),
            facts(),
            offers(),
            queue(None),
            queue(Some(&id)),
            accounting(Accounted::Window(TimeWindow::Week)),
            accounting(Accounted::Job(&id)),
            details(&id),
            cancel(&id),
        ];
        for line in lines {
            assert!(!line.contains(['\n', '!', '\'']), "{line}");
        }
    }

    #[test]
    fn files_take_their_place_whole() {
        let content = Sha256::of(b"x");
        let line = write(
            &draft(),
            &path("/scratch/d-1/server.sbatch"),
            content,
            FileMode::try_new(0o600).expect("a mode"),
        );
        insta::assert_snapshot!(line, @r#"umask 077; t=/scratch/d-1/.server.sbatch.0123.part; cat >$t || { rm -f $t; exit 96; }; if [ "$(sha256sum <$t)" = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  -" ]; then chmod 600 $t && mv -fT $t /scratch/d-1/server.sbatch; c=$?; else echo "the input did not arrive whole" >&2; c=97; fi; rm -f $t; exit $c"#);
    }
}
