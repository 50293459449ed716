//! An OpenAI-compatible server of known capacity: continuous batching, KV cache, vLLM metric names.
//!
//! The core is [`EngineModel`], a pure step loop after vLLM's: it knows neither a clock nor a socket. Three
//! things drive it: [`simulate()`] runs a schedule on a simulated clock, hours in a second; [`SimClockServer`] does so
//! for load that depends on what the server did; and [`serve()`] runs it in real time behind HTTP. All therefore have
//! the same capacity, which is what makes the server a yardstick.
//!
//! ```
//! use gipfel_inference_sim::{Profiles, Scheduled, simulate};
//!
//! let profiles = Profiles::embedded();
//! let server = profiles.select(Some("8B_slots256"))?;
//! let request = Scheduled { arrival_ns: 0, input: 512, output: 256 };
//! let times = simulate(server.law, 1, &[request; 10])?;
//! // Ten prompts of 512 tokens fit into one step of 7 ms + 29 µs a token, about 155 ms.
//! assert!(times.iter().all(|request| (140e6..180e6).contains(&(request.first_token_ns as f64))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clocked;
mod disturbance;
mod engine;
mod fault;
mod histogram;
mod metrics;
mod model;
mod noise;
mod profile;
mod profile_form;
mod run;
mod server;
mod simulate;
mod stream;
mod wire;

pub use clocked::{SimClockServer, TokenEvent};
pub use disturbance::{Disturbance, Slowdown, Stall};
pub use fault::{Fault, FaultError, Faults};
pub use model::{EngineModel, Load, Step, StepLaw, SubmitError, Token};
pub use profile::{ProfileError, Profiles, ServerProfile};
pub use run::{Ready, RunError, SimArguments, run_blocking};
pub use server::{ServeError, SimOptions, serve};
pub use simulate::{Scheduled, Simulated, simulate};
