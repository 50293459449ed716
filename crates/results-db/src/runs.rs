//! Runs and their provenance.

use std::time::Duration;

use gipfel_model::{DeploymentKind, Provenance, Rates, RunConfig, RunId, RunState, Slo};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::DbError,
    open::ResultsDb,
    reader::{Reader, json},
};

/// The integer key of a run, within one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub(crate) i64);

/// Where a run's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Measured by gipfel.
    Gipfel,
    /// Imported from a database of the predecessor: no schedule, no objectives, latencies from the send.
    Predecessor,
}

impl Origin {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gipfel => "gipfel",
            Self::Predecessor => "predecessor",
        }
    }
}

/// One run of a database.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Its key in this database.
    pub key: RunKey,
    /// Its id; an imported one may break the rules for ids.
    pub run_id: String,
    /// Where its rows come from.
    pub origin: Origin,
    /// Its campaign.
    pub campaign_id: Option<String>,
    /// Its server.
    pub deployment_id: Option<String>,
    /// Where its server lived.
    pub deployment: Option<DeploymentKind>,
    /// The model as the user named it.
    pub model: String,
    /// The engine.
    pub backend: String,
    /// The objectives that decide.
    pub slos: Vec<Slo>,
    /// Objectives that are shown and decide nothing.
    pub informational_slos: Vec<Slo>,
    /// The configured warm-up of each level, in seconds.
    pub warmup_s: Option<f64>,
    /// The configured measured window of each level, in seconds.
    pub measured_s: Option<f64>,
    /// Counts the repeats of one experiment over fresh deployments, from 0.
    pub repeat: u32,
    /// From the start of the server to its first answer, in seconds.
    pub server_load_time_s: Option<f64>,
    /// ISO 8601.
    pub created_at: Option<String>,
    /// How far it came.
    pub state: RunState,
    /// Why it failed.
    pub error: Option<String>,
}

impl ResultsDb {
    /// Records a run under its id, or brings what is recorded of it up to date; its state stays.
    ///
    /// The whole configuration and what it says of the run's provenance are recorded with it, without credentials.
    pub async fn upsert_run(&self, config: &RunConfig) -> Result<RunKey, DbError> {
        let fault = |source| self.fault("record the run", source);
        let mut facts = config.provenance.clone();
        facts.set(
            Provenance::RUN_CONFIG,
            json(&self.path, "provenance", "value", &without_credentials(config))?,
        );
        let mut connection = self.connection().await;
        let mut transaction = connection.begin().await.map_err(fault)?;
        let run = self.write_run(&mut transaction, config).await?;
        write_facts(&mut transaction, run, &facts).await.map_err(fault)?;
        transaction.commit().await.map_err(fault)?;
        Ok(run)
    }

    async fn write_run(
        &self,
        connection: &mut SqliteConnection,
        config: &RunConfig,
    ) -> Result<RunKey, DbError> {
        const UPSERT: &str = "INSERT INTO run (run_id, origin, campaign_id, deployment_id, deployment, model, backend, \
             backend_config, dataset_config, rate_levels, warmup_s, measurement_s, slos, informational_slos, created_at, \
             server_load_time_s, state, repeat) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) \
             ON CONFLICT (run_id) DO UPDATE SET origin = excluded.origin, campaign_id = excluded.campaign_id, \
             deployment_id = excluded.deployment_id, deployment = excluded.deployment, model = excluded.model, \
             backend = excluded.backend, backend_config = excluded.backend_config, \
             dataset_config = excluded.dataset_config, rate_levels = excluded.rate_levels, \
             warmup_s = excluded.warmup_s, measurement_s = excluded.measurement_s, slos = excluded.slos, \
             informational_slos = excluded.informational_slos, repeat = excluded.repeat, created_at = excluded.created_at, \
             server_load_time_s = coalesce(excluded.server_load_time_s, server_load_time_s) RETURNING run";
        let path = &self.path;
        let rates = match &config.schedule.rates {
            Rates::Listed(rates) => Some(json(path, "run", "rate_levels", rates)?),
            Rates::Doubling { .. } | Rates::Search(_) => None,
        };
        sqlx::query_scalar(UPSERT)
            .bind(config.run_id.as_str())
            .bind(Origin::Gipfel.as_str())
            .bind(config.campaign_id.as_str())
            .bind(config.deployment_id.as_str())
            .bind(config.deployment.as_str())
            .bind(&config.model)
            .bind(config.backend.as_str())
            .bind(json(path, "run", "backend_config", &config.backend_config)?)
            .bind(json(path, "run", "dataset_config", &config.dataset_config)?)
            .bind(rates)
            .bind(config.schedule.warmup.as_secs_f64())
            .bind(config.schedule.measured.as_secs_f64())
            .bind(json(path, "run", "slos", &config.slos)?)
            .bind(json(
                path,
                "run",
                "informational_slos",
                &config.informational_slos,
            )?)
            .bind(&config.created_at)
            .bind(config.server_load_time.map(|time| time.as_secs_f64()))
            .bind(RunState::Waiting.as_str())
            .bind(config.repeat)
            .fetch_one(connection)
            .await
            .map(RunKey)
            .map_err(|source| self.fault("record the run", source))
    }

    /// Records how far a run came.
    pub async fn set_run_state(
        &self,
        run: RunKey,
        state: RunState,
        error: Option<&str>,
    ) -> Result<(), DbError> {
        let mut connection = self.connection().await;
        sqlx::query("UPDATE run SET state = ?, error = ? WHERE run = ?")
            .bind(state.as_str())
            .bind(error)
            .bind(run.0)
            .execute(&mut *connection)
            .await
            .map_err(|source| self.fault("record the run's state", source))?;
        Ok(())
    }

    /// Records facts of a run; those of the same name are replaced, the others stay.
    pub async fn set_provenance(&self, run: RunKey, provenance: &Provenance) -> Result<(), DbError> {
        let fault = |source| self.fault("record the run's provenance", source);
        let mut connection = self.connection().await;
        let mut transaction = connection.begin().await.map_err(fault)?;
        write_facts(&mut transaction, run, provenance)
            .await
            .map_err(fault)?;
        transaction.commit().await.map_err(fault)
    }

    /// Adds what became known of a run after its load generator had begun: facts, and how long its server loaded where
    /// that is not recorded. False if the database does not hold the run.
    pub async fn complete_run(
        &self,
        run_id: &RunId,
        facts: &Provenance,
        server_load_time: Option<Duration>,
    ) -> Result<bool, DbError> {
        let fault = |source| self.fault("complete the run's record", source);
        let mut connection = self.connection().await;
        let mut transaction = connection.begin().await.map_err(fault)?;
        let completed: Option<i64> = sqlx::query_scalar(
            "UPDATE run SET server_load_time_s = coalesce(server_load_time_s, ?) WHERE run_id = ? RETURNING run",
        )
        .bind(server_load_time.map(|time| time.as_secs_f64()))
        .bind(run_id.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(fault)?;
        if let Some(run) = completed {
            write_facts(&mut transaction, RunKey(run), facts)
                .await
                .map_err(fault)?;
        }
        transaction.commit().await.map_err(fault)?;
        Ok(completed.is_some())
    }

    /// The facts of a run.
    pub async fn provenance(&self, run: RunKey) -> Result<Provenance, DbError> {
        let mut connection = self.connection().await;
        let facts: Vec<(String, String)> = sqlx::query_as("SELECT name, value FROM provenance WHERE run = ?")
            .bind(run.0)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the run's provenance", source))?;
        Ok(Provenance(facts.into_iter().collect()))
    }

    /// The runs, oldest first.
    pub async fn runs(&self) -> Result<Vec<RunRow>, DbError> {
        let mut connection = self.connection().await;
        let rows = sqlx::query("SELECT * FROM run ORDER BY created_at, run_id")
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the runs", source))?;
        rows.iter().map(|row| self.run_row(row)).collect()
    }

    fn run_row(&self, row: &SqliteRow) -> Result<RunRow, DbError> {
        let reader = Reader {
            path: &self.path,
            table: "run",
            row,
        };
        Ok(RunRow {
            key: RunKey(reader.get("run")?),
            run_id: reader.get("run_id")?,
            origin: match reader.get::<String>("origin")?.as_str() {
                "predecessor" => Origin::Predecessor,
                _ => Origin::Gipfel,
            },
            campaign_id: reader.get("campaign_id")?,
            deployment_id: reader.get("deployment_id")?,
            deployment: reader
                .get::<Option<String>>("deployment")?
                .map(|text| reader.parse("deployment", &text))
                .transpose()?,
            model: reader.get("model")?,
            backend: reader.get("backend")?,
            slos: reader.json("slos")?,
            informational_slos: reader.json("informational_slos")?,
            warmup_s: reader.get("warmup_s")?,
            measured_s: reader.get("measurement_s")?,
            repeat: reader.get("repeat")?,
            server_load_time_s: reader.get("server_load_time_s")?,
            created_at: reader.get("created_at")?,
            state: reader.parse("state", &reader.get::<String>("state")?)?,
            error: reader.get("error")?,
        })
    }
}

async fn write_facts(
    connection: &mut SqliteConnection,
    run: RunKey,
    facts: &Provenance,
) -> Result<(), sqlx::Error> {
    for (name, value) in &facts.0 {
        sqlx::query("INSERT OR REPLACE INTO provenance (run, name, value) VALUES (?, ?, ?)")
            .bind(run.0)
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The configuration as it is recorded: a URL may carry a user name, a password or a token in its query.
fn without_credentials(config: &RunConfig) -> RunConfig {
    let mut config = config.clone();
    let url = config.endpoint.url.split(['?', '#']).next().unwrap_or_default();
    config.endpoint.url = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    };
    config
}
