//! A campaign from its plan to its merged results: the facade for embedders.
//!
//! A [`Campaign`] holds its results directory from the moment at which it is planned or taken up until it is dropped:
//! one process at a time drives a campaign in a results directory, and one campaign. What happens is told as a stream of
//! [`Update`]s to the function that [`Campaign::run`] is given; it is called from within that future, in order, and
//! should return soon. [`Command`]s go the other way: one interrupt ends what runs and keeps what was measured, the second
//! leaves at once, and `Detach` leaves everything alive for a later [`Campaign::resume`].
//!
//! ```no_run
//! # async fn example(plan: gipfel_config::Plan) -> anyhow::Result<()> {
//! use gipfel::campaign::{Campaign, Options};
//!
//! let options = Options { results_dir: "results".into(), ..Options::default() };
//! let campaign = Campaign::plan(plan.experiments, &options)?;
//! let (_commands, listen) = tokio::sync::mpsc::channel(4);
//! let finished = campaign.run(listen, |update| println!("{update:?}")).await?;
//! println!("{}", finished.results.display());
//! # Ok(())
//! # }
//! ```

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use gipfel_experiment::{
    Campaign as State, CampaignFacts, Command, Departure, Driver, DriverOptions, Journal, Left, Limits,
    MakeIds, ServerChoice, Update, plan_campaign,
};
use gipfel_model::{CampaignId, ExperimentSpec, provenance::hexadecimal};
use gipfel_results_db::{RefusedSource, merge};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::{
    accounts,
    ids::{FreshIds, now_iso},
    load_generator::LoadGenerator,
    occupancy::Occupancy,
    wiring,
};

/// How a campaign is carried out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where campaigns are kept.
    pub results_dir: PathBuf,
    /// Between two looks at remote jobs.
    pub poll_interval: Duration,
    /// How many deployments live at once.
    pub max_parallel: u32,
    /// Which servers are used.
    pub servers: ServerChoice,
    /// Databases of earlier campaigns that belong to this one's results, since they hold what it does not measure
    /// again.
    pub earlier: Vec<PathBuf>,
    /// The load generator; gipfel's own unless given.
    pub load_generator: Option<LoadGenerator>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            results_dir: "results".into(),
            poll_interval: Duration::from_secs(15),
            max_parallel: 2,
            servers: ServerChoice::Fresh { keep: false },
            earlier: Vec::new(),
            load_generator: None,
        }
    }
}

/// A campaign that is planned or taken up, and held by this process.
pub struct Campaign {
    state: State,
    journal: Journal,
    options: Options,
    occupancy: Occupancy,
}

/// A campaign after its driver has left.
#[derive(Debug)]
pub struct Finished {
    /// The campaign's state; it is in the journal like this.
    pub state: State,
    /// How the driver left.
    pub left: Left,
    /// The databases of the runs: those of earlier campaigns that belong to them, then those that were collected.
    pub databases: Vec<PathBuf>,
    /// The merged database of the results directory; it is left as it was when something lives that was not waited for.
    pub results: PathBuf,
    /// What could not be merged into it, with the reason.
    pub not_merged: Vec<String>,
}

impl Campaign {
    /// Plans the experiments, takes the results directory and begins the journal; nothing is started yet.
    ///
    /// # Errors
    ///
    /// An [`OccupancyError`](crate::occupancy::OccupancyError) when another process uses the directory or it cannot be
    /// written, a `JournalError` when the journal cannot, a `PlanError` when the experiments make no campaign.
    pub fn plan(experiments: Vec<ExperimentSpec>, options: &Options) -> anyhow::Result<Self> {
        let state = plan_state(experiments, options)?;
        let occupancy = Occupancy::take(&options.results_dir, &state.campaign_id)?;
        let journal = Journal::create(&options.results_dir, &state)?;
        Ok(Self {
            state,
            journal,
            options: options.clone(),
            occupancy,
        })
    }

    /// Takes up a campaign that was left unfinished.
    pub fn resume(id: &CampaignId, options: &Options) -> anyhow::Result<Self> {
        Self::take_up(id, options, |state, now, limits| {
            let mut ids = FreshIds::now();
            state.resume(now, limits, &mut |spec| ids.deployment(spec));
        })
    }

    /// Takes up a campaign that nobody drives in order to end it: when it is run, it starts nothing, ends what lives and
    /// keeps what was measured. It can be resumed later.
    pub fn call_off(id: &CampaignId, options: &Options) -> anyhow::Result<Self> {
        Self::take_up(id, options, State::call_off)
    }

    fn take_up(
        id: &CampaignId,
        options: &Options,
        change: impl FnOnce(&mut State, i64, &Limits),
    ) -> anyhow::Result<Self> {
        // A directory without this campaign is left as it is.
        Journal::load(&options.results_dir, id)?;
        let occupancy = Occupancy::take(&options.results_dir, id)?;
        let (journal, mut state) = Journal::open(&options.results_dir, id)?;
        let load_generator = same_load_generator(&state, options)?;
        change(&mut state, Driver::unix_now_ms(), &Limits::default());
        // What it brings is merged at its end.
        state.results_merged = false;
        journal.write(&state)?;
        Ok(Self {
            state,
            journal,
            options: Options {
                load_generator,
                ..options.clone()
            },
            occupancy,
        })
    }

    /// The campaign's state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Carries the campaign out and merges what was collected.
    pub async fn run(
        self,
        commands: mpsc::Receiver<Command>,
        updates: impl Fn(Update),
    ) -> anyhow::Result<Finished> {
        let Options {
            results_dir,
            poll_interval,
            earlier,
            load_generator,
            ..
        } = self.options;
        let program = load_generator.map(|generator| generator.program);
        let backends = wiring::backends(&self.state, self.journal.directory(), &results_dir, program)?;
        let driver_options = DriverOptions {
            poll_interval,
            ..DriverOptions::default()
        };
        let builder = wiring::run_config_builder();
        let journal = Arc::new(self.journal);
        let driver = Driver::new(
            self.state,
            Arc::clone(&journal),
            backends,
            driver_options,
            builder,
        )?;
        let Departure {
            campaign: mut state,
            left,
        } = driver.run(commands, updates).await?;
        let results = results_dir.join("results.db");
        // Who leaves while something lives is in a hurry; a later resume merges.
        let in_a_hurry = left != Left::Finished && state.live().iter().any(|live| !live.kept);
        let directory = results_dir.join(state.campaign_id.as_str());
        let databases = state.runs().filter_map(|(_, run)| run.database.as_ref());
        let collected = databases.map(|database| directory.join(database));
        let databases: Vec<PathBuf> = earlier.into_iter().chain(collected).collect();
        let mut not_merged = Vec::new();
        if !databases.is_empty() && !in_a_hurry {
            not_merged.extend(accounts::record(&state, &directory).await);
            match merge(&results, &databases).await {
                Ok(report) => {
                    not_merged.extend(report.refused.iter().map(refusal_words));
                    state.results_merged = true;
                    journal.write(&state)?;
                }
                Err(error) => not_merged.push(format!("not merged: {}", chain_words(&error))),
            }
        }
        drop(self.occupancy);
        Ok(Finished {
            state,
            left,
            databases,
            results,
            not_merged,
        })
    }
}

/// The load generator that a campaign began with: one that is given must be the same.
fn same_load_generator(state: &State, options: &Options) -> anyhow::Result<Option<LoadGenerator>> {
    let given = options.load_generator.as_ref();
    match (&state.load_generator, given) {
        (None, None) => Ok(None),
        (Some(sha256), None) => LoadGenerator::find(&options.results_dir, sha256).map(Some),
        (Some(sha256), Some(given)) if given.sha256 == *sha256 => Ok(Some(given.clone())),
        (Some(sha256), Some(given)) => Err(anyhow!(
            "the campaign began with the load generator {sha256}; the one that is given is {}",
            given.sha256
        )),
        (None, Some(_)) => Err(anyhow!(
            "the campaign began with gipfel's own load generator; it cannot go on with another"
        )),
    }
}

/// Which database was not merged, and why.
pub(crate) fn refusal_words(refused: &RefusedSource) -> String {
    format!(
        "not merged: {}: {}",
        refused.source.display(),
        chain_words(&refused.error)
    )
}

/// An error and its causes in one line.
fn chain_words(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    chain.collect::<Vec<_>>().join(": ")
}

/// The state of a new campaign, in no journal yet.
pub(crate) fn plan_state(experiments: Vec<ExperimentSpec>, options: &Options) -> anyhow::Result<State> {
    let mut ids = FreshIds::now();
    let text = serde_json::to_vec(&experiments).context("failed to write the plan")?;
    let facts = CampaignFacts {
        campaign_id: ids.campaign(),
        created_at: now_iso(),
        gipfel_version: crate::VERSION.to_owned(),
        config_digest: hexadecimal(&Sha256::digest(&text)),
        max_parallel: options.max_parallel,
        load_generator: options
            .load_generator
            .as_ref()
            .map(|generator| generator.sha256.clone()),
    };
    Ok(plan_campaign(facts, experiments, &options.servers, &mut ids)?)
}
