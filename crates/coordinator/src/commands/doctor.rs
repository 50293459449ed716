//! `gipfel doctor …`: whether a cluster can be used.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use firecrest_client::{Client, ClientBuilder, RetryPolicy, System};

use crate::{
    cli::DoctorSlurmArguments,
    doctor::{self, Finding, State},
    exit::Exit,
    failure::Failure,
    print,
};

/// Who asks a doctor waits: a call that fails is tried again for so long and not for minutes.
const PATIENCE: Duration = Duration::from_secs(20);

/// `gipfel doctor slurm`.
pub(crate) fn slurm(arguments: &DoctorSlurmArguments) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let client = client(&arguments.env_file)?;
    let worst = runtime.block_on(examine(&client, arguments))?;
    Ok(if worst == State::Fault {
        Exit::Fault
    } else {
        Exit::Done
    })
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

/// Prints each finding as it is made and returns the worst.
async fn examine(client: &Client, arguments: &DoctorSlurmArguments) -> Result<State, Failure> {
    let mut worst = State::Well;
    let mut say = |finding: Finding| -> Result<bool, Failure> {
        print(&format!("{finding}\n"))?;
        let is_fault = finding.state == State::Fault;
        if is_fault {
            worst = State::Fault;
        }
        Ok(is_fault)
    };
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
    if say(credentials)? {
        return Ok(worst);
    }
    let began = Instant::now();
    let systems = match client.status().systems().await {
        Ok(systems) => systems,
        Err(error) => {
            let error = anyhow::Error::from(error);
            say(Finding::fault("reach", format!("{error:#}"))
                .hint("is the base URL that of the API, with its path, such as `https://…/firecrest/v2`?"))?;
            return Ok(worst);
        }
    };
    let names: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
    let text = format!(
        "answers in {} ms, has {}",
        began.elapsed().as_millis(),
        names.join(", ")
    );
    say(Finding::well("reach", text))?;
    let wanted = |system: &&System| match &arguments.system {
        Some(name) => system.name.eq_ignore_ascii_case(name.as_str()),
        None => true,
    };
    let chosen: Vec<&System> = systems.iter().filter(wanted).collect();
    if let (Some(name), true) = (&arguments.system, chosen.is_empty()) {
        say(Finding::fault("reach", format!("the API has no system `{name}`"))
            .hint(format!("it has {}", names.join(", "))))?;
    }
    for system in chosen {
        say(doctor::health(system))?;
        say(account(client, system, arguments.account.as_deref()).await)?;
        say(doctor::limits(system))?;
    }
    Ok(worst)
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
