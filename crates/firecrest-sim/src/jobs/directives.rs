//! The `#SBATCH` lines of a script.

/// What the lines ask for, each by its last mention.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directives {
    pub(crate) name: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) reservation: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) time: Option<TimeLimit>,
    pub(crate) nodes: Option<u32>,
    pub(crate) tasks: Option<u32>,
    pub(crate) tasks_per_node: Option<u32>,
    pub(crate) gpus_per_node: Option<u32>,
    pub(crate) requeue: Option<bool>,
    pub(crate) held: bool,
    pub(crate) dependency: Option<Dependency>,
    pub(crate) begin_after_s: Option<u64>,
    /// The indexes of the tasks of an array; empty for a single job.
    pub(crate) array: Vec<u32>,
}

/// How long a job may run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TimeLimit {
    Seconds(u64),
    Unlimited,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) kind: DependencyKind,
    pub(crate) jobs: Vec<u64>,
}

/// How the other jobs must have come out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DependencyKind {
    /// They have begun.
    After,
    /// They have ended.
    AfterAny,
    /// They have completed.
    AfterOk,
    /// They have failed.
    AfterNotOk,
}

/// Why `sbatch` refuses a script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) exit_status: i32,
    pub(crate) standard_error: String,
}

impl Refusal {
    pub(crate) fn new(exit_status: i32, standard_error: impl Into<String>) -> Self {
        Self {
            exit_status,
            standard_error: standard_error.into(),
        }
    }

    /// A refusal by the controller.
    pub(crate) fn submission(reason: &str) -> Self {
        Self::new(
            1,
            format!("sbatch: error: Batch job submission failed: {reason}\n"),
        )
    }

    fn invalid(option: &str) -> Self {
        Self::new(255, format!("sbatch: error: Invalid --{option} specification\n"))
    }
}

/// Long options with a value that change nothing here.
const IGNORED: &[&str] = &[
    "acctg-freq",
    "chdir",
    "clusters",
    "comment",
    "constraint",
    "container",
    "cores-per-socket",
    "cpu-freq",
    "cpus-per-gpu",
    "cpus-per-task",
    "deadline",
    "delay-boot",
    "distribution",
    "environment",
    "exclude",
    "export",
    "extra",
    "get-user-env",
    "gid",
    "gpu-bind",
    "gpu-freq",
    "gpus",
    "gpus-per-task",
    "gres",
    "gres-flags",
    "hint",
    "licenses",
    "mail-type",
    "mail-user",
    "mem",
    "mem-bind",
    "mem-per-cpu",
    "mem-per-gpu",
    "network",
    "nice",
    "nodelist",
    "ntasks-per-core",
    "ntasks-per-gpu",
    "ntasks-per-socket",
    "open-mode",
    "prefer",
    "priority",
    "profile",
    "qos",
    "signal",
    "sockets-per-node",
    "switches",
    "threads-per-core",
    "time-min",
    "tmp",
    "uenv",
    "uid",
    "view",
    "wait-all-nodes",
    "wckey",
];

/// Long options without a value, or with one only after `=`, that change nothing here.
const FLAGS: &[&str] = &[
    "contiguous",
    "exclusive",
    "ignore-pbs",
    "no-kill",
    "oom-kill-step",
    "overcommit",
    "oversubscribe",
    "parsable",
    "quiet",
    "reboot",
    "spread-job",
    "test-only",
    "use-min-nodes",
    "verbose",
    "wait",
];

const SHORT: &[(char, &str)] = &[
    ('A', "account"),
    ('C', "constraint"),
    ('D', "chdir"),
    ('G', "gpus"),
    ('J', "job-name"),
    ('L', "licenses"),
    ('N', "nodes"),
    ('a', "array"),
    ('b', "begin"),
    ('c', "cpus-per-task"),
    ('d', "dependency"),
    ('e', "error"),
    ('i', "input"),
    ('m', "distribution"),
    ('n', "ntasks"),
    ('o', "output"),
    ('p', "partition"),
    ('q', "qos"),
    ('t', "time"),
    ('w', "nodelist"),
    ('x', "exclude"),
    ('H', "hold"),
    ('O', "overcommit"),
    ('Q', "quiet"),
    ('W', "wait"),
    ('k', "no-kill"),
    ('s', "oversubscribe"),
    ('v', "verbose"),
];

/// Reads the lines of `script` up to its first command.
pub(crate) fn read(script: &str) -> Result<Directives, Refusal> {
    if !script.starts_with("#!") {
        return Err(Refusal::new(
            1,
            "sbatch: error: This does not look like a batch script.  The first\n\
             sbatch: error: line must start with #! followed by the path to an interpreter.\n\
             sbatch: error: For instance: #!/bin/sh\n",
        ));
    }
    let mut directives = Directives::default();
    let head = script
        .lines()
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'));
    for line in head {
        if let Some(options) = line.strip_prefix("#SBATCH") {
            read_line(&mut directives, options)?;
        }
    }
    Ok(directives)
}

fn read_line(directives: &mut Directives, line: &str) -> Result<(), Refusal> {
    let mut words = words(line).into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "#" {
            break;
        }
        let (name, attached) = option_of(&word)?;
        let value = match attached {
            Some(value) => value,
            None if takes_value(name) => words.next().ok_or_else(|| unknown(&word))?,
            None => String::new(),
        };
        apply(directives, name, &value).ok_or_else(|| unknown(&word))??;
    }
    Ok(())
}

fn unknown(word: &str) -> Refusal {
    let text = format!("sbatch: unrecognized option '{word}'\nTry \"sbatch --help\" for more information\n");
    Refusal::new(255, text)
}

/// The long name of an option, and the value that is attached to it.
fn option_of(word: &str) -> Result<(&str, Option<String>), Refusal> {
    if let Some(long) = word.strip_prefix("--") {
        return Ok(match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        });
    }
    let mut characters = word.strip_prefix('-').ok_or_else(|| unknown(word))?.chars();
    let letter = characters.next().ok_or_else(|| unknown(word))?;
    let &(_, name) = SHORT
        .iter()
        .find(|(short, _)| *short == letter)
        .ok_or_else(|| unknown(word))?;
    let attached = characters.as_str();
    let attached = attached.strip_prefix('=').unwrap_or(attached);
    Ok((name, (!attached.is_empty()).then(|| attached.to_owned())))
}

fn takes_value(name: &str) -> bool {
    !FLAGS.contains(&name) && !matches!(name, "requeue" | "no-requeue" | "hold")
}

fn apply(directives: &mut Directives, name: &str, value: &str) -> Option<Result<(), Refusal>> {
    let text = || Some(value.to_owned());
    match name {
        "job-name" => directives.name = text(),
        "account" => directives.account = text(),
        "partition" => directives.partition = text(),
        "reservation" => directives.reservation = text(),
        "output" => directives.output = text(),
        "error" => directives.error = text(),
        "input" => directives.input = text(),
        "requeue" => directives.requeue = Some(true),
        "no-requeue" => directives.requeue = Some(false),
        "hold" => directives.held = true,
        "time" => return Some(set(&mut directives.time, time_limit(value), name)),
        "nodes" => {
            let least = value.split('-').next().and_then(|least| least.parse().ok());
            return Some(set(&mut directives.nodes, least, name));
        }
        "ntasks" => return Some(set(&mut directives.tasks, value.parse().ok(), name)),
        "ntasks-per-node" => return Some(set(&mut directives.tasks_per_node, value.parse().ok(), name)),
        "gpus-per-node" => {
            let count = value.rsplit(':').next().and_then(|count| count.parse().ok());
            return Some(set(&mut directives.gpus_per_node, count, name));
        }
        "dependency" => return Some(set(&mut directives.dependency, dependency(value), name)),
        "begin" => return Some(set(&mut directives.begin_after_s, begin_after_s(value), name)),
        "array" => {
            let mut indexes = None;
            let read = set(&mut indexes, array(value), name);
            directives.array = indexes.unwrap_or_default();
            return Some(read);
        }
        name if IGNORED.contains(&name) || FLAGS.contains(&name) => {}
        _ => return None,
    }
    Some(Ok(()))
}

fn set<T>(field: &mut Option<T>, value: Option<T>, name: &str) -> Result<(), Refusal> {
    match value {
        None => Err(Refusal::invalid(name)),
        value => {
            *field = value;
            Ok(())
        }
    }
}

/// Words of a line, in which quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`.
fn time_limit(text: &str) -> Option<TimeLimit> {
    if ["unlimited", "infinite", "-1", "0"].contains(&text.to_lowercase().as_str()) {
        return Some(TimeLimit::Unlimited);
    }
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts = rest
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    let seconds = match (days, parts.as_slice()) {
        (None, [minutes]) => minutes * 60,
        (None, [minutes, seconds]) => minutes * 60 + seconds,
        (None | Some(_), [hours, minutes, seconds]) => hours * 3600 + minutes * 60 + seconds,
        (Some(_), [hours]) => hours * 3600,
        (Some(_), [hours, minutes]) => hours * 3600 + minutes * 60,
        _ => return None,
    };
    Some(TimeLimit::Seconds(seconds + days.unwrap_or_default() * 86_400))
}

fn dependency(text: &str) -> Option<Dependency> {
    let (kind, jobs) = text.split_once(':')?;
    let kind = match kind {
        "after" => DependencyKind::After,
        "afterany" => DependencyKind::AfterAny,
        "afterok" => DependencyKind::AfterOk,
        "afternotok" => DependencyKind::AfterNotOk,
        _ => return None,
    };
    let jobs = jobs
        .split(':')
        .map(|job| job.parse().ok())
        .collect::<Option<_>>()?;
    Some(Dependency { kind, jobs })
}

/// The longest array, as Slurm has it by default.
const ARRAY_LIMIT: usize = 1001;

/// `0-3`, `1,5,7`, `0-9:3`, with how many may run at once behind a `%`, which changes nothing here.
fn array(text: &str) -> Option<Vec<u32>> {
    let list = text.split('%').next().unwrap_or(text);
    let mut indexes = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let step: usize = step.parse().ok().filter(|&step| step > 0)?;
        indexes.extend((first..=last).step_by(step).take(ARRAY_LIMIT));
    }
    indexes.sort_unstable();
    indexes.dedup();
    (!indexes.is_empty() && indexes.len() < ARRAY_LIMIT).then_some(indexes)
}

/// `now`, `now+60`, `now+1hour` and the like.
fn begin_after_s(text: &str) -> Option<u64> {
    let rest = text.strip_prefix("now")?;
    let Some(span) = rest.strip_prefix('+') else {
        return rest.is_empty().then_some(0);
    };
    let unit_at = span.find(|c: char| !c.is_ascii_digit()).unwrap_or(span.len());
    let (number, unit) = span.split_at(unit_at);
    let unit_s = match unit.trim_end_matches('s') {
        "" | "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit_s)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(lines: &str, expected: Directives) {
        assert_eq!(
            read(&format!("#!/bin/bash -l\n{lines}\ntrue\n#SBATCH --nodes=99\n")),
            Ok(expected)
        );
    }

    #[track_caller]
    fn check_refused(script: &str, exit_status: i32, text: &str) {
        let refusal = read(script).expect_err("the script is refused");
        assert_eq!(refusal.exit_status, exit_status);
        assert!(
            refusal.standard_error.contains(text),
            "{}",
            refusal.standard_error
        );
    }

    #[test]
    fn lines_are_read_up_to_the_first_command() {
        let time = Some(TimeLimit::Seconds(600));
        check(
            "#SBATCH --nodes=2 --time=00:10:00",
            Directives {
                nodes: Some(2),
                time,
                ..Directives::default()
            },
        );
        check(
            "# a comment\n\n#SBATCH -J 'my job' -N4 -p debug # why\n#SBATCH --no-requeue --exclusive",
            Directives {
                name: Some("my job".to_owned()),
                nodes: Some(4),
                partition: Some("debug".to_owned()),
                requeue: Some(false),
                ..Directives::default()
            },
        );
        check("", Directives::default());
    }

    #[test]
    fn refusals_carry_the_words_of_sbatch() {
        check_refused("echo\n", 1, "line must start with #!");
        check_refused(
            "#!/bin/sh\n#SBATCH --time=banana\n",
            255,
            "Invalid --time specification",
        );
        check_refused(
            "#!/bin/sh\n#SBATCH --nosuchoption=1\n",
            255,
            "unrecognized option '--nosuchoption=1'",
        );
        check_refused(
            "#!/bin/sh\n#SBATCH --array=1-\n",
            255,
            "Invalid --array specification",
        );
    }

    #[test]
    fn times_are_minutes_unless_they_say_more() {
        let check = |text, seconds| assert_eq!(time_limit(text), Some(TimeLimit::Seconds(seconds)), "{text}");
        check("1", 60);
        check("1:30", 90);
        check("02:00:00", 7200);
        check("0-00:15:00", 900);
        check("1-12", 129_600);
        assert_eq!(time_limit("UNLIMITED"), Some(TimeLimit::Unlimited));
        assert_eq!(time_limit("1:2:3:4"), None);
    }

    #[test]
    fn arrays_are_ranges_with_steps() {
        assert_eq!(array("0-3"), Some(vec![0, 1, 2, 3]));
        assert_eq!(array("7,1-5:2%2"), Some(vec![1, 3, 5, 7]));
        assert_eq!(array("3-1"), None);
        assert_eq!(array("0-4000000000"), None);
        assert_eq!(array("0-9:0"), None);
    }

    #[test]
    fn a_begin_is_counted_from_now() {
        assert_eq!(begin_after_s("now+1hour"), Some(3600));
        assert_eq!(begin_after_s("now+60"), Some(60));
        assert_eq!(begin_after_s("tomorrow"), None);
    }

    proptest! {
        #[test]
        fn no_script_panics_the_reader(lines in "(#SBATCH [ -~]{0,30}\n){0,4}") {
            let _ = read(&format!("#!/bin/sh\n{lines}"));
        }
    }
}
