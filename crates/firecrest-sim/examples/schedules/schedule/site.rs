//! A simulator of its own for each schedule, and a client whose patience is counted in milliseconds.

use std::{path::PathBuf, time::Duration};

use firecrest_client::{
    AdoptPolicy, Authentication, Client, ClientCredentials, RemotePath, RetryPolicy, SystemName,
    TransferOptions, WaitOptions,
};
use firecrest_sim::{
    ClusterOptions, FileSystemOptions, Options, Running, Secret, Simulator, SystemOptions, UserOptions,
};
use tempfile::TempDir;

use super::draw::{DIRECT_BYTES, Plan};

/// What no text may show.
pub(crate) const SECRET: &str = "the-secret-of-the-schedules";

/// The time of one attempt; slow answers come later than this, too.
const ATTEMPT: Duration = Duration::from_millis(300);

const RETRIES: RetryPolicy = RetryPolicy {
    attempts: 6,
    total: Duration::from_millis(2500),
    initial: Duration::from_millis(4),
    longest: Duration::from_millis(40),
    jitter: 0.5,
};

/// The grace is longer than anything that was asked takes to appear.
pub(crate) const ADOPTION: AdoptPolicy = AdoptPolicy {
    grace: Duration::from_millis(500),
    looks: 4,
    interval: Duration::from_millis(60),
    total: Duration::from_secs(3),
    submits: 3,
    window: None,
};

/// At the end nothing fails, and so only the machine's own load can keep an adoption from its end.
pub(crate) const SETTLEMENT: AdoptPolicy = AdoptPolicy {
    total: Duration::from_secs(20),
    ..ADOPTION
};

/// What a machine that is busy with many schedules adds to any call.
const BUSY: Duration = Duration::from_secs(5);

/// A call waits for its turn, for a token and for its answer, each by the policy.
pub(crate) const CALL_BOUND: Duration = Duration::from_millis(3 * 2500 + 2 * 300).saturating_add(BUSY);

/// One look at the end goes past the time of an adoption.
pub(crate) const SETTLEMENT_BOUND: Duration = SETTLEMENT.total.saturating_add(CALL_BOUND);

/// An adoption, or a look; then each submission with its adoption.
pub(crate) const SUBMIT_BOUND: Duration = ADOPTION
    .total
    .saturating_add(CALL_BOUND)
    .saturating_mul(1 + 2 * ADOPTION.submits);

/// How long a transfer job is waited for.
const TRANSFER_JOB: Duration = Duration::from_secs(8);

/// The size, the plan, the parts (five, four at once), the completion, the job, its log, its end, the checksum.
pub(crate) const TRANSFER_BOUND: Duration = CALL_BOUND.saturating_mul(8).saturating_add(TRANSFER_JOB);

/// A simulator with its client.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) client: Client,
    /// Its calls have the time that a busy machine takes.
    pub(crate) patient: Client,
    pub(crate) system: SystemName,
    folder: TempDir,
}

fn options(folder: &std::path::Path) -> Options {
    let path = folder.to_string_lossy().into_owned();
    let mut options = Options {
        users: vec![UserOptions {
            client_secret: Secret::new(SECRET),
            ..UserOptions::demo()
        }],
        clusters: vec![ClusterOptions {
            nodes: (1..=16).map(|number| format!("nid{number:06}")).collect(),
            start_delay: Duration::ZERO,
            kill_wait: Duration::from_millis(200),
            ..ClusterOptions::named("alps")
        }],
        systems: vec![SystemOptions {
            // Jobs are processes of this machine: they see the same path as callers.
            file_systems: vec![FileSystemOptions {
                path,
                root: None,
                data_type: "scratch".to_owned(),
                default_work_dir: true,
                shared: false,
            }],
            command_timeout: Some(Duration::from_millis(150)),
            ..SystemOptions::default()
        }],
        ..Options::default()
    };
    // The encoded text of a download counts against the limit, with its line ends.
    options.limits.ops_bytes = DIRECT_BYTES as u64;
    options.limits.part_bytes = DIRECT_BYTES as u64;
    options.limits.transfer_poll = Duration::from_millis(20);
    options
}

impl Site {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("schedule").tempdir()?;
        let running = Simulator::start(options(folder.path())).await?;
        let credentials = ClientCredentials {
            token_url: running.token_url.parse()?,
            id: UserOptions::demo().client_id,
            secret: SECRET.into(),
            scopes: Vec::new(),
        };
        let builder = Client::builder(&running.base_url)
            .authentication(Authentication::ClientCredentials(credentials))
            .retry_policy(RETRIES);
        Ok(Self {
            running,
            client: builder.clone().timeout(ATTEMPT).build()?,
            patient: builder.timeout(BUSY).build()?,
            system: "alps".parse()?,
            folder,
        })
    }

    pub(crate) fn break_by(&self, plan: &Plan) {
        self.running.fail_at_random(plan.random.clone());
        for rule in &plan.rules {
            self.running.fail(rule.clone());
        }
    }

    /// A path of the user on the cluster.
    pub(crate) fn path(&self, name: &str) -> anyhow::Result<RemotePath> {
        let path = format!("{}/demo/{name}", self.folder.path().display());
        Ok(path.parse()?)
    }

    /// A path of this machine.
    pub(crate) fn local(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) fn transfer_options() -> TransferOptions {
    TransferOptions {
        account: Some("a-demo".to_owned()),
        part_size: const { std::num::NonZeroUsize::new(DIRECT_BYTES).unwrap() },
        wait: WaitOptions {
            total: TRANSFER_JOB,
            initial: Duration::from_millis(10),
            longest: Duration::from_millis(80),
            unknown_for: Duration::from_secs(2),
        },
        ..TransferOptions::default()
    }
}
