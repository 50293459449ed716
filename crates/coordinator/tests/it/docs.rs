//! What the documentation tells users to type and to write is what the program takes.

use std::{collections::BTreeMap, fs, io, path::Path};

use clap::{Command, CommandFactory, Parser};
use gipfel::cli::Cli;
use gipfel_config::{Surroundings, parse_with};

use crate::world::{Sim, World};

/// The documents, with their names.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = fs::read_dir(root.join("docs")).expect("the folder of the documentation");
    let pages = pages.map(|page| page.expect("a page").path());
    let mut files: Vec<_> = pages
        .filter(|page| page.extension().is_some_and(|end| end == "md"))
        .collect();
    files.extend(["README.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let read = |file: &Path| fs::read_to_string(file).expect("a page can be read");
    let name = |file: &Path| {
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    files.iter().map(|file| (name(file), read(file))).collect()
}

/// A fenced block.
struct Block {
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(language), None) => {
                open = Some(Block {
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
            (None, Some(mut block)) => {
                block.text.extend([line, "\n"]);
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The words of a command as a shell splits them, without what follows a pipe, a redirection or a comment.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '#' | '|' | '>') if word.is_empty() => return words,
            (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            _ => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The commands of a block of shell lines, each from `gipfel` on.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ");
    let all = lines
        .lines()
        .map(|line| words(line.trim().trim_start_matches("$ ")));
    let from_gipfel = all.filter_map(|words| {
        let own = words.iter().position(|word| word == "gipfel");
        // `cargo run --release -- run …` starts it too.
        let by_cargo = words
            .iter()
            .position(|word| word == "--")
            .filter(|_| words.starts_with(&["cargo".to_owned(), "run".to_owned()]));
        let begin = own.or(by_cargo)?;
        let rest = words.into_iter().skip(begin + 1);
        Some(std::iter::once("gipfel".to_owned()).chain(rest).collect())
    });
    from_gipfel.collect()
}

/// Commands in the running text, which may have placeholders and gaps.
fn inline_commands(page: &str) -> Vec<Vec<String>> {
    let outside = page.split("```").step_by(2);
    let spans = outside.flat_map(|text| text.split('`').skip(1).step_by(2));
    spans
        .map(words)
        .filter(|words| words.first().is_some_and(|word| word == "gipfel"))
        .collect()
}

/// What of the words is no subcommand or option of the program.
fn unknown(words: &[String]) -> Vec<String> {
    let mut command: Command = Cli::command();
    command.build();
    let mut unknown = Vec::new();
    for (index, word) in words.iter().enumerate().skip(1) {
        let is_flag = |long: &str| {
            command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(long))
        };
        let built_in = ["help", "version"];
        if let Some(long) = word.strip_prefix("--") {
            let long = long.split('=').next().unwrap_or_default();
            if !long.is_empty() && !is_flag(long) && !built_in.contains(&long) {
                unknown.push(word.clone());
            }
        } else if let Some(next) = command.find_subcommand(word) {
            command = next.clone();
        } else if command.has_subcommands() && word.chars().all(|c| c.is_ascii_lowercase()) {
            unknown.push(words[..=index].join(" "));
        }
    }
    unknown
}

#[test]
fn every_command_can_be_typed() {
    let mut count = 0;
    for (name, page) in documents() {
        for block in blocks(&page).iter().filter(|block| block.language == "sh") {
            for command in commands(&block.text) {
                if let Err(error) = Cli::try_parse_from(&command) {
                    panic!("{name}: {}: {error}", command.join(" "));
                }
                count += 1;
            }
        }
        for command in inline_commands(&page) {
            assert_eq!(
                unknown(&command),
                Vec::<String>::new(),
                "{name}: {}",
                command.join(" ")
            );
            count += 1;
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

/// The name that the first line of a block gives it, as in `# site.yaml`.
fn file_name(block: &Block) -> Option<&str> {
    let name = block.text.lines().next()?.strip_prefix("# ")?;
    let extension = Path::new(name).extension().and_then(|end| end.to_str());
    let is_name = !name.contains(' ') && matches!(extension, Some("yaml" | "toml"));
    is_name.then_some(name)
}

#[test]
fn every_configuration_can_be_read() {
    let mut count = 0;
    for (name, page) in documents() {
        let blocks = blocks(&page);
        let files: BTreeMap<&str, &str> = blocks
            .iter()
            .filter_map(|block| Some((file_name(block)?, block.text.as_str())))
            .collect();
        let around = Surroundings::none()
            .with_variables(|_| Some("value".into()))
            .with_files(|path| {
                let text = files.get(path.to_str().unwrap_or_default());
                text.map(|text| (*text).to_owned())
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            });
        let is_configuration = |block: &&Block| {
            let of_its_own = block.text.contains("experiments");
            of_its_own && ["yaml", "toml"].contains(&block.language.as_str())
        };
        for block in blocks.iter().filter(is_configuration) {
            let file = format!("{name}.{}", block.language);
            if let Err(faults) = parse_with(&block.text, &file, &around) {
                panic!("{name}: {faults}\n{}", block.text);
            }
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} configurations were found");
}

/// A command of the README as it is carried out here: no terminal answers questions, and a search would take 15 minutes.
fn carried_out(mut command: Vec<String>, world: &World, url: &str) -> Vec<String> {
    command.remove(0);
    for word in &mut command {
        *word = word
            .replace("http://127.0.0.1:8000", url)
            .replace("~/", &format!("{}/", world.path("").display()));
    }
    let more: &[&str] = match command.first().map(String::as_str) {
        Some("new") => &["--yes"],
        Some("peak") => &[
            "--rates",
            "20",
            "--for",
            "10s",
            "--exact-windows",
            "--input",
            "16",
            "--output",
            "16",
        ],
        _ => &[],
    };
    command.extend(more.iter().map(|word| (*word).to_owned()));
    command
}

#[test]
fn the_readme_is_carried_out_as_it_stands() {
    let world = World::new();
    let sim = Sim::start(&world, "m");
    let (_, readme) = documents()
        .into_iter()
        .find(|(name, _)| name == "README.md")
        .expect("a README");
    let mut count = 0;
    for block in blocks(&readme).iter().filter(|block| block.language == "sh") {
        for command in commands(&block.text) {
            // Its first command, the quickstart, takes a minute and is carried out end to end by CI.
            if command.contains(&"examples/quickstart.yaml".to_owned()) {
                continue;
            }
            if command.contains(&"compare".to_owned()) {
                for name in ["before.db", "after.db"] {
                    fs::copy(world.path("results/results.db"), world.path(name)).expect("results so far");
                }
            }
            let command = carried_out(command, &world, &sim.url);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let output = world.run(&words);
            let code = output.status.code();
            // On a busy machine a level may be invalid or rejected, which is an answer, too.
            assert!(
                matches!(code, Some(0 | 10 | 12 | 13)),
                "{words:?} ended with {code:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            if words.contains(&"--print-config") {
                world.write("mine.yaml", &String::from_utf8_lossy(&output.stdout));
            }
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} commands were carried out");
    for file in ["gipfel.yaml", "report.html", ".local/share/man/man1/gipfel.1"] {
        assert!(world.path(file).is_file(), "{file}");
    }
}

#[test]
fn words_are_split_as_a_shell_does() {
    let check = |command: &str, expected: &[&str]| assert_eq!(words(command), expected, "{command}");
    check("gipfel run a.yaml", &["gipfel", "run", "a.yaml"]);
    check(
        "gipfel peak URL --slo 'ttft p95 <= 1s'  # why",
        &["gipfel", "peak", "URL", "--slo", "ttft p95 <= 1s"],
    );
    check("gipfel man > a.1", &["gipfel", "man"]);
    assert_eq!(
        unknown(&words("gipfel results sumary --jsn")),
        ["gipfel results sumary", "--jsn"]
    );
    assert_eq!(unknown(&words("gipfel run FILE --dry-run")), Vec::<String>::new());
}
