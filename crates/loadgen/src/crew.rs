//! The workers, seen from the controller.

use std::{
    num::NonZero,
    thread::{self, JoinHandle},
};

use gipfel_engine::Engine;
use gipfel_model::{RunConfig, Secret};
use gipfel_stream_client::{ClientOptions, Clock, Target};
use gipfel_workload::{PromptWriter, Share};
use tokio::sync::mpsc;

use crate::{
    messages::{Order, Report},
    upcoming::Renderer,
    worker::{self, WorkerSetup},
    writer::WriterMessage,
};

/// What all workers have in common.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) engine: &'static Engine,
    pub(crate) model: String,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) key: Option<Secret>,
    pub(crate) rows: mpsc::Sender<WriterMessage>,
}

impl Job<'_> {
    /// How a client that keeps so many idle connections reaches the server.
    pub(crate) fn client_options(&self, max_idle: usize) -> ClientOptions {
        ClientOptions {
            connect_timeout: self.config.timeouts.connect,
            bearer: self.key.as_ref().map(|key| key.expose().to_owned()),
            max_idle,
        }
    }

    fn setup(
        &self,
        share: Share,
        orders: mpsc::UnboundedReceiver<Order>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> WorkerSetup {
        WorkerSetup {
            share,
            clock: self.clock,
            target: self.target.clone(),
            options: self.client_options(worker::MAX_IDLE_CONNECTIONS),
            renderer: Renderer {
                engine: self.engine,
                model: self.model.clone(),
                workload: self.config.workload.clone(),
                prompts: PromptWriter::new(self.config.workload.seed, self.config.run_id.as_str()),
                rank: 0,
            },
            slos: self.config.slos.clone(),
            timeouts: self.config.timeouts,
            orders,
            reports,
            rows: self.rows.clone(),
        }
    }
}

/// One thread for each core, but one core is left to the rest of the machine.
pub(crate) fn worker_count(config: &RunConfig) -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    config
        .workers
        .unwrap_or_else(|| u32::try_from(cores.saturating_sub(1)).unwrap_or(1))
        .max(1)
}

/// The threads that send. They leave when the crew is dropped.
pub(crate) struct Crew {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    reports: mpsc::UnboundedReceiver<Report>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    pub(crate) fn hire(job: &Job<'_>, workers: u32) -> std::io::Result<Self> {
        let (report, reports) = mpsc::unbounded_channel();
        let mut crew = Self {
            orders: Vec::new(),
            reports,
            threads: Vec::new(),
        };
        for worker in 0..workers {
            let (order, orders) = mpsc::unbounded_channel();
            let setup = job.setup(Share { worker, of: workers }, orders, report.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{worker}"))
                .spawn(move || worker::run(setup))?;
            crew.threads.push(thread);
            crew.orders.push(order);
        }
        Ok(crew)
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    pub(crate) fn order(&self, order: &Order) {
        for worker in &self.orders {
            // A worker that cannot go on has reported so.
            let _ = worker.send(order.clone());
        }
    }

    /// The next report; `None` when every worker has left.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// Sends the workers away and waits until they have gone.
    pub(crate) async fn leave(mut self) {
        self.orders.clear();
        // Not by joining at once: a worker may still be handing records to the writer, which runs on this thread.
        while self.reports.recv().await.is_some() {}
        for thread in self.threads {
            // A worker that panicked has reported so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_writer_goes_on_while_the_workers_leave() {
        let (report, reports) = mpsc::unbounded_channel();
        let (order, mut orders) = mpsc::unbounded_channel();
        let (rows, mut rows_in) = mpsc::channel(1);
        let worker = move || {
            let _until_the_end = report;
            while orders.blocking_recv().is_some() {}
            for row in 0..3 {
                rows.blocking_send(row).expect("a writer");
            }
        };
        let crew = Crew {
            orders: vec![order],
            reports,
            threads: vec![thread::spawn(worker)],
        };
        let written = async {
            let mut count = 0;
            while rows_in.recv().await.is_some() {
                count += 1;
            }
            count
        };
        let both = async { tokio::join!(crew.leave(), written).1 };
        let count = tokio::time::timeout(Duration::from_secs(30), both).await;
        assert_eq!(count.expect("nobody waits for ever"), 3);
    }
}
