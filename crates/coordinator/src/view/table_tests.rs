use gipfel_model::BackendKind;
use insta::assert_snapshot;

use super::*;
use crate::view::{Snapshot, samples};

fn text(lines: &[Line]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| line.render(false)).collect();
    lines.join("\n")
}

fn shown(columns: usize, rows: usize) -> String {
    let experiments = samples::snapshot().experiments(samples::NOW);
    let lines = render(&experiments, Size { columns, rows });
    assert!(lines.iter().all(|line| line.width() <= columns), "nothing wraps");
    text(&lines)
}

#[test]
fn a_wide_terminal_shows_everything() {
    assert_snapshot!(shown(130, 20), @"
    Model                               Backend  Deployment  State       Rate  TTFT p95    QPS        Peak req/s   Left
    apertus-8b-instruct                 vllm     local       near peak   25.4    172 ms   24.4  25.3 (24.1–26.4)   8:12
    swiss-ai/Apertus-70B-Instruct-2509  sglang   local       measuring   3.25    412 ms   2.23            ≥ 24.0   4:00
    llama-405b                          vllm     local       loading 1:20 of at most 15:00: Loading safetensors checkpoint shards:…
    qwen-7b                             vllm     local       waits for its turn: number 1 in line, 2 at once
    qwen-14b                            vllm     local       failed: out-of-memory: the server's process ended with status 1; its lo…
    qwen-32b                            vllm     local       complete                              101 (100–102)
    ");
}

#[test]
fn eighty_columns_are_enough() {
    assert_snapshot!(shown(80, 20), @"
    Model             Backend State      Rate TTFT p95   QPS       Peak req/s  Left
    apertus-8b-instr… vllm    near peak  25.4   172 ms  24.4 25.3 (24.1–26.4)  8:12
    Apertus-70B-Inst… sglang  measuring  3.25   412 ms  2.23           ≥ 24.0  4:00
    llama-405b        vllm    loading 1:20 of at most 15:00: Loading safetensors c…
    qwen-7b           vllm    waits for its turn: number 1 in line, 2 at once
    qwen-14b          vllm    failed: out-of-memory: the server's process ended wi…
    qwen-32b          vllm    complete                          101 (100–102)
    ");
}

#[test]
fn a_narrow_terminal_shows_what_matters_most() {
    assert_snapshot!(shown(50, 20), @"
    Model            State      Rate       Peak req/s
    apertus-8b-inst… near peak  25.4 25.3 (24.1–26.4)
    Apertus-70B-Ins… measuring  3.25           ≥ 24.0
    llama-405b       loading 1:20 of at most 15:00:…
    qwen-7b          waits for its turn: number 1 in…
    qwen-14b         failed: out-of-memory: the serv…
    qwen-32b         complete           101 (100–102)
    ");
    assert_snapshot!(shown(20, 2), @"
    Model State      Ra
    … near peak  25.4 2
    + 2 run, 1 wait, 2
    ");
}

#[test]
fn those_that_run_come_first_where_there_is_no_room() {
    assert_snapshot!(shown(80, 4), @"
    Model             Backend State      Rate TTFT p95   QPS       Peak req/s  Left
    apertus-8b-instr… vllm    near peak  25.4   172 ms  24.4 25.3 (24.1–26.4)  8:12
    Apertus-70B-Inst… sglang  measuring  3.25   412 ms  2.23           ≥ 24.0  4:00
    llama-405b        vllm    loading 1:20 of at most 15:00: Loading safetensors c…
    + 1 wait, 2 done
    ");
}

#[test]
fn no_width_is_too_small() {
    for columns in 0..140 {
        for rows in 0..8 {
            shown(columns, rows);
        }
    }
}

#[test]
fn colours_say_how_ttft_stands_to_its_limit() {
    let experiments = samples::snapshot().experiments(samples::NOW);
    let lines = render(
        &experiments[..2],
        Size {
            columns: 100,
            rows: 9,
        },
    );
    let coloured: Vec<String> = lines.iter().map(|line| line.render(true)).collect();
    assert!(
        coloured[1].contains("\u{1b}[33m  172 ms\u{1b}[0m"),
        "{coloured:?}"
    );
    assert!(
        coloured[2].contains("\u{1b}[31m  412 ms\u{1b}[0m"),
        "{coloured:?}"
    );
}

#[test]
fn hundreds_of_experiments_are_counted() {
    let deployments = (0..300)
        .map(|n| samples::deployment(n, &format!("model-{n}"), BackendKind::Vllm))
        .collect();
    let experiments = Snapshot::new(samples::campaign(deployments)).experiments(samples::NOW);
    let lines = render(&experiments, Size { columns: 80, rows: 3 });
    assert_snapshot!(text(&lines), @"
    Model     Backend State      Rate TTFT p95   QPS       Peak req/s  Left
    model-0   vllm    is about to start
    model-1   vllm    is about to start
    + 298 wait
    ");
}
