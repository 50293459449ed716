//! What of ours lives on a cluster behind a simulated FirecREST, the way to it, and its end.

use std::collections::BTreeMap;

use firecrest_client::{ClientBuilder, Earlier, FileMode, RemotePath};
use firecrest_sim::{Options, Running, Simulator};
use gipfel_slurm_backend::{
    Cluster, JobRequest,
    cluster::firecrest::{FirecrestCluster, FirecrestOptions},
    mark,
};
use tokio::runtime::Runtime;

use crate::world::World;

const SERVER: &str = "d-20261122-190000_quickstart_sim_slurm_1a2b";
const LOAD: &str = "20261122-190000_quickstart_sim_slurm_3c4d";
const CAMPAIGN: &str = "c-20261122-190000_5e6f";

/// How options name the site's only cluster.
const CLUSTER: [&str; 4] = ["--firecrest-system", "alps", "--profile", "generic"];

/// A site that runs as long as this value, and a folder with its credentials in `.env`.
struct Site {
    world: World,
    _running: Running,
    runtime: Runtime,
    cluster: FirecrestCluster,
    base: RemotePath,
}

impl Site {
    fn start() -> Self {
        let world = World::new();
        let root = world.path("site");
        std::fs::create_dir(&root).expect("a folder");
        let runtime = Runtime::new().expect("a runtime");
        let running = runtime.block_on(Simulator::start(Options::demo(&root)));
        let running = running.expect("a simulator");
        let variables = BTreeMap::from([
            ("BACKEND_API_BASE_URL", running.base_url.clone()),
            ("OAUTH_TOKEN_URL", running.token_url.clone()),
            ("OAUTH_CLIENT_ID", "demo".to_owned()),
            ("OAUTH_CLIENT_SECRET", "demo-secret".to_owned()),
        ]);
        let lines = variables.iter().map(|(name, value)| format!("{name}={value}\n"));
        world.write(".env", &lines.collect::<String>());
        let client = ClientBuilder::from_variables(|name| variables.get(name).cloned());
        let client = client.expect("credentials").build().expect("a client");
        let system = "alps".parse().expect("a name");
        let cluster = FirecrestCluster::new(client, system, FirecrestOptions::default());
        let facts = runtime.block_on(cluster.facts()).expect("facts");
        let base = facts.roots[0].join("gipfel").expect("a path");
        Self {
            world,
            _running: running,
            runtime,
            cluster,
            base,
        }
    }

    /// Submits a job as a gipfel of another laptop would.
    fn submit(&self, id: &str, kept: bool) -> String {
        let directory = self.base.join(id).expect("a path");
        let text = format!(
            r#"{{"header":{{"format":"gipfel-object","major":1,"minor":0}},"id":"{id}","campaign":"{CAMPAIGN}",
            "kept":{kept},"server":null}}"#
        );
        let request = JobRequest {
            name: format!("gipfel-{id}").parse().expect("a name"),
            mark: mark(&directory, 1).expect("a mark"),
            directory: directory.clone(),
            script: "#!/bin/bash\n#SBATCH --time=00:10:00\nsleep 600\n".to_owned(),
        };
        let private = FileMode::try_new(0o600).expect("a mode");
        let job = self.runtime.block_on(async {
            self.cluster.make_directory(&directory).await?;
            let path = directory.join("gipfel.json").expect("a path");
            self.cluster.write(&path, text.as_bytes(), private).await?;
            let path = directory.join("endpoint.txt").expect("a path");
            self.cluster
                .write(&path, b"http://nid001001:8080\n", private)
                .await?;
            Ok::<_, gipfel_slurm_backend::ClusterError>(self.cluster.submit(&request, Earlier::Never).await)
        });
        job.expect("files are written")
            .expect("it is submitted")
            .to_string()
    }

    /// Runs a command on the site's cluster; gives what it prints.
    fn check(&self, arguments: &[&str], code: i32, stderr: &str) -> String {
        self.world.check(&[arguments, &CLUSTER].concat(), code, stderr)
    }
}

#[test]
fn a_cluster_must_be_known() {
    let world = World::new();
    for command in [&["ps"][..], &["clean", "--yes"], &["connect", "d-1"]] {
        world.check(command, 2, "no campaign under `results` has used a cluster");
    }
    world.write(
        "here.yaml",
        "experiments: [{ model: m, backend: sim, deployment: local, rate_levels: [1] }]\n",
    );
    world.check(&["ps", "here.yaml"], 2, "has no experiment on a Slurm cluster");
    world.check(&["ps", "here.yaml", "--ssh-host", "x"], 2, "not both");
    world.check(&["clean", "--all", "--campaign", "c-1"], 2, "cannot be used with");
    // A variable of a script that is empty means nothing, and not everything.
    world.check(&["clean", "--yes", "--campaign", ""], 2, "a value is required");
}

#[test]
fn what_lives_is_told_led_to_and_ended() {
    let site = Site::start();
    assert_eq!(
        site.check(&["ps"], 0, ""),
        "alps, by FirecREST: nothing of ours lives\n"
    );
    let server = site.submit(SERVER, true);
    let load = site.submit(LOAD, false);
    let told = site.check(&["ps"], 0, "");
    for expected in [
        format!("  {server}  kept server, "),
        format!("\n      {SERVER} at http://nid001001:8080\n"),
        format!("  {load}  load generator, "),
        format!("\n      campaign {CAMPAIGN}, of other results\n"),
    ] {
        assert!(told.contains(&expected), "`{told}` lacks `{expected}`");
    }
    let json: serde_json::Value = serde_json::from_str(&site.check(&["ps", "--json"], 0, "")).expect("JSON");
    assert_eq!(
        json["clusters"][0]["jobs"].as_array().map(Vec::len),
        Some(2),
        "{json}"
    );

    let unreached = site.check(&["connect", SERVER], 2, "names no `login_host`");
    assert_eq!(unreached, "");
    let led = site.check(
        &[
            "connect", CAMPAIGN, "--via", "me@login", "--port", "9000", "--print",
        ],
        0,
        "",
    );
    assert!(
        led.contains("ssh -N -L 127.0.0.1:9000:nid001001:8080 me@login\n"),
        "{led}"
    );
    site.check(
        &["connect", LOAD],
        2,
        "no server `20261122-190000_quickstart_sim_slurm_3c4d` lives on alps",
    );

    site.check(&["clean"], 2, "there is no terminal to ask on");
    let ended = site.check(&["clean", "--yes"], 0, "");
    assert!(
        ended.contains(&format!("is left: kept server {SERVER}")),
        "{ended}"
    );
    assert!(ended.ends_with("ended 1 job\n"), "{ended}");
    // As long as the server lives, its campaign's files stay.
    let files = ["clean", "--yes", "--files", "--older-than", "0s"];
    site.check(&files, 0, "");
    let directory = |id: &str| site.base.join(id).expect("a path");
    let is_there = |id: &str| {
        let listed = site.runtime.block_on(site.cluster.list(&directory(id)));
        listed.expect("a list").is_some()
    };
    assert!(is_there(LOAD));
    site.check(&["clean", "--yes", "--campaign", "1a2b"], 0, "");
    assert_eq!(
        site.check(&["ps"], 0, ""),
        "alps, by FirecREST: nothing of ours lives\n"
    );
    // By default what is younger than a day stays.
    let kept = site.check(&["clean", "--yes", "--files"], 0, "");
    assert!(
        kept.contains("no directory of ours is left over that is older than 24h"),
        "{kept}"
    );
    assert!(is_there(SERVER) && is_there(LOAD));
    let removed = site.check(&files, 0, "");
    assert!(removed.ends_with("removed 2 directories\n"), "{removed}");
    assert!(!is_there(SERVER) && !is_there(LOAD));
}
