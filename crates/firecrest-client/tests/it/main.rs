//! The client against servers of the tests: recorded exchanges, and faults that no recording has.

mod adoption;
mod calls;
mod documents;
mod futures;
mod large;
mod limits;
mod recordings;
mod replay;
mod replay_staged;
mod schedules;
mod server;
mod speak;
mod stage;
mod support;
mod tokens;
mod transfers;
mod unspoken;
mod waits;
