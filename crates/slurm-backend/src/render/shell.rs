//! Text as a word of a shell script, as a line for Slurm, as a string of TOML.

use std::fmt::Write;

use gipfel_model::SlurmJob;

use super::RenderError;

/// Stands on both sides of a variable's name in a text that becomes a word.
const MARK: char = '\u{1}';

/// The text that [`word`] turns into the value of a variable.
pub(super) fn variable(name: &str) -> String {
    format!("{MARK}{name}{MARK}")
}

/// Refuses what a user's text may not hold: it would end a string of C, or stand for a variable of ours.
pub(super) fn check_text(what: &'static str, text: &str) -> Result<(), RenderError> {
    if text.contains(['\0', MARK]) {
        return Err(RenderError::Control { what });
    }
    Ok(())
}

/// One word of a shell's command, whatever the text holds.
pub(super) fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    // A word with `=` in the first place of a command would be an assignment, and `~` is no plain character.
    if !text.is_empty() && text.chars().all(is_plain) && !text.contains('=') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One word of a shell's command, with the values of the script's variables where [`variable`] has put them.
pub(super) fn word(text: &str) -> String {
    if !text.contains(MARK) {
        return quote(text);
    }
    let parts = text.split(MARK).enumerate().filter(|(_, part)| !part.is_empty());
    let parts = parts.map(|(index, part)| match index % 2 {
        0 => quote(part),
        _ => format!("\"${part}\""),
    });
    parts.collect()
}

/// The words of a command.
pub(super) fn words(parts: &[String]) -> String {
    parts.iter().map(|part| word(part)).collect::<Vec<_>>().join(" ")
}

/// A path of the cluster as a word; `~/` is the user's home there.
pub(super) fn path_word(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/{}", quote(rest)),
        None => quote(path),
    }
}

/// A name of a variable, which is no word of the shell's own.
pub(super) fn check_variable(name: &str) -> Result<(), RenderError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Ok(());
    }
    Err(RenderError::Variable {
        name: name.to_owned(),
    })
}

/// Options that say which job it is and where it writes, by which it is found again.
const OURS: &[&str] = &[
    "--job-name",
    "-J",
    "--comment",
    "--output",
    "-o",
    "--error",
    "-e",
    "--open-mode",
    "--chdir",
    "-D",
    "--requeue",
    "--array",
    "-a",
    "--wrap",
    "--nodes",
    "-N",
    "--ntasks",
    "-n",
    "--ntasks-per-node",
    "--time",
    "-t",
];

/// The `#SBATCH` lines of what the user asks for.
pub(super) fn directives(job: &SlurmJob) -> Result<Vec<String>, RenderError> {
    let options = [
        ("account", job.account.as_deref()),
        ("partition", Some(job.partition.as_str())),
        ("qos", job.qos.as_deref()),
        ("reservation", job.reservation.as_deref()),
        ("constraint", job.constraint.as_deref()),
        ("exclude", job.exclude.as_deref()),
    ];
    let mut lines = Vec::new();
    for (option, value) in options {
        if let Some(value) = value {
            check_option(option, value)?;
            lines.push(format!("--{option}={value}"));
        }
    }
    for argument in &job.sbatch_args {
        check_argument(argument)?;
        lines.push(argument.clone());
    }
    Ok(lines)
}

/// Slurm splits such a line at spaces and takes quotes away.
fn check_option(option: &'static str, value: &str) -> Result<(), RenderError> {
    let is_safe = |c: char| !c.is_whitespace() && !c.is_control() && !"\"'`$\\;<>#".contains(c);
    if value.is_empty() || value.starts_with('-') || !value.chars().all(is_safe) {
        return Err(RenderError::Option {
            option,
            value: value.to_owned(),
        });
    }
    Ok(())
}

fn check_argument(argument: &str) -> Result<(), RenderError> {
    let refuse = |problem| RenderError::Argument {
        argument: argument.to_owned(),
        problem,
    };
    if !argument.starts_with('-') || argument.contains(char::is_control) {
        return Err(refuse("an option begins with `-` and stands on one line"));
    }
    let name = argument.split(['=', ' ']).next().unwrap_or_default();
    // A short option's value may follow it at once.
    let is_short = |ours: &str| ours.len() == 2 && !name.starts_with("--") && name.starts_with(ours);
    if OURS.iter().any(|ours| name == *ours || is_short(ours)) {
        return Err(refuse(
            "gipfel sets it itself; the keys of the configuration say how many nodes and how long",
        ));
    }
    Ok(())
}

/// A string of TOML.
pub(super) fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use gipfel_model::Walltime;
    use proptest::prelude::*;

    use super::*;

    /// What bash makes of a word.
    fn read_back(word: &str) -> String {
        let script = format!("name=v; printf '%s|' {word}");
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
        assert!(
            output.stderr.is_empty(),
            "{word}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("a text")
    }

    #[test]
    fn nasty_texts_stay_what_they_are() {
        for text in [
            "",
            "plain",
            "two words",
            "it's",
            "'; rm -rf / #",
            "$(id)",
            "`id`",
            "$HOME ~ *",
            "a\nb\n",
            "\\",
            "\"",
            "!!",
            "{a,b}",
            "A=b",
            "-n",
            "ü€",
        ] {
            assert_eq!(read_back(&quote(text)), format!("{text}|"));
            let expected: serde_json::Value =
                toml::from_str(&format!("a = {}", toml_string(text))).expect("TOML");
            assert_eq!(expected["a"], text);
        }
    }

    #[test]
    fn variables_are_filled_by_the_script() {
        let check = |text: &str, expected: &str| assert_eq!(word(text), expected);
        assert_eq!(read_back(&word(&format!("--a={}", variable("name")))), "--a=v|");
        assert_eq!(
            read_back(&word(&format!("$x {}:{}", variable("name"), variable("name")))),
            "$x v:v|"
        );
        check("plain", "plain");
        assert_eq!(path_word("~/a b"), "\"$HOME\"/'a b'");
        assert_eq!(path_word("/a/b"), "/a/b");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_one_word(text in "[^\0\u{1}]{0,40}") {
            prop_assert_eq!(read_back(&quote(&text)), format!("{text}|"));
        }
    }

    #[test]
    fn lines_for_slurm_are_checked() {
        let job = |qos: &str, sbatch_args: &[&str]| SlurmJob {
            account: Some("a-1".to_owned()),
            partition: "normal".to_owned(),
            qos: Some(qos.to_owned()),
            reservation: None,
            constraint: Some("gpu&nvme|[a*2]".to_owned()),
            exclude: Some("nid[001-002]".to_owned()),
            walltime: Walltime::DEFAULT,
            sbatch_args: sbatch_args.iter().map(|text| (*text).to_owned()).collect(),
        };
        let check = |job: SlurmJob, expected: Result<&str, &str>| {
            let found = directives(&job)
                .map(|lines| lines.join(" "))
                .map_err(|error| error.to_string());
            match expected {
                Ok(lines) => assert_eq!(found.as_deref(), Ok(lines)),
                Err(words) => assert!(
                    found.as_ref().is_err_and(|error| error.contains(words)),
                    "{found:?}"
                ),
            }
        };
        check(
            job("high", &["--mem=0", "-c 8"]),
            Ok(
                "--account=a-1 --partition=normal --qos=high --constraint=gpu&nvme|[a*2] --exclude=nid[001-002] --mem=0 -c 8",
            ),
        );
        check(job("a b", &[]), Err("`a b` is no qos"));
        check(job("--x", &[]), Err("no qos"));
        check(job("a", &["--job-name=x"]), Err("gipfel sets it itself"));
        check(job("a", &["-Jx"]), Err("gipfel sets it itself"));
        check(job("a", &["--time 5"]), Err("gipfel sets it itself"));
        check(job("a", &["--mem=0\ntouch /tmp/x"]), Err("on one line"));
        check(job("a", &["mem"]), Err("begins with `-`"));
    }
}
