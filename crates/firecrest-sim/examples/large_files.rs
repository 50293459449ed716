//! Large files between the client and the simulator, with connections that are cut.
//!
//! `cargo run --release -p firecrest-sim --example large_files`
//!
//! A file of 200 MB goes up and comes down by parts, each way with two cuts; one of 12 MB comes in pieces that are
//! small enough for direct downloads. The program fails if a checksum differs or a cut did not happen.

#![expect(clippy::print_stdout, reason = "a program prints what it finds")]

use std::{
    fs,
    io::{BufWriter, Write as _},
    num::NonZeroUsize,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use firecrest_client::{
    Authentication, Client, ClientCredentials, JobSpec, RemotePath, RemotePiece, RetryPolicy, Script, Sha256,
    SystemName, TransferOptions, Transferred, Verify, WaitOptions, Way,
};
use firecrest_sim::{
    Failure, FileSystemOptions, Options, Rule, Running, Service, Simulator, SystemOptions, Target,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const LARGE_BYTES: usize = 200_000_000;
const DATABASE_BYTES: usize = 12_000_000;
const PART_BYTES: usize = 32 << 20;
const CUTS: u64 = 2;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("large-files-").tempdir()?;
    let running = Simulator::start(options(folder.path())).await?;
    let (client, system) = (client(&running)?, "alps".parse()?);
    by_parts(&running, &client, &system, folder.path()).await?;
    by_pieces(&client, &system, folder.path()).await?;
    running.stop().await;
    Ok(())
}

fn options(folder: &Path) -> Options {
    let mut options = Options::demo(folder);
    options.systems = vec![SystemOptions {
        // Jobs are processes of this machine: they see the same path as callers.
        file_systems: vec![FileSystemOptions {
            path: folder.to_string_lossy().into_owned(),
            root: None,
            data_type: "scratch".to_owned(),
            default_work_dir: true,
            shared: false,
        }],
        // The checksum of the large file takes a while on a busy machine.
        command_timeout: Some(Duration::from_mins(1)),
        ..SystemOptions::default()
    }];
    options.limits.part_bytes = PART_BYTES as u64;
    options.limits.transfer_poll = Duration::from_millis(100);
    options
}

fn client(running: &Running) -> anyhow::Result<Client> {
    let credentials = ClientCredentials {
        token_url: running.token_url.parse()?,
        id: "demo".to_owned(),
        secret: "demo-secret".into(),
        scopes: Vec::new(),
    };
    Ok(Client::builder(&running.base_url)
        .authentication(Authentication::ClientCredentials(credentials))
        .retry_policy(RetryPolicy {
            initial: Duration::from_millis(100),
            ..RetryPolicy::default()
        })
        .timeout(Duration::from_mins(2))
        .build()?)
}

fn transfer_options() -> TransferOptions {
    TransferOptions {
        account: Some("a-demo".to_owned()),
        part_size: NonZeroUsize::new(PART_BYTES).unwrap_or(NonZeroUsize::MIN),
        verify: Verify::Checksum,
        wait: WaitOptions {
            initial: Duration::from_millis(50),
            longest: Duration::from_millis(400),
            ..WaitOptions::default()
        },
        ..TransferOptions::default()
    }
}

/// A file that no compression and no shifted part would leave unnoticed.
fn write(path: &Path, bytes: usize) -> anyhow::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(bytes as u64);
    let mut file = BufWriter::new(fs::File::create(path)?);
    let (mut block, mut left) = (vec![0; 1 << 20], bytes);
    while left > 0 {
        let size = left.min(block.len());
        random.fill_bytes(&mut block);
        file.write_all(&block[..size])?;
        left -= size;
    }
    Ok(file.flush()?)
}

/// Lets the second and third exchange of this method with the storage be cut.
fn cut(running: &Running, method: &str, failure: Failure) {
    running.clear_failures();
    running.clear_journal();
    running.fail(Rule {
        failure,
        target: Target {
            service: Service::Storage,
            method: Some(method.to_owned()),
            path: None,
        },
        skip: 1,
        count: Some(CUTS),
    });
}

fn check_cuts(running: &Running) -> anyhow::Result<()> {
    let cuts = running
        .calls()
        .iter()
        .filter(|call| call.failure.is_some())
        .count();
    ensure!(
        cuts as u64 == CUTS,
        "{cuts} exchanges were cut in place of {CUTS}"
    );
    Ok(())
}

fn report(what: &str, done: &Transferred, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let rate = done.bytes as f64 / 1e6 / seconds;
    println!(
        "{what}: {} bytes in {seconds:.2} s, {rate:.1} MB/s, sha256 {}",
        done.bytes, done.sha256
    );
}

async fn by_parts(
    running: &Running,
    client: &Client,
    system: &SystemName,
    folder: &Path,
) -> anyhow::Result<()> {
    let (source, back) = (folder.join("source"), folder.join("back"));
    write(&source, LARGE_BYTES)?;
    let target = remote(folder, "large")?;
    let transfers = client.transfers(system);

    cut(running, "PUT", Failure::CutBefore);
    let begun = Instant::now();
    let up = transfers.upload(&source, &target, &transfer_options()).await?;
    report("up by parts, two cuts", &up, begun);
    check_cuts(running)?;
    ensure!(matches!(up.way, Way::Staged(_)), "the file went up in one call");

    cut(running, "GET", Failure::CutBody);
    let begun = Instant::now();
    let down = transfers.download(&target, &back, &transfer_options()).await?;
    report("down by parts, two cuts", &down, begun);
    check_cuts(running)?;
    running.clear_failures();
    ensure!(up.sha256 == down.sha256, "what came back has another checksum");
    ensure!(
        fs::read(&source)? == fs::read(&back)?,
        "what came back has other bytes"
    );
    Ok(())
}

fn remote(folder: &Path, name: &str) -> anyhow::Result<RemotePath> {
    Ok(format!("{}/demo/{name}", folder.display()).parse()?)
}

/// A job cuts the database into pieces, as the last lines of a load generator's job would.
async fn by_pieces(client: &Client, system: &SystemName, folder: &Path) -> anyhow::Result<()> {
    let database = remote(folder, "run.db")?;
    write(Path::new(database.as_str()), DATABASE_BYTES)?;
    let limit = client
        .status()
        .system(system)
        .await?
        .context("the system is listed")?
        .direct_download_limit()
        .context("the system tells its limit")?;
    let script = format!(
        "#!/bin/sh\n#SBATCH --time=00:05:00\nset -e\nsplit -b {limit} run.db piece.\nsha256sum run.db piece.* > sums\n"
    );
    let directory = remote(folder, "")?;
    let jobs = client.jobs(system);
    let mut spec = JobSpec::new(directory, Script::Inline(script));
    spec.name = Some("split".parse()?);
    let begun = Instant::now();
    let job = jobs.submit(&spec).await?;
    jobs.wait(&job, &transfer_options().wait).await?;
    let sums = client.files(system).view(&remote(folder, "sums")?).await?;
    let (mut whole, mut pieces) = (None, Vec::new());
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").context("a line of sha256sum")?;
        let sha256: Sha256 = sum.parse()?;
        if name == "run.db" {
            whole = Some(sha256);
        } else {
            pieces.push(RemotePiece {
                path: remote(folder, name)?,
                sha256: Some(sha256),
            });
        }
    }
    let whole = whole.context("a checksum of the database")?;
    let destination = folder.join("run.db");
    let done = client
        .transfers(system)
        .download_pieces(&pieces, whole, &destination, &transfer_options())
        .await?;
    report(
        &format!("down in {} direct pieces of at most {limit} bytes", pieces.len()),
        &done,
        begun,
    );
    ensure!(
        fs::read(database.as_str())? == fs::read(&destination)?,
        "the pieces make another file"
    );
    Ok(())
}
