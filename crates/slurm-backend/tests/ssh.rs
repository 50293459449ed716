//! Lines over ssh, against a small script in the place of `ssh`.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use gipfel_slurm_backend::cluster::{
    ClusterErrorKind,
    shell::{Input, Shell, ShellCommand, ShellError, SshOptions, SshShell},
};

struct Host {
    folder: tempfile::TempDir,
    shell: SshShell,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("ssh");
        let text = include_str!("ssh.sh").replace("FOLDER", &folder.path().display().to_string());
        fs::write(&program, text).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        let options = SshOptions {
            program: program.into(),
            ..SshOptions::default()
        };
        let shell = SshShell::new("login", options).expect("a host");
        Self { folder, shell }
    }

    async fn run(&self, line: &str) -> Result<(i32, String), ShellError> {
        let command = ShellCommand {
            line: line.to_owned(),
            input: Input::Bytes(b"input".to_vec()),
            time: Duration::from_secs(20),
        };
        let output = self.shell.run(&command).await?;
        Ok((output.code, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("an order");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn masters(&self) -> Vec<String> {
        self.text("masters").lines().map(str::to_owned).collect()
    }
}

fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// Waits until a process has ended.
async fn until_gone(pid: &str) {
    for _ in 0..400 {
        if !is_alive(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("process {pid} lives on");
}

#[tokio::test]
async fn lines_share_a_connection() {
    let host = Host::new();
    let check = async |line: &str, expected: (i32, &str)| {
        let (code, text) = host.run(line).await.expect("it runs");
        assert_eq!((code, text.as_str()), expected, "{line}");
    };
    check("cat; exit 3", (3, "input")).await;
    check("echo 'one  two' \"$((1 + 1))\"", (0, "one  two 2\n")).await;
    assert_eq!(host.masters().len(), 1, "one master for all lines");
    let lines = host.text("lines");
    assert!(
        lines.contains("-o BatchMode=yes"),
        "no question is asked: {lines}"
    );
    assert!(!lines.contains("input"), "an input is in no argument: {lines}");
}

#[tokio::test]
async fn a_dead_master_is_replaced_and_the_last_one_ends() {
    let host = Host::new();
    host.run("true").await.expect("it runs");
    let first = host.masters().remove(0);
    let killed = Command::new("kill").args(["-9", &first]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    until_gone(&first).await;
    host.run("true").await.expect("it runs over another one");
    let masters = host.masters();
    assert_eq!(masters.len(), 2, "{masters:?}");
    drop(host.shell);
    until_gone(&masters[1]).await;
}

#[tokio::test]
async fn hosts_that_do_not_let_in_begin_nothing() {
    let check = async |text: &str, kind: ClusterErrorKind| {
        let host = Host::new();
        host.set("refuse", text);
        let error = host.run("true").await.expect_err("nobody is let in");
        assert_eq!((error.kind(), error.may_have_run()), (kind, false), "{error}");
    };
    check(
        "me@login: Permission denied (publickey).",
        ClusterErrorKind::Refused,
    )
    .await;
    check("Host key verification failed.", ClusterErrorKind::Refused).await;
    check(
        "ssh: connect to host login port 22: Connection timed out",
        ClusterErrorKind::Away,
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_tells_nothing() {
    let host = Host::new();
    host.set("cut", "");
    let error = host.run("echo a long answer that is cut off").await;
    let error = error.expect_err("no whole answer");
    assert!(error.may_have_run(), "{error}");
    host.run("true").await.expect("the next one is well");
}
