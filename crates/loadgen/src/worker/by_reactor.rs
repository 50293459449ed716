//! A worker whose thread drives its exchanges itself.

use std::time::Duration;

use gipfel_stream_client::{GapSink, Outgoing, Reactor};
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError};

use super::{Admitted, GapTap, REPORT_INTERVAL, Sender, WorkerSetup};
use crate::{
    board::nanos,
    messages::{Append, Order},
    upcoming::Prepared,
};

/// Orders are looked for at least so often while there is load; pieces of the schedule come much earlier than they are due.
const ORDER_INTERVAL_NS: i64 = 5_000_000;
/// The same without load.
const IDLE_ORDER_INTERVAL_NS: i64 = 50_000_000;
/// Requests that are sent before the sockets are read again, when the worker is late.
const SENDS_IN_A_ROW: usize = 8;
/// So long before a deadline no further request is rendered.
const RENDER_MARGIN_NS: i64 = 60_000;
/// So long requests are rendered before the sockets are read again.
const RENDER_TIME_NS: i64 = 40_000;
/// Free connections are kept for what arrives within this time.
const SPARE_FOR: Duration = Duration::from_millis(20);
const MAX_SPARE: f64 = 64.0;

impl GapSink for GapTap {
    fn record(&mut self, gap_ns: i64) {
        self.take(gap_ns);
    }
}

/// Sends until nobody orders anything any more.
pub(super) fn serve(setup: WorkerSetup, mut reactor: Reactor<GapTap>) -> anyhow::Result<()> {
    let (mut sender, mut orders) = Sender::new(setup);
    let mut over = Vec::new();
    let mut report_ns = sender.clock.now_ns();
    let mut rendering_ns = 0;
    while sender.obey_all(&mut orders, &mut reactor) {
        if sender.clock.now_ns() >= report_ns {
            let sockets = reactor.sockets();
            sender.connections.0 = sockets.most as u64;
            sender.connections.1 += sockets.dialled as u64;
            sender.report();
            report_ns = sender.clock.now_ns() + nanos(REPORT_INTERVAL);
        }
        sender.start_due(&mut reactor);
        let deadline_ns = sender.next_deadline().unwrap_or(i64::MAX);
        sender.render_ahead(deadline_ns, &mut rendering_ns);
        let order_ns = sender.clock.now_ns() + sender.order_interval_ns();
        let other_ns = report_ns.min(order_ns);
        reactor.turn(deadline_ns.min(other_ns), deadline_ns <= other_ns, &mut over)?;
        let mut load = sender.load.borrow_mut();
        for (key, exchange) in over.drain(..) {
            load.finish(key, exchange);
        }
    }
    Ok(())
}

impl Sender {
    /// Carries out what was ordered; false once nobody orders any more.
    fn obey_all(&mut self, orders: &mut UnboundedReceiver<Order>, reactor: &mut Reactor<GapTap>) -> bool {
        loop {
            let order = match orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            if let Order::Append(piece, share) = &order {
                self.keep_free(piece, share.of, reactor);
            }
            self.obey(order);
            let cancelled = self.load.borrow_mut().take_cancelled();
            if !cancelled.is_empty() {
                reactor.cancel(|key| cancelled.contains(&key));
            }
        }
    }

    /// Has connections made ahead for the rate of a piece, of which this worker sends one part of `of`.
    fn keep_free(&self, piece: &Append, of: u32, reactor: &mut Reactor<GapTap>) {
        let Some(segment) = &piece.segment else { return };
        let arrivals = segment.rate.get() * SPARE_FOR.as_secs_f64();
        let shares = f64::from(of) * f64::from(self.renderer.endpoints);
        let spare = (arrivals / shares).ceil().clamp(1.0, MAX_SPARE) as usize;
        for server in 0..self.renderer.endpoints as usize {
            reactor.keep_free(server, spare);
        }
    }

    fn start_due(&mut self, reactor: &mut Reactor<GapTap>) {
        for _ in 0..SENDS_IN_A_ROW {
            let Some(Prepared { planned, body }) = self.next_due(self.clock.now_ns()) else {
                return;
            };
            let Admitted {
                key,
                watch,
                limits,
                gaps,
            } = self.admit(planned);
            let server = planned.endpoint as usize;
            let outgoing = Outgoing {
                key,
                body,
                limits,
                watch,
            };
            reactor.start(server, self.path(), outgoing, gaps);
            if self.upcoming.is_unprepared() {
                self.prepare_one();
            }
        }
    }

    /// Renders requests while there is time before the next one is due; the last one took `rendering_ns`.
    fn render_ahead(&mut self, deadline_ns: i64, rendering_ns: &mut i64) {
        let begin_ns = self.clock.now_ns();
        let mut now_ns = begin_ns;
        while self.upcoming.wants_more() && now_ns < begin_ns + RENDER_TIME_NS {
            let margin_ns = RENDER_MARGIN_NS + 2 * *rendering_ns;
            if now_ns > deadline_ns - margin_ns && self.upcoming.has_next_but_one() {
                return;
            }
            self.prepare_one();
            *rendering_ns = self.clock.now_ns() - now_ns;
            now_ns += *rendering_ns;
        }
    }

    fn order_interval_ns(&self) -> i64 {
        if self.load.borrow().is_idle() && self.upcoming.is_unprepared() {
            IDLE_ORDER_INTERVAL_NS
        } else {
            ORDER_INTERVAL_NS
        }
    }
}
