//! Servers and load generators as jobs of a simulated cluster.

mod contract;
mod inventory;
mod lives;
mod site;
