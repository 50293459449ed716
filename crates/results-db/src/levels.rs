//! Levels and their gap histograms.

use gipfel_model::{ArrivalRate, LevelRecord, LevelState};
use sqlx::sqlite::SqliteRow;

use crate::{
    error::DbError,
    open::ResultsDb,
    reader::{Reader, json},
    runs::RunKey,
};

impl ResultsDb {
    /// Records a level, or replaces what is recorded of it.
    pub async fn put_level(&self, run: RunKey, level: &LevelRecord) -> Result<(), DbError> {
        let path = &self.path;
        let verdict = level
            .verdict
            .as_ref()
            .map(|verdict| json(path, "level", "verdict", verdict))
            .transpose()?;
        let evidence = level
            .evidence
            .as_ref()
            .map(|evidence| json(path, "level", "evidence", evidence))
            .transpose()?;
        let mut connection = self.connection().await;
        sqlx::query(
            "INSERT OR REPLACE INTO level (run, level, rate, state, start_ns, warmup_ns, measured_ns, started_unix_ns, \
             ended_unix_ns, offered_rate, sent_rate, completed_rate, attainment, validity, verdict, \
             stage, evidence) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        )
        .bind(run.0)
        .bind(level.level)
        .bind(level.rate.get())
        .bind(level.state.as_str())
        .bind(level.start_ns)
        .bind(level.warmup_ns)
        .bind(level.measured_ns)
        .bind(level.started_unix_ns)
        .bind(level.ended_unix_ns)
        .bind(level.offered_rate)
        .bind(level.sent_rate)
        .bind(level.completed_rate)
        .bind(json(path, "level", "attainment", &level.attainment)?)
        .bind(json(path, "level", "validity", &level.validity)?)
        .bind(verdict)
        .bind(level.stage.as_str())
        .bind(evidence)
        .execute(&mut *connection)
        .await
        .map_err(|source| self.fault("record the level", source))?;
        Ok(())
    }

    /// Marks the levels that a killed writer left open as broken; says how many there were.
    pub async fn break_open_levels(&self, run: RunKey) -> Result<u32, DbError> {
        let mut connection = self.connection().await;
        let result = sqlx::query("UPDATE level SET state = ? WHERE run = ? AND state = ?")
            .bind(LevelState::Broken.as_str())
            .bind(run.0)
            .bind(LevelState::Open.as_str())
            .execute(&mut *connection)
            .await
            .map_err(|source| self.fault("mark the broken levels", source))?;
        Ok(result.rows_affected() as u32)
    }

    /// The levels of a run, in the order in which they were measured.
    pub async fn levels(&self, run: RunKey) -> Result<Vec<LevelRecord>, DbError> {
        let mut connection = self.connection().await;
        let rows = sqlx::query("SELECT * FROM level WHERE run = ? ORDER BY level")
            .bind(run.0)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the levels", source))?;
        rows.iter().map(|row| self.level_record(row)).collect()
    }

    /// Records the pooled gaps between tokens of one level and rank, as an HdrHistogram in its V2 form; replaces
    /// what is recorded.
    pub async fn put_gaps(
        &self,
        run: RunKey,
        level: u32,
        rank: u32,
        histogram_v2_bytes: &[u8],
    ) -> Result<(), DbError> {
        let mut connection = self.connection().await;
        sqlx::query("INSERT OR REPLACE INTO gaps (run, level, rank, histogram) VALUES (?, ?, ?, ?)")
            .bind(run.0)
            .bind(level)
            .bind(rank)
            .bind(histogram_v2_bytes)
            .execute(&mut *connection)
            .await
            .map_err(|source| self.fault("record the gaps between tokens", source))?;
        Ok(())
    }

    /// The gap histograms of a level, one for each rank.
    pub async fn gaps(&self, run: RunKey, level: u32) -> Result<Vec<Vec<u8>>, DbError> {
        let mut connection = self.connection().await;
        sqlx::query_scalar("SELECT histogram FROM gaps WHERE run = ? AND level = ? ORDER BY rank")
            .bind(run.0)
            .bind(level)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the gaps between tokens", source))
    }

    fn level_record(&self, row: &SqliteRow) -> Result<LevelRecord, DbError> {
        let reader = Reader {
            path: &self.path,
            table: "level",
            row,
        };
        let rate =
            ArrivalRate::per_second(reader.get("rate")?).map_err(|error| reader.fault("rate", error))?;
        let verdict: Option<String> = reader.get("verdict")?;
        let evidence: Option<String> = reader.get("evidence")?;
        Ok(LevelRecord {
            level: reader.get("level")?,
            rate,
            stage: reader.parse("stage", &reader.get::<String>("stage")?)?,
            state: reader.parse("state", &reader.get::<String>("state")?)?,
            start_ns: reader.get("start_ns")?,
            warmup_ns: reader.get("warmup_ns")?,
            measured_ns: reader.get("measured_ns")?,
            started_unix_ns: reader.get("started_unix_ns")?,
            ended_unix_ns: reader.get("ended_unix_ns")?,
            offered_rate: reader.get("offered_rate")?,
            sent_rate: reader.get("sent_rate")?,
            completed_rate: reader.get("completed_rate")?,
            attainment: reader.json("attainment")?,
            validity: reader.json("validity")?,
            verdict: verdict.map(|_| reader.json("verdict")).transpose()?,
            evidence: evidence.map(|_| reader.json("evidence")).transpose()?,
        })
    }
}
