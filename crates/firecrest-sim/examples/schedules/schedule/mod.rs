//! One schedule: failures and calls drawn from a seed, carried out, and judged by what the simulator holds.

mod draw;
mod judge;
mod play;
mod site;

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr, time::Duration};

use draw::Plan;
use site::Site;

/// A fault put into the caller on purpose, to show that it would be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mutation {
    /// A submission is repeated after an answer of 500 as if it had started nothing.
    BlindSubmit,
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "blind-submit" => Ok(Self::BlindSubmit),
            _ => Err(format!("there is no mutation `{text}`; there is `blind-submit`")),
        }
    }
}

/// What became of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// What must never be; nothing if all is well.
    pub(crate) violations: Vec<String>,
    /// The steps and how each ended.
    pub(crate) notes: Vec<String>,
    /// The failures that happened, by kind.
    pub(crate) failures: BTreeMap<String, usize>,
    pub(crate) good: usize,
    pub(crate) failed: usize,
    /// The steps by what they do.
    pub(crate) steps: BTreeMap<&'static str, usize>,
}

impl Report {
    /// How to see a failed schedule again, and what happened.
    pub(crate) fn story(&self) -> String {
        let mut text = format!("seed {} fails; alone: --only {}\n", self.seed, self.seed);
        for violation in &self.violations {
            let _ = writeln!(text, "  never: {violation}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }
}

/// Effects of calls that were given up, and jobs of a scheduler that hung, come within this time or never.
const LATEST_EFFECT: Duration = Duration::from_millis(500);

/// Carries a schedule out.
pub(crate) async fn run(seed: u64, mutation: Option<Mutation>) -> anyhow::Result<Report> {
    let plan = Plan::draw(seed);
    let site = Site::start().await?;
    site.break_by(&plan);
    let mut played = play::play(&plan, &site, mutation).await?;
    let mut report = Report {
        seed,
        ..Report::default()
    };
    for call in site.running.calls() {
        if let Some(failure) = call.failure {
            *report.failures.entry(failure).or_default() += 1;
        }
    }
    site.running.clear_failures();
    report.violations = judge::judge(&site, &mut played).await;
    report.notes.push(format!("rules: {:?}", plan.rules));
    report.notes.push(format!("by chance: {:?}", plan.random));
    report.notes.append(&mut played.notes);
    (report.good, report.failed, report.steps) = (played.good, played.failed, played.steps);
    if !report.violations.is_empty() {
        report.notes.extend(site.running.calls().iter().map(|call| {
            format!(
                "call at {}: {:?} {} {} answered {:?}, failure {:?}",
                call.at_ms, call.service, call.method, call.path, call.status, call.failure
            )
        }));
        report
            .notes
            .extend(site.running.jobs().iter().map(|job| format!("{job:?}")));
    }
    site.running.stop().await;
    Ok(report)
}
