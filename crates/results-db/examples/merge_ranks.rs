//! Merges the parts of several ranks as rank 0 does at a run's end, then the run's database into a campaign's, proves that
//! nothing was lost, doubled or changed, and prints the seconds and the memory.
//!
//! `cargo run --release -p gipfel-results-db --example merge_ranks [RANKS] [ROWS_OF_EACH] [DIRECTORY]`

use std::{
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use gipfel_model::RequestRecord;
use gipfel_results_db::{ResultsDb, RunKey, merge};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

#[expect(dead_code, reason = "only the records of the tests are needed here")]
#[path = "../tests/it/common.rs"]
mod common;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: i64 = 5_000;
const LEVELS: i64 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let ranks: u32 = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let rows: i64 = arguments.next().map_or(Ok(2_500_000), |text| text.parse())?;
    let directory = match arguments.next() {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let path = |name: &str| directory.path().join(name);

    let cost = Cost::begin()?;
    let mut expected = Sums::default();
    let mut parts = Vec::new();
    for rank in 0..ranks {
        let part = path(&format!("rank{rank}.db"));
        let (db, run) = create(&part).await?;
        fill(&db, run, rank, ranks, rows).await?;
        db.close().await?;
        expected.add(&sums(&part).await?);
        parts.push(part);
    }
    say(&format!(
        "{ranks} databases of {rows} rows written: {}",
        cost.in_words()?
    ))?;

    let whole = parts.remove(0);
    take_parts(&whole, &parts).await?;
    prove(&whole, &expected).await?;

    let results = path("results.db");
    let cost = Cost::begin()?;
    let report = merge(&results, std::slice::from_ref(&whole)).await?;
    let [run] = &report.merged[..] else {
        return Err(format!("one run is merged, not {report:?}").into());
    };
    say(&format!(
        "`{}` merged into the campaign's results: {}",
        run.run_id,
        cost.in_words()?
    ))?;
    prove(&results, &expected).await
}

async fn create(path: &Path) -> Outcome<(ResultsDb, RunKey)> {
    let db = ResultsDb::create(path).await?;
    let run = db.upsert_run(&common::config("run-a")).await?;
    Ok((db, run))
}

/// What a rank of so many sends: its share of the requests of each level.
async fn fill(db: &ResultsDb, run: RunKey, rank: u32, ranks: u32, rows: i64) -> Outcome<()> {
    let of_level = rows / LEVELS;
    for level in 0..LEVELS as u32 {
        let of_level = if i64::from(level) == LEVELS - 1 {
            rows - of_level * (LEVELS - 1)
        } else {
            of_level
        };
        for first in (0..of_level).step_by(BATCH as usize) {
            let last = of_level.min(first + BATCH);
            let record = |number: i64| RequestRecord {
                rank,
                end_ns: 401_000_000 + number % 977,
                ..common::request(level, number * i64::from(ranks) + i64::from(rank))
            };
            let records: Vec<_> = (first..last).map(record).collect();
            db.append(run, &records, &[]).await?;
        }
    }
    Ok(())
}

/// As rank 0 does in the end, and once more, which must change nothing.
async fn take_parts(whole: &Path, parts: &[PathBuf]) -> Outcome<()> {
    let db = ResultsDb::open(whole).await?;
    let run = db.runs().await?[0].key;
    for again in [false, true] {
        let cost = Cost::begin()?;
        let mut taken = 0;
        for part in parts {
            taken += db.take_part(run, part).await?;
        }
        if again && taken != 0 {
            return Err(format!("{taken} rows are taken twice").into());
        }
        let what = if again { "once more" } else { "taken over" };
        say(&format!(
            "{taken} rows of {} parts {what}: {}",
            parts.len(),
            cost.in_words()?
        ))?;
    }
    Ok(db.close().await?)
}

/// Of a table of requests: how many rows, and the sum of each column.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    rows: i64,
    columns: Vec<(String, i64)>,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        if self.columns.is_empty() {
            self.columns.clone_from(&other.columns);
            return;
        }
        for (sum, (_, part)) in self.columns.iter_mut().zip(&other.columns) {
            sum.1 += part;
        }
    }
}

async fn sums(path: &Path) -> Outcome<Sums> {
    let mut connection = read(path).await?;
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('request') WHERE name <> 'run' ORDER BY cid")
            .fetch_all(&mut connection)
            .await?;
    let sum = |name: &String| {
        // Of a text the length, of a missing value something that no row has by chance.
        let value = format!(
            "CASE typeof(\"{name}\") WHEN 'null' THEN 7919 WHEN 'integer' THEN \"{name}\" ELSE length(\"{name}\") END"
        );
        format!("coalesce(sum({value} % 1000003), 0)")
    };
    let sums: Vec<String> = names.iter().map(sum).collect();
    let statement = format!("SELECT json_array(count(*), {}) FROM request", sums.join(", "));
    let found: String = sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(&mut connection)
        .await?;
    let found: Vec<i64> = serde_json::from_str(&found)?;
    let (rows, found) = found.split_first().ok_or("no row")?;
    connection.close().await?;
    Ok(Sums {
        rows: *rows,
        columns: names.into_iter().zip(found.iter().copied()).collect(),
    })
}

/// Fails unless the database holds exactly the rows that were written, each once and in order.
async fn prove(path: &Path, expected: &Sums) -> Outcome<()> {
    let found = sums(path).await?;
    if found != *expected {
        return Err(format!("{expected:?} was written, {found:?} is there").into());
    }
    let mut connection = read(path).await?;
    let numbers: i64 = sqlx::query_scalar("SELECT count(DISTINCT request) FROM request")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    if numbers != found.rows {
        return Err(format!("{} rows have {numbers} numbers", found.rows).into());
    }
    // Each table is in the order of its key, and no key comes twice.
    let db = ResultsDb::open_read_only(path).await?;
    db.integrity_check().await?;
    db.close().await?;
    let bytes = fs::metadata(path)?.len();
    say(&format!(
        "  {} rows, each once and in order, the sums of {} columns as written; {:.0} bytes a row",
        found.rows,
        found.columns.len(),
        bytes as f64 / found.rows as f64
    ))
}

async fn read(path: &Path) -> Outcome<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    Ok(options.connect().await?)
}

/// What a piece of work costs.
struct Cost {
    began: Instant,
    processor_s: f64,
}

impl Cost {
    /// From now on; the peak of memory is that of what follows.
    fn begin() -> Outcome<Self> {
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self {
            began: Instant::now(),
            processor_s: processor_s()?,
        })
    }

    fn in_words(&self) -> Outcome<String> {
        let status = fs::read_to_string("/proc/self/status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .ok_or("no peak")?;
        Ok(format!(
            "{:.1} s, {:.1} s of a processor, at most {} of memory",
            self.began.elapsed().as_secs_f64(),
            processor_s()? - self.processor_s,
            peak.trim()
        ))
    }
}

/// What the process has had of processors, which Linux counts in hundredths of a second.
fn processor_s() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no fields")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
