//! What earlier processes of the run have left in its database.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context;
use gipfel_model::{
    Attainment, LatencyMetric, LevelRecord, LevelState, RunConfig, RunState, progress::LevelSummary,
    record::Latency,
};
use gipfel_results_db::{ResultsDb, RunKey};

use crate::{board::ttft_p95_ms, spread::Spread};

/// The records of so much time may be lost with a process that is killed.
const LOST_RECORDS: Duration = Duration::from_secs(15);

/// The levels of earlier processes; all empty for a run that begins.
pub(crate) struct Earlier {
    /// Every attempt, in the order of measurement; none is open any more.
    levels: Vec<LevelRecord>,
    /// How far the run has come.
    pub(crate) state: RunState,
}

impl Earlier {
    /// Opens or creates the run's database, and marks the level of a killed process as broken.
    pub(crate) async fn open(path: &Path, config: &RunConfig) -> anyhow::Result<(ResultsDb, RunKey, Self)> {
        let db = ResultsDb::open_or_create(path)
            .await
            .with_context(|| format!("failed to open the result database `{}`", path.display()))?;
        let run = db.upsert_run(config).await?;
        let broken = db.break_open_levels(run).await?;
        if broken > 0 {
            tracing::warn!(
                broken,
                "levels of an earlier process were broken off; they are kept and measured anew"
            );
        }
        let levels = db.levels(run).await?;
        let runs = db.runs().await?;
        let state = runs
            .iter()
            .find(|row| row.key == run)
            .map_or(RunState::Waiting, |row| row.state);
        Ok((db, run, Self { levels, state }))
    }

    /// The levels that were measured to their end.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &LevelRecord> {
        self.levels
            .iter()
            .filter(|level| level.state == LevelState::Complete)
    }

    /// The index of the next attempt: no index is used twice, so no request's number is either.
    pub(crate) fn next_level(&self) -> u32 {
        self.levels.iter().map(|level| level.level + 1).max().unwrap_or(0)
    }

    /// The time that the run has used so far. Levels of a search overlap: their common time counts once.
    pub(crate) fn spent(&self) -> Duration {
        let mut spans: Vec<(i64, i64)> = self
            .levels
            .iter()
            .filter_map(|level| Some((level.started_unix_ns, level.ended_unix_ns?)))
            .collect();
        spans.sort_unstable();
        let (mut spent_ns, mut counted_to) = (0, i64::MIN);
        for (start, end) in spans {
            spent_ns += (end - start.max(counted_to)).max(0);
            counted_to = counted_to.max(end);
        }
        Duration::from_nanos(spent_ns.unsigned_abs())
    }

    /// Every level, in the order of measurement.
    pub(crate) fn levels(&self) -> &[LevelRecord] {
        &self.levels
    }

    /// What to add to the times of a process that began at `anchor_unix_ns`, so that the run has one axis of time.
    ///
    /// The distance of the processes is the wall clock's. If that was set back, the new times still follow the old.
    pub(crate) fn shift_ns(&self, anchor_unix_ns: i64) -> i64 {
        let Some(last) = self.levels.last() else { return 0 };
        let run_anchor_unix_ns = last.started_unix_ns - last.start_ns;
        let end_ns = |level: &LevelRecord| {
            let duration = level.duration().unwrap_or_default();
            level.start_ns + i64::try_from(duration.as_nanos()).unwrap_or(0)
        };
        let used_ns = self.levels.iter().map(end_ns).max().unwrap_or(0);
        (anchor_unix_ns - run_anchor_unix_ns).max(used_ns)
    }

    /// How many numbers of requests earlier processes have used: those that are recorded, and what a killed one may have
    /// sent since its last records.
    pub(crate) async fn requests_sent(&self, db: &ResultsDb, run: RunKey) -> anyhow::Result<u64> {
        let mut of_segments: BTreeMap<i64, i64> = BTreeMap::new();
        let mut margin = 0.0;
        for level in &self.levels {
            for request in db.requests(run, level.level).await? {
                let (segment, arrival) = (request.request >> 32, request.request & i64::from(u32::MAX));
                let most = of_segments.entry(segment).or_default();
                *most = (*most).max(arrival + 1);
            }
            if level.state == LevelState::Broken {
                margin += level.rate.get() * LOST_RECORDS.as_secs_f64();
            }
        }
        let recorded: i64 = of_segments.values().sum();
        Ok(recorded.unsigned_abs() + margin.ceil() as u64)
    }

    /// What `progress.json` says of the completed levels.
    pub(crate) async fn summaries(&self, db: &ResultsDb, run: RunKey) -> anyhow::Result<Vec<LevelSummary>> {
        let mut summaries = Vec::new();
        for level in self.completed() {
            let mut ttfts = Spread::new();
            for request in db.measured_requests(run, level.level).await? {
                match request.latency(LatencyMetric::Ttft) {
                    Latency::Finite(nanos) => ttfts.push(nanos),
                    Latency::Infinite => ttfts.push_infinite(),
                    Latency::Undefined => {}
                }
            }
            summaries.push(LevelSummary {
                level: level.level,
                rate: level.rate,
                ttft_p95_ms: ttft_p95_ms(&ttfts),
                completed_rate: level.completed_rate,
                stage: level.stage,
                worst: Attainment::worst(&level.attainment).cloned(),
                verdict: level.verdict.clone(),
            });
        }
        Ok(summaries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::{ArrivalRate, Stage, Validity};

    fn level(level: u32, state: LevelState, start_ns: i64, ended_ns: Option<i64>) -> LevelRecord {
        LevelRecord {
            level,
            rate: ArrivalRate::per_second(1.0).expect("a rate"),
            stage: Stage::Level,
            state,
            start_ns,
            warmup_ns: 0,
            measured_ns: 0,
            started_unix_ns: 1_000 + start_ns,
            ended_unix_ns: ended_ns.map(|end| 1_000 + end),
            offered_rate: 0.0,
            sent_rate: 0.0,
            completed_rate: 0.0,
            attainment: Vec::new(),
            validity: Validity::default(),
            verdict: None,
            evidence: None,
        }
    }

    fn earlier(levels: Vec<LevelRecord>) -> Earlier {
        Earlier {
            levels,
            state: RunState::Running,
        }
    }

    #[test]
    fn a_run_has_one_axis_of_time() {
        let check = |levels: Vec<LevelRecord>, anchor_unix_ns, shift_ns| {
            assert_eq!(earlier(levels).shift_ns(anchor_unix_ns), shift_ns);
        };
        check(Vec::new(), 5_000, 0);
        let levels = || {
            vec![
                level(0, LevelState::Complete, 10, Some(40)),
                level(1, LevelState::Broken, 60, None),
            ]
        };
        check(levels(), 1_300, 300);
        // The wall clock was set back meanwhile.
        check(levels(), 700, 60);
    }

    #[test]
    fn earlier_levels_count() {
        let earlier = earlier(vec![
            level(0, LevelState::Complete, 10, Some(40)),
            level(1, LevelState::Broken, 60, Some(65)),
            level(2, LevelState::Complete, 62, Some(70)),
            level(3, LevelState::Complete, 63, Some(64)),
            level(4, LevelState::Broken, 80, None),
        ]);
        assert_eq!(earlier.next_level(), 5);
        assert_eq!(earlier.spent(), Duration::from_nanos(40));
        assert_eq!(earlier.completed().count(), 3);
    }
}
