//! Watches, as an API server streams them.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response,
    body::{Bytes, Frame},
};
use tokio::{sync::watch, time::Instant};

use super::{State, changes::News, lock, objects::selector};

/// The body of an answer, which may go on for minutes.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How open watches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// As at their timeout: the answer is whole.
    Over,
    /// The connection breaks off.
    Cut,
}

/// One watch.
struct Watch {
    state: Arc<Mutex<State>>,
    wanted: Vec<(String, String)>,
    reached: u64,
    wake: watch::Receiver<u64>,
    ends: watch::Receiver<Option<WatchEnd>>,
    until: Instant,
    is_over: bool,
}

/// Answers a watch: with what has happened since its version, and then with what happens.
pub(super) fn answer(state: &Arc<Mutex<State>>, query: &str) -> Response<Body> {
    let number = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        value.parse::<u64>().ok()
    };
    let (wake, mut ends) = {
        let state = lock(state);
        (state.objects.changes.wake(), state.watch_ends.subscribe())
    };
    ends.mark_unchanged();
    let watch = Watch {
        state: state.clone(),
        wanted: selector(query),
        reached: number("resourceVersion").unwrap_or(0),
        wake,
        ends,
        until: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300)),
        is_over: false,
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await?;
        Some((next.map(|text| Frame::data(Bytes::from(text))), watch))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

impl Watch {
    async fn next(&mut self) -> Option<io::Result<String>> {
        if self.is_over {
            return None;
        }
        loop {
            self.wake.mark_unchanged();
            let news = lock(&self.state)
                .objects
                .changes
                .since(self.reached, &self.wanted);
            match news {
                News::Expired(line) => {
                    self.is_over = true;
                    return Some(Ok(line));
                }
                News::Lines(lines, reached) => {
                    self.reached = reached;
                    if !lines.is_empty() {
                        return Some(Ok(lines));
                    }
                }
            }
            tokio::select! {
                changed = self.wake.changed() => changed.ok()?,
                ended = self.ends.changed() => {
                    ended.ok()?;
                    let end = *self.ends.borrow_and_update();
                    if end != Some(WatchEnd::Cut) {
                        return None;
                    }
                    self.is_over = true;
                    return Some(Err(io::Error::other("the connection is broken off")));
                }
                () = tokio::time::sleep_until(self.until) => return None,
            }
        }
    }
}

/// A whole answer as a body.
pub(super) fn whole(text: String) -> Body {
    let body = http_body_util::Full::<Bytes>::new(text.into());
    body.map_err(|never: Infallible| match never {}).boxed_unsync()
}
