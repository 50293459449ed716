//! Whole exchanges over loopback: what one costs the thread that makes it.
//!
//! `cargo bench -p gipfel-stream-client --bench exchange`
//!
//! A thread of its own answers each request with 128 chunks, written one by one in turns over all connections.
//! The client keeps 64 exchanges under way. Its cost is the processor time of its thread.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gipfel_stream_client::{Client, ClientOptions, Clock, Ending, Limits, Target, Watch};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const TOKENS: usize = 128;
const CONCURRENT: usize = 64;
const EXCHANGES: usize = 100;

fn main() {
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || runtime().block_on(LocalSet::new().run_until(serve(tell))));
    let address: SocketAddr = address.recv().expect("the server starts");
    for round in 0..5 {
        let (start, busy) = (Instant::now(), thread_time());
        runtime().block_on(LocalSet::new().run_until(load(address)));
        let (elapsed, busy) = (start.elapsed().as_secs_f64(), thread_time() - busy);
        let requests = (CONCURRENT * EXCHANGES) as f64;
        println!(
            "round {round}: {:.0} req/s, {:.0} k tok/s, thread busy {:.2}, {:.1} us/request, {:.2} us/token",
            requests / elapsed,
            requests * TOKENS as f64 / elapsed / 1e3,
            busy / elapsed,
            busy * 1e6 / requests,
            busy * 1e6 / requests / TOKENS as f64
        );
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn load(address: SocketAddr) {
    let clock = Clock::start();
    let target = Target::parse(&format!("http://{address}")).expect("a URL");
    let client = Client::new(clock, target, ClientOptions::default()).expect("a client");
    let tasks: Vec<_> = (0..CONCURRENT)
        .map(|_| {
            let client = client.clone();
            tokio::task::spawn_local(async move {
                for _ in 0..EXCHANGES {
                    let now = clock.now_ns();
                    let far = now + 60_000_000_000;
                    let limits = Limits {
                        scheduled_ns: now,
                        first_token_ns: far,
                        between_tokens: Duration::from_mins(1),
                        total_ns: far,
                    };
                    let watch = Rc::new(Watch::new());
                    let exchange = client
                        .stream(
                            "/v1/chat/completions",
                            "{}".into(),
                            limits,
                            Rc::clone(&watch),
                            |_| {},
                        )
                        .await;
                    assert_eq!((exchange.ending, watch.chunks.get()), (Ending::Ok, TOKENS as u32));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the exchanges end well");
    }
}

async fn serve(tell: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    tell.send(listener.local_addr().expect("an address"))
        .expect("the client waits");
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        tokio::task::spawn_local(answer(tcp));
    }
}

async fn answer(mut tcp: TcpStream) {
    tcp.set_nodelay(true).expect("an open socket");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8);
    let token = chunk(
        r#"{"id":"chatcmpl-9bf38676dd0e84a3","object":"chat.completion.chunk","created":1795295535,"model":"tiny-llama","choices":[{"index":0,"delta":{"content":" words"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
    );
    let finish = chunk(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#);
    let usage =
        chunk(r#"{"choices":[],"usage":{"prompt_tokens":26,"total_tokens":50,"completion_tokens":24}}"#);
    let end = [&finish, &usage, &chunk("[DONE]"), "0\r\n\r\n"].concat();
    let mut request = [0; 4096];
    // The requests are short enough to come in one piece.
    while tcp.read(&mut request).await.is_ok_and(|count| count > 0) {
        let pieces = std::iter::once(head)
            .chain(std::iter::repeat_n(token.as_str(), TOKENS))
            .chain([end.as_str()]);
        for piece in pieces {
            if tcp.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
