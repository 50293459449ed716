//! Commands, durations and texts as people read them.

use std::path::Path;

use gipfel_backend::Handle;
use gipfel_experiment::{LiveObject, ObjectKind};

use crate::cli::DEFAULT_RESULTS_DIR;

/// A command as it is to be typed for this results directory, in backticks.
pub(crate) fn command(words: &str, results_dir: &Path) -> String {
    if results_dir == Path::new(DEFAULT_RESULTS_DIR) {
        format!("`gipfel {words}`")
    } else {
        format!("`gipfel {words} --results-dir {}`", results_dir.display())
    }
}

/// What may live: one on a cluster by its job or its claim, one of this machine by what its handle says.
pub(crate) fn live(live: &LiveObject) -> String {
    let Some(place) = live.handle.as_ref().and_then(place_on_cluster) else {
        return live.to_string();
    };
    let kind = match live.kind {
        ObjectKind::Deployment => "server",
        ObjectKind::Run => "load generator",
    };
    let kept = if live.kept { ", kept" } else { "" };
    format!("{kind} {} ({place}){kept}", live.name)
}

/// Where something lives on a cluster; nothing for what lives on this machine.
pub(crate) fn place_on_cluster(handle: &Handle) -> Option<String> {
    let job = gipfel_slurm_backend::job_of(handle).map(|job| format!("job {job}"));
    let claim = || {
        let claim = gipfel_k8s_backend::Claim::of(handle)?;
        Some(format!("ConfigMap {} in {}", claim.name, claim.namespace))
    };
    job.or_else(claim)
}

/// `6:12`, or `1:02:03` from an hour on.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Cuts a text to so many columns, with an ellipsis where something is left out.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// A line of a log without the sequences that colour it and without other control characters.
pub(crate) fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                // The sequence ends with its first letter or sign.
                while characters
                    .next_if(|next| !('\u{40}'..='\u{7e}').contains(next))
                    .is_some()
                {}
            }
            characters.next();
        } else if character == '\t' {
            text.push(' ');
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_another_results_directory() {
        let check = |directory: &str, expected: &str| {
            assert_eq!(command("resume c-1", Path::new(directory)), expected);
        };
        check("results", "`gipfel resume c-1`");
        check("/tmp/r", "`gipfel resume c-1 --results-dir /tmp/r`");
    }

    #[test]
    fn what_lives_on_a_cluster_is_told_by_its_job_or_claim() {
        let check = |system: &str, detail: &str, expected: &str| {
            let handle = Handle {
                system: system.to_owned(),
                name: "d-1".to_owned(),
                detail: detail.to_owned(),
            };
            let object = LiveObject {
                kind: ObjectKind::Deployment,
                name: "d-1".to_owned(),
                handle: Some(handle),
                kept: true,
            };
            assert_eq!(live(&object), expected);
        };
        let detail = r#"{"job":"4711","directory":"/s/d-1","attempt":1,"reach":{"cluster":"commands","firecrest_system":null,
            "ssh_host":null,"site":null,"scratch_base":null}}"#;
        check("slurm", detail, "server d-1 (job 4711), kept");
        let detail =
            r#"{"context":null,"namespace":"ml","claim":"gipfel-d-1","uid":"u","workload":"Deployment"}"#;
        check("k8s", detail, "server d-1 (ConfigMap gipfel-d-1 in ml), kept");
        check("local", "process 7", "server d-1 (local process 7), kept");
    }

    #[test]
    fn times_and_texts_are_short() {
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(372.9), "6:12");
        assert_eq!(clock(3723.0), "1:02:03");
        assert_eq!(cut("quickstart", 10), "quickstart");
        assert_eq!(cut("quickstart", 6), "quick…");
        assert_eq!(cut("loading the model", 9), "loading…");
        assert_eq!(cut("x", 0), "…");
    }

    #[test]
    fn a_log_line_draws_nothing() {
        let check = |line: &str, expected: &str| assert_eq!(printable(line), expected, "{line:?}");
        check("\u{1b}[1;32mINFO\u{1b}[0m loading\t3/4", "INFO loading 3/4");
        check("50%\r 60%", "50% 60%");
        check("\u{1b}", "");
        check("\u{1b}[", "");
        check("\u{1b}(Bplain", "Bplain");
    }
}
