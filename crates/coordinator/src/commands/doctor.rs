//! `gipfel doctor …`: whether a cluster can be used.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use firecrest_client::{Client, ClientBuilder, RetryPolicy, System};
use gipfel_config::Plan;
use gipfel_model::ClusterKind;

use crate::{
    cli::{DoctorK8sArguments, DoctorSlurmArguments, DoctorTarget},
    clusters,
    commands::{config, results},
    doctor::{self, Finding, State, cluster, jobs},
    exit::Exit,
    failure::Failure,
    kubernetes,
    load_generator::LoadGenerator,
    only, print,
};

/// Who asks a doctor waits: a call that fails is tried again for so long and not for minutes.
const PATIENCE: Duration = Duration::from_secs(20);

/// `gipfel doctor slurm`.
pub(crate) fn slurm(arguments: &DoctorSlurmArguments) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let mut printed = Printed::default();
    match &arguments.target {
        Some(DoctorTarget::Configuration(file)) => {
            let plan = config::load(file, &arguments.site)?;
            runtime.block_on(examine_plan(plan, arguments, &mut printed))?;
        }
        target => {
            let system = match target {
                Some(DoctorTarget::System(system)) => Some(system.as_str()),
                _ => None,
            };
            let client = client(&arguments.env_file)?;
            let account = arguments.account.as_deref();
            runtime.block_on(examine(&client, system, account, &mut printed))?;
        }
    }
    Ok(printed.exit())
}

/// `gipfel doctor k8s`.
pub(crate) fn k8s(arguments: &DoctorK8sArguments) -> Result<Exit, Failure> {
    let mut plan = config::load(&arguments.config, &arguments.site)?;
    plan.experiments = only::choose(plan.experiments, &arguments.only).map_err(Failure::usage)?;
    let namespaces = kubernetes::namespaces(&plan.experiments);
    if namespaces.is_empty() {
        return Err(Failure::usage(anyhow!(
            "the configuration has no experiment on a Kubernetes cluster"
        )));
    }
    let mut printed = Printed::default();
    let runtime = results::runtime()?;
    for namespace in &namespaces {
        let wanted = doctor::kubernetes::Wanted::of(namespace, &plan.experiments);
        let mut say = |finding: Finding| printed.say(&finding).map(drop);
        runtime.block_on(doctor::kubernetes::examine(namespace, &wanted, &mut say))?;
    }
    Ok(printed.exit())
}

/// What was said so far.
#[derive(Default)]
struct Printed {
    has_fault: bool,
}

impl Printed {
    /// Prints a finding as it is made; tells whether it is a fault.
    fn say(&mut self, finding: &Finding) -> anyhow::Result<bool> {
        print(&format!("{finding}\n"))?;
        let is_fault = finding.state == State::Fault;
        self.has_fault |= is_fault;
        Ok(is_fault)
    }

    fn exit(&self) -> Exit {
        if self.has_fault { Exit::Fault } else { Exit::Done }
    }
}

/// Looks at all clusters of a configuration.
async fn examine_plan(
    mut plan: Plan,
    arguments: &DoctorSlurmArguments,
    printed: &mut Printed,
) -> Result<(), Failure> {
    plan.experiments = only::choose(plan.experiments, &arguments.only).map_err(Failure::usage)?;
    let all = jobs::wanted(&plan.experiments);
    if all.is_empty() {
        return Err(Failure::usage(anyhow!(
            "the configuration has no experiment on a Slurm cluster"
        )));
    }
    // What is kept of a load generator for a run is not for a look.
    let folder = tempfile::tempdir().context("failed to make a directory")?;
    let named = arguments.loadgen.as_deref();
    let named = named
        .map(|path| LoadGenerator::take(path, folder.path()))
        .transpose()?;
    let named = named.as_ref().map(|taken| taken.program.as_path());
    for wanted in &all {
        let place = clusters::place_of_doctor(&wanted.reach, folder.path(), named, &arguments.env_file)
            .map_err(Failure::usage)?;
        if wanted.reach.cluster == ClusterKind::Firecrest {
            let client = client(&arguments.env_file)?;
            let system = place.cluster.name();
            if !examine(&client, Some(system), wanted.account(), printed).await? {
                continue;
            }
        }
        let mut say = |finding: Finding| printed.say(&finding).map(drop);
        cluster::examine(&place, wanted, &mut say).await?;
    }
    let refusal = plan.check_node_hours();
    printed.say(&jobs::cost(plan.node_hours(), refusal))?;
    Ok(())
}

fn client(env_file: &Path) -> Result<Client, Failure> {
    let file = variables(env_file)?;
    let look_up = |name: &str| std::env::var(name).ok().or_else(|| file.get(name).cloned());
    let builder = ClientBuilder::from_variables(look_up)
        .context("there are no credentials for FirecREST")
        .map_err(|error| {
            Failure::usage(error).hint(format!(
                "export the variables, or write them into `{}`; the keys come from the site's developer portal",
                env_file.display()
            ))
        })?;
    let policy = RetryPolicy {
        total: PATIENCE,
        ..RetryPolicy::default()
    };
    let client = builder.retry_policy(policy).build();
    client
        .context("the credentials for FirecREST cannot be used")
        .map_err(Failure::usage)
}

/// The file that is looked for when none is named.
const USUAL_FILE: &str = ".env";

/// The lines `NAME=VALUE` of a file; the usual one may be missing.
fn variables(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    if !path.exists() && path == Path::new(USUAL_FILE) {
        return Ok(BTreeMap::new());
    }
    dotenvy::from_path_iter(path)
        .and_then(Iterator::collect)
        // The error's own words would show the line, and with it a secret.
        .map_err(|error| {
            let path = path.display();
            Failure::usage(match error {
                dotenvy::Error::Io(error) => anyhow!("`{path}` cannot be read: {error}"),
                _ => anyhow!("`{path}` has a line that is not `NAME=VALUE`"),
            })
        })
}

/// Prints each finding as it is made, and tells whether a system is there to look at.
async fn examine(
    client: &Client,
    system: Option<&str>,
    wanted_account: Option<&str>,
    printed: &mut Printed,
) -> anyhow::Result<bool> {
    let credentials = match client.credential().await {
        Ok(credential) => doctor::credential(&credential),
        Err(error) => {
            let hint = if error.is_retryable() {
                "is the URL of the token endpoint right, and can this machine reach it?"
            } else {
                "are the client's id and secret those of the portal, and is the URL that of its token endpoint?"
            };
            let error = anyhow::Error::from(error);
            Finding::fault("credentials", format!("{error:#}")).hint(hint)
        }
    };
    if printed.say(&credentials)? {
        return Ok(false);
    }
    let began = Instant::now();
    let systems =
        match client.status().systems().await {
            Ok(systems) => systems,
            Err(error) => {
                let error = anyhow::Error::from(error);
                printed.say(&Finding::fault("reach", format!("{error:#}")).hint(
                    "is the base URL that of the API, with its path, such as `https://…/firecrest/v2`?",
                ))?;
                return Ok(false);
            }
        };
    let names: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
    let text = format!(
        "answers in {} ms, has {}",
        began.elapsed().as_millis(),
        names.join(", ")
    );
    printed.say(&Finding::well("reach", text))?;
    let wanted = |one: &&System| system.is_none_or(|name| one.name.eq_ignore_ascii_case(name));
    let chosen: Vec<&System> = systems.iter().filter(wanted).collect();
    if let (Some(name), true) = (system, chosen.is_empty()) {
        printed.say(
            &Finding::fault("reach", format!("the API has no system `{name}`"))
                .hint(format!("it has {}", names.join(", "))),
        )?;
    }
    let is_there = !chosen.is_empty();
    for system in chosen {
        printed.say(&doctor::health(system))?;
        printed.say(&account(client, system, wanted_account).await)?;
        printed.say(&doctor::limits(system))?;
    }
    Ok(is_there)
}

async fn account(client: &Client, system: &System, wanted: Option<&str>) -> Finding {
    let name = match system.name.parse() {
        Ok(name) => name,
        Err(error) => return Finding::fault("account", format!("{}: {error}", system.name)),
    };
    match client.status().user_info(&name).await {
        Ok(user) => doctor::account(&system.name, &user, wanted),
        Err(error) => {
            let error = anyhow::Error::from(error);
            Finding::fault("account", format!("{}: {error:#}", system.name))
                .hint("may this user log in there? While accounting is down, it cannot be said")
        }
    }
}
