//! The futures of the calls can be sent to other threads: programs spawn them.

use std::path::Path;

use firecrest_client::{
    AdoptPolicy, Client, Earlier, JobFilter, JobName, JobSpec, ListOptions, Mark, RemotePath, Sha256,
    SystemName, TransferOptions, WaitOptions,
};

fn assert_send<T: Send>(_: T) {}

/// Compiled, and not run.
#[expect(dead_code, reason = "that it compiles is the test")]
fn futures_are_send(
    client: &Client,
    system: &SystemName,
    path: &RemotePath,
    (spec, mark, name): (&JobSpec, &Mark, &JobName),
    (local, options): (&Path, &TransferOptions),
) {
    let (status, files, jobs) = (client.status(), client.files(system), client.jobs(system));
    let transfers = client.transfers(system);
    let id = name.as_str().parse().expect("an id");
    assert_send(status.systems());
    assert_send(files.list(path, ListOptions::default()));
    assert_send(files.upload(path, "content"));
    assert_send(jobs.submit_or_adopt(spec, mark, Earlier::Never, &AdoptPolicy::default()));
    assert_send(jobs.list(&JobFilter::default()));
    assert_send(jobs.wait(&id, &WaitOptions::default()));
    assert_send(transfers.upload(local, path, options));
    assert_send(transfers.download(path, local, options));
    assert_send(transfers.download_pieces(&[], Sha256::of(b""), local, options));
}
