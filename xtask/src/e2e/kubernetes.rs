//! Campaigns on a Kubernetes cluster, killed, interrupted and cancelled at random moments beside a server that another
//! campaign keeps: on a simulated one whose pods are processes and whose API server fails now and then, or on a real one.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    kill::{LIMIT, Moments, complete_levels},
    processes,
    world::{World, expect_exit, pause, program, query, wait_for},
};
use crate::shell;

/// The kinds of objects that a campaign makes, as the API's paths name them.
const KINDS: [&str; 7] = [
    "api/v1:configmaps",
    "api/v1:secrets",
    "api/v1:services",
    "api/v1:pods",
    "apis/apps/v1:deployments",
    "apis/batch/v1:jobs",
    "apis/networking.k8s.io/v1:ingresses",
];
/// The volume claim that stays.
const CACHE: &str = "models";
/// A campaign of two short levels, with what lies between them.
const WHOLE_RUN: Duration = Duration::from_secs(11);
/// The same where containers have to be made.
const WHOLE_REAL_RUN: Duration = Duration::from_secs(20);

/// A cluster that runs already.
#[derive(Debug, clap::Args)]
pub(crate) struct RealCluster {
    /// The kubeconfig of a real cluster; by default one is simulated.
    #[arg(long, value_name = "FILE", requires = "image")]
    kubeconfig: Option<PathBuf>,
    /// A namespace of it.
    #[arg(long, default_value = "ml")]
    namespace: String,
    /// An image that it can pull, of servers and load generators: with a shell, gzip, a `gipfel` on the path, and what this
    /// machine's load generator is linked with.
    #[arg(long)]
    image: Option<String>,
}

/// Plays the campaigns, each ended in the middle in one of three ways.
pub(crate) fn play(rounds: u32, seed: u64, share: f64, real: &RealCluster) -> anyhow::Result<()> {
    let world = World::new("kubernetes")?;
    let load_generator = ["build", "--release", "--package", "gipfel-loadgen"];
    shell::run(&mut shell::cargo(&load_generator))?;
    let cluster = match &real.kubeconfig {
        None => Cluster::simulate(&world, seed, share)?,
        Some(kubeconfig) => Cluster::reach(kubeconfig, real)?,
    };
    let kept = keep_server(&world, &cluster)?;
    let mut moments = Moments(seed);
    for round in 0..rounds {
        let (way, load) = (Way::of(round), Load::of(round));
        let after = moments.next(cluster.whole_run);
        play_round(&cluster, (way, load), round, after, seed).with_context(|| {
            let seconds = after.as_secs_f64();
            format!("round {round}, {way:?} after {seconds:.2} s, load {load:?}")
        })?;
        ensure!(
            cluster.objects_of(&kept.campaign)? == kept.objects,
            "round {round}: the other campaign's server was touched"
        );
    }
    use_kept(&world, &cluster, &kept)?;
    end_kept(&cluster, &kept)
}

/// How a campaign is ended in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `kill -9`, then `gipfel resume`.
    Resumed,
    /// `kill -9`, then `gipfel cancel`.
    Cancelled,
    /// One interrupt.
    Interrupted,
}

impl Way {
    fn of(round: u32) -> Self {
        match round % 3 {
            0 => Self::Resumed,
            1 => Self::Cancelled,
            _ => Self::Interrupted,
        }
    }
}

/// Where the load generator of a campaign runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// On this machine, through the API server.
    Local,
    /// In a Job.
    InCluster,
}

impl Load {
    fn of(round: u32) -> Self {
        if (round / 3).is_multiple_of(2) {
            Self::InCluster
        } else {
            Self::Local
        }
    }

    /// The key of the configuration.
    fn key(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::InCluster => "in-cluster",
        }
    }
}

/// A cluster as this scenario reaches it.
struct Cluster {
    /// The simulated cluster, or the way to a real one; it ends with the scenario.
    child: Child,
    /// Where the API answers without asking who is there.
    url: String,
    kubeconfig: PathBuf,
    namespace: String,
    /// Of servers; none where pods are processes.
    image: Option<String>,
    whole_run: Duration,
}

impl Cluster {
    fn simulate(world: &World, seed: u64, share: f64) -> anyhow::Result<Self> {
        let example = [
            "--package",
            "gipfel-k8s-backend",
            "--example",
            "simulated_cluster",
        ];
        let mut build = shell::cargo(&["build", "--features", "simulated"]);
        shell::run(build.args(example))?;
        let kubeconfig = world.folder.join("kubeconfig");
        let mut child = Command::new(shell::target().join("debug/examples/simulated_cluster"))
            .arg(&kubeconfig)
            .arg(world.folder.join("cluster"))
            .args(["--seed", &seed.to_string(), "--fail", &share.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the cluster")?;
        let line = first_line(&mut child)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.with_context(|| format!("the cluster printed no address: {line}"))?;
        Ok(Self {
            url: url.to_owned(),
            child,
            kubeconfig,
            namespace: "ml".to_owned(),
            image: None,
            whole_run: WHOLE_RUN,
        })
    }

    /// Reaches a real cluster by kubectl, which knows how to tell it who we are.
    fn reach(kubeconfig: &Path, real: &RealCluster) -> anyhow::Result<Self> {
        let kubeconfig = kubeconfig
            .canonicalize()
            .with_context(|| format!("failed to find `{}`", kubeconfig.display()))?;
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["proxy", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start kubectl")?;
        let line = first_line(&mut child)?;
        let address = line.split_whitespace().last();
        let address = address.with_context(|| format!("kubectl printed no address: {line}"))?;
        Ok(Self {
            url: format!("http://{address}"),
            child,
            kubeconfig,
            namespace: real.namespace.clone(),
            image: real.image.clone(),
            whole_run: WHOLE_REAL_RUN,
        })
    }

    /// A call of gipfel that finds this cluster.
    fn gipfel(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = world.gipfel(arguments);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A request, tried again where the weather is bad.
    fn ask(&self, method: &str, path: &str) -> anyhow::Result<Value> {
        let mut last = None;
        for _ in 0..20 {
            let output = shell::capture(
                Command::new("curl")
                    .args([
                        "--silent",
                        "--show-error",
                        "--fail",
                        "--max-time",
                        "10",
                        "-X",
                        method,
                    ])
                    .arg(format!("{}/{path}", self.url)),
            )?;
            if output.status.success() {
                return Ok(serde_json::from_slice(&output.stdout)?);
            }
            last = Some(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        bail!("{method} {path}: {}", last.unwrap_or_default())
    }

    fn namespaced(&self, plural: &str, name: &str) -> String {
        format!("api/v1/namespaces/{}/{plural}/{name}", self.namespace)
    }

    /// Kind, name and uid of what a campaign has in the cluster.
    fn objects_of(&self, campaign: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for kind in KINDS {
            let (group, plural) = kind.split_once(':').context("a kind has a group")?;
            let list = self.ask(
                "GET",
                &format!(
                    "{group}/namespaces/{}/{plural}?labelSelector=gipfel%2Fcampaign%3D{campaign}",
                    self.namespace
                ),
            )?;
            for object in list["items"].as_array().into_iter().flatten() {
                let metadata = &object["metadata"];
                let name = metadata["name"].as_str().unwrap_or_default();
                let uid = metadata["uid"].as_str().unwrap_or_default();
                found.insert(format!("{plural}/{name}"), uid.to_owned());
            }
        }
        Ok(found)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A simulated cluster ends its pods when its input is closed.
        if self.child.stdin.take().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let output = child.stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line)
}

/// A server that outlives its campaign.
struct Kept {
    campaign: String,
    server: String,
    objects: BTreeMap<String, String>,
}

fn configuration(cluster: &Cluster, port: u16, levels: &str, load: Load) -> String {
    let gipfel = if cluster.image.is_some() {
        PathBuf::from("gipfel")
    } else {
        program()
    };
    let image = cluster.image.as_deref().unwrap_or("none");
    // Where pods are processes, theirs is no more than a name.
    let load_image = cluster.image.as_deref().unwrap_or("busybox:1.37");
    let (load, architecture) = (load.key(), std::env::consts::ARCH);
    format!(
        "defaults:
  k8s_namespace: {}
  ingress_domain: none
  gpus_per_node: 0
  image: {image}
  port: {port}
  rate_levels: [{levels}]
  warmup_duration: 500ms
  measurement_duration: 3s
  exact_windows: true
  slos: [ttft p50 <= 500ms]
  dataset: {{ input_length: 16, output_length: 8 }}
  benchmarker: {load}
  kubernetes: {{ model_cache: {{ claim: {CACHE}, size: 1Gi }}, load: {{ architecture: {architecture}, image: \"{load_image}\" }} }}
experiments:
  - model: quickstart
    backend: sim
    deployment: k8s
    command: [{}, sim, --profile, quickstart, --host, \"{{host}}\", --port, \"{{port}}\"]
",
        cluster.namespace,
        gipfel.display()
    )
}

/// Runs gipfel to its end, with its words in the folder's log.
fn run(cluster: &Cluster, world: &World, arguments: &[&str]) -> anyhow::Result<Output> {
    shell::capture(&mut cluster.gipfel(world, arguments))
}

fn keep_server(world: &World, cluster: &Cluster) -> anyhow::Result<Kept> {
    world.write("kept.yaml", &configuration(cluster, 28_081, "6", Load::Local))?;
    let arguments = [
        "run",
        "kept.yaml",
        "--no-live",
        "--poll-interval",
        "0.5",
        "--keep-server",
    ];
    let output = run(cluster, world, &arguments)?;
    expect_exit(&output, 0)?;
    let campaign = only_campaign(world)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let server = words
        .split_whitespace()
        .find(|word| word.starts_with("d-"))
        .context("no server is named")?
        .to_owned();
    ensure!(
        words.contains("is left running"),
        "nothing is said of the kept server:\n{words}"
    );
    let objects = cluster.objects_of(&campaign)?;
    ensure!(
        objects.keys().any(|name| name.starts_with("deployments/")),
        "the server was not kept: {objects:?}"
    );
    shell::say(&format!(
        "{server} is kept: {}",
        objects.into_keys().collect::<Vec<_>>().join(" ")
    ));
    Ok(Kept {
        objects: cluster.objects_of(&campaign)?,
        campaign,
        server,
    })
}

fn only_campaign(world: &World) -> anyhow::Result<String> {
    let mut campaigns = Vec::new();
    for entry in std::fs::read_dir(world.results())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        campaigns.extend(name.starts_with("c-").then_some(name));
    }
    match campaigns.as_slice() {
        [campaign] => Ok(campaign.clone()),
        _ => bail!("expected one campaign, found {campaigns:?}"),
    }
}

fn play_round(
    cluster: &Cluster,
    (way, load): (Way, Load),
    round: u32,
    after: Duration,
    seed: u64,
) -> anyhow::Result<()> {
    let world = World::new(&format!("kubernetes-{round}"))?;
    // A port of its own: what an ended pod leaves in the kernel is no other pod's.
    let port = 28_100 + ((u64::from(round) + seed * 100) % 1_000) as u16;
    world.write("k.yaml", &configuration(cluster, port, "6, 8", load))?;
    let log = File::create(world.folder.join("gipfel.log"))?;
    let mut gipfel = cluster
        .gipfel(
            &world,
            &[
                "run",
                "k.yaml",
                "--no-live",
                "--poll-interval",
                "0.5",
                "--loadgen",
            ],
        )
        .arg(shell::target().join("release/gipfel-loadgen"))
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()?;
    pause(after);
    let ended = gipfel.try_wait()?;
    let was_over = ended.is_some();
    ensure!(
        ended.is_none_or(|status| status.success()),
        "it ended by itself, with {ended:?}: see {}",
        world.folder.join("gipfel.log").display()
    );
    if way == Way::Interrupted {
        shell::capture(Command::new("kill").args(["-INT", &gipfel.id().to_string()]))?;
    } else {
        processes::kill(gipfel.id())?;
    }
    wait_for("the end of gipfel", LIMIT, || gipfel.try_wait().ok().flatten())?;
    let has_begun = world.results().exists() && only_campaign(&world).is_ok();
    let goes_on = match way {
        Way::Resumed if has_begun => Some("resume"),
        Way::Cancelled if has_begun => Some("cancel"),
        _ => None,
    };
    if let Some(verb) = goes_on {
        let arguments: &[&str] = match verb {
            "resume" => &["resume", "--no-live", "--poll-interval", "0.5"],
            _ => &["cancel"],
        };
        let output = run(cluster, &world, arguments)?;
        std::fs::write(world.folder.join("second.log"), &output.stderr)?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if verb == "resume" && !words.contains("no unfinished campaign") {
            expect_exit(&output, 0)?;
        }
    }
    let levels = check_nothing_left(cluster, &world, way, has_begun)?;
    shell::say(&format!(
        "round {round}, load {load:?}: {way:?} after {:.2} s{}: {levels} complete levels, nothing left",
        after.as_secs_f64(),
        if was_over { ", when it was over" } else { "" }
    ));
    Ok(())
}

/// Nothing of the campaign lives; what it measured is whole.
fn check_nothing_left(cluster: &Cluster, world: &World, way: Way, has_begun: bool) -> anyhow::Result<usize> {
    processes::expect_none(&world.results())?;
    if !has_begun {
        return Ok(0);
    }
    let campaign = only_campaign(world)?;
    let left = cluster.objects_of(&campaign)?;
    ensure!(left.is_empty(), "left in the cluster: {left:?}");
    let cache = cluster.ask("GET", &cluster.namespaced("persistentvolumeclaims", CACHE))?;
    ensure!(
        cache["metadata"]["name"] == CACHE,
        "the volume claim is gone: {cache}"
    );
    let Some(database) = world.find("run_", ".db")?.into_iter().next() else {
        ensure!(way != Way::Resumed, "there is no database after resume");
        return Ok(0);
    };
    check_database(&database)?;
    let levels = complete_levels(&database);
    ensure!(
        way != Way::Resumed || levels.len() == 2,
        "complete levels: {levels:?}"
    );
    Ok(levels.len())
}

fn check_database(database: &Path) -> anyhow::Result<()> {
    let integrity = query(database, "PRAGMA integrity_check")?;
    ensure!(
        integrity.len() == 1 && integrity[0]["integrity_check"] == "ok",
        "the database is damaged: {integrity:?}"
    );
    Ok(())
}

/// Another campaign measures the kept server and leaves it alive.
fn use_kept(world: &World, cluster: &Cluster, kept: &Kept) -> anyhow::Result<()> {
    world.write("again.yaml", &configuration(cluster, 28_081, "7", Load::Local))?;
    let arguments = [
        "run",
        "again.yaml",
        "--no-live",
        "--poll-interval",
        "0.5",
        "--on",
        &kept.server,
    ];
    expect_exit(&run(cluster, world, &arguments)?, 0)?;
    ensure!(
        cluster.objects_of(&kept.campaign)? == kept.objects,
        "the kept server did not outlive another campaign"
    );
    shell::say("another campaign used the kept server with --on, and it lives");
    Ok(())
}

/// Deleting the claim, as gipfel says it, takes everything of the server with it, and not the volume claim.
fn end_kept(cluster: &Cluster, kept: &Kept) -> anyhow::Result<()> {
    let claim = kept
        .objects
        .keys()
        .find_map(|name| name.strip_prefix("configmaps/"))
        .context("the server has no claim")?;
    cluster.ask("DELETE", &cluster.namespaced("configmaps", claim))?;
    wait_for("the end of the kept server", LIMIT, || {
        cluster.objects_of(&kept.campaign).ok()?.is_empty().then_some(())
    })?;
    cluster.ask("GET", &cluster.namespaced("persistentvolumeclaims", CACHE))?;
    shell::say("the kept server went with its claim; the volume claim stays");
    Ok(())
}
