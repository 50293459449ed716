//! The report in a browser: it shows the answer, asks for nothing, complains of nothing, and breaks at nothing that a
//! database may hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{chromium::Chromium, world::World};
use crate::shell;

/// No page is larger; it is sent by mail.
const LARGEST_PAGE: u64 = 2 << 20;
/// What a spoilt page asks for, to see that the check sees it.
const SPOILT: &str = "http://127.0.0.1:9/spoilt.png";

/// Makes the report of `database`, or of a database made for it, and looks at it in Chromium.
pub(crate) fn play(database: Option<&Path>) -> anyhow::Result<()> {
    let world = World::new("report")?;
    if let Some(database) = database {
        return look(&world, database);
    }
    for contents in ["one", "many"] {
        look(&world, &sample(&world, contents)?)?;
    }
    Ok(())
}

/// A database made on a simulated clock.
fn sample(world: &World, contents: &str) -> anyhow::Result<PathBuf> {
    let path = world.folder.join(format!("{contents}.db"));
    let mut command = shell::cargo(&[
        "run",
        "--release",
        "--package",
        "gipfel-results-analysis",
        "--example",
    ]);
    command.args(["sample_database", "--"]).arg(&path).arg(contents);
    shell::run(&mut command)?;
    Ok(path)
}

fn look(world: &World, database: &Path) -> anyhow::Result<()> {
    let database = database
        .canonicalize()
        .with_context(|| format!("there is no database {}", database.display()))?;
    let name = database
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let page = world.folder.join(format!("{name}.html"));
    let plots = world.folder.join(format!("{name}-plots"));
    let mut command = world.gipfel(&["results", "report"]);
    command
        .arg(&database)
        .arg("-o")
        .arg(&page)
        .arg("--plots")
        .arg(&plots);
    shell::run(&mut command)?;
    check_text(&page)?;
    check_plots(&plots)?;
    let chromium = Chromium::new(&world.folder)?;
    let loaded = chromium.load(&page)?;
    ensure!(
        loaded.console.is_empty(),
        "the page complains: {:?}",
        loaded.console
    );
    ensure!(
        loaded.requests.is_empty(),
        "the page asks for {:?}",
        loaded.requests
    );
    let text = unescaped(&loaded.dom);
    for sentence in answers(world, &database)? {
        ensure!(text.contains(&sentence), "the page does not say `{sentence}`");
        shell::say(&format!("the page says: {sentence}"));
    }
    check_that_requests_are_seen(&chromium, &page)?;
    pictures(&chromium, &page)
}

fn check_text(page: &Path) -> anyhow::Result<()> {
    let size = fs::metadata(page)?.len();
    ensure!(size <= LARGEST_PAGE, "the page has {size} bytes");
    let text = fs::read_to_string(page)?;
    for word in ["<script", "javascript:", " src=", "url(", "@import"] {
        ensure!(!text.contains(word), "the page contains `{word}`");
    }
    Ok(())
}

/// Each plot is there twice, and the PNG is one.
fn check_plots(folder: &Path) -> anyhow::Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let svg = entry?.path();
        if svg.extension().is_none_or(|extension| extension != "svg") {
            continue;
        }
        let png = fs::read(svg.with_extension("png"))
            .with_context(|| format!("{} has no PNG beside it", svg.display()))?;
        ensure!(
            png.starts_with(b"\x89PNG") && png.len() > 5_000,
            "{} is no picture",
            svg.display()
        );
        count += 1;
    }
    ensure!(count > 0, "there are no plots");
    Ok(())
}

/// The answers of the runs, as the page begins them: with a capital.
fn answers(world: &World, database: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = world.gipfel(&["results", "summary", "--json"]);
    let summary: Value = serde_json::from_str(&shell::read(command.arg(database))?)?;
    let runs = summary["runs"].as_array().context("the summary has no runs")?;
    runs.iter()
        .map(|run| {
            let sentence = run["answer"]["sentence"]
                .as_str()
                .context("a run has no answer")?;
            let mut characters = sentence.chars();
            let first = characters.next().map(|first| first.to_uppercase().to_string());
            Ok(first.unwrap_or_default() + characters.as_str())
        })
        .collect()
}

fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// A page that does ask for something is caught, or the check would prove nothing.
fn check_that_requests_are_seen(chromium: &Chromium, page: &Path) -> anyhow::Result<()> {
    let spoilt = page.with_extension("spoilt.html");
    let text = fs::read_to_string(page)?;
    let open = text.replace("Content-Security-Policy", "x-nothing");
    fs::write(
        &spoilt,
        open.replace("<main>", &format!("<main><img src=\"{SPOILT}\">")),
    )?;
    let found = chromium.load(&spoilt)?.requests;
    ensure!(
        found == [SPOILT],
        "a page that asks for {SPOILT} was not caught: {found:?}"
    );
    Ok(())
}

/// Pictures for people, in every form in which the page is read.
fn pictures(chromium: &Chromium, page: &Path) -> anyhow::Result<()> {
    for width in [1280, 800] {
        for dark in [false, true] {
            let theme = if dark { "dark" } else { "light" };
            let to = page.with_extension(format!("{width}-{theme}.png"));
            chromium.picture(page, (width, 2400), dark, &to)?;
            shell::say(&format!("picture: {}", to.display()));
        }
    }
    let to = page.with_extension("pdf");
    chromium.print(page, &to)?;
    shell::say(&format!("print: {}", to.display()));
    Ok(())
}
