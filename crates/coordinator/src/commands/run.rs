//! `gipfel run`, `peak` and `resume`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use gipfel_config::Plan;
use gipfel_engine::engine;
use gipfel_experiment::{Command, DeploymentPhase, Journal, Left, RunOutcome, ServerChoice};
use gipfel_model::{CampaignId, EndpointSpec, ExperimentSpec, Verdict, deployment::Placement};
use gipfel_results_analysis::Summary;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    campaign::{self, Campaign, Finished, Options},
    cli::{OutputArguments, PeakArguments, ResumeArguments, RunArguments},
    commands::{config, results},
    display::{self, Display},
    dry_run,
    exit::Exit,
    failure::Failure,
    peak, print,
};

/// How long a server may take to say which models it has.
const MODELS_TIMEOUT: Duration = Duration::from_secs(10);

/// `gipfel run`.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let mut plan = config::load(&arguments.config)?;
    if arguments.synthetic {
        for experiment in &mut plan.experiments {
            experiment.dataset_config = gipfel_config::dataset_config(&experiment.workload);
        }
    }
    let display = Display::new(arguments.output.json);
    for warning in &plan.warnings {
        display.note(&format!("warning: {warning}"));
    }
    refuse_unsupported(&plan, arguments.synthetic)?;
    check_commands(&plan.experiments)?;
    let options = Options {
        max_parallel: parallel(&plan, &display),
        servers: servers(arguments)?,
        ..options(&arguments.output)?
    };
    if arguments.dry_run {
        let state = campaign::plan_state(plan.experiments, &options).map_err(Failure::usage)?;
        print(&dry_run::write(&state, &options.results_dir).map_err(Failure::usage)?);
        return Ok(Exit::Done);
    }
    start(plan.experiments, &options, &arguments.output, &display)
}

/// `gipfel peak`.
pub(crate) fn peak(arguments: &PeakArguments) -> Result<Exit, Failure> {
    let found = results::runtime()?.block_on(ask_models(arguments))?;
    let experiment = peak::experiment(arguments, found);
    if arguments.print_config {
        let plan = Plan {
            experiments: vec![experiment],
            max_parallel_experiments: 1,
            ..Plan::default()
        };
        print(&gipfel_config::render_yaml(&plan));
        return Ok(Exit::Done);
    }
    let options = options(&arguments.output)?;
    start(
        vec![experiment],
        &options,
        &arguments.output,
        &Display::new(arguments.output.json),
    )
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
    let display = Display::new(arguments.output.json);
    let campaign = Campaign::resume(&id, &options).map_err(Failure::usage)?;
    drive(campaign, &arguments.output, &display)
}

fn start(
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

fn options(output: &OutputArguments) -> Result<Options, Failure> {
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
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(ServerChoice::Url(EndpointSpec::new(url)))
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

/// Asks the server which models it has, so that nothing needs to be typed.
async fn ask_models(arguments: &PeakArguments) -> Result<peak::Found, Failure> {
    let endpoint = EndpointSpec::new(&arguments.url);
    let url = format!("{}/v1/models", endpoint.url);
    let unreachable = |error: anyhow::Error| {
        Failure::experiment(error.context(format!("failed to ask `{url}` for its models")))
            .hint("is the server running, and is the URL its base, such as http://127.0.0.1:8000?")
    };
    let client = reqwest::Client::builder()
        .timeout(MODELS_TIMEOUT)
        .build()
        .map_err(|e| unreachable(e.into()))?;
    let mut request = client.get(&url);
    if let Some(name) = &arguments.api_key_env {
        let key = std::env::var(name).with_context(|| format!("failed to read the API key from `{name}`"));
        request = request.bearer_auth(key.map_err(Failure::usage)?.trim());
    }
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    let answer: serde_json::Value = match answer {
        Ok(answer) => answer
            .json()
            .await
            .map_err(|error| unreachable(error.without_url().into()))?,
        Err(error) => return Err(unreachable(error.without_url().into())),
    };
    peak::read_models(arguments, &answer)
        .ok_or_else(|| Failure::usage(anyhow!("`{url}` lists no model")).hint("name the model with --model"))
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
    let finished = finished.map_err(|error| {
        Failure::experiment(error).hint(format!("`gipfel resume {id}` takes up what lives"))
    })?;
    conclude(&finished, output, display)
}

/// Interrupt and terminate end the campaign; a closed terminal lets it live on.
async fn forward_signals(commands: mpsc::Sender<Command>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let command = tokio::select! {
            _ = interrupt.recv() => Command::Interrupt,
            _ = terminate.recv() => Command::Interrupt,
            _ = hangup.recv() => Command::Detach,
        };
        if commands.send(command).await.is_err() {
            return Ok(());
        }
    }
}

/// Says how it ended: what lives, what failed, what was refused, the table, the exit code.
fn conclude(finished: &Finished, output: &OutputArguments, display: &Display) -> Result<Exit, Failure> {
    let state = &finished.state;
    for live in state.live() {
        display.note(&format!("still lives: {live}"));
    }
    for refused in &finished.refused {
        display.note(&results::refusal_words(refused));
    }
    show_failures(finished, display);
    let ids: Vec<&str> = state
        .runs()
        .filter(|(_, run)| run.database.is_some())
        .map(|(_, run)| run.id.as_str())
        .collect();
    let mut exit = Exit::Unresolved;
    if !ids.is_empty() {
        let mut summary = results::read_summary(&finished.results, &[])?;
        summary.runs.retain(|run| ids.contains(&run.run_id.as_str()));
        if output.json {
            display.summary(&summary)?;
        } else {
            results::print_summary(&summary, false)?;
        }
        exit = answer(&summary);
    }
    let failed = state
        .runs()
        .any(|(_, run)| matches!(run.outcome(), Some(RunOutcome::Failed(_))));
    let unfinished = state.is_unfinished();
    if unfinished && finished.left != Left::Finished {
        display.note(&format!("`gipfel resume {}` goes on", state.campaign_id));
    }
    Ok(match finished.left {
        Left::Interrupted => Exit::Interrupted,
        Left::Detached => Exit::Done,
        Left::Finished if failed => Exit::ExperimentFailed,
        Left::Finished => exit,
    })
}

fn show_failures(finished: &Finished, display: &Display) {
    for (deployment, run) in finished.state.runs() {
        if let Some(RunOutcome::Failed(failure)) = run.outcome() {
            let words = display::failure_words(failure);
            display.note(&format!("{} on {}: {words}", run.id, deployment.id));
            for line in failure.log_tail.lines() {
                display.note(&format!("  | {line}"));
            }
        }
        if let Some(error) = &run.collect_error {
            display.note(&format!(
                "run {}: its database could not be collected: {error}",
                run.id
            ));
        }
    }
    for deployment in &finished.state.deployments {
        if let DeploymentPhase::Kept { endpoint, .. } = &deployment.phase {
            display.note(&format!(
                "server {} is left running at {}",
                deployment.id, endpoint.url
            ));
        }
    }
}

/// 0 when every run has an answer, else what is missing.
fn answer(summary: &Summary) -> Exit {
    let mut exit = Exit::Done;
    for run in &summary.runs {
        if run.answer.max_qps.is_none() {
            let rejected = run
                .levels
                .iter()
                .any(|level| matches!(level.verdict, Some(Verdict::Reject { .. })));
            exit = if rejected && exit != Exit::Unresolved {
                Exit::NoRate
            } else {
                Exit::Unresolved
            };
        }
    }
    exit
}
