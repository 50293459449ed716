//! `gipfel-loadgen serve` as its users have it: a client that starts, watches and stops, and a real Prometheus, whose
//! `histogram_quantile` has to agree with the database within a bucket.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    Simulator,
    world::{World, query, wait_for},
};
use crate::shell;

/// How long a run of a few seconds may take here.
const RUN: Duration = Duration::from_mins(2);
/// How long Prometheus may take to start, or to see what changed.
const SCRAPED: Duration = Duration::from_secs(40);
/// The quantiles that are compared.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Plays the scenario.
pub(crate) fn play() -> anyhow::Result<()> {
    let world = World::new("service")?;
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--package",
        "gipfel-loadgen",
    ]))?;
    let simulator = Simulator::start(&world, &["--profile", "quickstart"])?;
    let service = Service::start(&world)?;
    let prometheus = Prometheus::start(&world, &service.url)?;
    whole_run(&world, &service, &simulator.url)?;
    prometheus.agrees(&world.folder.join("run.db"))?;
    stopped_run(&service, &simulator.url)
}

/// A process that ends with the scenario.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The load generator as a service.
struct Service {
    _process: Ending,
    url: String,
}

impl Service {
    fn start(world: &World) -> anyhow::Result<Self> {
        let mut command = Command::new(shell::target().join("release/gipfel-loadgen"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--directory"])
            .arg(world.folder.join("runs"))
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start the service")?;
        let output = child.stdout.take().context("the service has no output")?;
        let process = Ending(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.with_context(|| format!("the service printed no address: {line}"))?;
        Ok(Self {
            url: url.to_owned(),
            _process: process,
        })
    }

    fn status(&self) -> anyhow::Result<String> {
        let status = get(&format!("{}/status", self.url))?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Posts and returns the code with the answer.
    fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let text = shell::read(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--max-time",
                    "20",
                    "--write-out",
                    "\n%{http_code}",
                ])
                .args(["--header", "content-type: application/json", "--data"])
                .arg(body.to_string())
                .arg(format!("{}{path}", self.url)),
        )?;
        let (body, code) = text.rsplit_once('\n').context("curl printed no code")?;
        Ok((
            code.trim().parse()?,
            serde_json::from_str(body).unwrap_or_default(),
        ))
    }

    fn wait_for_end(&self) -> anyhow::Result<()> {
        wait_for("the end of the run", RUN, || {
            // It answers all the while.
            let health = get(&format!("{}/health", self.url)).ok()?;
            let is_over = self.status().ok()?.ends_with("finished");
            (health["status"] == "ok" && is_over).then_some(())
        })
    }
}

fn get(url: &str) -> anyhow::Result<Value> {
    let text = shell::read(
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "20"])
            .arg(url),
    )?;
    serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text}"))
}

/// The predecessors' order of a load.
fn load(url: &str, prompts: u32, rate: u32) -> Value {
    json!({
        "model": "quickstart", "dataset_name": "random", "input_len": 32, "output_len": 12, "num_prompts": prompts,
        "request_rate": rate, "backend": "vllm", "base_url": url,
    })
}

fn whole_run(world: &World, service: &Service, simulator: &str) -> anyhow::Result<()> {
    ensure!(service.status()? == "Ready to run benchmark", "it is not ready");
    let order = load(simulator, 150, 15);
    let (code, answer) = service.post("/start-load", &order)?;
    ensure!(code == 202, "the load was answered {code}: {answer}");
    let (code, _) = service.post("/start-load", &order)?;
    ensure!(code == 409, "a second load was answered {code}");
    service.wait_for_end()?;
    let result = get(&format!("{}/result", service.url))?;
    ensure!(result["completed"] == 150, "it completed {}", result["completed"]);
    let block = shell::read(
        Command::new("curl")
            .args(["--silent", "--fail"])
            .arg(format!("{}/result?format=text", service.url)),
    )?;
    ensure!(
        block.contains("Serving Benchmark Result"),
        "the result as text is {block}"
    );
    shell::say(block.trim_end());
    shell::run(
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--output"])
            .arg(world.folder.join("run.db"))
            .arg(format!("{}/database", service.url)),
    )
}

/// A flat order is stopped in the middle.
fn stopped_run(service: &Service, simulator: &str) -> anyhow::Result<()> {
    let order = json!({
        "model": "quickstart", "service": "vllm", "duration": "10m", "target_rps": 5, "prompt_len": 16,
        "clients_per_node": 2, "server_endpoints": [simulator],
    });
    let (code, answer) = service.post("/start", &order)?;
    ensure!(
        code == 202 && answer["success"] == true,
        "it was answered {code}: {answer}"
    );
    wait_for("the run", RUN, || {
        let is_running = service.status().ok()? == "Load generation is running";
        is_running.then_some(())
    })?;
    let (code, answer) = service.post("/stop", &json!({}))?;
    ensure!(code == 202, "the stop was answered {code}: {answer}");
    service.wait_for_end()?;
    let state = get(&format!("{}/status", service.url))?;
    ensure!(state["state"] == "stopped", "it ended as {}", state["state"]);
    shell::say("a run in the middle was stopped, and the service goes on");
    Ok(())
}

/// Debian's Prometheus, which scrapes the service each second.
struct Prometheus {
    _process: Ending,
    url: String,
}

impl Prometheus {
    fn start(world: &World, service: &str) -> anyhow::Result<Self> {
        let target = service.trim_start_matches("http://");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: gipfel\n    static_configs: [{{ targets: \
             ['{target}'] }}]\n"
        );
        world.write("prometheus.yml", &text)?;
        let port = free_port()?;
        let log = File::create(world.folder.join("prometheus.log"))?;
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                world.folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                world.folder.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start prometheus (Debian: `apt-get install prometheus`)")?;
        let prometheus = Self {
            _process: Ending(child),
            url: format!("http://127.0.0.1:{port}"),
        };
        wait_for("Prometheus' first scrape", SCRAPED, || {
            let up = prometheus.ask("up{job=\"gipfel\"}").ok()?;
            (up > 0.5).then_some(())
        })?;
        Ok(prometheus)
    }

    /// The one value of a query.
    fn ask(&self, query: &str) -> anyhow::Result<f64> {
        let text = shell::read(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--get",
                    "--max-time",
                    "20",
                    "--data-urlencode",
                ])
                .arg(format!("query={query}"))
                .arg(format!("{}/api/v1/query", self.url)),
        )?;
        let answer: Value = serde_json::from_str(&text)?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        let value = value.with_context(|| format!("no value for {query}: {text}"))?;
        Ok(value.parse()?)
    }

    /// Its quantiles lie in the buckets of those of the database.
    fn agrees(&self, database: &Path) -> anyhow::Result<()> {
        let latencies = latencies(database)?;
        let count = latencies.len() as f64;
        wait_for("Prometheus to see the run", SCRAPED, || {
            let seen = self.ask("sum(load_generator:ttft_count)").ok()?;
            (seen >= count).then_some(())
        })?;
        let bounds = self.bounds()?;
        for quantile in QUANTILES {
            let query = format!("histogram_quantile({quantile}, sum by (le) (load_generator:ttft_bucket))");
            let estimate = self.ask(&query)?;
            let rank = (quantile * count).ceil().max(1.0) as usize;
            let exact = latencies[rank - 1];
            let upper = bounds
                .iter()
                .position(|bound| exact <= *bound)
                .context("no bucket holds it")?;
            let lower = if upper == 0 { 0.0 } else { bounds[upper - 1] };
            let upper = bounds[upper];
            ensure!(
                lower <= estimate && estimate <= upper,
                "q{quantile}: Prometheus says {estimate} s, the database {exact} s, of the bucket {lower} to {upper} s"
            );
            shell::say(&format!(
                "ttft q{quantile}: Prometheus says {:.1} ms, the database {:.1} ms, the bucket is {:.0} to {:.0} ms",
                estimate * 1e3,
                exact * 1e3,
                lower * 1e3,
                upper * 1e3
            ));
        }
        Ok(())
    }

    /// The upper bounds of the finite buckets, in seconds.
    fn bounds(&self) -> anyhow::Result<Vec<f64>> {
        let text = shell::read(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--get", "--data-urlencode"])
                .arg("query=sum by (le) (load_generator:ttft_bucket)")
                .arg(format!("{}/api/v1/query", self.url)),
        )?;
        let answer: Value = serde_json::from_str(&text)?;
        let series = answer["data"]["result"].as_array().context("no buckets")?;
        let mut bounds: Vec<f64> = series
            .iter()
            .filter_map(|one| one["metric"]["le"].as_str()?.parse().ok())
            .filter(|bound: &f64| bound.is_finite())
            .collect();
        bounds.sort_by(f64::total_cmp);
        ensure!(bounds.len() > 10, "only {} buckets", bounds.len());
        Ok(bounds)
    }
}

/// The times to first token in seconds, in their order.
fn latencies(database: &Path) -> anyhow::Result<Vec<f64>> {
    let rows = query(
        database,
        "SELECT ttft_ms FROM requests WHERE success = 1 ORDER BY ttft_ms",
    )?;
    let latencies: Option<Vec<f64>> = rows
        .iter()
        .map(|row| row["ttft_ms"].as_f64().map(|ms| ms / 1e3))
        .collect();
    let latencies = latencies.context("a request has no time to first token")?;
    ensure!(
        latencies.len() == 150,
        "{} requests are in the database",
        latencies.len()
    );
    Ok(latencies)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
