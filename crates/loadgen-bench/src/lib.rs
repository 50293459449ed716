//! What the load generator is measured against: the pure parts.
//!
//! Two programs of this package do the work, each a single thread around epoll: `reference-server`, whose token times are
//! known, and `bare-client`, which does the least that an open-loop client can do. Both keep what they saw in memory and
//! write it at their end as the tables of [`tables`]; the serial number of a request, which the server answers as the
//! number of its prompt's tokens, joins the row of a client with that of the server. [`probe`] makes the figures.

pub mod poll;
pub mod probe;
pub mod request;
pub mod response;
pub mod schedule;
pub mod statistics;
pub mod stream;
pub mod tables;
pub mod timers;
