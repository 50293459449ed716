//! A cluster by Slurm's commands keeps the promises, against small scripts in the place of Slurm's.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use firecrest_client::{AdoptPolicy, Earlier, FileMode, RemotePath};
use gipfel_backend::BoxFuture;
use gipfel_slurm_backend::cluster::{
    Cluster, ClusterErrorKind, SubmitEffect,
    contract::{ClusterHarness, files_contract, job_request, jobs_contract, refusal_contract},
    shell::{Input, LocalShell, Shell, ShellCluster, ShellCommand, ShellError, ShellOutput, ShellPolicy},
};

/// A shell of this machine that finds the scripts before Slurm's own commands.
struct Scripts {
    commands: PathBuf,
    shell: LocalShell,
}

impl Shell for Scripts {
    fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>> {
        Box::pin(async move {
            let (commands, line) = (self.commands.display(), &command.line);
            let line = format!("PATH={commands}:$PATH; export PATH; {line}");
            self.shell
                .run(&ShellCommand {
                    line,
                    ..command.clone()
                })
                .await
        })
    }
}

struct Harness {
    cluster: ShellCluster,
    folder: tempfile::TempDir,
    local: PathBuf,
}

fn policy() -> ShellPolicy {
    ShellPolicy {
        attempts: 2,
        pause: Duration::from_millis(10),
        total: Duration::from_secs(20),
        command: Duration::from_secs(20),
        submit: Duration::from_secs(2),
        adopt: AdoptPolicy {
            grace: Duration::from_millis(60),
            looks: 3,
            interval: Duration::from_millis(30),
            total: Duration::from_secs(10),
            ..AdoptPolicy::default()
        },
    }
}

impl Harness {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (commands, local) = (folder.path().join("commands"), folder.path().join("local"));
        for name in ["commands", "local", "scratch", "spool"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let script = commands.join("slurm");
        let spool = folder.path().join("spool");
        let text = include_str!("slurm.sh").replace("SPOOL", &spool.display().to_string());
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a program");
        for name in ["sbatch", "squeue", "sacct", "sacctmgr", "scancel", "scontrol"] {
            symlink(&script, commands.join(name)).expect("a command");
        }
        let shell = Scripts {
            commands,
            shell: LocalShell::new(),
        };
        Self {
            cluster: ShellCluster::new("scripts", Arc::new(shell), policy()),
            folder,
            local,
        }
    }

    fn plan(&self, what: &str) {
        fs::write(self.folder.path().join("spool").join(what), "").expect("a plan");
    }

    fn jobs(&self) -> usize {
        let spool = fs::read_dir(self.folder.path().join("spool")).expect("the spool");
        spool.count()
    }
}

impl Drop for Harness {
    /// Nothing that a job started outlives the test, also after a broken promise.
    fn drop(&mut self) {
        let spool = fs::read_dir(self.folder.path().join("spool"));
        for job in spool.into_iter().flatten().flatten() {
            let pid = fs::read_to_string(job.path().join("pid")).unwrap_or_default();
            if !pid.is_empty() && !job.path().join("exit").exists() {
                let group = format!("-{}", pid.trim());
                // One that has ended in the meantime is ended well.
                let _ = Command::new("kill").args(["-9", "--", &group]).output();
            }
        }
    }
}

impl ClusterHarness for Harness {
    fn cluster(&self) -> &dyn Cluster {
        &self.cluster
    }
    fn directory(&self) -> RemotePath {
        let path = self.folder.path().join("scratch/suite");
        RemotePath::try_new(path.display().to_string()).expect("a path")
    }
    fn local(&self) -> &Path {
        &self.local
    }
    fn prefix(&self) -> &'static str {
        "suite-"
    }
    fn policy(&self) -> AdoptPolicy {
        policy().adopt
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(50)))
    }
}

#[tokio::test]
async fn the_promises_about_files_are_kept() {
    files_contract(&Harness::start()).await;
}

#[tokio::test]
async fn the_promises_about_jobs_are_kept() {
    jobs_contract(&Harness::start()).await;
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let harness = Harness::start();
    let check =
        async |tag: &str, directives: &str, kind| refusal_contract(&harness, tag, directives, kind).await;
    check(
        "partition",
        "#SBATCH --partition=nosuch",
        ClusterErrorKind::Partition,
    )
    .await;
    check("account", "#SBATCH --account=nosuch", ClusterErrorKind::Account).await;
    check("walltime", "#SBATCH --time=9-00", ClusterErrorKind::Walltime).await;
    assert_eq!(harness.jobs(), 0, "nothing was started");
}

#[tokio::test]
async fn lost_answers_are_settled() {
    let check = async |plan: &str| {
        let harness = Harness::start();
        harness.plan(plan);
        let request = job_request(&harness, "lost", "exec sleep 300").await;
        let id = harness
            .cluster
            .submit(&request, Earlier::Never)
            .await
            .expect("the submission is settled");
        assert_eq!(harness.jobs(), 1, "{plan}: a name is one job");
        harness.cluster.cancel(&id).await.expect("cancelled");
    };
    check("answer-is-lost").await;
    check("sbatch-hangs").await;
}

#[tokio::test]
async fn inputs_that_are_cut_off_are_no_files() {
    /// A connection that ends the input too early, and says nothing of it.
    struct Cut(Scripts);
    impl Shell for Cut {
        fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>> {
            let mut cut = command.clone();
            if let Input::Bytes(bytes) = &mut cut.input {
                bytes.truncate(bytes.len() / 2);
            }
            Box::pin(async move { self.0.run(&cut).await })
        }
    }
    let harness = Harness::start();
    let request = job_request(&harness, "cut", "exit 0").await;
    let shell = Scripts {
        commands: harness.folder.path().join("commands"),
        shell: LocalShell::new(),
    };
    let cluster = ShellCluster::new("cut", Arc::new(Cut(shell)), policy());
    let path = request.directory.join("file").expect("a path");
    let mode = FileMode::try_new(0o600).expect("a mode");
    let error = cluster.write(&path, b"some content", mode).await;
    let error = error.expect_err("it did not arrive whole");
    assert_eq!(error.kind, ClusterErrorKind::Away, "{error:?}");
    let failure = cluster.submit(&request, Earlier::Never).await;
    let failure = failure.expect_err("it did not arrive whole");
    assert_eq!(failure.effect, SubmitEffect::NotStarted);
    assert_eq!(harness.jobs(), 0, "nothing was started");
    let names = harness.cluster.list(&request.directory).await;
    assert_eq!(names.expect("a list"), Some(Vec::new()), "no draft is left");
}
