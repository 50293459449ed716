//! The calls below `status/`.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, Outcome},
    call::Call,
    health::Needed,
    jobs::directives::Refusal,
    remote::{SchedulerState, Surface, Trouble},
    state::{Context, State, System},
};

pub(crate) fn slurm_text(refusal: &Refusal) -> String {
    format!(
        "Unexpected Slurm command response. exit_status:{} std_err:{}",
        refusal.exit_status, refusal.standard_error
    )
}

pub(crate) fn liveness(state: &State) -> Answer {
    let runs: Map<String, Value> = state
        .systems
        .values()
        .map(|system| (system.options.name.clone(), json!(system.health.looked_at())))
        .collect();
    Answer::json(StatusCode::OK, &json!({"healthcheckRuns": runs, "lastUpdate": 0}))
}

pub(crate) fn systems(state: &State) -> Answer {
    let systems: Vec<Value> = state
        .systems
        .values()
        .map(|system| describe(state, system))
        .collect();
    Answer::json(StatusCode::OK, &json!({ "systems": systems }))
}

fn describe(state: &State, system: &System) -> Value {
    let options = &system.options;
    let limits = &state.options.limits;
    let command_s = options
        .command_timeout
        .unwrap_or(limits.command_timeout)
        .as_secs();
    let login_s = options.login_timeout.unwrap_or(limits.login_timeout).as_secs();
    let probe = json!({ "timeout": 5 });
    let probes = json!({"ssh": probe, "filesystem": probe, "scheduler": probe, "s3": probe});
    let file_systems = options.file_systems.iter().map(|file_system| {
        json!({
            "path": file_system.path,
            "dataType": file_system.data_type,
            "defaultWorkDir": file_system.default_work_dir,
        })
    });
    json!({
        "name": options.name,
        "ssh": {
            "host": "127.0.0.1", "port": 22, "proxyHost": null, "proxyPort": null, "maxClients": 100,
            "timeout": {
                "connection": 5, "login": login_s, "commandExecution": command_s,
                "idleTimeout": 60, "keepAlive": 5,
            },
        },
        "scheduler": {
            "type": "slurm", "connectionMode": "ssh", "version": "24.11.5", "apiUrl": null,
            "apiVersion": null, "timeout": 10,
        },
        "servicesHealth": system.health.to_json(options, &state.storage.url),
        "probing": {
            "services": options.health_checks.then_some(probes),
            "intervalCheck": options.health_interval.as_secs(),
        },
        "lastHealthCheck": system.health.looked_at(),
        "fileSystems": file_systems.collect::<Vec<_>>(),
        "dataOperation": {
            "datatransfer_jobs_directives": options.transfer_directives,
            "max_ops_file_size": limits.ops_bytes,
            "data_transfer": {
                "serviceType": "s3", "name": "s3-storage", "privateUrl": "**********",
                "publicUrl": state.storage.url, "accessKeyId": "**********",
                "secretAccessKey": "**********", "region": "us-east-1", "ttl": 604_800, "tenant": null,
                "multipart": {
                    "use_split": false, "max_part_size": limits.part_bytes, "parallel_runs": 3,
                    "tmp_folder": "tmp",
                },
                "bucketLifecycleConfiguration": { "days": 10 },
            },
        },
    })
}

impl Context {
    pub(crate) async fn user_info(&self) -> Outcome {
        self.system.health.require(&self.system.options, Needed::Ssh)?;
        let surface = Surface::UserInfo;
        self.remote(surface, 2, async {}).await?;
        if self.services().accounting_down {
            let text = "sacctmgr: error: _open_persist_conn: failed to open persistent connection to \
                        host:127.0.0.1:6819: Connection refused\nsacctmgr: error: Sending PersistInit msg: \
                        Connection refused\n";
            return Err(Trouble::Slurm(slurm_text(&Refusal::new(1, text))).seen_by(surface));
        }
        Ok(Answer::json(StatusCode::OK, &self.identity()))
    }

    /// The user, the groups and the accounts; version 2.6 marks the default group in place of naming it apart.
    fn identity(&self) -> Value {
        let identity = |id: u32, name: &str| json!({"id": id.to_string(), "name": name});
        let (group, gid) = self.user.group();
        let accounts = self.user.accounts.iter().enumerate();
        let accounts = accounts.map(|(index, name)| json!({"name": name, "default": index == 0}));
        let mut groups: Vec<Value> = self
            .user
            .groups
            .iter()
            .map(|group| identity(group.id, &group.name))
            .collect();
        let marks_default = self.state.options.version.starts_with("2.6");
        if marks_default {
            for (index, group) in groups.iter_mut().enumerate() {
                group["default"] = json!(index == 0);
            }
        }
        let mut body = json!({
            "user": identity(self.user.uid, &self.user.name),
            "groups": groups,
            "accounts": accounts.collect::<Vec<_>>(),
        });
        if !marks_default {
            body["group"] = identity(gid, group);
        }
        body
    }

    /// Nodes, partitions or reservations; the real server does not ask the health check first.
    pub(crate) async fn cluster_status(&self, what: &str, call: &Call) -> Outcome {
        let hidden = call.flag("show_hidden");
        let listed = self.remote(Surface::Status, 1, async {
            if self.services().scheduler != SchedulerState::Up {
                std::future::pending::<()>().await;
            }
            match what {
                "nodes" => self.system.cluster.nodes().await,
                "partitions" => self.system.cluster.partitions(hidden).await,
                _ => Ok(self.system.cluster.reservations()),
            }
        });
        let listed = listed
            .await?
            .map_err(|refusal| Trouble::Slurm(slurm_text(&refusal)).seen_by(Surface::Status))?;
        Ok(Answer::json(StatusCode::OK, &json!({ what: listed })))
    }
}
