//! Exports of a small database, read back.

use std::{collections::BTreeMap, io};

use ::parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use gipfel_model::{
    Attainment, Evidence, LevelState, Outcome, Phase, Provenance, RequestRecord, ScrapeRecord, Stage, Verdict,
};

use super::*;
use crate::fixture::{Database, MS, gaps, invalidate, level, request, requests, slo};

/// One run: a ramp, a level with one failure and one request that was shed, an invalid one, and a broken one.
async fn database() -> Database {
    let database = Database::new().await;
    let slos = [slo("ttft p95 <= 500ms")];
    let run = database.run("run-a", &slos).await;
    let mut ramp = level(0, 5.0, &slos, &requests(0, 3, 10));
    ramp.stage = Stage::Ramp;
    ramp.verdict = None;
    database.put(run, &ramp, &requests(0, 3, 10)).await;
    let mut measured = requests(1, 120, 2);
    measured[7].outcome = Outcome::HttpError;
    measured[7].http_status = Some(503);
    measured[7].error = Some("busy, \"later\"".to_owned());
    measured[8].outcome = Outcome::Shed;
    measured[8].finish_reason = None;
    let mut record = level(1, 10.0, &slos, &measured);
    record.evidence = Some(Evidence {
        stands_for_s: 12,
        ..Evidence::default()
    });
    record.attainment = vec![Attainment {
        n_eff: Some(60.0),
        interval: Some((0.0, 0.05)),
        ..record.attainment[0].clone()
    }];
    database.put(run, &record, &measured).await;
    database.db.put_gaps(run, 1, 0, &gaps(100)).await.expect("gaps");
    let mut invalid = level(2, 20.0, &slos, &requests(2, 2, 10));
    invalidate(&mut invalid);
    database.put(run, &invalid, &requests(2, 2, 10)).await;
    let mut broken = level(3, 30.0, &slos, &[]);
    broken.state = LevelState::Broken;
    database.put(run, &broken, &[]).await;
    // Of a level that was never recorded.
    database
        .db
        .append(run, &[request(9, 0)], &[])
        .await
        .expect("a request");
    let drafts = |at_ns, drafted, accepted| ScrapeRecord {
        level: 1,
        at_ns,
        requests_running: Some(3.0),
        spec_draft_tokens: Some(drafted),
        spec_accepted_tokens: Some(accepted),
        ..ScrapeRecord::default()
    };
    let scrapes = [
        drafts(1_000_000 * MS, 100.0, 50.0),
        drafts(1_010_000 * MS, 300.0, 200.0),
    ];
    database.db.append(run, &[], &scrapes).await.expect("scrapes");
    let mut facts = Provenance::default();
    facts.set(Provenance::ENGINE_VERSION, "0.23.0");
    database.db.set_provenance(run, &facts).await.expect("provenance");
    database
}

async fn csv(database: &Database, table: Table, run: Option<&str>) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    export_csv(&database.db, table, run, &mut bytes)
        .await
        .expect("an export");
    String::from_utf8(bytes).expect("UTF-8")
}

/// One row of a CSV text as `name=value` lines, absent values left out.
fn named(text: &str, row: usize) -> String {
    let mut lines = text.lines();
    let names = lines.next().expect("names").split(',');
    let cells = lines.nth(row).expect("the row").split(',');
    // Their commas would take JSON apart; it comes last.
    let pairs = names
        .zip(cells)
        .take_while(|(name, _)| !name.ends_with("_json"))
        .filter(|(_, cell)| !cell.is_empty());
    let lines: Vec<String> = pairs.map(|(name, cell)| format!("{name}={cell}")).collect();
    lines.join("\n")
}

#[tokio::test]
async fn requests_have_names_and_milliseconds() {
    let database = database().await;
    let text = csv(&database, Table::Requests, None).await;
    // The header, 3 + 120 + 2 requests and the stray one.
    assert_eq!(text.lines().count(), 127);
    insta::assert_snapshot!(named(&text, 3), @r"
    run_id=run-a
    rate=10
    level=1
    stage=level
    phase=measured
    outcome=ok
    rank=0
    request=4294967297
    class=0
    turn=0
    endpoint=0
    http_status=200
    scheduled_ms=1010000
    scheduled_in_level_ms=10000
    send_ms=1
    header_ms=2
    first_chunk_ms=100
    first_token_ms=2
    first_token_uncertain=0
    first_output_ms=100
    last_token_ms=302
    end_ms=303
    ttft_ms=2
    ttft_from_send_ms=1
    tpot_ms=30
    itl_max_ms=50
    e2e_ms=302
    input_tokens=512
    output_tokens=11
    requested_input=512
    requested_output=11
    chunks=11
    count_source=usage
    finish_reason=length
    ");
    // Cells with commas are quoted, so the failed request is looked at as a whole.
    let failed = text.lines().nth(11).expect("the failed request");
    insta::assert_snapshot!(failed, @r#"run-a,10,1,level,measured,http_error,0,4294967304,0,,0,0,503,1011900,11900,,1,2,100,16,,0,100,316,317,,,,50,,512,11,,512,11,11,usage,length,"busy, ""later""""#);
    insta::assert_snapshot!(named(&text, 125), @r"
    run_id=run-a
    level=9
    phase=measured
    outcome=ok
    rank=0
    request=38654705664
    class=0
    turn=0
    endpoint=0
    http_status=200
    scheduled_ms=0
    send_ms=1
    header_ms=2
    first_chunk_ms=100
    first_token_ms=100
    first_token_uncertain=0
    first_output_ms=100
    last_token_ms=400
    end_ms=401
    ttft_ms=100
    ttft_from_send_ms=99
    tpot_ms=30
    itl_max_ms=50
    e2e_ms=400
    input_tokens=512
    output_tokens=11
    requested_input=512
    requested_output=11
    chunks=11
    count_source=usage
    finish_reason=length
    ");
}

#[tokio::test]
async fn scrapes_levels_and_runs_are_tables_too() {
    let database = database().await;
    insta::assert_snapshot!(named(&csv(&database, Table::Scrapes, None).await, 0), @r"
    run_id=run-a
    rate=10
    level=1
    stage=level
    rank=0
    endpoint=0
    at_ms=1000000
    at_in_level_ms=0
    unix_time_s=1700000000
    requests_running=3
    spec_accepted_tokens=50
    spec_draft_tokens=100
    ");
    let levels = csv(&database, Table::Levels, None).await;
    assert_eq!(levels.lines().count(), 5);
    insta::assert_snapshot!(named(&levels, 1), @r"
    run_id=run-a
    rate=10
    level=1
    stage=level
    state=complete
    verdict=accept
    verdict_words=accept
    start_ms=1000000
    warmup_ms=10000
    measured_ms=12000
    started_unix_s=1700000000
    ended_unix_s=1700000100
    offered_rate=10
    sent_rate=10
    completed_rate=9.95
    measured_requests=120
    ok_requests=118
    failed_requests=1
    shed_requests=1
    ttft_p50_ms=122
    ttft_p90_ms=218
    ttft_p95_ms=230
    tpot_p50_ms=30
    tpot_p90_ms=30
    tpot_p95_ms=30
    itl_p50_ms=50.003967
    itl_p90_ms=90.046463
    itl_p95_ms=95.027199
    schedule_delay_p50_ms=0
    schedule_delay_p99_ms=0
    schedule_delay_max_ms=0
    ");
    let runs = csv(&database, Table::Runs, None).await;
    let start: Vec<&str> = runs
        .lines()
        .nth(1)
        .expect("the run")
        .split(',')
        .take(12)
        .collect();
    insta::assert_snapshot!(start.join(","), @"run-a,gipfel,c-20261121-224312_0a1f,d-20261121-224312_sim_sim_local_0a1f,local,0,swiss-ai/Apertus-8B,vllm,2026-11-21T22:43:12Z,completed,,ttft p95 <= 500ms");
}

#[tokio::test]
async fn a_run_is_chosen_by_its_id() {
    let database = database().await;
    database.run("run-b", &[]).await;
    assert_eq!(csv(&database, Table::Runs, None).await.lines().count(), 3);
    assert_eq!(
        csv(&database, Table::Runs, Some("run-b")).await.lines().count(),
        2
    );
    assert_eq!(
        csv(&database, Table::Requests, Some("run-b"))
            .await
            .lines()
            .count(),
        1
    );
    let mut bytes: Vec<u8> = Vec::new();
    let error = export_csv(&database.db, Table::Runs, Some("run-c"), &mut bytes)
        .await
        .expect_err("no such run");
    assert_eq!(
        error.to_string(),
        "there is no run `run-c`; the runs are: run-a, run-b"
    );
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn pages_lose_no_row() {
    let database = Database::new().await;
    let run = database.run("run-a", &[]).await;
    let rows: Vec<RequestRecord> = (0..9_000).map(|number| request(number % 3, number)).collect();
    database.db.append(run, &rows, &[]).await.expect("rows");
    let text = csv(&database, Table::Requests, None).await;
    assert_eq!(text.lines().count(), 9_001);
    let numbers: std::collections::BTreeSet<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').nth(7))
        .collect();
    assert_eq!(numbers.len(), 9_000);
}

/// A cell as CSV writes it.
fn as_csv(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Long(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        Field::Str(text) if text.is_empty() => "\"\"".to_owned(),
        Field::Str(text) if text.contains([',', '"', '\n']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Field::Str(text) => text.clone(),
        other => panic!("{other:?} is of no kind that is written"),
    }
}

#[tokio::test]
async fn parquet_holds_what_csv_holds() {
    let database = database().await;
    for table in Table::ALL {
        let mut bytes: Vec<u8> = Vec::new();
        export_parquet(&database.db, table, None, &mut bytes)
            .await
            .expect("an export");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        let schema = reader.metadata().file_metadata().schema_descr();
        let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
        let mut text = names.join(",") + "\n";
        for row in reader.get_row_iter(None).expect("rows") {
            let row = row.expect("a row");
            let cells: Vec<String> = row.get_column_iter().map(|(_, field)| as_csv(field)).collect();
            text += &(cells.join(",") + "\n");
        }
        assert_eq!(text, csv(&database, table, None).await, "{table}");
    }
}

#[tokio::test]
async fn an_empty_database_has_columns_and_no_rows() {
    let database = Database::new().await;
    for table in Table::ALL {
        assert_eq!(csv(&database, table, None).await.lines().count(), 1, "{table}");
        let mut bytes: Vec<u8> = Vec::new();
        export_parquet(&database.db, table, None, &mut bytes)
            .await
            .expect("an export");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0, "{table}");
    }
    assert_eq!(
        vllm_bench(&database.db, None).await.expect("an export"),
        VllmBench::default()
    );
}

/// A writer that takes so many bytes and then fails.
struct Limited {
    left: usize,
    kind: io::ErrorKind,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(self.kind.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_fails_is_told_from_everything_else() {
    let database = database().await;
    for left in [0, 2, 100, 1_000] {
        for (kind, is_gone) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::StorageFull, false),
        ] {
            let mut to = Limited { left, kind };
            let csv = export_csv(&database.db, Table::Requests, None, &mut to).await;
            to.left = left;
            let parquet = export_parquet(&database.db, Table::Requests, None, &mut to).await;
            to.left = left;
            let json = export_json(&database.db, None, &mut to).await;
            for error in [csv, parquet, json].map(|written| written.expect_err("no room")) {
                assert!(matches!(error, ExportError::Write(_)), "{error:?}");
                assert_eq!(error.is_broken_pipe(), is_gone, "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn json_holds_the_summary_and_what_is_stored() {
    let database = database().await;
    let mut bytes: Vec<u8> = Vec::new();
    export_json(&database.db, None, &mut bytes)
        .await
        .expect("an export");
    let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    assert_eq!(
        text("/header"),
        r#"{"format":"gipfel-export","major":1,"minor":0}"#
    );
    assert_eq!(text("/summary_header/format"), r#""gipfel-summary""#);
    assert_eq!(text("/runs/0/summary/run_id"), r#""run-a""#);
    assert_eq!(text("/runs/0/levels/1/evidence/stands_for_s"), "12");
    assert_eq!(text("/runs/0/provenance/engine_version"), r#""0.23.0""#);
    assert_eq!(value["runs"][0]["levels"].as_array().map(Vec::len), Some(4));
    let stored: gipfel_model::LevelRecord =
        serde_json::from_value(value["runs"][0]["levels"][1].clone()).expect("a level record");
    assert_eq!(stored.level, 1);
}

#[tokio::test]
async fn a_level_is_written_as_vllm_writes_it() {
    let database = database().await;
    let bench = vllm_bench(&database.db, None).await.expect("an export");
    insta::assert_snapshot!(bench.left_out.join("\n"), @r"
    run-a: level 0 at 5 req/s: a step of the ramp is no measurement
    run-a: level 2 at 20 req/s: it is invalid
    run-a: level 3 at 30 req/s: it was broken off
    ");
    let [file] = bench.files.as_slice() else {
        panic!("{:?}", bench.files)
    };
    assert_eq!(file.name, "run-a-1-10qps.json");
    let mut value: BTreeMap<String, serde_json::Value> = serde_json::from_str(&file.json).expect("JSON");
    let ours = value.remove("gipfel").expect("our key");
    assert_eq!(ours["run_id"], "run-a");
    assert_eq!(ours["slos"][0], "ttft p95 <= 500ms");
    let lines: Vec<String> = value
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    backend: "vllm"
    burstiness: 1.0
    completed: 118
    date: "20231114-221320"
    duration: 12.0
    endpoint_type: "vllm"
    failed: 2
    label: "run-a"
    max_concurrency: null
    max_concurrent_requests: 6
    mean_e2el_ms: 421.76271186440675
    mean_itl_ms: 50.49919744000001
    mean_tpot_ms: 30.0
    mean_ttft_ms: 121.76271186440678
    median_e2el_ms: 421.0
    median_itl_ms: 50.003967
    median_tpot_ms: 30.0
    median_ttft_ms: 121.0
    model_id: "swiss-ai/Apertus-8B"
    num_prompts: 120
    output_throughput: 107.57999999999998
    p50_e2el_ms: 421.0
    p50_itl_ms: 50.003967
    p50_tpot_ms: 30.0
    p50_ttft_ms: 121.0
    p90_e2el_ms: 517.0
    p90_itl_ms: 90.046463
    p90_tpot_ms: 30.0
    p90_ttft_ms: 217.0
    p95_e2el_ms: 529.0
    p95_itl_ms: 95.027199
    p95_tpot_ms: 30.0
    p95_ttft_ms: 229.0
    p99_e2el_ms: 537.0
    p99_itl_ms: 99.024895
    p99_tpot_ms: 30.0
    p99_ttft_ms: 237.0
    request_goodput: 9.916666666666666
    request_rate: 10.0
    request_throughput: 9.95
    spec_decode_acceptance_rate: 75.0
    spec_decode_accepted_tokens: 150
    spec_decode_draft_tokens: 200
    std_e2el_ms: 68.51693814659826
    std_itl_ms: 28.86601975676643
    std_tpot_ms: 0.0
    std_ttft_ms: 68.51693814659828
    tokenizer_id: null
    total_input_tokens: 60416
    total_output_tokens: 1298
    total_token_throughput: 5201.98
    "#);
}

#[tokio::test]
async fn requests_of_every_phase_are_exported() {
    let database = Database::new().await;
    let run = database.run("run-a", &[]).await;
    let rows: Vec<RequestRecord> = Phase::ALL
        .iter()
        .zip(0..)
        .map(|(phase, number)| RequestRecord {
            phase: *phase,
            ..request(0, number)
        })
        .collect();
    let mut record = level(0, 1.0, &[], &rows);
    record.verdict = Some(Verdict::Accept);
    database.put(run, &record, &rows).await;
    let text = csv(&database, Table::Requests, None).await;
    let phases: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').nth(4))
        .collect();
    assert_eq!(phases, ["warmup", "measured", "tail"]);
}
