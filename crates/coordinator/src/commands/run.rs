//! `gipfel run` and `resume`, and what `peak` shares with them.

use std::{path::Path, time::Duration};

use anyhow::{Context, anyhow};
use firecrest_client::JobId;
use gipfel_config::{Plan, TooManyNodeHours, Warning};
use gipfel_engine::engine;
use gipfel_experiment::{Command, DriverError, Journal, ServerChoice};
use gipfel_model::{CampaignId, EndpointSpec, ExperimentSpec, SlurmReach, deployment::Placement};
use gipfel_slurm_backend::job_of;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    background,
    campaign::{self, Campaign, Options},
    cli::{BaseUrl, OutputArguments, ResumeArguments, RunArguments},
    clusters,
    commands::{again, choose, conclude, config, connect, others, results},
    data_check,
    display::Display,
    dry_run,
    exit::Exit,
    failure::Failure,
    kubernetes,
    load_generator::LoadGenerator,
    only, preflight, print,
    signals::Signals,
    words,
};

/// `gipfel run`.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    if let Some(exit) = hand_over(&arguments.output)? {
        return Ok(exit);
    }
    let mut plan = config::load(&arguments.config, &arguments.site)?;
    plan.experiments = only::choose(plan.experiments, &arguments.only).map_err(Failure::usage)?;
    if arguments.synthetic {
        for experiment in &mut plan.experiments {
            experiment.workload.prompts.dataset = None;
            experiment.dataset_config = gipfel_config::dataset_config(&experiment.workload);
        }
    }
    let display = Display::of(&arguments.output.show);
    for warning in warning_lines(&plan.warnings) {
        display.note(&warning);
    }
    if arguments.on.is_some() {
        share_server(&mut plan, &display);
    }
    check_commands(&plan.experiments)?;
    data_check::check(&mut plan.experiments, &display)?;
    let options = Options {
        max_parallel: parallel(&plan, &display),
        servers: servers(arguments, &plan.experiments, &display)?,
        ..options(&arguments.output)?
    };
    let todo = again::todo(plan.experiments, &options, arguments, &display)?;
    if todo.experiments.is_empty() {
        return todo.conclude(&arguments.output, &display);
    }
    let left_failed = todo.left_failed;
    plan.experiments = todo.experiments;
    refuse_cost(&plan)?;
    let options = Options {
        earlier: todo.databases,
        ..options
    };
    if arguments.dry_run {
        let state = campaign::plan_state(plan.experiments, &options).map_err(Failure::usage)?;
        print(&dry_run::write(&state, &options.results_dir).map_err(Failure::usage)?)?;
        return Ok(Exit::Done);
    }
    results::runtime()?.block_on(preflight::expect_clusters(&plan.experiments, &display))?;
    let named = options
        .load_generator
        .as_ref()
        .map(|taken| taken.program.as_path());
    kubernetes::program(&plan.experiments, &options.results_dir, named).map_err(Failure::usage)?;
    let exit = start(plan.experiments, &options, &arguments.output, &display)?;
    Ok(again::with_left_failures(exit, left_failed))
}

/// Each warning once: with many experiments one cause is the same in all of them.
fn warning_lines(warnings: &[Warning]) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, warning) in warnings.iter().enumerate() {
        let alike = |other: &&Warning| other.message == warning.message;
        if warnings[..place].iter().any(|other| alike(&other)) {
            continue;
        }
        let more = match warnings[place + 1..].iter().filter(alike).count() {
            0 => String::new(),
            n => format!(" (and in {n} more places)"),
        };
        lines.push(format!("warning: {warning}{more}"));
    }
    lines
}

/// `gipfel resume`.
pub(crate) fn resume(arguments: &ResumeArguments) -> Result<Exit, Failure> {
    if let Some(exit) = hand_over(&arguments.output)? {
        return Ok(exit);
    }
    let results_dir = &arguments.output.show.results_dir;
    let id: CampaignId = match &arguments.campaign {
        Some(text) => choose::named(results_dir, text)?,
        None => Journal::latest_unfinished(results_dir)
            .map_err(Failure::usage)?
            .ok_or_else(|| {
                Failure::usage(anyhow!(
                    "there is no unfinished campaign under `{}`",
                    results_dir.display()
                ))
                .hint(format!(
                    "{} says what became of the others",
                    words::command("list", results_dir)
                ))
            })?,
    };
    let options = options(&arguments.output)?;
    let display = Display::of(&arguments.output.show);
    let campaign = Campaign::resume(&id, &options).map_err(Failure::campaign)?;
    drive(campaign, &arguments.output, &display)
}

pub(crate) fn start(
    experiments: Vec<ExperimentSpec>,
    options: &Options,
    output: &OutputArguments,
    display: &Display,
) -> Result<Exit, Failure> {
    let campaign = Campaign::plan(experiments, options).map_err(Failure::campaign)?;
    let this = &campaign.state().campaign_id;
    for line in others::may_live(&options.results_dir, Some(this)) {
        display.note(&format!("warning: {line}"));
    }
    drive(campaign, output, display)
}

/// A campaign begins only if it may cost what its jobs take at worst.
fn refuse_cost(plan: &Plan) -> Result<(), Failure> {
    let refusal = plan.check_node_hours();
    refusal.map_or(Ok(()), |refusal| {
        Err(Failure::usage(refusal).hint(TooManyNodeHours::REMEDY))
    })
}

/// Renders every server command before anything is started, so that a key without a flag is found at once.
pub(crate) fn check_commands(experiments: &[ExperimentSpec]) -> Result<(), Failure> {
    for spec in experiments.iter().map(|experiment| &experiment.deployment) {
        if let Placement::Local(local) = &spec.placement {
            let command = engine(spec.backend).command(spec, local, "127.0.0.1", local.port);
            let what = || format!("there is no command for `{}` on {}", spec.model, spec.backend);
            command.with_context(what).map_err(Failure::usage)?;
        }
    }
    Ok(())
}

/// A server that exists already is one server for all repeats of an experiment.
fn share_server(plan: &mut Plan, display: &Display) {
    let repeated = plan.experiments.iter().any(|experiment| experiment.repeat > 0);
    for experiment in &mut plan.experiments {
        experiment.deployment.instance = 0;
    }
    if repeated {
        display.note(
            "warning: all repeats go to the one server of --on: their spread says how well a measurement repeats, not \
             how much fresh deployments differ",
        );
    }
}

/// Servers of this machine run one after another: side by side they would take each other's cores.
fn parallel(plan: &Plan, display: &Display) -> u32 {
    let local = |experiment: &ExperimentSpec| matches!(experiment.deployment.placement, Placement::Local(_));
    let several = plan.experiments.len() > 1 && plan.max_parallel_experiments > 1;
    if several && plan.experiments.iter().any(local) {
        display.note("servers of this machine run one after another, so that they do not disturb each other");
        return 1;
    }
    plan.max_parallel_experiments
}

pub(crate) fn options(output: &OutputArguments) -> Result<Options, Failure> {
    let poll_interval = Duration::try_from_secs_f64(output.poll_interval)
        .ok()
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| {
            Failure::usage(anyhow!(
                "--poll-interval must be a number of seconds greater than 0"
            ))
        })?;
    Ok(Options {
        results_dir: output.show.results_dir.clone(),
        poll_interval,
        load_generator: load_generator(output)?,
        ..Options::default()
    })
}

fn load_generator(output: &OutputArguments) -> Result<Option<LoadGenerator>, Failure> {
    let path = output.loadgen.as_deref();
    path.map(|path| LoadGenerator::take(path, &output.show.results_dir))
        .transpose()
}

fn servers(
    arguments: &RunArguments,
    experiments: &[ExperimentSpec],
    display: &Display,
) -> Result<ServerChoice, Failure> {
    match &arguments.on {
        None => Ok(ServerChoice::Fresh {
            keep: arguments.keep_server,
        }),
        Some(url) if url.contains("://") => {
            let url: BaseUrl = url
                .parse()
                .map_err(|error: String| Failure::usage(anyhow!(error)))?;
            Ok(ServerChoice::Url(EndpointSpec::new(&url.0)))
        }
        Some(name) if name.starts_with(connect::JOB) => {
            on_job(&name[connect::JOB.len()..], experiments, display)
        }
        Some(name) => {
            let borrowed =
                Journal::find_server(&arguments.output.show.results_dir, name).map_err(Failure::usage)?;
            match (&borrowed.spec.placement, job_of(&borrowed.handle)) {
                // The journal does not know what has become of a job since.
                (Placement::Slurm(slurm), Some(job)) => in_job(&slurm.reach, &job, display),
                _ => Ok(ServerChoice::Borrowed {
                    handle: borrowed.handle,
                    spec: Box::new(borrowed.spec),
                }),
            }
        }
    }
}

/// The server in a Slurm job that gipfel started, on this laptop or another one.
fn on_job(job: &str, experiments: &[ExperimentSpec], display: &Display) -> Result<ServerChoice, Failure> {
    let job = JobId::try_new(job).map_err(Failure::usage)?;
    let reaches = clusters::reaches_of(experiments);
    let [reach] = reaches.as_slice() else {
        let error = anyhow!(
            "the job {job} is of one cluster, and the experiments name {} of them",
            reaches.len()
        );
        return Err(
            Failure::usage(error).hint("--only chooses experiments; `deployment: slurm` names a cluster")
        );
    };
    in_job(reach, &job, display)
}

/// The server in a job of this cluster, which must live.
fn in_job(reach: &SlurmReach, job: &JobId, display: &Display) -> Result<ServerChoice, Failure> {
    let place = clusters::place(reach.clone()).map_err(Failure::usage)?;
    let found = results::runtime()?.block_on(place.server_in_job(job));
    let found =
        found.map_err(|error| Failure::usage(error).hint("`gipfel ps` says which jobs of ours live"))?;
    if let Some(left) = found.living.time_left() {
        let left = words::clock(left.as_secs_f64());
        display.note(&format!(
            "the server in the job {job} has {left} left until its walltime"
        ));
    }
    Ok(ServerChoice::Borrowed {
        handle: found.handle,
        spec: Box::new(found.spec),
    })
}

/// With `--detach` lets another process drive; that process leaves the terminal before it does anything.
pub(crate) fn hand_over(output: &OutputArguments) -> Result<Option<Exit>, Failure> {
    if output.in_background {
        background::leave_terminal()?;
    }
    output.detach.then(|| background::start(output)).transpose()
}

/// What the line under the table says that an interrupt does.
const FOOTER: &str = "ctrl-C ends what runs and keeps what was measured";
const ENDING_FOOTER: &str = "ending; ctrl-C leaves at once";

fn drive(campaign: Campaign, output: &OutputArguments, display: &Display) -> Result<Exit, Failure> {
    let id = campaign.state().campaign_id.clone();
    let results_dir = &output.show.results_dir;
    if output.in_background {
        let directory = results_dir.join(id.as_str());
        background::settle(&directory, &id)?;
    }
    display.begin(campaign.state(), results_dir, std::process::id(), FOOTER);
    let runtime = results::runtime()?;
    let finished = runtime.block_on(carry_out(campaign, display))?;
    let Some(finished) = finished else {
        // Whatever the runtime still waits for is not worth another second to a user who has asked three times.
        runtime.shutdown_background();
        display.clear();
        let resume = words::command(&format!("resume {id}"), results_dir);
        display.note(&format!("left at once; {resume} takes up what lives"));
        return Ok(Exit::Interrupted);
    };
    let exit = match finished {
        Ok(finished) => conclude::conclude(&finished, &output.show, display),
        Err(error) => Err(given_up(error, &id, results_dir, display)),
    };
    if let Ok(exit) = exit {
        display.end(exit);
    }
    exit
}

/// Drives the campaign, shows what happens and passes on what the user wants; nothing if the user did not wait.
async fn carry_out(
    campaign: Campaign,
    display: &Display,
) -> anyhow::Result<Option<anyhow::Result<campaign::Finished>>> {
    let mut signals = Signals::listen().context("failed to listen to signals")?;
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    let mut resized = signal(SignalKind::window_change()).context("failed to listen to signals")?;
    let (commands, listen) = mpsc::channel(4);
    let mut interrupts = 0;
    let mut running = std::pin::pin!(campaign.run(listen, |update| display.show(&update)));
    loop {
        let command = tokio::select! {
            finished = &mut running => return Ok(Some(finished)),
            command = signals.next() => command,
            _ = clock.tick() => { display.tick(); continue }
            _ = resized.recv() => { display.tick(); continue }
        };
        if command == Command::Interrupt {
            interrupts += 1;
            display.footer(ENDING_FOOTER);
        }
        display.note(match (command, interrupts) {
            (Command::Detach, _) => "the terminal is gone: gipfel leaves and everything lives on",
            (Command::Interrupt, 1) => {
                "interrupted: ending what runs, keeping what was measured; once more leaves at once"
            }
            (Command::Interrupt, 2) => "interrupted again: leaving at once",
            (Command::Interrupt, _) => return Ok(None),
        });
        // The driver has left if it does not listen; its results are being merged then.
        let _ = commands.try_send(command);
    }
}

/// The driver could not go on.
fn given_up(error: anyhow::Error, id: &CampaignId, results_dir: &Path, display: &Display) -> Failure {
    display.clear();
    if let Some(DriverError::Journal { live, .. }) = error.downcast_ref() {
        for live in live {
            display.note(&format!("still lives: {}", words::live(live)));
        }
    }
    let resume = words::command(&format!("resume {id}"), results_dir);
    Failure::experiment(error).hint(format!("{resume} takes up what lives"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_said_once() {
        let text = "defaults:
  rate_levels: [1]
  measurement_duration: 10s
  slos: [ttft p95 <= 200ms]
experiments:
  - {model: a, backend: sim, deployment: local}
  - {model: b, backend: sim, deployment: local}
  - {model: c, backend: sim, deployment: local}
";
        let plan = gipfel_config::parse(text, "a.yaml").expect("a plan");
        assert_eq!(plan.warnings.len(), 3);
        let lines = warning_lines(&plan.warnings);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("warning: a.yaml:6:5"), "{lines:?}");
        assert!(lines[0].ends_with(" (and in 2 more places)"), "{lines:?}");
    }
}
