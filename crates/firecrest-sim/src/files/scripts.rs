//! The scripts of transfer jobs.

use std::{path::Path, time::Duration};

use crate::{options::SystemOptions, paths::Place};

/// A text as one word of a shell.
pub(crate) fn quoted(text: impl AsRef<Path>) -> String {
    format!("'{}'", text.as_ref().display().to_string().replace('\'', r"'\''"))
}

/// A command that fails with these words.
pub(crate) fn failing(words: &str) -> String {
    format!("fail {}", quoted(words))
}

/// What every script begins with: logs show the paths that callers see.
pub(crate) fn preamble(system: &SystemOptions) -> String {
    let moved = system
        .file_systems
        .iter()
        .filter(|one| one.folder() != Path::new(&one.path));
    let rules: Vec<String> = moved
        .map(|one| quoted(format!("s#{}#{}#g", one.folder().display(), one.path)))
        .collect();
    let rules = rules.join(" -e ");
    let rules = if rules.is_empty() { "''" } else { &rules };
    format!(
        "say() {{ echo \"$(date) $*\"; }}\n\
         fail() {{ echo \"$*\" >&2; return 1; }}\n\
         run() {{\n\
         \x20 local errors status\n\
         \x20 {{ errors=$(\"$@\" 2>&1 >&3); }} 3>&1; status=$?\n\
         \x20 [ -z \"$errors\" ] || printf '%s\\n' \"$errors\" | sed -e {rules} >&2; return $status\n\
         }}\n"
    )
}

/// Waits for an object of the storage, and then carries `copy` out, which makes a file of it.
pub(crate) fn ingress(object: &Path, target: &Place, copy: &str, poll: Duration) -> String {
    format!(
        "say \"Ingress File Transfer Job (id:$SLURM_JOB_ID)\"\n\
         say 'Waiting till file to tranfer is available...'\n\
         until [ -f {object} ]; do sleep {poll_s}; done\n\
         say 'File to transfer found in S3 bucket'\n\
         say Downloading file to: {shown} ...\n\
         run {copy} || exit 1\n\
         size=$(($(wc -c < {target})))\n\
         say \"Received $size bytes\"\n\
         megabytes=$(awk \"BEGIN {{ printf \\\"%.3f\\\", $size / 1048576 }}\")\n\
         say \"File was successfully downloaded (size: ${{megabytes}}MB)\"\n",
        object = quoted(object),
        poll_s = poll.as_secs_f64(),
        shown = quoted(&target.shown),
        target = quoted(&target.real),
    )
}

/// Makes an object of a file by `copy`, whole or not at all.
pub(crate) fn outgress(source: &Place, partial: &Path, object: &Path, copy: &str, part_bytes: u64) -> String {
    format!(
        "say \"Upload File Job (id:$SLURM_JOB_ID)\"\n\
         [ -f {source} ] || {{ say 'Not a regular file' >&2; exit 1; }}\n\
         size=$(($(wc -c < {source})))\n\
         echo Uploading file:{shown} into $(( (size + {part_bytes} - 1) / {part_bytes} )) chunks\n\
         run {copy} || exit 1\n\
         echo '[INFO] Parts upload completed.'\n\
         echo '[INFO] Signaling multipart upload completion'\n\
         run mv {partial} {object} || exit 1\n\
         echo '[INFO] Multipart file upload successfully completed'\n",
        source = quoted(&source.real),
        shown = quoted(&source.shown),
        partial = quoted(partial),
        object = quoted(object),
    )
}

/// Changes files by `command`; it ends well whatever came of it, as the real one does.
pub(crate) fn change(command: &str, verb: &str, done: &str) -> String {
    format!(
        "run {command}\n\
         status=$?\n\
         if [ $status -eq 0 ]; then say 'Files were successfully {done}.'\n\
         else say 'Unable to {verb} files exit code:0 error: ' >&2; fi\n\
         exit 0\n"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        options::FileSystemOptions,
        paths::{Owner, resolve},
    };

    fn place(shown: &str) -> Place {
        let real = PathBuf::from(format!("/root/{shown}"));
        Place {
            shown: shown.to_owned(),
            real,
            owner: Owner::Anybody,
            is_top: false,
        }
    }

    #[test]
    fn words_are_one_word_of_a_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn logs_show_the_paths_of_callers() {
        let system = SystemOptions {
            file_systems: vec![FileSystemOptions::scratch(Path::new("/tmp/r"))],
            ..SystemOptions::default()
        };
        assert!(resolve(&system, "/scratch/x").is_ok());
        insta::assert_snapshot!(preamble(&system), @r##"
        say() { echo "$(date) $*"; }
        fail() { echo "$*" >&2; return 1; }
        run() {
          local errors status
          { errors=$("$@" 2>&1 >&3); } 3>&1; status=$?
          [ -z "$errors" ] || printf '%s\n' "$errors" | sed -e 's#/tmp/r#/scratch#g' >&2; return $status
        }
        "##);
    }

    #[test]
    fn an_upload_waits_for_its_object() {
        let script = ingress(Path::new("/s/o"), &place("t"), "cp a b", Duration::from_mins(1));
        insta::assert_snapshot!(script, @r##"
        say "Ingress File Transfer Job (id:$SLURM_JOB_ID)"
        say 'Waiting till file to tranfer is available...'
        until [ -f '/s/o' ]; do sleep 60; done
        say 'File to transfer found in S3 bucket'
        say Downloading file to: 't' ...
        run cp a b || exit 1
        size=$(($(wc -c < '/root/t')))
        say "Received $size bytes"
        megabytes=$(awk "BEGIN { printf \"%.3f\", $size / 1048576 }")
        say "File was successfully downloaded (size: ${megabytes}MB)"
        "##);
    }

    #[test]
    fn a_download_is_whole_or_not_there() {
        let script = outgress(&place("t"), Path::new("/s/p"), Path::new("/s/o"), "cp a b", 8);
        insta::assert_snapshot!(script, @r##"
        say "Upload File Job (id:$SLURM_JOB_ID)"
        [ -f '/root/t' ] || { say 'Not a regular file' >&2; exit 1; }
        size=$(($(wc -c < '/root/t')))
        echo Uploading file:'t' into $(( (size + 8 - 1) / 8 )) chunks
        run cp a b || exit 1
        echo '[INFO] Parts upload completed.'
        echo '[INFO] Signaling multipart upload completion'
        run mv '/s/p' '/s/o' || exit 1
        echo '[INFO] Multipart file upload successfully completed'
        "##);
    }

    #[test]
    fn a_change_always_ends_well() {
        insta::assert_snapshot!(change(&failing("mv: it's not yours"), "move", "moved"), @r##"
        run fail 'mv: it'\''s not yours'
        status=$?
        if [ $status -eq 0 ]; then say 'Files were successfully moved.'
        else say 'Unable to move files exit code:0 error: ' >&2; fi
        exit 0
        "##);
    }
}
