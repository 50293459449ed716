//! Servers: one of a name, ended whole, failures named.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    task::Poll,
    time::Duration,
};

use gipfel_backend::{Deployer, DeploymentStatus, Effect, FailureReason, Finder, Found};
use gipfel_local_backend::LocalBackend;
use gipfel_model::{BackendKind, EndpointSpec, LocalSpec, Provenance, deployment::Placement};

use crate::harness::{Site, lives, pid_in, pid_of, serving, shell, spec, until};

#[tokio::test]
async fn a_ready_server_tells_where_and_what_it_is() {
    let site = Site::new();
    let id = site.deployment("a");
    let handle = site
        .backend
        .ensure(&site.campaign(), &id, &spec(serving()))
        .await
        .unwrap();
    // Another gipfel finds it by name and by campaign, with the port that was chosen.
    let other = site.another();
    let Found::Started(found) = other.find_deployment(&id).await.unwrap() else {
        panic!("it was started")
    };
    assert_eq!(found, handle);
    let (endpoint, provenance) = until("the server is ready", async || {
        match Deployer::observe(&other, &found).await.unwrap() {
            DeploymentStatus::Ready {
                endpoint, provenance, ..
            } => Some((endpoint, provenance)),
            DeploymentStatus::Ended(failure) => panic!("{failure:?}"),
            _ => None,
        }
    })
    .await;
    assert!(endpoint.url.starts_with("http://127.0.0.1:"), "{endpoint:?}");
    assert_eq!(
        provenance.0.get(Provenance::ENGINE_VERSION).map(String::as_str),
        Some("9.9")
    );
    assert!(provenance.0.contains_key(Provenance::SERVER_NODES));
    assert_eq!(
        other.find_campaign(&site.campaign()).await.unwrap(),
        std::slice::from_ref(&handle)
    );
    Deployer::end(&other, &found).await.unwrap();
    assert_eq!(other.find_campaign(&site.campaign()).await.unwrap(), []);
    assert!(!lives(pid_of(&handle)));
}

#[tokio::test]
async fn two_starts_at_once_are_one_server() {
    let site = Site::new();
    let (one, two) = (site.another(), site.another());
    for round in 0..5 {
        let id = site.deployment(&format!("round-{round}"));
        let spec = spec(LocalSpec {
            command: Some(shell("echo begins; sleep 600")),
            ..LocalSpec::default()
        });
        let campaign = site.campaign();
        let (first, second) = tokio::join!(
            one.ensure(&campaign, &id, &spec),
            two.ensure(&campaign, &id, &spec)
        );
        let handle = first.unwrap();
        assert_eq!(second.unwrap(), handle);
        assert_eq!(
            one.find_campaign(&campaign).await.unwrap(),
            std::slice::from_ref(&handle)
        );
        until("it writes to its log", async || {
            (Deployer::logs(&one, &handle, 9).await.unwrap() == "begins").then_some(())
        })
        .await;
        Deployer::end(&two, &handle).await.unwrap();
        assert_eq!(one.find_campaign(&campaign).await.unwrap(), []);
    }
}

#[tokio::test]
async fn after_absent_a_name_can_be_started() {
    let site = Site::new();
    let id = site.deployment("late");
    assert_eq!(site.backend.find_deployment(&id).await.unwrap(), Found::Absent);
    // The search has taken the first attempt away from whoever may still be about to make it.
    let handle = site.start("late", "sleep 600").await;
    assert!(site.file(id.as_str(), "mark.2").exists());
    assert_eq!(
        site.backend.find_deployment(&id).await.unwrap(),
        Found::Started(handle.clone())
    );
    Deployer::end(&site.backend, &handle).await.unwrap();
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_found() {
    let site = Site::new();
    let id = site.deployment("lost");
    let campaign = site.campaign();
    let local = spec(LocalSpec {
        command: Some(shell("sleep 600")),
        ..LocalSpec::default()
    });
    {
        // Polled once, so that the process is on its way, and dropped.
        let mut start = site.backend.ensure(&campaign, &id, &local);
        std::future::poll_fn(|context| {
            drop(start.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
    }
    let found = until("the start is settled", async || {
        match site.another().find_deployment(&id).await.unwrap() {
            Found::Unsettled => None,
            found => Some(found),
        }
    })
    .await;
    // Either the job was first or the search; both are answers, and at most one process lives.
    let living = until("the job has decided", async || {
        let living = site.another().find_campaign(&campaign).await.unwrap();
        match (&found, living.len()) {
            (Found::Started(_), 1) | (Found::Absent, 0) => Some(living),
            _ => None,
        }
    })
    .await;
    for handle in living {
        Deployer::end(&site.backend, &handle).await.unwrap();
    }
}

// Elsewhere environments and outputs cannot be read.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn end_reaches_every_descendant() {
    let site = Site::new();
    let name = site.deployment("family");
    let file = |name_of: &str| site.file(name.as_str(), name_of);
    fs::create_dir_all(site.root.path().join(name.as_str())).unwrap();
    // A grandchild in the group, one that has left it, and one that has left it and forgotten its environment.
    let script = format!(
        "(sleep 600 & echo $! > {child}; wait) &
         setsid sleep 600 & echo $! > {left}
         setsid env -i /bin/sleep 600 & echo $! > {bare}
         wait",
        child = file("child").display(),
        left = file("left").display(),
        bare = file("bare").display()
    );
    let handle = site.start("family", &script).await;
    let pids = [
        pid_in(&file("child")).await,
        pid_in(&file("left")).await,
        pid_in(&file("bare")).await,
    ];
    for pid in pids {
        assert!(lives(pid));
    }
    Deployer::end(&site.another(), &handle).await.unwrap();
    for pid in pids.into_iter().chain([pid_of(&handle)]) {
        assert!(!lives(pid), "{pid}");
    }
}

#[tokio::test]
async fn end_kills_what_does_not_listen() {
    let site = Site::new();
    let ready = site.file(site.deployment("deaf").as_str(), "ready");
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let handle = site.start("deaf", &script).await;
    pid_in(&ready).await;
    let impatient = site.another().with_grace(Duration::from_millis(300));
    Deployer::end(&impatient, &handle).await.unwrap();
    assert!(!lives(pid_of(&handle)));
    let failure = site.ended(&handle).await;
    assert_eq!(failure.reason, FailureReason::Cancelled, "{failure:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_dead_server_leaves_is_ended() {
    let site = Site::new();
    let child = site.file(site.deployment("orphan").as_str(), "child");
    let handle = site
        .start(
            "orphan",
            &format!("sleep 600 & echo $! > {}; wait", child.display()),
        )
        .await;
    let child = pid_in(&child).await;
    let pid = rustix::process::Pid::from_raw(pid_of(&handle).cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let failure = site.ended(&handle).await;
    assert_eq!(failure.reason, FailureReason::ServerFailed);
    assert!(failure.message.contains("was killed (signal 9)"), "{failure:?}");
    assert!(!lives(child));
}

#[tokio::test]
async fn deaths_are_named_from_the_log() {
    let site = Site::new();
    let check = async |name: &str, script: &str, reason, message: &str, tail: &str| {
        let handle = site.start(name, script).await;
        let failure = site.ended(&handle).await;
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
        assert_eq!(failure.log_tail, tail);
        // A gipfel that has not started it says what it knows.
        let DeploymentStatus::Ended(known) = Deployer::observe(&site.another(), &handle).await.unwrap()
        else {
            panic!("it has ended");
        };
        assert_eq!(known.reason, reason);
        assert!(known.message.contains("not known"), "{known:?}");
    };
    let memory = "echo loading; echo 'torch.OutOfMemoryError: CUDA out of memory.' >&2; exit 1";
    let tail = "loading\ntorch.OutOfMemoryError: CUDA out of memory.";
    check(
        "memory",
        memory,
        FailureReason::OutOfMemory,
        "exited with status 1; its log says: torch",
        tail,
    )
    .await;
    let port = "echo 'OSError: [Errno 98] Address already in use'; exit 1";
    check(
        "port",
        port,
        FailureReason::PortTaken,
        "Address",
        "OSError: [Errno 98] Address already in use",
    )
    .await;
    check(
        "silent",
        "exit 3",
        FailureReason::ServerFailed,
        "exited with status 3",
        "",
    )
    .await;
    let handle = site.start("missing", "exec no-such-engine").await;
    let failure = site.ended(&handle).await;
    assert_eq!(failure.reason, FailureReason::CommandNotFound, "{failure:?}");
}

#[tokio::test]
async fn a_start_that_cannot_be_is_refused() {
    let site = Site::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = async |local: LocalSpec, kind: BackendKind, reason, message: &str| {
        let mut spec = spec(local);
        spec.backend = kind;
        let id = site.deployment("refused");
        let error = site
            .backend
            .ensure(&site.campaign(), &id, &spec)
            .await
            .unwrap_err();
        assert_eq!((error.effect, error.reason), (Effect::NotStarted, reason));
        let text = std::error::Error::source(&error.source).unwrap().to_string();
        assert!(text.contains(message), "{text}");
        assert_eq!(site.backend.find_campaign(&site.campaign()).await.unwrap(), []);
    };
    let command = |command: &[&str]| Some(command.iter().map(|part| (*part).to_owned()).collect());
    let taken = LocalSpec {
        command: command(&["sleep", "600"]),
        port,
        ..LocalSpec::default()
    };
    check(
        taken,
        BackendKind::Vllm,
        FailureReason::PortTaken,
        &format!("port {port} is taken"),
    )
    .await;
    let missing = LocalSpec {
        command: command(&["no-such-engine"]),
        ..LocalSpec::default()
    };
    check(
        missing,
        BackendKind::Vllm,
        FailureReason::CommandNotFound,
        "`no-such-engine`",
    )
    .await;
    let none = LocalSpec::default();
    check(
        none,
        BackendKind::Dynamo,
        FailureReason::CommandNotFound,
        "`dynamo` has no command of its own",
    )
    .await;

    let mut elsewhere = spec(LocalSpec::default());
    elsewhere.placement = Placement::External(EndpointSpec::new("http://h"));
    let error = site
        .backend
        .ensure(&site.campaign(), &site.deployment("x"), &elsewhere)
        .await
        .unwrap_err();
    assert_eq!(error.effect, Effect::NotStarted);
}

#[tokio::test]
async fn the_environment_is_the_users_and_the_simulator_is_gipfel() {
    let site = Site::new();
    let environment = [("GREETING", "hello"), ("GIPFEL_ID", "stolen")];
    let local = LocalSpec {
        command: Some(shell("echo \"$GREETING $GIPFEL_ID $GIPFEL_CAMPAIGN\"; sleep 600")),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..LocalSpec::default()
    };
    let id = site.deployment("env");
    let handle = site
        .backend
        .ensure(&site.campaign(), &id, &spec(local))
        .await
        .unwrap();
    let line = until("it writes its environment", async || {
        Deployer::logs(&site.backend, &handle, 1)
            .await
            .ok()
            .filter(|log| !log.is_empty())
    })
    .await;
    assert_eq!(line, format!("hello {id} {}", site.campaign()));
    Deployer::end(&site.backend, &handle).await.unwrap();

    let mut sim = spec(LocalSpec::default());
    sim.backend = BackendKind::Sim;
    let gipfel = LocalBackend::new(site.root.path().to_owned(), "/opt/gipfel".into());
    let command = gipfel.command(&sim, &LocalSpec::default(), 8000).unwrap();
    assert_eq!(command[..2], ["/opt/gipfel", "sim"]);
}

#[tokio::test]
async fn a_process_that_took_over_the_id_is_left_alone() {
    let site = Site::new();
    let handle = site.start("reused", "exit 0").await;
    site.ended(&handle).await;
    // The mark now names an innocent process, with another start: as if the id had been used again.
    let mut innocent = tokio::process::Command::new("/bin/sleep");
    let mut innocent = innocent
        .arg("600")
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = innocent.id().unwrap();
    let mark = site.file(&handle.name, "mark.1");
    let text = fs::read_to_string(&mark).unwrap();
    let renamed = text.replace(&format!("\"pid\":{}", pid_of(&handle)), &format!("\"pid\":{pid}"));
    assert_ne!(renamed, text);
    fs::write(&mark, renamed).unwrap();
    let Found::Started(found) = site
        .backend
        .find_deployment(&site.deployment("reused"))
        .await
        .unwrap()
    else {
        panic!("it was started");
    };
    assert_eq!(pid_of(&found), pid);
    Deployer::end(&site.backend, &found).await.unwrap();
    let status = Deployer::observe(&site.another(), &found).await.unwrap();
    assert!(matches!(status, DeploymentStatus::Ended(_)), "{status:?}");
    assert!(lives(pid));
    innocent.kill().await.unwrap();
}
