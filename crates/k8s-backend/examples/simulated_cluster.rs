//! A cluster on this machine for end-to-end runs: an API server on loopback whose pods are processes.
//!
//! `simulated_cluster KUBECONFIG DIRECTORY [--seed N] [--fail SHARE]` writes a kubeconfig, prints one line when it answers,
//! and goes on until its standard input is closed. With `--fail` that share of the requests goes wrong, in ways that pass.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use gipfel_k8s_backend::simulated::{Shape, SimulatedCluster, Weather};

struct Arguments {
    kubeconfig: PathBuf,
    directory: PathBuf,
    weather: Weather,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut plain = Vec::new();
    let (mut seed, mut share) = (1, 0.0);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => seed = words.next().context("--seed needs a number")?.parse()?,
            "--fail" => share = words.next().context("--fail needs a share")?.parse()?,
            _ => plain.push(PathBuf::from(word)),
        }
    }
    let [kubeconfig, directory] = plain.as_slice() else {
        bail!("usage: simulated_cluster KUBECONFIG DIRECTORY [--seed N] [--fail SHARE]");
    };
    Ok(Arguments {
        kubeconfig: kubeconfig.clone(),
        directory: directory.clone(),
        weather: Weather { seed, share },
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let cluster = SimulatedCluster::start(Shape::Processes(arguments.directory)).await?;
    cluster.weather(arguments.weather);
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: simulated\nclusters: [{{ name: simulated, cluster: {{ server: \
         '{}' }} }}]\nusers: [{{ name: me, user: {{}} }}]\ncontexts: [{{ name: simulated, context: {{ cluster: simulated, \
         user: me, namespace: ml }} }}]\n",
        cluster.url()
    );
    fs::write(&arguments.kubeconfig, kubeconfig)
        .with_context(|| format!("failed to write {}", arguments.kubeconfig.display()))?;
    say(&format!("the cluster answers at {}", cluster.url()));
    let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    ended.await??;
    // What is left is told, so that nobody has to look for it.
    let left = cluster.objects();
    say(&format!("left: {}", left.join(" ")));
    drop(cluster);
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

fn say(line: &str) {
    // Whoever started it may have gone.
    let _ = writeln!(io::stdout(), "{line}");
}
