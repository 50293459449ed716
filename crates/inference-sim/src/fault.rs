//! What goes wrong by choice: for tests of clients, and for searches that must not be misled.

use std::{fmt, str::FromStr, time::Duration};

use gipfel_model::{Fraction, format_duration, parse_duration};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::disturbance::{Disturbance, Slowdown, Stall};

/// One fault, as `gipfel sim --fault` names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// `errors=3%`: so many requests are answered with status 500, at once.
    Errors(Fraction),
    /// `cut=1%`: so many streams are cut in their middle.
    Cut(Fraction),
    /// `short=50%`: so many answers end at half their length.
    Short(Fraction),
    /// `prefix-cache=60%`: so much of each prompt is cached already.
    PrefixCache(Fraction),
    /// `stall=2s/every=30s`: the engine stands still.
    Stall(Stall),
    /// `slower=0.7@5min`: so much of the capacity is left after a time.
    Slower(Slowdown),
}

/// Why a fault is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A name that no fault has.
    #[error(
        "`{0}` is no fault; there are errors=SHARE, cut=SHARE, short=SHARE, prefix-cache=SHARE, \
         stall=TIME/every=TIME and slower=SHARE@TIME"
    )]
    Unknown(String),
    /// A value of another form.
    #[error("`{fault}` is not of the form {form}")]
    Form {
        /// As written.
        fault: String,
        /// With an example.
        form: &'static str,
    },
    /// A stall that would never end.
    #[error("`{0}` stalls for ever: the time between two stalls must be longer than a stall")]
    Endless(String),
    /// The same fault a second time.
    #[error("the fault `{0}` is given twice")]
    Twice(&'static str),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| FaultError::Unknown(text.to_owned()))?;
        let share = |form| {
            parse_share(value).ok_or(FaultError::Form {
                fault: text.to_owned(),
                form,
            })
        };
        match name.trim() {
            "errors" => share("errors=SHARE, such as errors=3%").map(Self::Errors),
            "cut" => share("cut=SHARE, such as cut=1%").map(Self::Cut),
            "short" => share("short=SHARE, such as short=50%").map(Self::Short),
            "prefix-cache" => share("prefix-cache=SHARE, such as prefix-cache=60%").map(Self::PrefixCache),
            "stall" => parse_stall(text, value).map(Self::Stall),
            "slower" => parse_slowdown(value)
                .map(Self::Slower)
                .ok_or_else(|| FaultError::Form {
                    fault: text.to_owned(),
                    form: "slower=SHARE@TIME, such as slower=0.7@5min",
                }),
            _ => Err(FaultError::Unknown(text.to_owned())),
        }
    }
}

/// Reads `3%` or `0.03`; a share of nothing is no fault.
fn parse_share(text: &str) -> Option<Fraction> {
    let text = text.trim();
    let number = |digits: &str| digits.trim_end().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    Fraction::try_new(share).ok().filter(|share| share.get() > 0.0)
}

fn parse_ns(text: &str) -> Option<i64> {
    i64::try_from(parse_duration(text).ok()?.as_nanos()).ok()
}

fn parse_stall(text: &str, value: &str) -> Result<Stall, FaultError> {
    let times = value.split_once('/').and_then(|(length, rest)| {
        let period = rest.trim_start().strip_prefix("every")?.trim_start();
        Some((parse_ns(length)?, parse_ns(period.strip_prefix('=')?)?))
    });
    match times {
        Some((for_ns, every_ns)) if for_ns > 0 && for_ns < every_ns => Ok(Stall { every_ns, for_ns }),
        Some((for_ns, _)) if for_ns > 0 => Err(FaultError::Endless(text.to_owned())),
        _ => Err(FaultError::Form {
            fault: text.to_owned(),
            form: "stall=TIME/every=TIME, such as stall=2s/every=30s",
        }),
    }
}

fn parse_slowdown(value: &str) -> Option<Slowdown> {
    let (share, after) = value.split_once('@')?;
    Some(Slowdown {
        after_ns: parse_ns(after)?,
        share: parse_share(share)?.get(),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ns: i64| format_duration(Duration::from_nanos(ns.max(0) as u64));
        let name = self.name();
        match self {
            Self::Errors(share) | Self::Cut(share) | Self::Short(share) | Self::PrefixCache(share) => {
                // A hundredth of a per cent is finer than anybody needs.
                write!(f, "{name}={}%", (share.get() * 1e4).round() / 1e2)
            }
            Self::Stall(stall) => {
                write!(f, "{name}={}/every={}", time(stall.for_ns), time(stall.every_ns))
            }
            Self::Slower(slower) => write!(f, "{name}={}@{}", slower.share, time(slower.after_ns)),
        }
    }
}

impl Fault {
    fn name(&self) -> &'static str {
        match self {
            Self::Errors(_) => "errors",
            Self::Cut(_) => "cut",
            Self::Short(_) => "short",
            Self::PrefixCache(_) => "prefix-cache",
            Self::Stall(_) => "stall",
            Self::Slower(_) => "slower",
        }
    }
}

/// What goes wrong by choice. Requests are counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// After so many requests each one is answered with status 500, and `/health` with 503.
    pub fail_after_requests: Option<u64>,
    /// The stream of each n-th request is cut in its middle.
    pub cut_every: Option<u64>,
    /// The stream of each n-th request ends with an error event in its middle.
    pub error_every: Option<u64>,
    /// So many requests, drawn by the seed, are answered with status 500.
    pub errors: Option<Fraction>,
    /// So many streams, drawn by the seed, are cut in their middle.
    pub cut: Option<Fraction>,
    /// So many answers, drawn by the seed, end at half their length.
    pub short: Option<Fraction>,
    /// So much of each prompt is in the prefix cache; at least one token of it is computed.
    pub prefix_cache: Option<Fraction>,
    /// What befalls the engine over time.
    pub disturbance: Disturbance,
}

impl Faults {
    /// These faults together.
    pub fn of(faults: &[Fault]) -> Result<Self, FaultError> {
        let mut all = Self::default();
        for fault in faults {
            let twice = match *fault {
                Fault::Errors(share) => all.errors.replace(share).is_some(),
                Fault::Cut(share) => all.cut.replace(share).is_some(),
                Fault::Short(share) => all.short.replace(share).is_some(),
                Fault::PrefixCache(share) => all.prefix_cache.replace(share).is_some(),
                Fault::Stall(stall) => all.disturbance.stall.replace(stall).is_some(),
                Fault::Slower(slower) => all.disturbance.slower.replace(slower).is_some(),
            };
            if twice {
                return Err(FaultError::Twice(fault.name()));
            }
        }
        Ok(all)
    }

    /// How many tokens of such a prompt the prefix cache holds.
    pub fn cached_tokens(&self, prompt: u32) -> u32 {
        let share = self.prefix_cache.map_or(0.0, Fraction::get);
        let cached = (f64::from(prompt) * share).round() as u32;
        cached.min(prompt.saturating_sub(1))
    }

    pub(crate) fn is_refused(&self, seed: u64, number: u64) -> bool {
        drawn(self.errors, seed, Draw::Error, number)
    }

    pub(crate) fn is_cut(&self, seed: u64, number: u64) -> bool {
        every(self.cut_every, number) || drawn(self.cut, seed, Draw::Cut, number)
    }

    pub(crate) fn breaks(&self, number: u64) -> bool {
        every(self.error_every, number)
    }

    pub(crate) fn is_short(&self, seed: u64, number: u64) -> bool {
        drawn(self.short, seed, Draw::Short, number)
    }
}

fn every(period: Option<u64>, number: u64) -> bool {
    period.is_some_and(|period| period > 0 && number.is_multiple_of(period))
}

/// Streams of random numbers beside that of the noise, which is the first one.
#[derive(Clone, Copy)]
enum Draw {
    Error = 1,
    Cut = 2,
    Short = 3,
}

/// Depends only on the seed and the request's number, not on what was drawn before.
fn drawn(share: Option<Fraction>, seed: u64, draw: Draw, number: u64) -> bool {
    let Some(share) = share else { return false };
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    stream.set_stream(draw as u64);
    stream.set_word_pos(u128::from(number) * 2);
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 <= share.get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(share: f64) -> Option<Fraction> {
        Fraction::try_new(share).ok()
    }

    #[test]
    fn faults_are_read() {
        let check = |text: &str, expected: &str| {
            let found = match text.parse::<Fault>() {
                Ok(fault) => fault.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        };
        check("errors=3%", "errors=3%");
        check("cut = 0.5 %", "cut=0.5%");
        check("short=0.5", "short=50%");
        check("prefix-cache=60%", "prefix-cache=60%");
        check("stall=2s/every=30s", "stall=2s/every=30s");
        check("stall=500ms / every = 1min30s", "stall=500ms/every=1min30s");
        check("slower=0.7@5min", "slower=0.7@5min");
        check("slower=70%@0", "slower=0.7@0s");
        let unknown = "is no fault; there are errors=SHARE, cut=SHARE, short=SHARE, prefix-cache=SHARE, \
                       stall=TIME/every=TIME and slower=SHARE@TIME";
        check("errors", &format!("`errors` {unknown}"));
        check("error=3%", &format!("`error=3%` {unknown}"));
        check(
            "errors=3",
            "`errors=3` is not of the form errors=SHARE, such as errors=3%",
        );
        check("cut=0%", "`cut=0%` is not of the form cut=SHARE, such as cut=1%");
        check(
            "short=x%",
            "`short=x%` is not of the form short=SHARE, such as short=50%",
        );
        check(
            "stall=2s",
            "`stall=2s` is not of the form stall=TIME/every=TIME, such as stall=2s/every=30s",
        );
        check(
            "stall=2/every=30s",
            "`stall=2/every=30s` is not of the form stall=TIME/every=TIME, such as stall=2s/every=30s",
        );
        check(
            "stall=30s/every=30s",
            "`stall=30s/every=30s` stalls for ever: the time between two stalls must be longer than a stall",
        );
        check(
            "slower=0.7",
            "`slower=0.7` is not of the form slower=SHARE@TIME, such as slower=0.7@5min",
        );
    }

    #[test]
    fn a_fault_is_given_once() {
        let fault = |text: &str| text.parse::<Fault>().expect("a fault");
        let both = Faults::of(&[fault("errors=3%"), fault("slower=0.7@5min")]).expect("two faults");
        assert_eq!(both.errors, share(0.03));
        assert!(both.disturbance.slower.is_some());
        let twice = Faults::of(&[fault("cut=3%"), fault("cut=4%")]);
        assert_eq!(twice, Err(FaultError::Twice("cut")));
    }

    #[test]
    fn the_shares_are_drawn_by_the_seed() {
        let faults = Faults {
            errors: share(0.03),
            cut: share(0.03),
            short: share(1.0),
            ..Faults::default()
        };
        let refused = |seed| -> Vec<u64> { (1..=20_000).filter(|&n| faults.is_refused(seed, n)).collect() };
        let cut: Vec<u64> = (1..=20_000).filter(|&n| faults.is_cut(1, n)).collect();
        // Four standard deviations of 600 are 97.
        assert!((503..=697).contains(&refused(1).len()), "{}", refused(1).len());
        assert_eq!(refused(1), refused(1));
        assert_ne!(refused(1), refused(2));
        assert_ne!(refused(1), cut);
        assert!((1..=100).all(|n| faults.is_short(1, n)));
        assert!((1..=100).all(|n| !Faults::default().is_short(1, n)));
    }

    #[test]
    fn one_token_of_a_prompt_is_always_computed() {
        let faults = |cached| Faults {
            prefix_cache: share(cached),
            ..Faults::default()
        };
        assert_eq!(faults(0.6).cached_tokens(100), 60);
        assert_eq!(faults(1.0).cached_tokens(100), 99);
        assert_eq!(faults(1.0).cached_tokens(1), 0);
        assert_eq!(Faults::default().cached_tokens(100), 0);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "(errors|stall|slower|cut|x)?[=/@%a-z0-9. ]{0,20}") {
            if let Ok(fault) = text.parse::<Fault>() {
                prop_assert!(Faults::of(&[fault]).is_ok());
            }
        }
    }
}
