//! `gipfel connect`: the way to a server on a cluster.

use anyhow::{Context, anyhow};
use gipfel_experiment::Journal;
use gipfel_slurm_backend::{
    Living, Place, Purpose,
    tunnel::{self, Forwarding, Login, Target, Tunnel, TunnelNews},
};

use crate::{
    cli::ConnectArguments,
    commands::{
        results,
        survey::{self, Surveyed},
    },
    exit::Exit,
    failure::Failure,
    print,
    signals::Signals,
};

/// What a server in a Slurm job is named by, here and in `--on`.
pub(crate) const JOB: &str = "slurm:";

/// `gipfel connect`.
pub(crate) fn connect(arguments: &ConnectArguments) -> Result<Exit, Failure> {
    let clusters = &arguments.clusters;
    let places = survey::places(arguments.config.as_deref(), clusters)?;
    survey::expect_some(&places, &clusters.results_dir)?;
    let runtime = results::runtime()?;
    runtime.block_on(async {
        let surveyed = survey::survey(places).await;
        let server = find(&surveyed, arguments)?;
        lead(server, arguments).await
    })
}

/// A server that lives, and its cluster.
struct Server<'a> {
    place: &'a Place,
    living: &'a Living,
}

fn find<'a>(surveyed: &'a [Surveyed], arguments: &ConnectArguments) -> Result<Server<'a>, Failure> {
    let of_run = server_of_run(arguments);
    let name = of_run.as_deref().unwrap_or(&arguments.name);
    let all = surveyed.iter().flat_map(|one| {
        let living = one.living.iter().flatten();
        living.map(|living| Server {
            place: &one.place,
            living,
        })
    });
    let mut found: Vec<Server<'_>> = all
        .filter(|server| server.living.purpose == Purpose::Server && is_named(server.living, name))
        .collect();
    if found.len() > 1 {
        let names: Vec<String> = found
            .iter()
            .map(|server| format!("{JOB}{} ({})", server.living.job.id, server.living.id))
            .collect();
        return Err(Failure::usage(anyhow!(
            "`{}` stands for several servers: name one of\n  {}",
            arguments.name,
            names.join("\n  ")
        )));
    }
    if let Some(server) = found.pop() {
        return Ok(server);
    }
    if let Some(Err(error)) = surveyed
        .iter()
        .map(|one| &one.living)
        .find(|living| living.is_err())
    {
        return Err(Failure::usage(anyhow!("{error:#}")));
    }
    let titles: Vec<String> = surveyed.iter().map(|one| survey::title(&one.place)).collect();
    let error = anyhow!("no server `{}` lives on {}", arguments.name, titles.join("; "));
    Err(Failure::usage(error)
        .hint("`gipfel ps` says what lives; a server outlives its campaign by --keep-server"))
}

/// The name of the server to which a run of the results directory goes.
fn server_of_run(arguments: &ConnectArguments) -> Option<String> {
    let results_dir = &arguments.clusters.results_dir;
    let states = Journal::campaigns(results_dir).unwrap_or_default();
    let mut states = states.iter().filter_map(|id| Journal::load(results_dir, id).ok());
    states.find_map(|state| {
        let has_run = |deployment: &&gipfel_experiment::Deployment| {
            let mut runs = deployment.runs.iter();
            runs.any(|run| run.id.as_str() == arguments.name)
        };
        let deployment = state.deployments.iter().find(has_run)?;
        Some(deployment.server_id().to_string())
    })
}

fn is_named(living: &Living, name: &str) -> bool {
    if let Some(job) = name.strip_prefix(JOB) {
        return living.job.id.to_string() == job;
    }
    let campaign = living.campaign.as_ref();
    living.id.contains(name) || campaign.is_some_and(|campaign| campaign.as_str().contains(name))
}

async fn lead(server: Server<'_>, arguments: &ConnectArguments) -> Result<Exit, Failure> {
    let Server { place, living } = server;
    let Some(url) = &living.endpoint else {
        let error = anyhow!(
            "the server {} (job {}) does not answer yet",
            living.id,
            living.job.id
        );
        return Err(Failure::usage(error).hint("`gipfel ps` says its URL once it does"));
    };
    let login = match &arguments.via {
        Some(host) => Some(Login::new(host, None).map_err(Failure::usage)?),
        None => place.login().await.map_err(|error| {
            Failure::usage(error).hint(format!(
                "--via HOST names a login node that reaches {url}; where only jobs reach the nodes, measure with \
                 `benchmarker: slurm`"
            ))
        })?,
    };
    let Some(login) = login else {
        print(&format!(
            "{} answers at {url}, which this machine reaches itself\n",
            living.id
        ))?;
        return Ok(Exit::Done);
    };
    let target = Target::of_url(url).map_err(Failure::usage)?;
    let port = match arguments.port {
        Some(port) => port,
        None => tunnel::free_port(target.port()).await.map_err(Failure::usage)?,
    };
    let forwarding = Forwarding { login, target, port };
    if arguments.print {
        print(&format!(
            "{} answers at {url} on the cluster\n{forwarding}\nleads there from {}\n",
            living.id,
            forwarding.url()
        ))?;
        return Ok(Exit::Done);
    }
    hold(forwarding).await
}

/// Keeps the tunnel open until the user ends it.
async fn hold(forwarding: Forwarding) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().context("failed to listen to signals")?;
    let (url, command) = (forwarding.url(), forwarding.to_string());
    let opened = tokio::select! {
        opened = Tunnel::open(forwarding) => opened,
        _ = signals.next() => return Ok(Exit::Interrupted),
    };
    let tunnel = opened.map_err(|error| {
        Failure::usage(error).hint(format!(
            "ssh is not asked for passwords here: try `{command}` by hand; --via HOST goes through another login node, \
             and where only jobs reach the nodes, measure with `benchmarker: slurm`"
        ))
    })?;
    print(&format!("{url} leads to the server; ctrl-C closes the tunnel\n"))?;
    let kept = tunnel::keep(tunnel, |news| {
        let words = match news {
            TunnelNews::Broken(reason) => format!("the tunnel has broken ({reason}) and is opened anew"),
            TunnelNews::Again => format!("{url} leads to the server again"),
        };
        // A closed terminal is no reason to fail.
        let _ = print(&format!("{words}\n"));
    });
    tokio::select! {
        error = kept => Err(Failure::experiment(error)),
        _ = signals.next() => Ok(Exit::Done),
    }
}
