//! The client against a server that plays scripts.

mod access;
mod answers;
#[cfg(target_os = "linux")]
mod by_reactor;
mod connections;
#[cfg(target_os = "linux")]
mod reactor;
mod script;
mod timeouts;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use gipfel_stream_client::{Client, ClientOptions, Clock, Exchange, Limits, NOT_YET, Target, Watch};

const PATH: &str = "/v1/chat/completions";
const BODY: &str = r#"{"stream":true}"#;
const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\
                     \"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn answer() -> String {
    [ROLE, TOKEN, TOKEN, FINISH, USAGE, DONE].concat()
}

thread_local! {
    /// Whether a [`Caller`] sends by a reactor.
    static BY_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test by a client and, where there is one, by a reactor.
fn run(test: impl AsyncFn()) {
    run_client(test());
    if cfg!(target_os = "linux") {
        BY_REACTOR.set(true);
        run_client(test());
        BY_REACTOR.set(false);
    }
}

/// Runs a test on one thread, bounded.
fn run_client(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(script::PATIENCE, test)
            .await
            .expect("the test ends");
    });
}

fn options() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_secs(5),
        ..ClientOptions::default()
    }
}

/// A client and what its exchanges leave.
struct Caller {
    clock: Clock,
    client: Client,
    #[cfg(target_os = "linux")]
    reactor: Option<RefCell<by_reactor::Driven>>,
    gaps: Rc<RefCell<Vec<i64>>>,
}

impl Caller {
    fn new(url: &str) -> Self {
        Self::with(url, options())
    }

    fn with(url: &str, options: ClientOptions) -> Self {
        let clock = Clock::start();
        let target = Target::parse(url).unwrap();
        Self {
            clock,
            #[cfg(target_os = "linux")]
            reactor: by_reactor::Driven::new(clock, &target, &options).map(RefCell::new),
            client: Client::new(clock, target, options).unwrap(),
            gaps: Rc::default(),
        }
    }

    fn open_connections(&self) -> usize {
        #[cfg(target_os = "linux")]
        if let Some(reactor) = &self.reactor {
            return reactor.borrow_mut().open_connections();
        }
        self.client.open_connections()
    }

    /// Limits that no test reaches.
    fn limits(&self) -> Limits {
        let now = self.clock.now_ns();
        let long = 15_000_000_000;
        Limits {
            scheduled_ns: now,
            first_token_ns: now + long,
            between_tokens: Duration::from_secs(15),
            total_ns: now + long,
        }
    }

    async fn stream(&self) -> (Exchange, Rc<Watch>) {
        self.stream_within(self.limits()).await
    }

    async fn stream_within(&self, limits: Limits) -> (Exchange, Rc<Watch>) {
        let watch = Rc::new(Watch::new());
        #[cfg(target_os = "linux")]
        if let Some(reactor) = &self.reactor {
            let exchange =
                by_reactor::stream(reactor, limits, Rc::clone(&watch), Rc::clone(&self.gaps)).await;
            return (exchange, watch);
        }
        let gaps = Rc::clone(&self.gaps);
        let on_gap = move |gap| gaps.borrow_mut().push(gap);
        let exchange = self
            .client
            .stream(PATH, BODY.into(), limits, Rc::clone(&watch), on_gap)
            .await;
        (exchange, watch)
    }
}

/// The exchange in one line, without its times.
fn show((exchange, watch): &(Exchange, Rc<Watch>)) -> String {
    let status = exchange
        .http_status
        .map_or("-".to_owned(), |status| status.to_string());
    let reached = [
        (watch.send_ns.get(), "sent"),
        (watch.header_ns.get(), "head"),
        (watch.first_chunk_ns.get(), "chunk"),
        (watch.first_token_ns.get(), "token"),
        (watch.first_output_ns.get(), "output"),
    ];
    let reached: Vec<&str> = reached
        .iter()
        .filter(|point| point.0 != NOT_YET)
        .map(|point| point.1)
        .collect();
    let error = exchange
        .error
        .as_ref()
        .map_or(String::new(), |error| format!(": {error}"));
    format!(
        "{} {status} [{}] {}{error}",
        exchange.ending,
        reached.join(" "),
        watch.chunks.get()
    )
}

/// The words of a client; a reactor has its own for what an HTTP library says otherwise.
fn in_its_words(expected: &str) -> String {
    const WORDS: [(&str, &str); 3] = [
        (
            "error reading a body from connection: unexpected EOF during chunk size line",
            "the connection was closed before the last chunk",
        ),
        (
            "error reading a body from connection: end of file before message length reached",
            "the connection was closed before the whole length had come",
        ),
        ("invalid HTTP version parsed", "invalid HTTP version"),
    ];
    let mut expected = expected.to_owned();
    if BY_REACTOR.get() {
        for (client, reactor) in WORDS {
            expected = expected.replace(client, reactor);
        }
    }
    expected
}
