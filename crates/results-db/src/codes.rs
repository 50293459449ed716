//! The integers under which enumerations are stored. The lookup tables of the schema hold the same.

use gipfel_model::{CountSource, Outcome, Phase};

/// An enumeration that is stored as an integer.
pub(crate) trait Code: Copy + 'static {
    /// Every value.
    const VALUES: &[Self];

    /// The integer of a value; once released, it never changes.
    fn code(self) -> i64;

    /// The value of an integer.
    fn from_code(code: i64) -> Option<Self> {
        Self::VALUES.iter().copied().find(|value| value.code() == code)
    }
}

impl Code for Phase {
    const VALUES: &[Self] = Self::ALL;

    fn code(self) -> i64 {
        match self {
            Self::Warmup => 0,
            Self::Measured => 1,
            Self::Tail => 2,
        }
    }
}

impl Code for Outcome {
    const VALUES: &[Self] = Self::ALL;

    fn code(self) -> i64 {
        match self {
            Self::Ok => 0,
            Self::HttpError => 1,
            Self::ConnectError => 2,
            Self::TimeoutConnect => 3,
            Self::TimeoutFirstToken => 4,
            Self::TimeoutBetweenTokens => 5,
            Self::TimeoutTotal => 6,
            Self::StreamCut => 7,
            Self::StreamError => 8,
            Self::ParseError => 9,
            Self::Shed => 10,
        }
    }
}

impl Code for CountSource {
    const VALUES: &[Self] = Self::ALL;

    fn code(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Usage => 1,
        }
    }
}
