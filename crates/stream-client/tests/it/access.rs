//! Ways to a server: TLS with an authority of one's own, HTTP/2, proxies, headers.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::*;

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

const OK: &str = "ok 200 [sent head chunk token output] 2";

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

/// A server that answers every request, and what it has seen.
#[derive(Clone)]
struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    /// An answer needs a permit.
    permits: Arc<Semaphore>,
}

impl Peer {
    async fn start(protocol: Protocol, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
            permits: Arc::new(Semaphore::new(1000)),
        };
        let acceptor = tls.then(|| acceptor(protocol));
        let server = peer.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                server.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(server.clone().connection(tcp, acceptor.clone(), protocol));
            }
        });
        peer
    }

    async fn connection(self, tcp: TcpStream, acceptor: Option<TlsAcceptor>, protocol: Protocol) {
        match acceptor {
            None => self.serve(tcp, protocol).await,
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    self.serve(stream, protocol).await;
                }
            }
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, protocol: Protocol) {
        let answer = service_fn(move |request| self.clone().answer(request));
        let io = TokioIo::new(stream);
        // That the client goes away is no error here.
        let _ = match protocol {
            Protocol::Http1 => {
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, answer)
                    .await
            }
            Protocol::Http2 => {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, answer)
                    .await
            }
        };
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map_or("-", |value| value.to_str().unwrap()).to_owned()
        };
        let seen = format!(
            "{} {} {}",
            request.uri(),
            header("x-team"),
            header("authorization")
        );
        self.requests.lock().unwrap().push(seen);
        let _permit = self.permits.acquire().await.unwrap();
        let body = Full::new(Bytes::from(super::answer()));
        let answer = Response::builder().header("content-type", "text/event-stream");
        Ok(answer.body(body).unwrap())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn acceptor(protocol: Protocol) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => Vec::new(),
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    TlsAcceptor::from(Arc::new(config))
}

fn run_local(test: impl Future<Output = ()>) {
    run_client(async { LocalSet::new().run_until(test).await });
}

fn trusting() -> ClientOptions {
    ClientOptions {
        authorities: Some(AUTHORITY.to_vec()),
        ..options()
    }
}

fn http2(options: ClientOptions) -> ClientOptions {
    ClientOptions {
        http2: true,
        ..options
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted() {
    run_local(async {
        let peer = Peer::start(Protocol::Http1, true).await;
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("https://{host}:{}", peer.port);
            assert_eq!(show(&Caller::with(&url, trusting()).stream().await), OK);
        }
        let url = format!("https://localhost:{}", peer.port);
        assert_eq!(
            show(&Caller::new(&url).stream().await),
            "connect_error - [] 0: invalid peer certificate: UnknownIssuer"
        );
    });
}

#[test]
fn http2_runs_over_tls_and_without() {
    run_local(async {
        for tls in [true, false] {
            let peer = Peer::start(Protocol::Http2, tls).await;
            let scheme = if tls { "https" } else { "http" };
            let caller = Caller::with(&format!("{scheme}://localhost:{}", peer.port), http2(trusting()));
            for _ in 0..3 {
                assert_eq!(show(&caller.stream().await), OK);
            }
            assert_eq!((peer.connections(), caller.client.open_connections()), (1, 1));
            let url = format!("{scheme}://localhost:{}{PATH} - -", peer.port);
            assert_eq!(peer.requests(), vec![url; 3]);
        }
    });
}

#[test]
fn http2_is_not_fallen_back_from() {
    run_local(async {
        let peer = Peer::start(Protocol::Http1, true).await;
        let caller = Caller::with(&format!("https://localhost:{}", peer.port), http2(trusting()));
        assert_eq!(
            show(&caller.stream().await),
            "connect_error - [] 0: the server does not agree to HTTP/2"
        );
    });
}

/// As many streams as a session takes, then the next session: none waits in the client.
#[test]
fn many_exchanges_share_few_connections() {
    run_local(async {
        let peer = Peer::start(Protocol::Http2, false).await;
        let caller = Caller::with(&format!("http://localhost:{}", peer.port), http2(options()));
        // The first exchange makes the session that the others find.
        assert_eq!(show(&caller.stream().await), OK);
        peer.permits.forget_permits(1000);
        let caller = Rc::new(caller);
        let mut exchanges = Vec::new();
        for begun in 2..=250 {
            let caller = Rc::clone(&caller);
            exchanges.push(tokio::task::spawn_local(async move { caller.stream().await }));
            while peer.requests().len() < begun {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!((peer.connections(), caller.client.open_connections()), (3, 3));
        // Those who leave give their places back.
        for exchange in exchanges.drain(..100) {
            exchange.abort();
            assert!(exchange.await.unwrap_err().is_cancelled());
        }
        peer.permits.add_permits(1000);
        for exchange in exchanges {
            assert_eq!(show(&exchange.await.unwrap()), OK);
        }
        assert_eq!(show(&caller.stream().await), OK);
        assert_eq!(peer.connections(), 3);
    });
}

#[test]
fn headers_of_ones_own_go_first() {
    run_local(async {
        let peer = Peer::start(Protocol::Http1, false).await;
        let headers = vec![
            ("X-Team".to_owned(), "peak".to_owned()),
            ("Authorization".to_owned(), "Basic abc".to_owned()),
        ];
        let options = ClientOptions {
            headers,
            bearer: Some("key".to_owned()),
            ..options()
        };
        let caller = Caller::with(&format!("http://localhost:{}", peer.port), options);
        assert_eq!(show(&caller.stream().await), OK);
        assert_eq!(peer.requests(), [format!("{PATH} peak Basic abc")]);
        let options = ClientOptions {
            headers: vec![("X-Key".to_owned(), "secret\n".to_owned())],
            ..super::options()
        };
        let target = Target::parse("http://h").unwrap();
        let error = Client::new(Clock::start(), target, options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the header `X-Key` has a name or a value that HTTP cannot carry"
        );
    });
}

fn through(proxy: &str, options: ClientOptions) -> ClientOptions {
    ClientOptions {
        proxy: Some(Target::parse(proxy).unwrap()),
        ..options
    }
}

#[test]
fn a_proxy_passes_plain_requests_on() {
    run_local(async {
        let proxy = Peer::start(Protocol::Http1, false).await;
        let options = through(&format!("http://127.0.0.1:{}", proxy.port), options());
        let caller = Caller::with("http://models.invalid:81/llm", options);
        assert_eq!(show(&caller.stream().await), OK);
        assert_eq!(
            proxy.requests(),
            [format!("http://models.invalid:81/llm{PATH} - -")]
        );
    });
}

/// A proxy that opens tunnels to this port, whatever name is asked for.
async fn tunnels(to: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut near = BufReader::new(tcp);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                near.read_line(&mut head).await.unwrap();
            }
            seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (port, asked)
}

#[test]
fn a_proxy_gives_tunnels_to_what_is_encrypted() {
    run_local(async {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let peer = Peer::start(protocol, true).await;
            let (port, asked) = tunnels(peer.port).await;
            let options = ClientOptions {
                http2: protocol == Protocol::Http2,
                ..through(&format!("http://127.0.0.1:{port}"), trusting())
            };
            let caller = Caller::with("https://localhost", options);
            assert_eq!(show(&caller.stream().await), OK);
            assert_eq!(*asked.lock().unwrap(), ["CONNECT localhost:443 HTTP/1.1"]);
        }
    });
}

#[test]
fn a_proxy_that_refuses_says_why() {
    run_local(async {
        let proxy = script::play(vec![vec![
            script::Step::Request,
            script::send(script::plain("403 Forbidden", "text/plain", "no")),
        ]])
        .await;
        let caller = Caller::with("https://localhost", through(&proxy.url(), trusting()));
        assert_eq!(
            show(&caller.stream().await),
            "connect_error - [] 0: the proxy gave no tunnel: it answered `HTTP/1.1 403 Forbidden`"
        );
        let target = Target::parse("http://h").unwrap();
        let error = Client::new(Clock::start(), target, through("https://p", options())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the proxy's address begins with `https://`; only proxies behind `http://` are used"
        );
    });
}
