//! The local backend with real processes.

mod contract;
mod deployer;
mod handles;
mod harness;
mod runner;
mod url;

/// Not a test but the server that tests start: this same executable, told to run only this and given a port.
#[test]
#[ignore = "runs until it is ended; other tests start it"]
fn serves() {
    let port = std::env::args().find_map(|argument| argument.parse().ok());
    harness::serve(port.expect("a port among the arguments"));
}
