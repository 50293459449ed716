//! The client against servers of the tests: recorded exchanges, and faults that no recording has.

mod adoption;
mod calls;
mod documents;
mod limits;
mod recordings;
mod replay;
mod replay_staged;
mod secrets;
mod server;
mod speak;
mod support;
mod tokens;
mod transfers;
mod unspoken;
