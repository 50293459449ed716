//! Synthetic prompts.

use crate::{
    stream::{Key, Purpose, Stream},
    words::WORDS,
};

/// Letters of a nonce: enough for 64 bits.
const NONCE_LETTERS: usize = 14;

/// Writes prompts of a known number of words, none of which begins like another.
///
/// Each prompt begins with a nonce that no other request of the run has, nor (but for chance of one in 2⁶⁴) one of any
/// other run, so no server finds it in its prefix cache. The other words depend on the seed alone, not on the salt.
///
/// ```
/// use gipfel_workload::PromptWriter;
///
/// let mut prompt = String::new();
/// PromptWriter::new(42, "run-1").write(0, 0, 5, &mut prompt);
/// assert_eq!(prompt.split(' ').count(), 5);
/// ```
#[derive(Clone, Debug)]
pub struct PromptWriter {
    seed: u64,
    nonces: NonceKey,
}

impl PromptWriter {
    /// A writer for one run: `salt` is what tells it from other runs of the same seed, its id.
    pub fn new(seed: u64, salt: &str) -> Self {
        Self {
            seed,
            nonces: NonceKey::new(seed, salt),
        }
    }

    /// The nonce of a request, which no other one of the run has.
    pub fn nonce(&self, segment: u32, arrival: u64) -> String {
        let mut nonce = String::with_capacity(NONCE_LETTERS);
        self.nonces.write(segment, arrival, &mut nonce);
        nonce
    }

    /// Replaces the text of `out` by a prompt of exactly `words` words, separated by single spaces; the first one is the
    /// nonce, which is there even if `words` is 0.
    pub fn write(&self, segment: u32, arrival: u64, words: u32, out: &mut String) {
        out.clear();
        // Few words of the list are longer than seven letters.
        out.reserve(NONCE_LETTERS + 8 * words as usize);
        self.nonces.write(segment, arrival, out);
        for index in self
            .words(segment, arrival)
            .take(words.saturating_sub(1) as usize)
        {
            out.push(' ');
            out.push_str(WORDS[index]);
        }
    }

    /// The words that follow a request's nonce, by their index in the list; there is no end of them.
    pub(crate) fn words(&self, segment: u32, arrival: u64) -> impl Iterator<Item = usize> {
        let purpose = Purpose::Words;
        let mut stream = Stream::new(Key {
            seed: self.seed,
            purpose,
            segment,
            arrival,
            salt: 0,
        });
        std::iter::repeat_with(move || (stream.next_u32() >> 23) as usize)
    }
}

/// A one-to-one mapping of requests to nonces.
#[derive(Clone, Debug)]
struct NonceKey {
    mask: u64,
    first: u64,
    second: u64,
}

impl NonceKey {
    fn new(seed: u64, salt: &str) -> Self {
        let purpose = Purpose::Nonces;
        let salt = fnv_1a(salt.bytes());
        let mut stream = Stream::new(Key {
            seed,
            purpose,
            segment: 0,
            arrival: 0,
            salt,
        });
        Self {
            mask: stream.next_u64(),
            first: stream.next_u64() | 1,
            second: stream.next_u64() | 1,
        }
    }

    fn write(&self, segment: u32, arrival: u64, out: &mut String) {
        let mut rest = self.mix((u64::from(segment) << 32).wrapping_add(arrival));
        for _ in 0..NONCE_LETTERS {
            out.push(char::from(b'a' + (rest % 26) as u8));
            rest /= 26;
        }
    }

    /// Multiplying by odd numbers and shifting into oneself can be undone, so different requests stay different.
    fn mix(&self, id: u64) -> u64 {
        let mut mixed = (id ^ self.mask).wrapping_mul(self.first);
        mixed ^= mixed >> 32;
        mixed = mixed.wrapping_mul(self.second);
        mixed ^ (mixed >> 29)
    }
}

pub(crate) fn fnv_1a(bytes: impl Iterator<Item = u8>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
