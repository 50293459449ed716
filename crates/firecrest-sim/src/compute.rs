//! The calls below `compute/`.

use std::{fs, sync::Arc};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Outcome, Problem},
    call::{Call, Fields},
    clock::now_s,
    cluster::Filter,
    health::Needed,
    jobs::{directives::Refusal, job::JobId, record::JobRecord, submission::Submission},
    paths,
    remote::{SchedulerState, Surface, Trouble},
    state::Context,
    status::slurm_text,
};

/// Where the script of a submission comes from.
enum Script {
    Text(String),
    Missing(String),
    /// Neither a text nor a path: the command waits for its input.
    None,
}

fn slurm_problem(refusal: &Refusal, surface: Surface) -> Problem {
    let limit = "accounting/QOS policy limit exceeded";
    if surface == Surface::Submit && refusal.standard_error.contains("AssocMaxSubmitJobLimit") {
        let text = format!("Job submission rejected: {limit}. {}", refusal.standard_error);
        return Problem::new(StatusCode::FORBIDDEN, text);
    }
    Trouble::Slurm(slurm_text(refusal)).seen_by(surface)
}

/// The variables of the field `env`, which is an object or a list.
fn environment(job: &Fields) -> Result<Vec<(String, String)>, Problem> {
    let wrong = || {
        Problem::validation(
            "dict_type",
            "body",
            json!("job"),
            "Input should be a valid dictionary",
        )
    };
    match job.get("env") {
        None => Ok(vec![("F7T_version".to_owned(), "v2.0.0".to_owned())]),
        Some(Value::Object(map)) => {
            let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            map.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)
        }
        Some(Value::Array(list)) => {
            let pair = |entry: &Value| {
                let (name, value) = entry.as_str()?.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            };
            list.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// The number of a job; the real server takes letters, too, and lets Slurm refuse them.
fn job_id(text: &str) -> Result<Option<JobId>, Problem> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        let message = "String should match pattern '^[a-zA-Z0-9]+$'";
        return Err(Problem::validation(
            "string_pattern_mismatch",
            "path",
            json!("job_id"),
            message,
        ));
    }
    Ok(text.parse().ok())
}

fn since_s(call: &Call) -> Result<i64, Problem> {
    let window_h = match call.parameter("time_window") {
        None | Some("24h") => 24,
        Some("1h") => 1,
        Some("8h") => 8,
        Some("3d") => 72,
        Some("7d") => 168,
        Some(_) => {
            let message = "Input should be '1h', '8h', '24h', '3d' or '7d'";
            return Err(Problem::validation(
                "enum",
                "query",
                json!("time_window"),
                message,
            ));
        }
    };
    Ok(now_s() - window_h * 3600)
}

impl Context {
    pub(crate) async fn submit_job(&self, call: &Call) -> Outcome {
        let body = call.fields()?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let (submission, script) = self.submission(&body.object("job")?)?;
        match script {
            Script::Text(_) => {}
            Script::Missing(path) => {
                self.remote(Surface::Submit, 1, async {}).await?;
                let text = format!("sbatch: error: Unable to open file {path}\n");
                return Err(slurm_problem(&Refusal::new(1, text), Surface::Submit));
            }
            Script::None => self.remote(Surface::Files, 1, std::future::pending()).await?,
        }
        let job_id = self.submit(submission).await?;
        Ok(Answer::json(StatusCode::CREATED, &json!({ "jobId": job_id })))
    }

    fn submission(&self, job: &Fields) -> Result<(Submission, Script), Problem> {
        // The real server names the object, not the field that is missing in it.
        let working_directory = job
            .text("workingDirectory")?
            .ok_or_else(|| Problem::missing("job"))?;
        let path = job.text("scriptPath")?.filter(|path| !path.is_empty());
        let script = match (&path, job.text("script")?) {
            (Some(path), _) => match self.read_script(path) {
                Some(text) => Script::Text(text),
                None => Script::Missing(path.clone()),
            },
            (None, Some(text)) if !text.is_empty() => Script::Text(text),
            (None, _) => Script::None,
        };
        let name_of = |path: &String| path.rsplit('/').next().map(str::to_owned);
        let submission = Submission {
            user: Arc::clone(&self.user),
            system: self.system.options.name.clone(),
            working_directory: paths::normalise(&working_directory),
            script: if let Script::Text(text) = &script {
                text.clone()
            } else {
                String::new()
            },
            default_name: path
                .as_ref()
                .and_then(name_of)
                .unwrap_or_else(|| "sbatch".to_owned()),
            name: job.text("name")?,
            account: job.text("account")?,
            partition: job.text("partition")?,
            reservation: job.text("reservation")?,
            constraints: job.text("constraints")?,
            standard_output: job.text("standardOutput")?,
            standard_error: job.text("standardError")?,
            standard_input: job.text("standardInput")?,
            environment: environment(job)?,
            paths_are_shown: true,
        };
        Ok((submission, script))
    }

    fn read_script(&self, path: &str) -> Option<String> {
        let place = paths::place(&self.system.options, path)?;
        fs::read_to_string(place.real).ok()
    }

    /// Hands a submission to the cluster, unless the scheduler does not answer.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<String, Problem> {
        let services = self.services();
        if services.scheduler == SchedulerState::Hung {
            // What has reached the login node is submitted once the scheduler goes on.
            self.remote(Surface::Submit, 1, async {}).await?;
            self.hold(submission.clone());
        }
        let submitted = self.remote(Surface::Submit, 1, async {
            if services.scheduler != SchedulerState::Up {
                std::future::pending::<()>().await;
            }
            let request_id = Some(self.request_id.clone());
            self.state.submit(&self.system, &submission, request_id).await
        });
        submitted
            .await?
            .map_err(|refusal| slurm_problem(&refusal, Surface::Submit))
    }

    /// The jobs of a filter, by the two commands of the real server.
    async fn query(&self, filter: Filter) -> Result<Vec<JobRecord>, Problem> {
        let services = self.services();
        let found = self.remote(Surface::Query, 2, async {
            if services.accounting_down {
                let text = "sacct: error: _open_persist_conn: failed to open persistent connection to \
                            host:127.0.0.1:6819: Connection refused\nsacct: error: Sending PersistInit \
                            msg: Connection refused\nsacct: error: Problem talking to the database: \
                            Connection refused\n";
                return Err(Refusal::new(1, text));
            }
            if services.scheduler != SchedulerState::Up {
                std::future::pending::<()>().await;
            }
            self.system.cluster.jobs(&filter, &self.user).await
        });
        found
            .await?
            .map_err(|refusal| slurm_problem(&refusal, Surface::Query))
    }

    pub(crate) async fn list_jobs(&self, call: &Call) -> Outcome {
        let since_s = since_s(call)?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let filter = Filter {
            id: None,
            user: (!call.flag("allusers")).then(|| self.user.name.clone()),
            name: call.parameter("name").map(str::to_owned),
            account: call.parameter("account").map(str::to_owned),
            since_s,
        };
        let jobs = self.query(filter).await?;
        let jobs: Vec<Value> = jobs.iter().map(JobRecord::to_json).collect();
        Ok(Answer::json(StatusCode::OK, &json!({ "jobs": jobs })))
    }

    pub(crate) async fn get_job(&self, id: &str) -> Outcome {
        let number = job_id(id)?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let Some(number) = number else {
            self.remote(Surface::Query, 2, async {}).await?;
            let text = format!("sacct: fatal: Bad job/step specified: {id}\n");
            return Err(slurm_problem(&Refusal::new(1, text), Surface::Query));
        };
        let jobs = self
            .query(Filter {
                id: Some(number),
                ..Filter::default()
            })
            .await?;
        if jobs.is_empty() {
            return Err(Problem::new(StatusCode::NOT_FOUND, "Job not found."));
        }
        let jobs: Vec<Value> = jobs.iter().map(JobRecord::to_json).collect();
        Ok(Answer::json(StatusCode::OK, &json!({ "jobs": jobs })))
    }

    pub(crate) async fn job_metadata(&self, id: &str) -> Outcome {
        let not_found = || Problem::new(StatusCode::NOT_FOUND, "Job not found.");
        let number = job_id(id)?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let number = number.ok_or_else(not_found)?;
        let scheduler_answers = self.services().scheduler == SchedulerState::Up;
        self.remote(Surface::Query, 2, async {}).await?;
        if !scheduler_answers {
            tokio::time::sleep(self.login().command_timeout).await;
        }
        let found = self
            .system
            .cluster
            .metadata(number, &self.user, scheduler_answers)
            .await;
        let found = found.map_err(|refusal| slurm_problem(&refusal, Surface::Query))?;
        let metadata = found.ok_or_else(not_found)?;
        Ok(Answer::json(
            StatusCode::OK,
            &json!({ "jobs": [metadata.to_json()] }),
        ))
    }

    pub(crate) async fn cancel_job(&self, id: &str) -> Outcome {
        let number = job_id(id)?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let cancelled = self.remote(Surface::Cancel, 1, async {
            if self.services().scheduler != SchedulerState::Up {
                std::future::pending::<()>().await;
            }
            match number {
                Some(number) => self.system.cluster.cancel(number, &self.user).await,
                None => Err(Refusal::new(1, format!("scancel: error: Invalid job id {id}\n"))),
            }
        });
        cancelled
            .await?
            .map_err(|refusal| slurm_problem(&refusal, Surface::Cancel))?;
        Ok(Answer::no_content())
    }

    pub(crate) async fn attach(&self, id: &str, call: &Call) -> Outcome {
        let command = call.fields()?.required_text("command")?;
        let number = job_id(id)?;
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let no_job = || {
            let text =
                format!("srun: error: Unable to confirm allocation for job {id}: Invalid job id specified\n");
            Refusal::new(1, text)
        };
        let ended = self.remote(Surface::Files, 1, async {
            let child = number.and_then(|number| self.system.cluster.attach(number, &self.user, &command));
            let mut child = child.and_then(Result::ok).ok_or_else(no_job)?;
            let status = child
                .wait()
                .await
                .map_err(|error| Refusal::new(1, error.to_string()))?;
            match status.code() {
                Some(0) => Ok(()),
                code => Err(Refusal::new(code.unwrap_or(1), "")),
            }
        });
        ended
            .await?
            .map_err(|refusal| slurm_problem(&refusal, Surface::Submit))?;
        Ok(Answer::no_content())
    }
}
