//! Writes a small file into a directory of a system, looks at it in several ways, and removes it.
//!
//! `cargo run -p firecrest-client --example files -- clariden /capstor/scratch/cscs/me/example`
//!
//! The base URL and the credentials come from the environment, as for the example `status`.

#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

use std::num::NonZeroU64;

use anyhow::Context as _;
use firecrest_client::{Client, FileMode, ListOptions, Portion, RemotePath, SystemName};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let system: SystemName = arguments.next().context("name a system")?.parse()?;
    let directory: RemotePath = arguments.next().context("name a directory on it")?.parse()?;
    let files = Client::from_environment()?.files(&system);

    files.make_directory(&directory).await?;
    let script = directory.join("hello.sh")?;
    files
        .upload(&script, "#!/bin/sh\necho hello\necho world\n")
        .await?;
    files
        .change_mode(&script, FileMode::try_new(0o755).context("a mode")?)
        .await?;
    for entry in files.list(&directory, ListOptions::default()).await? {
        println!(
            "{} {} {} bytes",
            entry.permissions.as_deref().unwrap_or("?"),
            entry.name,
            entry.size
        );
    }
    println!(
        "{} bytes, {}",
        files.stat(&script).await?.size,
        files.kind(&script).await?
    );
    let two = Portion::Lines(NonZeroU64::new(2).context("not zero")?);
    println!("begins with {:?}", files.head(&script, two).await?.content);
    println!("ends with {:?}", files.tail(&script, two).await?.content);
    println!("from byte 10 on: {:?}", files.view_range(&script, 10, 100).await?);
    println!("SHA-256 {}", files.checksum(&script).await?);
    println!("{} bytes came back", files.download(&script).await?.len());
    files.remove(&script).await?;
    Ok(())
}
