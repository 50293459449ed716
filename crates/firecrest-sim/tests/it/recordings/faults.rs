//! The recordings of what goes wrong on the server's side.

use std::process::Command;

use firecrest_sim::{Options, SchedulerState, Services, SshState};

use crate::{
    recordings::{
        jobs::{COMPLETED, ended},
        write_files,
    },
    replay::Replay,
    site::{Site, WORK},
};

pub(super) async fn services(replay: &Replay, system: &str, services: Services) {
    replay
        .site
        .running
        .set_services(system, services)
        .await
        .expect("a known system");
    replay.site.running.check_health();
}

pub(super) fn refusing() -> Services {
    Services {
        ssh: SshState::Refused,
        ..Services::default()
    }
}

pub(super) async fn unreachable(replay: &Replay) {
    services(replay, "deadssh", refusing()).await;
    services(replay, "noprobe", refusing()).await;
    services(
        replay,
        "mutessh",
        Services {
            ssh: SshState::Mute,
            ..Services::default()
        },
    )
    .await;
}

/// Only the systems of which the recording holds the state.
pub(super) fn probed(options: &mut Options) {
    options.systems.retain(|system| system.name == "clariden");
}

pub(super) async fn storage_down(replay: &mut Replay) {
    services(
        replay,
        "clariden",
        Services {
            storage_down: true,
            ..Services::default()
        },
    )
    .await;
    replay.rest().await;
}

pub(super) async fn authentication(replay: &mut Replay) {
    unreachable(replay).await;
    replay.go(2).await;
    let token = |user, life_s| replay.site.running.token(user, life_s).expose().to_owned();
    let tester = Some("tester");
    let tampered = format!("{}x", token(tester, 300));
    let tokens = [
        tampered,
        token(tester, -1),
        token(tester, 33),
        token(tester, 28),
        token(None, 300),
    ];
    for token in tokens {
        replay.with_token(&token);
        replay.go(1).await;
    }
    replay.rest().await;
}

pub(super) async fn ghost(replay: &mut Replay) {
    replay.act_as("ghost");
    replay.rest().await;
}

pub(super) async fn unreachable_systems(replay: &mut Replay) {
    unreachable(replay).await;
    replay.rest().await;
}

pub(super) fn make_fifo(site: &Site) {
    let path = site.real(&format!("{WORK}/fifo"));
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

pub(super) async fn fifo(replay: &mut Replay) {
    make_fifo(&replay.site);
    replay.rest().await;
}

pub(super) fn scheduler(scheduler: SchedulerState) -> Services {
    Services {
        scheduler,
        ..Services::default()
    }
}

pub(super) async fn scheduler_hung(replay: &mut Replay) {
    services(replay, "daint", scheduler(SchedulerState::Hung)).await;
    replay.go(3).await;
    assert_eq!(replay.site.running.submits(), []);
    services(replay, "daint", Services::default()).await;
    replay.go_until_as_recorded().await;
    let submits = replay.site.running.submits();
    assert_eq!(
        submits
            .iter()
            .map(|submit| submit.name.as_deref())
            .collect::<Vec<_>>(),
        [Some("ambig")]
    );
}

pub(super) async fn scheduler_down(replay: &mut Replay) {
    ended(replay, "1", "qps-inline", COMPLETED).await;
    services(replay, "daint", scheduler(SchedulerState::Down)).await;
    replay.rest().await;
    services(replay, "daint", Services::default()).await;
    assert_eq!(
        replay.site.running.submits().len(),
        1,
        "nothing was submitted while the scheduler was down"
    );
}

pub(super) async fn scheduler_unhealthy(replay: &mut Replay) {
    write_files(&replay.site);
    services(replay, "clariden", scheduler(SchedulerState::Down)).await;
    replay.rest().await;
}

pub(super) async fn accounting_down(replay: &mut Replay) {
    services(
        replay,
        "clariden",
        Services {
            accounting_down: true,
            ..Services::default()
        },
    )
    .await;
    replay.site.pause(true);
    replay.rest().await;
}

pub(super) async fn channel_limit(replay: &mut Replay) {
    make_fifo(&replay.site);
    let path = "/filesystem/clariden/ops/view?path=/capstor/scratch/cscs/tester/qps/fifo";
    // Each of them asks again, so that all channels are in use at some time.
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let request = replay.site.request("GET", path, None);
        slow.spawn(async move {
            loop {
                let reply = request.send().await.expect("an answer");
                assert!([408, 424].contains(&reply.status.as_u16()), "{}", reply.json());
            }
        });
    }
    for _ in 0..2 {
        replay.go_until_as_recorded().await;
    }
    slow.abort_all();
}

pub(super) async fn health_cache(replay: &mut Replay) {
    write_files(&replay.site);
    services(replay, "clariden", refusing()).await;
    replay.go(1).await;
    // The service is back, and the server does not know until it looks again.
    replay
        .site
        .running
        .set_services("clariden", Services::default())
        .await
        .expect("a known system");
    replay.go(1).await;
    replay.site.running.check_health();
    replay.rest().await;
}

pub(super) async fn token_window(replay: &mut Replay) {
    unreachable(replay).await;
    for life_s in [34, 26] {
        let token = replay.site.running.token(Some("tester"), life_s);
        replay.with_token(token.expose());
        replay.go(1).await;
    }
}
