//! What a reactor does beside single exchanges.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use gipfel_stream_client::{
    ClientOptions, Clock, Ending, Exchange, GapSink, Limits, Outgoing, Reactor, Target, Watch,
};

use crate::script::{PATIENCE, chunked};
use crate::{PATH, answer};

struct NoGaps;

impl GapSink for NoGaps {
    fn record(&mut self, _: i64) {}
}

/// Serves each connection in a thread by `serve`.
fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(connection.unwrap()));
        }
    });
    address
}

/// Answers each request, and says in the `usage` how long its body was.
fn answer_all(mut connection: TcpStream) {
    while let Some(length) = read_request(&mut connection) {
        let answer = answer().replace("\"prompt_tokens\":3", &format!("\"prompt_tokens\":{length}"));
        if connection.write_all(&chunked(&answer)).is_err() {
            return;
        }
    }
}

/// Reads a request; the length of its body.
fn read_request(connection: &mut TcpStream) -> Option<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).unwrap();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.trim().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(length)
}

struct Bench {
    clock: Clock,
    reactor: Reactor<NoGaps>,
    over: Vec<(u64, Exchange)>,
}

impl Bench {
    fn new(server: SocketAddr, max_connections: usize, options: ClientOptions) -> Self {
        let clock = Clock::start();
        let mut reactor = Reactor::new(clock, max_connections).unwrap();
        let target = Target::parse(&format!("http://{server}")).unwrap();
        reactor.add_server(target, &options).unwrap();
        Self {
            clock,
            reactor,
            over: Vec::new(),
        }
    }

    fn start(&mut self, key: u64, body: Vec<u8>) -> Rc<Watch> {
        let watch = Rc::new(Watch::new());
        let now = self.clock.now_ns();
        let limits = Limits {
            scheduled_ns: now,
            first_token_ns: now + 15_000_000_000,
            between_tokens: Duration::from_secs(15),
            total_ns: now + 15_000_000_000,
        };
        let outgoing = Outgoing {
            key,
            body: body.into(),
            limits,
            watch: Rc::clone(&watch),
        };
        self.reactor.start(0, PATH, outgoing, NoGaps);
        watch
    }

    /// Turns the reactor until this holds.
    fn until(&mut self, mut holds: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < PATIENCE, "it takes too long");
            let soon = self.clock.now_ns() + 1_000_000;
            self.reactor.turn(soon, false, &mut self.over).unwrap();
        }
    }

    fn all(&mut self, count: usize) -> BTreeMap<u64, Exchange> {
        self.until(|bench| bench.over.len() == count);
        self.over.drain(..).collect()
    }
}

#[test]
fn connections_are_made_ahead() {
    let mut bench = Bench::new(listen(answer_all), 10, ClientOptions::default());
    bench.reactor.keep_free(0, 3);
    bench.until(|bench| bench.reactor.sockets().free == 3);
    for key in 0..2 {
        bench.start(key, b"{}".to_vec());
    }
    for exchange in bench.all(2).values() {
        assert_eq!((exchange.ending, exchange.connect_ns), (Ending::Ok, None));
    }
    bench.until(|bench| bench.reactor.sockets().free == 5);
}

#[test]
fn a_server_that_keeps_nothing_unused_is_not_dialled_ahead() {
    let mut bench = Bench::new(listen(drop), 10, ClientOptions::default());
    bench.reactor.keep_free(0, 3);
    assert_eq!(bench.reactor.sockets().dialled, 3);
    bench.until(|bench| bench.reactor.sockets().open == 0);
    bench.reactor.sockets();
    bench.reactor.keep_free(0, 3);
    let sockets = bench.reactor.sockets();
    assert_eq!((sockets.open, sockets.dialled), (0, 0));
}

#[test]
fn a_request_that_waits_takes_the_first_connection_that_is_free() {
    let mut bench = Bench::new(listen(answer_all), 100, ClientOptions::default());
    for key in 0..90 {
        bench.start(key, b"{}".to_vec());
    }
    // No more than 64 are made at one time, so some of the requests may wait for those before them.
    assert_eq!(bench.reactor.sockets().dialled, 64);
    let over = bench.all(90);
    assert!(over.values().all(|exchange| exchange.ending == Ending::Ok));
    assert!(bench.reactor.sockets().most <= 90);
}

#[test]
fn a_request_without_room_is_given_up_at_once() {
    // It takes a request and never answers.
    let silent = |mut connection: TcpStream| {
        read_request(&mut connection);
        let _ = connection.read(&mut [0]);
    };
    let mut bench = Bench::new(listen(silent), 2, ClientOptions::default());
    bench.start(0, b"{}".to_vec());
    bench.start(1, b"{}".to_vec());
    let refused = bench.start(2, b"{}".to_vec());
    let over = bench.all(1);
    assert_eq!(over[&2].ending, Ending::OutOfSockets);
    assert_eq!(over[&2].error.as_deref(), Some("all of 2 connections are in use"));
    assert_eq!(refused.send_ns.get(), gipfel_stream_client::NOT_YET);
    bench.reactor.cancel(|key| key < 2);
    assert_eq!(bench.reactor.sockets().open, 0);
}

#[test]
fn a_body_that_no_socket_takes_at_once() {
    let mut bench = Bench::new(listen(answer_all), 10, ClientOptions::default());
    let length = 24 << 20;
    bench.start(0, vec![b' '; length]);
    bench.start(1, b"{}".to_vec());
    let over = bench.all(2);
    assert_eq!(over[&0].input_tokens, Some(length as u32));
    assert_eq!(over[&1].input_tokens, Some(2));
}
