//! The doctor, against a simulated FirecREST.

use firecrest_sim::{Failure, Options, Rule, Running, SchedulerState, Services, Simulator};
use tokio::runtime::Runtime;

use crate::world::World;

/// A site that runs as long as this value, and a folder with its credentials in `.env`.
struct Site {
    world: World,
    running: Running,
    runtime: Runtime,
}

impl Site {
    fn start(change: impl FnOnce(&mut Options)) -> Self {
        let world = World::new();
        let root = world.path("site");
        std::fs::create_dir(&root).expect("a folder");
        let mut options = Options::demo(&root);
        change(&mut options);
        let runtime = Runtime::new().expect("a runtime");
        let running = runtime.block_on(Simulator::start(options)).expect("a simulator");
        let site = Self {
            world,
            running,
            runtime,
        };
        site.write_credentials("demo-secret");
        site
    }

    fn write_credentials(&self, secret: &str) {
        let Running {
            base_url, token_url, ..
        } = &self.running;
        self.world.write(
            ".env",
            &format!(
                "BACKEND_API_BASE_URL={base_url}\nOAUTH_TOKEN_URL={token_url}\nOAUTH_CLIENT_ID=demo\nOAUTH_CLIENT_SECRET={secret}\n"
            ),
        );
    }

    /// What `gipfel doctor slurm` prints, without what changes from one time to the next.
    fn check(&self, arguments: &[&str], code: i32, expected: &[&str]) {
        let printed = self
            .world
            .check(&[&["doctor", "slurm"], arguments].concat(), code, "");
        let heads: Vec<&str> = printed.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(heads.len(), expected.len(), "{printed}");
        for (line, expected) in heads.iter().zip(expected) {
            assert!(line.starts_with(expected), "`{line}` is not `{expected}…`");
        }
        assert!(!printed.contains("demo-secret"), "{printed}");
    }
}

#[test]
fn a_healthy_system_has_no_fault() {
    let site = Site::start(|_| {});
    let all = [
        "ok     credentials  the issuer takes them; a token lives 300 s",
        "ok     reach        answers in ",
        "ok     health       alps: ",
        "ok     account      alps: user demo, accounts a-demo (default)",
        "ok     limits       alps: 5242880 bytes up and 3932157 bytes down directly; above by s3",
    ];
    site.check(&[], 0, &all);
    site.check(&["ALPS", "--account", "a-demo"], 0, &all);
}

#[test]
fn faults_are_told_one_by_one() {
    let site = Site::start(|_| {});
    let well = ["ok     credentials", "ok     reach"];
    site.check(
        &["daint"],
        14,
        &[&well[..], &["fault  reach        the API has no system `daint`"]].concat(),
    );
    let account = "fault  account      alps: user demo has no account `a-other`";
    site.check(
        &["--account", "a-other"],
        14,
        &[&well[..], &["ok     health", account, "ok     limits"]].concat(),
    );
    let hung = Services {
        scheduler: SchedulerState::Down,
        ..Services::default()
    };
    site.runtime
        .block_on(site.running.set_services("alps", hung))
        .expect("the system exists");
    site.running.check_health();
    let printed = site.world.check(&["doctor", "slurm"], 14, "");
    assert!(
        printed.contains("fault  health       alps: scheduler"),
        "{printed}"
    );
    site.write_credentials("another");
    site.check(&[], 14, &["fault  credentials"]);
}

#[test]
fn what_passes_by_itself_is_no_fault() {
    let site = Site::start(|_| {});
    site.running
        .fail(Rule::once(Failure::BadGateway, "GET", "/status/systems"));
    let printed = site.world.check(&["doctor", "slurm"], 0, "");
    assert!(printed.contains("ok     limits"), "{printed}");
}

#[test]
fn tokens_that_are_refused_at_once_are_a_fault() {
    let site = Site::start(|options| options.token.life = std::time::Duration::from_secs(40));
    site.check(
        &[],
        14,
        &["fault  credentials  the issuer takes them; a token lives 40 s"],
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let world = World::new();
    for file in ["nosuch.env", "."] {
        let failed = world.check(&["doctor", "slurm", "--env-file", file], 2, "cannot be read");
        assert_eq!(failed, "");
    }
}

const CONFIGURATION: &str = "
defaults:
  rate_levels: [1]
  firecrest_system: alps
  site: clariden
  account: a-demo
  partition: PARTITION
  benchmarker_partition: normal
  scratch_base: /scratch/demo/new/gipfel
  hf_token_path: /scratch/demo/token
  max_node_hours: 3
experiments:
  - { model: org/m, backend: vllm, deployment: slurm }
";

#[test]
fn a_configuration_is_held_against_its_cluster() {
    let site = Site::start(|_| {});
    let files = || -> Vec<String> {
        let all = std::process::Command::new("find")
            .arg(site.world.path("site"))
            .output();
        let text = String::from_utf8_lossy(&all.expect("find runs").stdout).into_owned();
        let mut files: Vec<String> = text.lines().map(str::to_owned).collect();
        files.sort();
        files
    };
    let examined = |partition: &str, code| {
        site.world
            .write("alps.yaml", &CONFIGURATION.replace("PARTITION", partition));
        let printed = site.world.check(&["doctor", "slurm", "alps.yaml"], code, "");
        assert!(!printed.contains("demo-secret"), "{printed}");
        printed
    };
    let before = files();
    let printed = examined("normal", 14);
    let expect = |printed: &str, lines: &[&str]| {
        for line in lines {
            let found = printed.lines().any(|one| one.starts_with(line));
            assert!(found, "no line begins with `{line}`:\n{printed}");
        }
    };
    expect(
        &printed,
        &[
            "ok     credentials  the issuer takes them",
            "ok     account      alps: user demo, accounts a-demo (default)",
            "ok     limits       alps: ",
            "ok     scratch      `/scratch/demo/new/gipfel` can be made and can be written: a file takes ",
            "ok     partition    the server's job asks `normal` for 1 node for 01:00:00; it is there",
            "note   sbatch       the server's job: FirecREST cannot ask without submitting it",
            "ok     image        `nvcr.io#nvidia/vllm:25.10-py3` is pulled when the server starts",
            "ok     model        `org/m` is taken from the Hugging Face hub",
            "fault  token        `/scratch/demo/token` is not there",
            "note   cost         the load generator takes a whole node of `normal`",
            "ok     cost         node-hours of all jobs: about ",
        ],
    );
    assert_eq!(files(), before, "nothing is left behind");
    let printed = examined("gpu", 14);
    expect(
        &printed,
        &["fault  partition    partition `gpu` does not exist on alps; it has "],
    );
    assert!(printed.contains("hint: set `partition`"), "{printed}");
    assert_eq!(files(), before, "nothing is left behind");
}

#[test]
fn a_configuration_without_a_cluster_is_a_mistake() {
    let world = World::new();
    world.write(
        "local.yaml",
        "experiments: [{ model: m, backend: sim, deployment: local, rate_levels: [1] }]\n",
    );
    world.check(
        &["doctor", "slurm", "local.yaml"],
        2,
        "no experiment on a Slurm cluster",
    );
    world.check(
        &["doctor", "slurm", "nosuch.yaml"],
        2,
        "failed to read `nosuch.yaml`",
    );
}
