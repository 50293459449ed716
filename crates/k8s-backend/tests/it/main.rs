//! The backend against a simulated cluster, and the contract also against a real one.

mod contract;
mod failures;
mod mishaps;
mod setup;
