//! Holds the simulated servers against their known capacity, on a simulated clock.
//!
//! `--truth` recomputes each server's highest rate: five rates × two seeds × two hours each after fifteen minutes,
//! a logistic curve through the violating shares, its crossing with the share that the objective allows; the lowest
//! over the objectives. `--verdicts` offers 0.90 and 1.08 times the truth for 120 + 600 s, thirty seeds each: the
//! first must be accepted and the second rejected. Without either, both. The exit code is 1 when a truth is off by
//! more than one per cent or a verdict is wrong.

#![expect(clippy::print_stdout, reason = "this program's output is its tables")]

mod compare;
mod procedures;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    time::Instant,
};

use anyhow::Context;
use clap::Parser;
use gipfel_inference_sim::{Fault, Faults, Profiles, Scheduled, ServerProfile, Simulated, simulate};
use gipfel_model::{
    ArrivalRate, Attainment, CountSource, Outcome, Phase, RequestRecord, Slo, Validity, Verdict,
    record::Decision,
};
use gipfel_peak_search::judge;
use gipfel_statistics::logistic_crossing;
use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share, draw_lengths};

/// Relative to the truth of the table; a second round is centred on the crossing of the first one.
const TRUTH_RATES: [f64; 5] = [0.96, 0.98, 1.0, 1.02, 1.04];
const TRUTH_SEEDS: u64 = 2;
const TRUTH_WINDOW: Window = Window {
    warmup_s: 900,
    measured_s: 7200,
};
const TRUTH_TOLERANCE: f64 = 0.01;

const VERDICT_RATES: [(f64, &str); 2] = [(0.90, "accept"), (1.08, "reject")];
const VERDICT_SEEDS: u64 = 30;
const VERDICT_WINDOW: Window = Window {
    warmup_s: 120,
    measured_s: 600,
};

/// Load after the measured window, so that its last requests see what the others saw.
const TAIL_S: i64 = 60;

const SECOND_NS: i64 = 1_000_000_000;

#[derive(Parser)]
#[command(about = "Holds the simulated servers against their known capacity.")]
struct Arguments {
    /// Recompute the highest rates.
    #[arg(long)]
    truth: bool,
    /// Check verdicts below and above them.
    #[arg(long)]
    verdicts: bool,
    /// Compare the procedures; this and the next few options.
    #[arg(long)]
    compare: bool,
    /// Seeds of the comparison.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Only these procedures; may be repeated.
    #[arg(long)]
    procedure: Vec<compare::Procedure>,
    /// A stall or a slow-down in the form of `gipfel sim --fault`; errors are then those against the undisturbed truth.
    #[arg(long)]
    fault: Vec<Fault>,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
    /// Print what each search did.
    #[arg(long)]
    trace: bool,
    /// A file of servers; without it the embedded ones.
    #[arg(long, alias = "servers")]
    profiles: Option<PathBuf>,
    /// Only this server; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Print each level too.
    #[arg(long)]
    levels: bool,
}

#[derive(Clone, Copy)]
struct Window {
    warmup_s: i64,
    measured_s: i64,
}

/// One simulated level.
#[derive(Clone, Copy)]
struct Level<'a> {
    profile: &'a ServerProfile,
    rate: f64,
    seed: u64,
    window: Window,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let all = match &arguments.profiles {
        Some(path) => Profiles::read(path)?,
        None => Profiles::embedded(),
    };
    let named = arguments.only.iter().map(|name| all.select(Some(name)));
    let chosen: Vec<&ServerProfile> = if named.len() == 0 {
        all.iter().collect()
    } else {
        named.collect::<Result<_, _>>()?
    };
    if arguments.compare {
        let procedures = if arguments.procedure.is_empty() {
            <compare::Procedure as clap::ValueEnum>::value_variants()
        } else {
            &arguments.procedure
        };
        let faults = Faults::of(&arguments.fault)?;
        let disturbance = faults.disturbance;
        anyhow::ensure!(
            faults
                == Faults {
                    disturbance,
                    ..Faults::default()
                },
            "on the simulated clock there are only stalls and slow-downs"
        );
        let seeds = arguments.first_seed..arguments.first_seed + arguments.seeds;
        let rows = compare::run(&chosen, procedures, seeds, disturbance, arguments.trace)?;
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
        } else {
            print!("{}", compare::table(&rows));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let both = !arguments.truth && !arguments.verdicts;
    let mut good = true;
    if arguments.truth || both {
        good &= check_truths(&chosen, arguments.levels)?;
    }
    if arguments.verdicts || both {
        good &= check_verdicts(&chosen, arguments.levels)?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn truth_of(profile: &ServerProfile) -> anyhow::Result<f64> {
    profile
        .truth
        .with_context(|| format!("the server `{}` has no `truth` to check", profile.name))
}

fn check_truths(profiles: &[&ServerProfile], print_levels: bool) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut good = true;
    println!(
        "{:<14} {:>8} {:>8} {:>8}  objective",
        "server", "table", "found", "off by"
    );
    for profile in profiles {
        let table = truth_of(profile)?;
        let (rough, _) = find_truth(profile, table, print_levels)?;
        let (found, slo) = find_truth(profile, rough, print_levels)?;
        let difference = found / table - 1.0;
        good &= difference.abs() <= TRUTH_TOLERANCE;
        println!(
            "{:<14} {table:>8.2} {found:>8.2} {:>6.2} %  {slo}",
            profile.name,
            difference * 100.0
        );
    }
    println!("truths: {:.0} s", started.elapsed().as_secs_f64());
    Ok(good)
}

/// The lowest crossing over the objectives, and its objective.
fn find_truth(profile: &ServerProfile, centre: f64, print_levels: bool) -> anyhow::Result<(f64, Slo)> {
    let mut levels = Vec::new();
    for factor in TRUTH_RATES {
        levels.extend((0..TRUTH_SEEDS).map(|seed| Level {
            profile,
            rate: centre * factor,
            seed,
            window: TRUTH_WINDOW,
        }));
    }
    let results = in_parallel(&levels, attainments)?;
    if print_levels {
        print(&levels, &results);
    }
    let crossing = |at: usize, slo: &Slo| {
        let points: Vec<(f64, f64, f64)> = levels
            .iter()
            .zip(&results)
            .map(|(level, result)| (level.rate, result[at].violated as f64, result[at].decided as f64))
            .collect();
        // An objective that is never near its limit has no crossing and sets no limit.
        logistic_crossing(&points, slo.allowed_share()).map(|rate| (rate, *slo))
    };
    let crossings = profile
        .slos
        .iter()
        .enumerate()
        .filter_map(|(at, slo)| crossing(at, slo));
    crossings.min_by(|a, b| a.0.total_cmp(&b.0)).with_context(|| {
        format!(
            "no objective of `{}` is crossed near {centre:.2} req/s",
            profile.name
        )
    })
}

fn check_verdicts(profiles: &[&ServerProfile], print_levels: bool) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut good = true;
    println!("{:<14} {:>8} {:>8}  verdicts", "server", "× truth", "expected");
    for profile in profiles {
        for (factor, expected) in VERDICT_RATES {
            let rate = truth_of(profile)? * factor;
            let levels: Vec<Level<'_>> = (0..VERDICT_SEEDS)
                .map(|seed| Level {
                    profile,
                    rate,
                    seed,
                    window: VERDICT_WINDOW,
                })
                .collect();
            let results = in_parallel(&levels, attainments)?;
            if print_levels {
                print(&levels, &results);
            }
            let verdicts: Vec<Verdict> = results
                .iter()
                .map(|result| judge(result, &Validity::default()))
                .collect();
            let right = verdicts
                .iter()
                .filter(|verdict| verdict.name() == expected)
                .count();
            good &= right == verdicts.len();
            println!(
                "{:<14} {factor:>8.2} {expected:>8}  {right} of {}{}",
                profile.name,
                verdicts.len(),
                others(&verdicts, expected)
            );
        }
    }
    println!("verdicts: {:.0} s", started.elapsed().as_secs_f64());
    Ok(good)
}

fn others(verdicts: &[Verdict], expected: &str) -> String {
    let wrong = verdicts
        .iter()
        .enumerate()
        .filter(|(_, verdict)| verdict.name() != expected);
    let texts: Vec<String> = wrong
        .map(|(seed, verdict)| format!("; seed {seed}: {verdict}"))
        .collect();
    texts.concat()
}

fn print(levels: &[Level<'_>], results: &[Vec<Attainment>]) {
    for (level, result) in levels.iter().zip(results) {
        for attainment in result {
            let share = attainment.violating_share().unwrap_or(f64::NAN) * 100.0;
            println!(
                "  {} {:.3} req/s seed {}: {} n {} violating {share:.2} %",
                level.profile.name, level.rate, level.seed, attainment.slo, attainment.decided
            );
        }
    }
}

/// Simulates a level and decides the requests of its measured window.
fn attainments(level: &Level<'_>) -> anyhow::Result<Vec<Attainment>> {
    let workload = level.profile.workload(level.seed);
    let end_s = level.window.warmup_s + level.window.measured_s;
    let segment = Segment {
        index: 0,
        rate: ArrivalRate::per_second(level.rate)?,
        ramp_ns: 0,
        start_ns: 0,
        end: SegmentEnd::At((end_s + TAIL_S) * SECOND_NS),
    };
    let arrivals = Arrivals::new(level.seed, workload.arrivals, &segment, Share::ALL);
    let schedule: Vec<Scheduled> = arrivals
        .map(|arrival| {
            let lengths = draw_lengths(&workload, segment.index, arrival.index);
            Scheduled {
                arrival_ns: arrival.scheduled_ns,
                input: lengths.input,
                output: lengths.output,
            }
        })
        .collect();
    let results = simulate(level.profile.law, level.seed, &schedule)?;
    let measured = level.window.warmup_s * SECOND_NS..end_s * SECOND_NS;
    let records: Vec<RequestRecord> = schedule
        .iter()
        .zip(&results)
        .filter(|(request, _)| measured.contains(&request.arrival_ns))
        .map(|(request, result)| record(request, result))
        .collect();
    Ok(level
        .profile
        .slos
        .iter()
        .map(|slo| attainment(&records, slo))
        .collect())
}

fn attainment(records: &[RequestRecord], slo: &Slo) -> Attainment {
    let count = |decision| {
        records
            .iter()
            .filter(|record| record.decide(slo) == decision)
            .count() as u64
    };
    let violated = count(Decision::Violated);
    Attainment {
        slo: *slo,
        scheduled: records.len() as u64,
        decided: count(Decision::Met) + violated,
        violated,
        n_eff: None,
        interval: None,
    }
}

/// What a load generator without any delay would have recorded.
fn record(request: &Scheduled, result: &Simulated) -> RequestRecord {
    let first_token_ns = result.first_token_ns - request.arrival_ns;
    let last_token_ns = result.last_token_ns - request.arrival_ns;
    RequestRecord {
        rank: 0,
        request: 0,
        level: 0,
        phase: Phase::Measured,
        class: 0,
        session: None,
        turn: 0,
        endpoint: 0,
        outcome: Outcome::Ok,
        http_status: Some(200),
        scheduled_ns: request.arrival_ns,
        connect_ns: None,
        send_ns: Some(0),
        header_ns: Some(0),
        first_chunk_ns: Some(first_token_ns),
        first_token_ns: Some(first_token_ns),
        first_token_lag_ns: None,
        first_token_uncertain: false,
        first_output_ns: Some(first_token_ns),
        last_token_ns: Some(last_token_ns),
        end_ns: last_token_ns,
        input_tokens: Some(request.input),
        output_tokens: Some(request.output),
        cached_tokens: None,
        requested_input: request.input,
        requested_output: request.output,
        chunks: request.output,
        itl_max_ns: (request.output > 1).then_some(result.itl_max_ns),
        count_source: CountSource::Usage,
        finish_reason: None,
        error: None,
    }
}

/// The results of independent jobs, in their order, on as many threads as the machine has cores.
fn in_parallel<T: Sync, R: Send>(
    jobs: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    if sender.send((at, work(job))).is_err() {
                        return;
                    }
                }
            });
        }
    });
    drop(sender);
    let mut results: Vec<(usize, anyhow::Result<R>)> = receiver.into_iter().collect();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
