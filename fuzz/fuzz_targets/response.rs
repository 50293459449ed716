//! A whole HTTP/1.1 response: whatever the bytes and wherever they are cut, nothing panics and the head, the body and the
//! ending are the same.
//!
//! The first eight bytes of the input are the cuts, the rest is what the connection brings until it is closed.

#![no_main]

use gipfel_stream_client::replay::ResponseReplay;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, response)) = input.split_first_chunk::<8>() else {
        return;
    };
    let length = response.len();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| length * usize::from(*cut) / 255).collect();
    cuts.sort_unstable();
    let replay = ResponseReplay::new(response);
    for cuts in [&[], &cuts[..]] {
        if let Err(mismatch) = replay.check_cuts(cuts) {
            panic!("{mismatch}");
        }
    }
});
