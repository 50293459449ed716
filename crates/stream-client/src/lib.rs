//! The request path: clock, connections, HTTP, server-sent events, timestamps.
//!
//! One [`Client`] serves one thread. It keeps its own connections, and each exchange drives its connection
//! in its own task: nothing hops between tasks between the socket and the time stamp, and dropping the
//! future of [`Client::stream`] closes the connection at once.
//!
//! Times are `i64` nanoseconds after the anchor of the process's [`Clock`]. A point that has not been
//! reached is [`NOT_YET`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{rc::Rc, time::Duration};
//! use gipfel_stream_client::{Client, ClientOptions, Clock, Limits, Target, Watch};
//!
//! let clock = Clock::start();
//! let target = Target::parse("http://127.0.0.1:8000")?;
//! let client = Client::new(clock, target, ClientOptions::default())?;
//! let watch = Rc::new(Watch::new());
//! let now = clock.now_ns();
//! let limits = Limits {
//!     scheduled_ns: now,
//!     first_token_ns: now + 10_000_000_000,
//!     between_tokens: Duration::from_secs(5),
//!     total_ns: now + 60_000_000_000,
//! };
//! let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
//! let exchange = client.stream("/v1/chat/completions", body.into(), limits, Rc::clone(&watch), |_gap_ns| {}).await;
//! println!("{}: first token after {} ns", exchange.ending, watch.first_token_ns.get() - now);
//! # Ok(())
//! # }
//! ```

mod answer;
mod client;
mod clock;
mod connection;
mod deadline;
mod dial;
mod errors;
mod exchange;
mod form;
mod io;
mod lines;
mod pool;
#[cfg(target_os = "linux")]
mod reactor;
#[cfg(target_os = "linux")]
mod received;
mod refusal;
pub mod replay;
#[cfg(target_os = "linux")]
mod response;
mod run;
mod scanner;
mod session;
mod skim;
mod sse;
mod target;
mod timer;
mod tls;
mod tunnel;
mod walker;

pub use client::{Client, ClientOptions};
pub use clock::Clock;
pub use errors::{ClientError, GetError, TargetError};
pub use exchange::{Ending, Exchange, Limits, NOT_YET, Watch};
pub use form::AnswerForm;
#[cfg(target_os = "linux")]
pub use reactor::{GapSink, Outgoing, Reactor, Sockets};
pub use scanner::Scanner;
pub use skim::{Facts, skim};
pub use sse::{EventSplitter, EventTooLong};
pub use target::Target;
pub use timer::DeadlineTimer;
pub use tls::trusted_roots;
pub use walker::Unsure;
