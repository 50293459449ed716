//! `cargo xtask ci`.

use crate::{chart, generate, shell};

/// Everything that CI checks beside the tests, in CI's order.
pub(crate) fn run() -> anyhow::Result<()> {
    shell::run(&mut shell::cargo(&["fmt", "--all", "--", "--check"]))?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "--deny",
        "warnings",
    ];
    shell::run(&mut shell::cargo(&lints))?;
    let documentation = [
        "doc",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--document-private-items",
    ];
    shell::run(shell::cargo(&documentation).env("RUSTDOCFLAGS", "--deny warnings"))?;
    chart::check()?;
    generate::run(true)
}
