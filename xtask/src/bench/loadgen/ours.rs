//! The load generator as the client of a probe: its run configuration, and its database.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use gipfel_loadgen_bench::{probe::Window, response::MODEL, tables::ClientRow};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, DeploymentKind, EndpointSpec, LengthDistribution,
    LevelSchedule, PromptSource, Provenance, Rates, RequestForm, RunConfig, Timeouts, WorkloadSpec,
    ids::IdParts, run_config::RUN_CONFIG_FORMAT,
};
use serde_json::Value;

use super::probe::Setting;
use crate::{
    e2e::{number, query},
    shell,
};

const CONFIG: &str = "run_config.json";
/// Words of a prompt.
const INPUT: u32 = 32;

/// What the load generator itself says of the level.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) window: Window,
    /// Its verdict with its reason.
    pub(super) verdict: String,
    /// Whether it says that the level is good for nothing.
    pub(super) is_invalid: bool,
    /// Requests per second of the measured window by its own word.
    pub(super) sent_rate: f64,
    /// Bytes of its database for each request.
    pub(super) database_bytes: f64,
}

/// The call of the program for a probe in an empty folder.
pub(super) fn command(
    program: &Path,
    folder: &Path,
    port: u16,
    setting: &Setting,
) -> anyhow::Result<Command> {
    let path = folder.join(CONFIG);
    let text = serde_json::to_string_pretty(&config(port, setting)?)?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&path).arg("--directory").arg(folder);
    command.args(["--of", "1"]);
    Ok(command)
}

fn config(port: u16, setting: &Setting) -> anyhow::Result<RunConfig> {
    let parts = IdParts {
        timestamp: "20260101-000000",
        random: setting.seed as u16,
    };
    let (backend, deployment) = (BackendKind::Openai, DeploymentKind::External);
    let drain = Duration::from_secs(10) + setting.stream_time();
    Ok(RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: parts.run(MODEL, backend, deployment),
        campaign_id: parts.campaign(),
        deployment_id: parts.deployment(MODEL, backend, deployment),
        deployment,
        repeat: 0,
        model: MODEL.to_owned(),
        served_model: Some(MODEL.to_owned()),
        backend,
        endpoint: EndpointSpec::new(&format!("http://127.0.0.1:{port}")),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: INPUT },
            output_length: LengthDistribution::Fixed {
                value: setting.tokens,
            },
            seed: setting.seed,
            requests: RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(vec![ArrivalRate::per_second(setting.rate)?]),
            warmup: setting.warmup,
            measured: setting.measured,
            requests_per_level: None,
            warmup_ramp: false,
            all_levels: true,
            exact_windows: true,
            total_time: None,
        },
        slos: vec![format!("ttft p95 <= {}ms", setting.objective.as_millis()).parse()?],
        informational_slos: Vec::new(),
        timeouts: Timeouts {
            drain,
            ..Timeouts::default()
        },
        workers: Some(1),
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
    })
}

/// Reads what the program has recorded. By `wall_offset_ns`, the wall clock is ahead of the monotonic one.
pub(super) fn report(folder: &Path, wall_offset_ns: i64) -> anyhow::Result<Report> {
    let database = database(folder)?;
    let levels = query(
        &database,
        "SELECT started_unix_ns, warmup_ns, measured_ns, offered_rate, sent_rate, validity, verdict FROM level \
         WHERE state = 'complete'",
    )?;
    let [level] = &levels[..] else {
        bail!("the load generator has completed {} levels of one", levels.len());
    };
    let whole = |name: &str| {
        level[name]
            .as_i64()
            .with_context(|| format!("no `{name}` in the level"))
    };
    let rate = |name: &str| {
        level[name]
            .as_f64()
            .with_context(|| format!("no `{name}` in the level"))
    };
    let measured_ns = whole("measured_ns")?;
    let start_ns = whole("started_unix_ns")? - wall_offset_ns;
    let from_ns = start_ns + whole("warmup_ns")?;
    let (verdict, is_invalid) = verdict(level)?;
    let requests = number(&database, "SELECT count(*) FROM request")?;
    Ok(Report {
        window: Window {
            span_ns: [from_ns as u64, (from_ns + measured_ns) as u64],
            offered: (rate("offered_rate")? * measured_ns as f64 / 1e9).round() as u64,
            rows: rows(&database, start_ns)?,
        },
        verdict,
        is_invalid,
        sent_rate: rate("sent_rate")?,
        database_bytes: size(&database)? as f64 / requests.max(1) as f64,
    })
}

/// The verdict with its reason, or with the faults of the client when it has none; whether the level is invalid.
///
/// Read as plain JSON, so that a program of another version can be measured too.
fn verdict(level: &Value) -> anyhow::Result<(String, bool)> {
    let json = |name: &str| match level[name].as_str() {
        Some(text) => serde_json::from_str(text).with_context(|| format!("the level's `{name}` is no JSON")),
        None => Ok(Value::Null),
    };
    let (verdict, validity) = (json("verdict")?, json("validity")?);
    let name = verdict["verdict"].as_str().unwrap_or("no verdict");
    let reason = match verdict["reason"].as_str() {
        Some(reason) => format!(" ({reason})"),
        None => match validity["faults"].as_array() {
            Some(faults) if !faults.is_empty() => format!(" {}", validity["faults"]),
            _ => String::new(),
        },
    };
    Ok((format!("{name}{reason}"), name == "invalid"))
}

fn database(folder: &Path) -> anyhow::Result<PathBuf> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut databases = files.filter(|path| path.extension().is_some_and(|extension| extension == "db"));
    databases
        .next()
        .context("the load generator has written no database")
}

fn size(database: &Path) -> anyhow::Result<u64> {
    let log = database.with_extension("db-wal");
    let log_bytes = fs::metadata(log).map_or(0, |metadata| metadata.len());
    Ok(fs::metadata(database)?.len() + log_bytes)
}

/// The measured requests, from the view that keeps its columns whatever the tables below it are.
fn rows(database: &Path, start_ns: i64) -> anyhow::Result<Vec<ClientRow>> {
    let sql = "SELECT scheduled_at_ms, input_tokens, ttft_ms, ttft_from_send_ms FROM requests";
    let mut command = Command::new("sqlite3");
    let text = shell::read(command.args(["-readonly", "-csv"]).arg(database).arg(sql))?;
    text.lines().map(|line| row(line, start_ns)).collect()
}

fn row(line: &str, start_ns: i64) -> anyhow::Result<ClientRow> {
    let cells: Vec<Option<f64>> = line.split(',').map(|cell| cell.parse().ok()).collect();
    let &[Some(scheduled_ms), serial, ttft_ms, from_send_ms] = &cells[..] else {
        bail!("`{line}` is no request");
    };
    let scheduled_ns = start_ns + nanos(scheduled_ms);
    let after = |ms: f64| (scheduled_ns + nanos(ms)) as u64;
    let delay_ms = ttft_ms
        .zip(from_send_ms)
        .map(|(ttft_ms, from_send_ms)| ttft_ms - from_send_ms);
    Ok(ClientRow {
        serial: serial.map(|serial| serial as u64),
        scheduled_ns: scheduled_ns as u64,
        sent_ns: delay_ms.map(after),
        first_token_ns: ttft_ms.map(after),
    })
}

fn nanos(milliseconds: f64) -> i64 {
    (milliseconds * 1e6).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_on_the_servers_clock() {
        let check = |line, serial, sent_ns, first_token_ns| {
            let expected = ClientRow {
                serial,
                scheduled_ns: 2_000_100,
                sent_ns,
                first_token_ns,
            };
            assert_eq!(row(line, 100).expect("a row"), expected);
        };
        check("2.0,7,50.25,50.0", Some(7), Some(2_250_100), Some(52_250_100));
        check("2.0,7,,", Some(7), None, None);
        check("2.0,,,", None, None, None);
        assert!(row("2.0,7", 0).is_err());
        assert!(row(",7,1,1", 0).is_err());
    }
}
