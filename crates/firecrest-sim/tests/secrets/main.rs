//! No secret is in any text of a broad conversation between the client and the simulator: results, errors, debug
//! texts, panics, and the log of the whole process down to its finest level.
//!
//! It is a program of its own, since the log is that of a whole process.

use std::{
    error::Error,
    fmt::Debug,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use firecrest_client::{
    AdoptPolicy, Authentication, Client, ClientBuilder, ClientCredentials, Earlier, FileMode, JobFilter,
    JobId, JobSpec, ListOptions, Mark, Portion, RemotePath, RetryPolicy, Script, SystemName, TransferOptions,
    WaitOptions,
};
use firecrest_sim::{
    Failure, FileSystemOptions, Options, Rule, Running, Secret, Service, Simulator, SystemOptions, Target,
    UserOptions,
};
use tempfile::TempDir;

const CLIENT_SECRET: &str = "swordfish-of-the-client";
const API_KEY: &str = "swordfish-of-the-service";
const LIMIT: u64 = 24_000;

/// What every access token of the simulator begins with: the header of a signed JSON web token.
const TOKEN: &str = "eyJ";

/// What stands before the signature of a presigned URL, as it is and encoded once more.
const SIGNATURES: [&str; 2] = ["Signature=", "Signature%3D"];

/// Where the log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that was said.
#[derive(Default)]
struct Texts {
    texts: Vec<String>,
    errors: usize,
}

impl Texts {
    fn debug(&mut self, value: &impl Debug) {
        self.texts.push(format!("{value:?}"));
        self.texts.push(format!("{value:#?}"));
        let panic = catch_unwind(AssertUnwindSafe(|| panic!("it fails with {value:?}")));
        let panic = panic.expect_err("a panic");
        self.texts
            .push(panic.downcast_ref::<String>().expect("a text").clone());
    }

    fn add<T: Debug, E: Error>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.debug(&value);
                Some(value)
            }
            Err(error) => {
                self.errors += 1;
                self.debug(&error);
                let mut next: Option<&dyn Error> = Some(&error);
                while let Some(error) = next {
                    self.texts.push(format!("{error} {error:#}"));
                    next = error.source();
                }
                None
            }
        }
    }
}

struct Site {
    running: Running,
    folder: TempDir,
    system: SystemName,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("secrets")
            .tempdir()
            .expect("a folder");
        let mut options = Options::demo(folder.path());
        options.users = vec![UserOptions {
            client_secret: Secret::new(CLIENT_SECRET),
            api_key: Some(Secret::new(API_KEY)),
            ..UserOptions::demo()
        }];
        options.systems = vec![SystemOptions {
            file_systems: vec![FileSystemOptions {
                path: folder.path().to_string_lossy().into_owned(),
                root: None,
                data_type: "scratch".to_owned(),
                default_work_dir: true,
                shared: false,
            }],
            command_timeout: Some(Duration::from_millis(500)),
            ..SystemOptions::default()
        }];
        options.limits.ops_bytes = LIMIT;
        options.limits.part_bytes = LIMIT;
        options.limits.transfer_poll = Duration::from_millis(20);
        let running = Simulator::start(options).await.expect("a simulator");
        Self {
            running,
            folder,
            system: "alps".parse().expect("a name"),
        }
    }

    fn path(&self, name: &str) -> RemotePath {
        let path = format!("{}/demo/{name}", self.folder.path().display());
        path.parse().expect("a path")
    }

    fn with_secret(&self, secret: &str) -> ClientBuilder {
        let credentials = ClientCredentials {
            token_url: self.running.token_url.parse().expect("a URL"),
            id: UserOptions::demo().client_id,
            secret: secret.into(),
            scopes: vec!["openid".to_owned()],
        };
        self.with(Authentication::ClientCredentials(credentials))
    }

    fn with(&self, authentication: Authentication) -> ClientBuilder {
        Client::builder(&self.running.base_url)
            .authentication(authentication)
            .retry_policy(RetryPolicy {
                attempts: 2,
                initial: Duration::from_millis(2),
                ..RetryPolicy::default()
            })
            .timeout(Duration::from_millis(700))
    }

    /// All calls of this server fail in this way.
    fn fail(&self, service: Service, failure: Failure) {
        self.running.clear_failures();
        self.running.fail(Rule {
            failure,
            target: Target {
                service,
                ..Target::default()
            },
            skip: 0,
            count: None,
        });
    }

    /// Every group of calls once.
    async fn converse(&self, client: &Client, texts: &mut Texts, round: usize) {
        let (status, files) = (client.status(), client.files(&self.system));
        texts.debug(client);
        texts.add(client.credential().await);
        texts.add(status.liveness().await);
        texts.add(status.systems().await);
        texts.add(status.user_info(&self.system).await);
        texts.add(status.partitions(&self.system, true).await);
        texts.add(status.nodes(&self.system).await);
        texts.add(status.reservations(&self.system).await);
        let (directory, small) = (self.path("a"), self.path(&format!("small-{round}")));
        texts.add(files.make_directory(&directory).await);
        texts.add(files.upload(&small, "text\n").await);
        texts.add(files.list(&directory, ListOptions::default()).await);
        texts.add(files.stat(&small).await);
        texts.add(files.head(&small, Portion::Usual).await);
        texts.add(files.tail(&small, Portion::Usual).await);
        texts.add(files.view(&small).await);
        texts.add(files.checksum(&small).await);
        texts.add(files.download(&small).await);
        let mode = FileMode::try_new(0o755).expect("a mode");
        texts.add(files.change_mode(&small, mode).await);
        texts.add(files.remove(&self.path("missing")).await);
        self.submit(client, texts, round).await;
        self.transfer(client, texts, round).await;
    }

    async fn submit(&self, client: &Client, texts: &mut Texts, round: usize) {
        let jobs = client.jobs(&self.system);
        let mark = Mark::new(self.path(&format!("mark-{round}")));
        let script = format!("#!/bin/sh\n{}sleep 10\n", mark.script_lines());
        let mut spec = JobSpec::new(self.path(""), Script::Inline(script));
        spec.name = Some(format!("job-{round}").parse().expect("a name"));
        let policy = AdoptPolicy {
            grace: Duration::from_millis(20),
            interval: Duration::from_millis(10),
            total: Duration::from_millis(100),
            ..AdoptPolicy::default()
        };
        let submitted = jobs.submit_or_adopt(&spec, &mark, Earlier::Never, &policy).await;
        let id = texts.add(submitted).map_or_else(
            || "1".parse::<JobId>().expect("an id"),
            |submitted| submitted.id().clone(),
        );
        texts.add(
            jobs.submit(&JobSpec::new(
                self.path(""),
                Script::Inline("#!/bin/sh\n#SBATCH --nope\n".to_owned()),
            ))
            .await,
        );
        texts.add(jobs.get(&id).await);
        texts.add(jobs.metadata(&id).await);
        texts.add(jobs.list(&JobFilter::default()).await);
        texts.add(jobs.cancel(&id).await);
    }

    async fn transfer(&self, client: &Client, texts: &mut Texts, round: usize) {
        let transfers = client.transfers(&self.system);
        let options = TransferOptions {
            account: Some("a-demo".to_owned()),
            wait: WaitOptions {
                total: Duration::from_secs(2),
                initial: Duration::from_millis(10),
                longest: Duration::from_millis(50),
                unknown_for: Duration::from_millis(200),
            },
            ..TransferOptions::default()
        };
        let source = self.folder.path().join("source");
        std::fs::write(&source, vec![7; 3 * LIMIT as usize]).expect("written");
        let target = self.path(&format!("large-{round}"));
        texts.add(transfers.upload(&source, &target, &options).await);
        let there = self.path("there");
        std::fs::copy(&source, there.as_str()).expect("written");
        let back = self.folder.path().join("back");
        texts.add(transfers.download(&there, &back, &options).await);
    }
}

/// Whether a signature that is not masked follows one of its names.
fn shows_signature(text: &str) -> bool {
    SIGNATURES.iter().any(|name| {
        text.match_indices(name)
            .any(|(at, _)| text[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()))
    })
}

fn is_secret_free(text: &str) -> bool {
    ![CLIENT_SECRET, API_KEY, TOKEN]
        .iter()
        .any(|secret| text.contains(secret))
        && !shows_signature(text)
}

#[test]
fn secrets_would_be_seen() {
    let check = |text: &str, expected| assert_eq!(is_secret_free(text), expected, "{text}");
    check("nothing", true);
    check("Bearer eyJhbGciOi", false);
    check("swordfish-of-the-client", false);
    check("X-Amz-Signature=0a1b", false);
    check("X-Amz-Signature=****", true);
    check("AWSAccessKeyId=a&Signature%3D0a1b", false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_text() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    std::panic::set_hook(Box::new(|_| {}));
    let site = Site::start().await;
    let mut texts = Texts::default();
    texts.debug(&site.running);
    let key = site.with(Authentication::ApiKey(API_KEY.into()));
    let builders = [site.with_secret(CLIENT_SECRET), key];
    let wrong = site
        .with_secret("swordfish-of-the-client-but-wrong")
        .build()
        .expect("a client");
    texts.add(wrong.status().systems().await);
    let failures = [
        None,
        Some((Service::Api, Failure::ExpiredToken)),
        Some((Service::Api, Failure::ServerErrorAfter)),
        Some((Service::Api, Failure::CutBody)),
        Some((Service::Api, Failure::BadGateway)),
        Some((Service::Storage, Failure::CutAfter)),
        Some((Service::Storage, Failure::ExpiredToken)),
        Some((Service::Token, Failure::CutBody)),
        Some((Service::Token, Failure::ServerError)),
    ];
    let mut round = 0;
    for builder in builders {
        texts.debug(&builder);
        for failure in &failures {
            round += 1;
            site.running.clear_failures();
            if let Some((service, failure)) = failure.clone() {
                site.fail(service, failure);
            }
            let client = builder.clone().build().expect("a client");
            site.converse(&client, &mut texts, round).await;
        }
    }
    let transfers = site.running.transfers().len();
    assert!(transfers > 4, "only {transfers} transfers were begun");
    assert!(texts.errors > 100, "only {} calls failed", texts.errors);
    site.running.stop().await;
    let _ = std::panic::take_hook();

    let logged = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(
        logged.contains("/transfer/upload"),
        "the log is that of the calls"
    );
    texts.texts.extend(logged.lines().map(str::to_owned));
    for text in &texts.texts {
        assert!(is_secret_free(text), "a secret is in: {text}");
    }
}
