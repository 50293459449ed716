//! Exchanges by a reactor, which has a thread to itself elsewhere and shares one with the server here.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use gipfel_stream_client::{
    ClientOptions, Clock, Exchange, GapSink, Limits, Outgoing, Reactor, Target, Watch,
};

use crate::{BODY, BY_REACTOR, PATH};

pub(crate) struct Gaps(Rc<RefCell<Vec<i64>>>);

impl GapSink for Gaps {
    fn record(&mut self, gap_ns: i64) {
        self.0.borrow_mut().push(gap_ns);
    }
}

/// A reactor with one server, and the exchanges that have ended.
pub(crate) struct Driven {
    reactor: Reactor<Gaps>,
    next_key: u64,
    over: Vec<(u64, Exchange)>,
}

/// Cancels its exchange unless that is over.
struct Running<'a> {
    driven: &'a RefCell<Driven>,
    key: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let key = self.key;
        self.driven.borrow_mut().reactor.cancel(|other| other == key);
    }
}

impl Driven {
    pub(crate) fn new(clock: Clock, target: &Target, options: &ClientOptions) -> Option<Self> {
        if !BY_REACTOR.get() || !Reactor::<Gaps>::reaches(target, options) {
            return None;
        }
        let mut reactor = Reactor::new(clock, 100).unwrap();
        reactor.add_server(target.clone(), options).unwrap();
        Some(Self {
            reactor,
            next_key: 0,
            over: Vec::new(),
        })
    }

    pub(crate) fn open_connections(&mut self) -> usize {
        self.reactor.turn(0, false, &mut self.over).unwrap();
        self.reactor.sockets().open
    }
}

pub(crate) async fn stream(
    driven: &RefCell<Driven>,
    limits: Limits,
    watch: Rc<Watch>,
    gaps: Rc<RefCell<Vec<i64>>>,
) -> Exchange {
    let key = driven.borrow().next_key;
    driven.borrow_mut().next_key += 1;
    let outgoing = Outgoing {
        key,
        body: BODY.into(),
        limits,
        watch,
    };
    driven.borrow_mut().reactor.start(0, PATH, outgoing, Gaps(gaps));
    let running = Running { driven, key };
    loop {
        {
            let Driven { reactor, over, .. } = &mut *running.driven.borrow_mut();
            reactor.turn(0, false, over).unwrap();
            if let Some(at) = over.iter().position(|(other, _)| *other == key) {
                return over.remove(at).1;
            }
        }
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}
