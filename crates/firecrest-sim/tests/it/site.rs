//! The site of the recordings: its users, clusters, systems and files.

use std::{fs, path::PathBuf, time::Duration};

use firecrest_sim::{
    ClusterOptions, FileSystemOptions, GroupOptions, Options, PartitionOptions, Running, Secret, Simulator,
    SystemOptions, UserOptions,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire::{Outgoing, Reply, eventually};

pub(crate) const WORK: &str = "/capstor/scratch/cscs/tester/qps";

/// A running simulator with the folder in which its file systems lie.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) folder: TempDir,
}

fn user(name: &str, uid: u32, accounts: &[&str]) -> UserOptions {
    UserOptions {
        name: name.to_owned(),
        uid,
        groups: vec![
            GroupOptions {
                name: "lab01".to_owned(),
                id: 25100,
            },
            GroupOptions {
                name: "lab02".to_owned(),
                id: 25101,
            },
        ],
        accounts: accounts.iter().map(|&account| account.to_owned()).collect(),
        client_id: format!("f7t-{name}"),
        client_secret: Secret::new(format!("secret-of-{name}")),
        api_key: Some(Secret::new(format!("key-of-{name}"))),
        ssh_credentials: name != "ghost",
    }
}

/// The configuration of the recorded server, with shorter times.
pub(crate) fn options(folder: &TempDir) -> Options {
    let file_system = |path: &str, data_type: &str| FileSystemOptions {
        path: path.to_owned(),
        root: Some(folder.path().join(path.trim_start_matches('/').replace('/', "-"))),
        data_type: data_type.to_owned(),
        default_work_dir: path == "/capstor/scratch/cscs",
        shared: false,
    };
    let system = |name: &str, health_checks: bool, command_ms: u64| SystemOptions {
        name: name.to_owned(),
        cluster: Some("clariden".to_owned()),
        file_systems: vec![
            file_system("/capstor/scratch/cscs", "scratch"),
            file_system("/iopsstor/scratch/cscs", "scratch"),
            file_system("/capstor/store/cscs", "store"),
            file_system("/users", "users"),
        ],
        health_checks,
        health_interval: Duration::from_hours(1),
        command_timeout: Some(Duration::from_millis(command_ms)),
        login_timeout: Some(Duration::from_millis(200)),
        ..SystemOptions::default()
    };
    let partition = |name: &str, exclusive: bool, hours: u64| PartitionOptions {
        exclusive,
        ..PartitionOptions::named(name, Duration::from_hours(hours))
    };
    let mut options = Options {
        users: vec![
            user("tester", 25001, &["a-lab01", "a-lab02"]),
            user("other", 25002, &["a-lab02"]),
            user("ghost", 25003, &[]),
        ],
        clusters: vec![ClusterOptions {
            nodes: (1..=4).map(|number| format!("nid00100{number}")).collect(),
            partitions: vec![
                partition("normal", true, 24),
                partition("debug", true, 1),
                partition("xfer", false, 24),
            ],
            start_delay: Duration::ZERO,
            ..ClusterOptions::named("clariden")
        }],
        systems: vec![
            system("clariden", true, 2000),
            system("bristen", true, 2000),
            system("deadssh", true, 500),
            system("mutessh", false, 500),
            system("noprobe", false, 500),
            system("daint", false, 500),
        ],
        ..Options::default()
    };
    options.limits.part_bytes = 8_388_608;
    options.limits.transfer_poll = Duration::from_millis(200);
    options.limits.storage_timeout = Duration::from_millis(200);
    options
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options = options(&folder);
        change(&mut options);
        let running = Simulator::start(options).await.expect("a running simulator");
        let site = Self { running, folder };
        fs::create_dir_all(site.real(WORK)).expect("the folder of the recordings");
        site
    }

    /// Keeps submitted jobs pending, or lets them start.
    pub(crate) fn pause(&self, paused: bool) {
        self.running.pause("clariden", paused).expect("a known cluster");
    }

    /// Where a path of the site lies.
    pub(crate) fn real(&self, path: &str) -> PathBuf {
        let file_systems = [
            "/capstor/scratch/cscs",
            "/iopsstor/scratch/cscs",
            "/capstor/store/cscs",
            "/users",
        ];
        let found = file_systems.iter().find_map(|file_system| {
            let inner = path.strip_prefix(file_system)?;
            let root = file_system.trim_start_matches('/').replace('/', "-");
            Some(self.folder.path().join(root).join(inner.trim_start_matches('/')))
        });
        found.expect("a path of the site")
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let real = self.real(path);
        fs::create_dir_all(real.parent().expect("a folder")).expect("the folder is made");
        fs::write(real, content).expect("the file is written");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base_url)
    }

    pub(crate) fn bearer(&self, user: &str) -> String {
        format!("Bearer {}", self.running.token(Some(user), 300).expose())
    }

    /// Sends a call as `tester`.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let outgoing = self.request(method, path, body);
        outgoing.send().await.expect("an answer")
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Outgoing {
        let outgoing = Outgoing::new(method, self.url(path)).header("authorization", self.bearer("tester"));
        match body {
            Some(body) => outgoing.json(body),
            None => outgoing,
        }
    }

    /// Submits a script as `tester`; gives the job's number.
    pub(crate) async fn submit(&self, name: &str, script: &str) -> String {
        let job = json!({"workingDirectory": WORK, "name": name, "script": script});
        let reply = self
            .call("POST", "/compute/clariden/jobs", Some(&json!({ "job": job })))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.json());
        reply.json()["jobId"]
            .as_str()
            .expect("the job's number")
            .to_owned()
    }

    /// Waits until a job is in a state that begins with `state`.
    pub(crate) async fn until_state(&self, id: &str, state: &str) {
        eventually(|| async {
            let jobs = self.running.jobs();
            let found = jobs
                .iter()
                .find(|job| job.id == id)
                .map(|job| job.state.clone())
                .unwrap_or_default();
            if found.starts_with(state) {
                Ok(())
            } else {
                Err(format!("job {id} is {found}"))
            }
        })
        .await;
    }

    pub(crate) async fn until_ended(&self, id: &str) {
        eventually(|| async {
            let jobs = self.running.jobs();
            let found = jobs
                .iter()
                .find(|job| job.id == id)
                .map(|job| job.state.clone())
                .unwrap_or_default();
            let is_open = ["", "PENDING", "RUNNING"].contains(&found.as_str());
            if is_open {
                Err(format!("job {id} is {found}"))
            } else {
                Ok(())
            }
        })
        .await;
    }
}
