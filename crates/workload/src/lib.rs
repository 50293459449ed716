//! Arrivals, lengths and prompts: seeded, reproducible, independent of how many workers share them.
//!
//! A schedule is a list of [`Segment`]s. The arrivals, lengths and prompts of a segment depend on nothing but the seed,
//! the segment's index and the arrival's index, so any split of the arrivals over workers sends exactly the same
//! requests, and a resumed or repeated run sends them again.
//!
//! # The algorithm, version 1
//!
//! [`ALGORITHM_VERSION`] changes with anything in this section; the golden vectors of the tests hold it in place.
//! Numbers are IEEE 754 doubles, `ln`, `sqrt`, `cos` and `exp` those of the `libm` crate (hence the same bits on every
//! platform), "round" goes to the nearest whole number and from halves away from zero.
//!
//! **Streams.** Every draw comes from a ChaCha8 key stream with nonce and counter 0. Its 32-byte key is, little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 0–7 | the seed |
//! | 8–15 | the arrival's index within its segment; 0 for purposes 1 and 5 to 8 |
//! | 16–19 | the segment's index; 0 for purposes 5 and 8; the number of the file, from 0, for purpose 7 |
//! | 20–23 | the purpose: 1 gaps, 2 input length, 3 output length, 4 words, 5 nonces, 6 first gap, 7 shuffle, 8 mix, 9 lines |
//! | 24–31 | 0; for purpose 5 the 64-bit FNV-1a hash of the salt's UTF-8 bytes |
//!
//! `u32` is the next little-endian word of the stream; `u64` takes two, the low one first; `unit` is
//! `((u64 >> 11) + 1) · 2⁻⁵³`, in (0, 1].
//!
//! **Arrivals**, with the segment's rate λ and start: a Poisson gap is `−ln(unit) / λ` seconds; arrival *i* comes at
//! `start + round(10⁹ · (sum of the gaps 0 to i))` ns, so the first arrival is one gap after the start and rounding
//! never accumulates. A constant arrival *i* comes at `start + round((10⁹ · i) / λ)` ns. A segment ends before the first
//! arrival that is not earlier than its end. A gamma gap of shape *b* has the mean 1 in requests due: Marsaglia and Tsang's
//! method (d = b − 1/3, c = 1/√(9d), z normal, v = (1 + c·z)³ > 0, accepted if `ln(unit) < z²/2 + d − d·v + d·ln v`) gives
//! `d·v / b`; for b < 1 it draws shape b + 1 and takes `d·v · unit^(1/b) / b`. Gamma arrival 0 stands at the start and arrival
//! *i* where the sum of the gaps 1 to *i* is due. A **ramp** of R seconds has the rate λ·t/R until R: D requests are due at
//! `√(2·D·R/λ)`, or `R + (D − λR/2)/λ` after it. Poisson below a ramp and constant arrivals are due at the sum of unit
//! exponentials, and at *i*.
//!
//! **Lengths**: *fixed* draws nothing. *Uniform* is `min + ⌊u64 · (max − min + 1) / 2⁶⁴⌋`. *Normal* is
//! `round(mean + std · z)` with `z = sqrt(−2 · ln(unit)) · cos(2π · unit)`, the units in this order. *Log-normal* is
//! `round(median · exp(sigma · z))`. All are clamped to `[min, max]`, never drawn again.
//!
//! **Servers**: of *n* servers a request goes to `⌊u64 · n / 2⁶⁴⌋`; one of one server draws nothing.
//!
//! **Prompts** of *n* words: a nonce and n − 1 words of a list of 512, separated by single spaces. A word's index is the
//! upper nine bits of a `u32`. The nonce mixes `id = segment · 2³² + arrival` with the first three `u64` k₀, k₁, k₂ of
//! its stream, in arithmetic modulo 2⁶⁴: `x = (id ⊕ k₀) · (k₁ | 1)`, `x = x ⊕ (x >> 32)`, `x = x · (k₂ | 1)`,
//! `x = x ⊕ (x >> 29)`; its 14 letters are the digits of x to the base 26, the least significant first, as a–z. Each
//! step can be undone, so no two requests of a run have the same nonce (a segment has fewer than 2³² arrivals).
//!
//! **Data sets**: request number *n* of the run's schedule, counted over its segments in their order, takes place *n* of the
//! [`Pool`]. Each file is shuffled from its end by Fisher and Yates with `between`; with several files a `unit` per place
//! chooses one by the shares. Lines of a text are drawn with `between`, after the nonce.

mod arrivals;
mod dataset;
mod endpoints;
mod lengths;
mod prompts;
mod source;
mod stream;
mod words;

pub use arrivals::{Arrival, Arrivals, Segment, SegmentEnd, Share, count_arrivals, first_gap};
pub use dataset::{
    Contents, CountTokens, DataFault, DataFaults, DataPlace, Entry, EstimateTokens, LeftOut, Message, Pool,
    Selection, read_entries, read_lines,
};
pub use endpoints::draw_endpoint;
pub use lengths::{Lengths, draw_lengths};
pub use prompts::PromptWriter;
pub use source::{Corpus, Request, Requests};

/// The version of the algorithm that the crate's documentation describes.
///
/// Equal versions and equal seeds mean equal requests; results name it as part of their provenance.
pub const ALGORITHM_VERSION: u32 = 1;
