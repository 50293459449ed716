//! The limits of requests, of the drain and of the server's start.

use std::time::Duration;

use gipfel_model::Timeouts;

use crate::{durations::DurationKey, section::Section};

const CONNECT: DurationKey = DurationKey {
    name: "connect_timeout",
    seconds: "connect_timeout_s",
    may_be_zero: false,
};
const FIRST_TOKEN: DurationKey = DurationKey {
    name: "first_token_timeout",
    seconds: "first_token_timeout_s",
    may_be_zero: false,
};
const BETWEEN_TOKENS: DurationKey = DurationKey {
    name: "between_tokens_timeout",
    seconds: "between_tokens_timeout_s",
    may_be_zero: false,
};
const TOTAL: DurationKey = DurationKey {
    name: "request_timeout",
    seconds: "request_timeout_s",
    may_be_zero: false,
};
const DRAIN: DurationKey = DurationKey {
    name: "drain_timeout",
    seconds: "drain_timeout_s",
    may_be_zero: true,
};
const SERVER_READY: DurationKey = DurationKey {
    name: "server_ready_timeout",
    seconds: "server_ready_timeout_s",
    may_be_zero: false,
};

/// The predecessor's default.
const SERVER_READY_DEFAULT: Duration = Duration::from_mins(15);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeoutSettings {
    connect: Option<Duration>,
    first_token: Option<Duration>,
    between_tokens: Option<Duration>,
    total: Option<Duration>,
    drain: Option<Duration>,
    server_ready: Option<Duration>,
}

impl TimeoutSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let settings = Self {
            connect: CONNECT.take(section),
            first_token: FIRST_TOKEN.take(section),
            between_tokens: BETWEEN_TOKENS.take(section),
            total: TOTAL.take(section),
            drain: DRAIN.take(section),
            server_ready: SERVER_READY.take(section),
        };
        if section.has(TOTAL.seconds) && settings.first_token.is_none() {
            section.reading.warn(
                &section.place_of_key(TOTAL.seconds),
                "limits the whole request here; where it limited the first token before, the key is \
                 `first_token_timeout`",
            );
        }
        settings
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            connect: self.connect.or(defaults.connect),
            first_token: self.first_token.or(defaults.first_token),
            between_tokens: self.between_tokens.or(defaults.between_tokens),
            total: self.total.or(defaults.total),
            drain: self.drain.or(defaults.drain),
            server_ready: self.server_ready.or(defaults.server_ready),
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        let defaults = Timeouts::default();
        Timeouts {
            connect: self.connect.unwrap_or(defaults.connect),
            first_token: self.first_token.unwrap_or(defaults.first_token),
            between_tokens: self.between_tokens.unwrap_or(defaults.between_tokens),
            total: self.total.unwrap_or(defaults.total),
            drain: self.drain.unwrap_or(defaults.drain),
        }
    }

    pub(crate) fn server_ready(&self) -> Duration {
        self.server_ready.unwrap_or(SERVER_READY_DEFAULT)
    }
}
