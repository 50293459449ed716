//! Submits a job once, whatever the server answers, waits for its end, and prints its output.
//!
//! `cargo run -p firecrest-client --example jobs -- clariden /capstor/scratch/cscs/me/example-1 [ACCOUNT]`
//!
//! The directory must be new: its mark is how the job is found again. The base URL and the credentials come from
//! the environment, as for the example `status`.

#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

use anyhow::Context as _;
use firecrest_client::{
    AdoptPolicy, Client, Earlier, JobName, JobSpec, Mark, RemotePath, Script, SystemName, WaitOptions,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let system: SystemName = arguments.next().context("name a system")?.parse()?;
    let directory: RemotePath = arguments.next().context("name a directory on it")?.parse()?;
    let client = Client::from_environment()?;
    client.files(&system).make_directory(&directory).await?;

    let mark = Mark::new(directory.join("jobid")?);
    let script = format!(
        "#!/bin/bash -l\n#SBATCH --nodes=1 --time=00:05:00 --no-requeue\n{}hostname\n",
        mark.script_lines()
    );
    let name = directory.as_str().rsplit('/').next().unwrap_or("example");
    let job = JobSpec {
        name: Some(JobName::try_new(name)?),
        account: arguments.next(),
        standard_output: Some("out-%j.txt".to_owned()),
        ..JobSpec::new(directory.clone(), Script::Inline(script))
    };
    let jobs = client.jobs(&system);
    // A second run of this program finds the job of the first. That there is none takes a minute to settle.
    let submitted = jobs
        .submit_or_adopt(&job, &mark, Earlier::Possible, &AdoptPolicy::default())
        .await?;
    println!("{submitted:?}");
    for job in jobs.wait(submitted.id(), &WaitOptions::default()).await? {
        println!(
            "job {} ended as {:?} on {:?}",
            job.id,
            job.status.state,
            job.node_names()?
        );
    }
    let output = directory.join(&format!("out-{}.txt", submitted.id()))?;
    println!("{}", client.files(&system).view(&output).await?);
    Ok(())
}
