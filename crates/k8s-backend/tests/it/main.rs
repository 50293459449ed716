//! The backend against a simulated cluster, and the contract also against a real one.

mod by_hand;
mod contract;
mod everything;
mod failures;
mod groups;
mod load_objects;
mod loads;
mod mishaps;
mod real;
mod real_failures;
mod run;
mod setup;
mod watches;
