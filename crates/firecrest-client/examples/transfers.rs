//! Sends a file of any size to a system, and fetches it again.
//!
//! `cargo run -p firecrest-client --example transfers -- clariden FILE /capstor/scratch/cscs/me/file [ACCOUNT]`
//!
//! The base URL and the credentials come from the environment, as for the example `status`.

#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

use std::path::PathBuf;

use anyhow::Context as _;
use firecrest_client::{Client, RemotePath, SystemName, TransferOptions};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let system: SystemName = arguments.next().context("name a system")?.parse()?;
    let source: PathBuf = arguments.next().context("name a local file")?.into();
    let target: RemotePath = arguments.next().context("name a file on the system")?.parse()?;
    let options = TransferOptions {
        account: arguments.next(),
        ..TransferOptions::default()
    };
    let transfers = Client::from_environment()?.transfers(&system);

    let sent = transfers.upload(&source, &target, &options).await?;
    println!("{} bytes sent, {}, {:?}", sent.bytes, sent.sha256, sent.way);
    let back = source.with_extension("back");
    let fetched = transfers.download(&target, &back, &options).await?;
    println!(
        "{} bytes fetched into {}, {}, {:?}",
        fetched.bytes,
        back.display(),
        fetched.sha256,
        fetched.way
    );
    Ok(())
}
