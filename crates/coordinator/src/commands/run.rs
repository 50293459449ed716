//! `gipfel run` and `resume`, and what `peak` shares with them.

use std::time::Duration;

use anyhow::{Context, anyhow};
use gipfel_config::Plan;
use gipfel_engine::engine;
use gipfel_experiment::{Command, DriverError, Journal, ServerChoice};
use gipfel_model::{CampaignId, EndpointSpec, ExperimentSpec, deployment::Placement};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    campaign::{self, Campaign, Options},
    cli::{BaseUrl, DEFAULT_RESULTS_DIR, OutputArguments, ResumeArguments, RunArguments},
    commands::{again, conclude, config, results},
    display::Display,
    dry_run,
    exit::Exit,
    failure::Failure,
    print,
};

/// `gipfel run`.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let mut plan = config::load(&arguments.config, &arguments.site)?;
    if arguments.synthetic {
        for experiment in &mut plan.experiments {
            experiment.dataset_config = gipfel_config::dataset_config(&experiment.workload);
        }
    }
    let display = Display::of(&arguments.output);
    for warning in &plan.warnings {
        display.note(&format!("warning: {warning}"));
    }
    if arguments.on.is_some() {
        share_server(&mut plan, &display);
    }
    refuse_unsupported(&plan, arguments.synthetic)?;
    check_commands(&plan.experiments)?;
    let options = Options {
        max_parallel: parallel(&plan, &display),
        servers: servers(arguments)?,
        ..options(&arguments.output)?
    };
    let todo = again::todo(plan.experiments, &options, arguments, &display)?;
    if todo.experiments.is_empty() {
        return todo.conclude(&arguments.output, &display);
    }
    let left_failed = todo.left_failed;
    plan.experiments = todo.experiments;
    let options = Options {
        earlier: todo.databases,
        ..options
    };
    if arguments.dry_run {
        let state = campaign::plan_state(plan.experiments, &options).map_err(Failure::usage)?;
        print(&dry_run::write(&state, &options.results_dir).map_err(Failure::usage)?)?;
        return Ok(Exit::Done);
    }
    let exit = start(plan.experiments, &options, &arguments.output, &display)?;
    Ok(again::with_left_failures(exit, left_failed))
}

/// `gipfel resume`.
pub(crate) fn resume(arguments: &ResumeArguments) -> Result<Exit, Failure> {
    let results_dir = &arguments.output.results_dir;
    let id: CampaignId = match &arguments.campaign {
        Some(text) => text
            .parse()
            .map_err(|error: gipfel_model::IdError| Failure::usage(error))?,
        None => Journal::latest_unfinished(results_dir)
            .map_err(Failure::usage)?
            .ok_or_else(|| {
                Failure::usage(anyhow!(
                    "there is no unfinished campaign under `{}`",
                    results_dir.display()
                ))
            })?,
    };
    let options = options(&arguments.output)?;
    let display = Display::of(&arguments.output);
    let campaign = Campaign::resume(&id, &options).map_err(Failure::usage)?;
    drive(campaign, &arguments.output, &display)
}

pub(crate) fn start(
    experiments: Vec<ExperimentSpec>,
    options: &Options,
    output: &OutputArguments,
    display: &Display,
) -> Result<Exit, Failure> {
    let campaign = Campaign::plan(experiments, options).map_err(Failure::usage)?;
    drive(campaign, output, display)
}

fn refuse_unsupported(plan: &Plan, synthetic: bool) -> Result<(), Failure> {
    let refusals = plan.check_supported(synthetic);
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "this version cannot run the configuration:\n  {}",
        refusals.join("\n  ")
    )))
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
        results_dir: output.results_dir.clone(),
        poll_interval,
        ..Options::default()
    })
}

fn servers(arguments: &RunArguments) -> Result<ServerChoice, Failure> {
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
        Some(name) => {
            let borrowed =
                Journal::find_server(&arguments.output.results_dir, name).map_err(Failure::usage)?;
            Ok(ServerChoice::Borrowed {
                handle: borrowed.handle,
                spec: Box::new(borrowed.spec),
            })
        }
    }
}

fn drive(campaign: Campaign, output: &OutputArguments, display: &Display) -> Result<Exit, Failure> {
    let id = campaign.state().campaign_id.clone();
    display.note(&format!(
        "campaign {id} in {}",
        output.results_dir.join(id.as_str()).display()
    ));
    let finished = results::runtime()?.block_on(async {
        let (commands, listen) = mpsc::channel(4);
        let listening = tokio::spawn(forward_signals(commands));
        let finished = campaign.run(listen, |update| display.show(&update)).await;
        listening.abort();
        finished
    });
    match finished {
        Ok(finished) => conclude::conclude(&finished, output, display),
        Err(error) => {
            if let Some(DriverError::Journal { live, .. }) = error.downcast_ref() {
                for live in live {
                    display.note(&format!("still lives: {live}"));
                }
            }
            Err(Failure::experiment(error)
                .hint(format!("{} takes up what lives", resume_command(&id, output))))
        }
    }
}

/// The command that goes on with a campaign, as it is to be typed.
pub(crate) fn resume_command(id: &CampaignId, output: &OutputArguments) -> String {
    if output.results_dir.as_os_str() == DEFAULT_RESULTS_DIR {
        format!("`gipfel resume {id}`")
    } else {
        format!(
            "`gipfel resume {id} --results-dir {}`",
            output.results_dir.display()
        )
    }
}

/// Interrupt and terminate end the campaign; a closed terminal lets it live on.
async fn forward_signals(commands: mpsc::Sender<Command>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Under `nohup` the signal is ignored, and listening would take that back.
    let mut hangup = if ignores_hangup() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let command = tokio::select! {
            _ = interrupt.recv() => Command::Interrupt,
            _ = terminate.recv() => Command::Interrupt,
            _ = hung_up => Command::Detach,
        };
        if commands.send(command).await.is_err() {
            return Ok(());
        }
    }
}

/// Whether SIGHUP, the first signal, is ignored; where the system does not say so, it is not.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
