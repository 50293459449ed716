//! The simulator over HTTP.

mod recordings;
mod replay;
mod shape;
mod site;
mod wire;
