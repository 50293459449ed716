//! An answer's body, in any of its forms: whatever the bytes and wherever they are cut, nothing panics, all cuts show the
//! same, and the quick way of reading a chunk agrees with the full parse.
//!
//! The first byte of the input is the form, the next eight are the cuts, the rest is the body.

#![no_main]

use gipfel_stream_client::{
    AnswerForm,
    replay::{Mismatch, Replay},
};
use libfuzzer_sys::fuzz_target;

const FORMS: [AnswerForm; 3] = [AnswerForm::Events, AnswerForm::Lines, AnswerForm::Whole];

fuzz_target!(|input: &[u8]| {
    let Some((&[form, ref cuts @ ..], body)) = input.split_first_chunk::<9>() else {
        return;
    };
    let replay = Replay::new(FORMS[usize::from(form) % FORMS.len()], body);
    if let Err(mismatch) = check(&replay, cuts, body.len()) {
        panic!("{mismatch}");
    }
});

fn check(replay: &Replay<'_>, cuts: &[u8], length: usize) -> Result<(), Mismatch> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| length * usize::from(*cut) / 255).collect();
    cuts.sort_unstable();
    replay.check_cuts(&[])?;
    replay.check_cuts(&cuts)?;
    // An odd number of bytes at a time, as a full receive buffer would leave it.
    replay.check_cuts(&(7..length).step_by(7).collect::<Vec<_>>())?;
    replay.check_chunks()
}
