//! The program `firecrest-sim`.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    firecrest_sim::cli::run(firecrest_sim::cli::Arguments::parse()).await
}
