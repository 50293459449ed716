//! Looks at a cluster with a configuration in hand. Nothing is submitted, and nothing is left behind.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use firecrest_client::{FileMode, RemotePath};
use gipfel_model::{BackendKind, CampaignId, DeploymentId, DeploymentSpec, RunId, SlurmJob, SlurmSpec};
use gipfel_slurm_backend::{
    BenchmarkerJob, ClusterErrorKind, JobRequest, Place, RenderedJob, ServerJob,
    cluster::{
        offers::{Asked, Offers},
        refusal::{JobRole, Refusal},
    },
    mark, render,
};

use super::{
    Finding,
    jobs::{self, Wanted},
};

#[cfg(test)]
mod tests;

/// How long what is written may take to be seen.
const SEEN: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);

/// Takes each finding as it is made.
pub(crate) type Say<'a> = &'a mut (dyn FnMut(Finding) -> anyhow::Result<()> + Send);

/// Looks at all that a configuration wants of a cluster.
pub(crate) async fn examine(place: &Place, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let name = place.cluster.name();
    match place.cluster.facts().await {
        Ok(facts) => say(Finding::well(
            "reach",
            format!(
                "{name}: user {}, answers in {} ms",
                facts.user,
                begun.elapsed().as_millis()
            ),
        ))?,
        Err(error) => {
            let text = words(&error);
            let hint = "is the cluster's name right, and can this machine reach it?";
            return say(Finding::fault("reach", text).hint(hint));
        }
    }
    let offers = match place.cluster.offers().await {
        Ok(offers) => offers,
        Err(error) => {
            say(Finding::fault("partition", words(&error)).hint("try again when Slurm answers"))?;
            Offers::default()
        }
    };
    let scratch = scratch(place, say).await?;
    for (spec, slurm) in &wanted.servers {
        server(place, spec, slurm, &offers, scratch.as_ref(), say).await?;
    }
    for (load, run) in &wanted.loads {
        let asked = Asked::of_load(name, load);
        let render = |base: &RemotePath| rendered_load(place, load, base);
        job(place, &asked, &load.job, &offers, scratch.as_ref(), &render, say).await?;
        let whole = offers
            .partition(&load.job.partition)
            .and_then(|partition| partition.whole_nodes)
            .unwrap_or_else(|| {
                let known = place.site.partitions.get(&load.job.partition);
                place.site.exclusive && !known.is_some_and(|partition| partition.shared)
            });
        say(jobs::cost_of_load(load, run, whole))?;
    }
    for path in &wanted.data {
        say(data(place, path.as_deref()).await)?;
    }
    if wanted.sends_there {
        say(load_generator(place, scratch.as_ref()).await)?;
    }
    if let Some(Scratch { probe, made, .. }) = &scratch {
        // What did not exist before goes again, also when everything else was well.
        let gone = place.cluster.remove(made.as_ref().unwrap_or(probe)).await;
        if let Err(error) = gone {
            say(Finding::fault("scratch", words(&error)).hint(format!("remove `{probe}` by hand")))?;
        }
    }
    Ok(())
}

/// The directory for our files, which was tried.
struct Scratch {
    base: RemotePath,
    /// A directory of the doctor's own in it.
    probe: RemotePath,
    /// The first directory on the way to it that was not there before.
    made: Option<RemotePath>,
}

async fn scratch(place: &Place, say: Say<'_>) -> anyhow::Result<Option<Scratch>> {
    let hint = "set `scratch_base` to a directory of yours that all nodes see";
    let base = match place.scratch().await {
        Ok(base) => base.clone(),
        Err(error) => {
            say(Finding::fault("scratch", words(&error)).hint(hint))?;
            return Ok(None);
        }
    };
    let made = first_missing(place, &base).await;
    let probe = base.join(&format!("doctor-{:08x}", rand::random::<u32>()))?;
    let scratch = Scratch { base, probe, made };
    match try_writing(place, &scratch.probe).await {
        Ok((written, seen)) => {
            let new = match &scratch.made {
                Some(_) => "can be made and ",
                None => "",
            };
            say(Finding::well(
                "scratch",
                format!(
                    "`{}` {new}can be written: a file takes {} ms and is seen {} ms later",
                    scratch.base,
                    written.as_millis(),
                    seen.as_millis()
                ),
            ))?;
        }
        Err(error) => {
            let text = format!("`{}`: {error:#}", scratch.base);
            say(Finding::fault("scratch", text).hint(hint))?;
            // There may be a part of what was tried; where nothing can be written, nothing is.
            let _ = place.cluster.remove(&scratch.probe).await;
            return Ok(None);
        }
    }
    match place.cluster.free(&scratch.base).await {
        Ok(Some(free)) => say(jobs::space(scratch.base.as_str(), free))?,
        Ok(None) => {}
        Err(error) => say(Finding::note("space", words(&error)))?,
    }
    Ok(Some(scratch))
}

/// The uppermost of the directories on this way that is not there, and may be removed again.
async fn first_missing(place: &Place, path: &RemotePath) -> Option<RemotePath> {
    let (mut missing, mut path) = (None, path.clone());
    while path.as_str().split('/').count() > 3 {
        // Whoever may not look takes it to be there.
        if !matches!(place.cluster.list(&path).await, Ok(None)) {
            break;
        }
        let parent = path.split().map(|(parent, _)| parent);
        missing = Some(path);
        path = parent?;
    }
    missing
}

/// How long a file takes to be written, and then to be seen.
async fn try_writing(place: &Place, probe: &RemotePath) -> anyhow::Result<(Duration, Duration)> {
    let cluster = &place.cluster;
    let path = probe.join("file")?;
    let content = b"written by gipfel doctor\n";
    let mode = FileMode::try_new(0o600).context("these bits are no mode")?;
    cluster.make_directory(probe).await?;
    let begun = Instant::now();
    cluster.write(&path, content, mode).await?;
    let written = begun.elapsed();
    loop {
        match cluster.read(&path, 1024).await? {
            Some(read) if read == content => return Ok((written, begun.elapsed().saturating_sub(written))),
            Some(_) | None if begun.elapsed() > SEEN => {
                return Err(anyhow!(
                    "a file that was written is not seen within {} s",
                    SEEN.as_secs()
                ));
            }
            Some(_) | None => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn server(
    place: &Place,
    spec: &DeploymentSpec,
    slurm: &SlurmSpec,
    offers: &Offers,
    scratch: Option<&Scratch>,
    say: Say<'_>,
) -> anyhow::Result<()> {
    let asked = Asked::of_server(place.cluster.name(), spec, slurm, &place.site);
    let render = |base: &RemotePath| rendered_server(place, spec, slurm, base);
    job(place, &asked, &slurm.job, offers, scratch, &render, say).await?;
    if let Some(image) = render::image(slurm, spec.backend, &place.site) {
        say(file(
            place,
            "image",
            &image,
            "is pulled when the server starts",
            "`image`",
        )
        .await)?;
    } else if let Some(program) = slurm.command.iter().flatten().next() {
        say(file(
            place,
            "program",
            program,
            "is looked for on the node",
            "`command`",
        )
        .await)?;
    }
    let takes_models = match spec.backend {
        BackendKind::Vllm | BackendKind::Sglang | BackendKind::Dynamo => true,
        BackendKind::Sim | BackendKind::Llamacpp | BackendKind::Ollama | BackendKind::Openai => false,
    };
    if spec.model.starts_with('/') {
        say(file(place, "model", &spec.model, "", "`model`").await)?;
    } else if takes_models {
        say(Finding::well(
            "model",
            format!("`{}` is taken from the Hugging Face hub", spec.model),
        ))?;
        say(token(place, &slurm.hf_token_path).await)?;
    }
    Ok(())
}

type Render<'a> = &'a (dyn Fn(&RemotePath) -> anyhow::Result<RenderedJob> + Sync);

/// What is known against a job, by the cluster, by its profile, and by sbatch.
async fn job(
    place: &Place,
    asked: &Asked<'_>,
    job: &SlurmJob,
    offers: &Offers,
    scratch: Option<&Scratch>,
    render: Render<'_>,
    say: Say<'_>,
) -> anyhow::Result<()> {
    let role = asked.role;
    let objections = offers.objections(asked);
    for objection in &objections {
        say(Finding::fault("partition", objection.words.clone()).hint(objection.refusal.remedy(role)))?;
    }
    let base = match scratch {
        Some(scratch) => scratch.probe.clone(),
        None => RemotePath::try_new("/nowhere/gipfel/doctor")?,
    };
    let rendered = match render(&base) {
        Ok(rendered) => rendered,
        Err(error) => {
            return say(Finding::fault("job", format!("{}: {error:#}", role.words())));
        }
    };
    // The cluster's own word, where there is one, goes before the profile's.
    if objections.is_empty() {
        for warning in &rendered.warnings {
            let remedy = Refusal::Walltime.remedy(role);
            say(Finding::fault("partition", format!("{warning} (by the profile)")).hint(remedy))?;
        }
    }
    if objections.is_empty() && rendered.warnings.is_empty() {
        say(fits(asked, job, offers))?;
    }
    if let (Some(scratch), true) = (scratch, objections.is_empty()) {
        say(tried(place, role, &scratch.probe, rendered).await?)?;
    }
    Ok(())
}

fn fits(asked: &Asked<'_>, job: &SlurmJob, offers: &Offers) -> Finding {
    let nodes = match asked.nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let text = format!(
        "{} asks `{}` for {nodes} for {}",
        asked.role.words(),
        job.partition,
        job.walltime
    );
    match offers.partition(&job.partition) {
        Some(partition) if partition.time_limit.is_some() => {
            Finding::well("partition", format!("{text}, which it gives"))
        }
        Some(_) => Finding::well(
            "partition",
            format!("{text}; it is there, and nothing is known against it"),
        ),
        None => Finding::note("partition", format!("{text}; the cluster tells of no partitions")),
    }
}

/// What sbatch says to a job that is not submitted.
async fn tried(
    place: &Place,
    role: JobRole,
    directory: &RemotePath,
    rendered: RenderedJob,
) -> anyhow::Result<Finding> {
    let request = JobRequest {
        mark: mark(directory, 1)?,
        directory: directory.clone(),
        name: rendered.name,
        script: rendered.script,
    };
    Ok(match place.cluster.try_out(&request).await {
        Ok(Some(said)) => Finding::well("sbatch", format!("takes {}: {said}", role.words())),
        Ok(None) => Finding::note(
            "sbatch",
            format!("{}: FirecREST cannot ask without submitting it", role.words()),
        ),
        Err(error) => {
            let text = words(&error);
            let remedy = Refusal::of_text(&text).map(|refusal| refusal.remedy(role));
            let finding = Finding::fault("sbatch", format!("refuses {}: {text}", role.words()));
            match remedy {
                Some(remedy) => finding.hint(remedy),
                None => finding,
            }
        }
    })
}

fn rendered_server(
    place: &Place,
    spec: &DeploymentSpec,
    slurm: &SlurmSpec,
    directory: &RemotePath,
) -> anyhow::Result<RenderedJob> {
    let (id, campaign): (DeploymentId, CampaignId) = ("d-doctor".parse()?, "c-doctor".parse()?);
    Ok(render::server(&ServerJob {
        id: &id,
        campaign: &campaign,
        spec,
        slurm,
        site: &place.site,
        directory,
        attempt: 1,
    })?)
}

fn rendered_load(
    place: &Place,
    load: &gipfel_model::SlurmLoad,
    directory: &RemotePath,
) -> anyhow::Result<RenderedJob> {
    let (id, campaign): (RunId, CampaignId) = ("r-doctor".parse()?, "c-doctor".parse()?);
    Ok(render::benchmarker(&BenchmarkerJob {
        id: &id,
        campaign: &campaign,
        load,
        site: &place.site,
        directory,
        attempt: 1,
        program: &directory.join("gipfel-loadgen")?,
        deployment: Some(directory),
        endpoint_timeout: Duration::from_mins(5),
    })?)
}

/// A file or directory of the cluster, where the text is a path of it.
async fn file(place: &Place, part: &'static str, text: &str, else_words: &str, key: &str) -> Finding {
    if !text.starts_with('/') {
        return Finding::well(part, format!("`{text}` {else_words}"));
    }
    // The path of a user may have characters that ours have not.
    let Ok(path) = RemotePath::try_new(text) else {
        return Finding::note(
            part,
            format!("`{text}` cannot be looked for: its name has odd characters"),
        );
    };
    match place.cluster.stat(&path).await {
        Ok(Some(_)) => Finding::well(part, format!("`{text}` is there")),
        Ok(None) => Finding::fault(part, format!("`{text}` is not there"))
            .hint(format!("mend {key}, or bring the file to the cluster")),
        // FirecREST shows some file systems only.
        Err(error) if error.kind == ClusterErrorKind::Invalid => {
            Finding::note(part, format!("`{text}` cannot be looked for: {}", words(&error)))
        }
        Err(error) => {
            Finding::fault(part, words(&error)).hint(format!("is {key} right, and may you read it?"))
        }
    }
}

/// A file of a data set, which the load generator reads on its node.
async fn data(place: &Place, path: Option<&Path>) -> Finding {
    match path.map(|path| path.display().to_string()) {
        Some(path) if path.starts_with('/') => {
            file(place, "data", &path, "", "`hf_home`, or `path` of the data set").await
        }
        Some(path) => Finding::fault("data", format!("`{path}` is no path of the cluster"))
            .hint("the load generator reads its prompts on a node: write an absolute path"),
        None => Finding::note(
            "data",
            "prompts of a known data set are looked for in the node's own folder of Hugging Face".to_owned(),
        )
        .hint("`hf_home` names the folder on the cluster"),
    }
}

/// The token's file: its length and mode, never what it holds.
async fn token(place: &Place, named: &str) -> Finding {
    let candidates = match named.strip_prefix("~/") {
        None => vec![named.to_owned()],
        Some(rest) => homes(place)
            .await
            .into_iter()
            .map(|home| format!("{home}/{rest}"))
            .collect(),
    };
    for candidate in &candidates {
        let Ok(path) = RemotePath::try_new(candidate) else {
            continue;
        };
        if let Ok(Some(facts)) = place.cluster.stat(&path).await {
            return jobs::token(named, Some((facts.bytes, facts.mode)));
        }
    }
    jobs::token(named, None)
}

/// Where the user's own directory may be.
async fn homes(place: &Place) -> Vec<String> {
    let Ok(facts) = place.cluster.facts().await else {
        return Vec::new();
    };
    let roots = facts.roots.iter().map(|root| root.as_str().trim_end_matches('/'));
    roots
        .flat_map(|root| [root.to_owned(), format!("{root}/{}", facts.user)])
        .collect()
}

/// The program that sends the load: whether there is one, and whether it is there already.
async fn load_generator(place: &Place, scratch: Option<&Scratch>) -> Finding {
    let site = &place.site;
    let Some(program) = &place.load_generator else {
        let kind = site.architecture.as_deref().unwrap_or(std::env::consts::ARCH);
        return Finding::fault(
            "load",
            format!("this gipfel carries no load generator for {kind}"),
        )
        .hint("give one by `--loadgen FILE`");
    };
    let short = &program.sha256.to_string()[..12];
    let stored = match scratch {
        None => None,
        Some(Scratch { base, .. }) => {
            let path = base.join(&format!("load-generators/{}/gipfel-loadgen.gz", program.sha256));
            match path {
                Ok(path) => place.cluster.stat(&path).await.ok().flatten(),
                Err(_) => None,
            }
        }
    };
    Finding::well(
        "load",
        match stored {
            Some(facts) => format!(
                "the load generator {short}… is stored already ({} bytes)",
                facts.bytes
            ),
            None => format!("the load generator {short}… is brought by the first run"),
        },
    )
}

fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
