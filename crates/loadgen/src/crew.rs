//! The workers, seen from the controller.

use std::{
    collections::BTreeSet,
    num::NonZero,
    thread::{self, JoinHandle},
};

use gipfel_engine::Engine;
use gipfel_model::RunConfig;
use gipfel_stream_client::Clock;
use gipfel_workload::Share;
use tokio::sync::mpsc;

use crate::{
    dataset::Prompts,
    descriptors,
    messages::{Append, Order, Report, Source},
    ranks::Company,
    reach::Reach,
    stop::StopReason,
    upcoming::Renderer,
    worker::{self, WorkerSetup},
    writer::Recorder,
};

/// What all workers have in common.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) engine: &'static Engine,
    pub(crate) model: String,
    pub(crate) clock: Clock,
    pub(crate) reach: Reach,
    pub(crate) rows: Recorder,
    pub(crate) rank: u32,
    pub(crate) prompts: &'a Prompts,
}

impl Job<'_> {
    fn setup(
        &self,
        index: usize,
        orders: mpsc::UnboundedReceiver<Order>,
        reports: mpsc::UnboundedSender<Report>,
        max_connections: usize,
    ) -> WorkerSetup {
        WorkerSetup {
            index,
            clock: self.clock,
            reach: self.reach.clone(),
            renderer: Renderer {
                engine: self.engine,
                model: self.model.clone(),
                workload: self.config.workload.clone(),
                requests: self
                    .prompts
                    .requests(&self.config.workload, self.config.run_id.as_str()),
                rank: self.rank,
                endpoints: self.reach.len(),
            },
            slos: self.config.slos.clone(),
            timeouts: self.config.timeouts,
            orders,
            reports,
            rows: self.rows.clone(),
            max_connections,
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

/// The threads that send, and the other ranks. They leave when the crew is dropped.
pub(crate) struct Crew {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    reports: mpsc::UnboundedReceiver<Report>,
    threads: Vec<JoinHandle<()>>,
    company: Option<Company>,
}

impl Crew {
    pub(crate) fn hire(job: &Job<'_>, workers: u32) -> std::io::Result<Self> {
        let (report, reports) = mpsc::unbounded_channel();
        let mut crew = Self {
            orders: Vec::new(),
            reports,
            threads: Vec::new(),
            company: None,
        };
        let max_connections = descriptors::for_connections() / (workers as usize).max(1);
        for worker in 0..workers {
            let (order, orders) = mpsc::unbounded_channel();
            let setup = job.setup(worker as usize, orders, report.clone(), max_connections);
            let thread = thread::Builder::new()
                .name(format!("worker-{worker}"))
                .spawn(move || worker::run(setup))?;
            crew.threads.push(thread);
            crew.orders.push(order);
        }
        Ok(crew)
    }

    /// Sends together with other ranks.
    pub(crate) fn join(&mut self, company: Company) {
        self.company = Some(company);
    }

    /// How many threads of this process send.
    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// The threads of this process.
    pub(crate) fn workers(&self) -> BTreeSet<Source> {
        (0..self.len()).map(Source::Worker).collect()
    }

    /// Everybody who reports.
    pub(crate) fn sources(&self) -> BTreeSet<Source> {
        let mut sources = self.workers();
        sources.extend(self.company.iter().flat_map(Company::sources));
        sources
    }

    /// Has everybody send a share of the piece.
    pub(crate) fn append(&mut self, piece: &Append) -> Result<(), StopReason> {
        // The other ranks first, which are further away.
        if let Some(company) = &mut self.company {
            company.append(piece)?;
        }
        let of = self.company.as_ref().map_or(self.len() as u32, Company::workers);
        self.append_shares(piece, |worker| Some(Share { worker, of }));
        Ok(())
    }

    /// Has the threads of this process send their shares of the piece.
    pub(crate) fn append_shares(&mut self, piece: &Append, share: impl Fn(u32) -> Option<Share>) {
        for (worker, orders) in (0..).zip(&self.orders) {
            if let Some(share) = share(worker) {
                // A worker that cannot go on has reported so.
                let _ = orders.send(Order::Append(*piece, share));
            }
        }
    }

    /// Orders everybody the same.
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), StopReason> {
        if let Some(company) = &mut self.company {
            company.order(order)?;
        }
        self.order_workers(order);
        Ok(())
    }

    /// Orders the threads of this process the same.
    pub(crate) fn order_workers(&mut self, order: &Order) {
        for worker in &self.orders {
            // A worker that cannot go on has reported so.
            let _ = worker.send(order.clone());
        }
    }

    /// A rank is gone: the others share what is appended from now on.
    pub(crate) fn lose(&mut self, rank: u32) -> Result<(), StopReason> {
        match &mut self.company {
            Some(company) => company.lose(rank),
            None => Ok(()),
        }
    }

    /// The next report; `None` when every worker of this process has left.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        let others = async {
            if let Some(company) = &mut self.company
                && let Some(report) = company.report().await
            {
                return report;
            }
            // Alone, or left alone.
            std::future::pending().await
        };
        tokio::select! {
            report = self.reports.recv() => report,
            report = others => Some(report),
        }
    }

    /// Sends the workers and the other ranks away and waits until they have gone.
    pub(crate) async fn leave(mut self) {
        self.orders.clear();
        if let Some(company) = self.company.take() {
            company.dismiss().await;
        }
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
            company: None,
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
