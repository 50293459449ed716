//! Servers and load generators as jobs of a simulated cluster.

mod contract;
mod from_here;
mod inventory;
mod lives;
mod site;
