//! How often, how long and how far apart a call is repeated.

use std::{fmt, time::Duration};

use crate::classify::Class;

/// The bounds of retries: in number and in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The most attempts of one call, the first included.
    pub attempts: u32,
    /// The most time of one call, its waits included. An attempt that has begun is not cut by it.
    pub total: Duration,
    /// The wait after the first failure; it doubles with each further one.
    pub initial: Duration,
    /// The longest wait that the client chooses. A server may ask for longer ones.
    pub longest: Duration,
    /// The part of each wait that is random, from 0 to 1.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// Twelve attempts in five minutes, 2 to 30 s apart: outages of a cluster's login nodes last minutes.
    fn default() -> Self {
        Self {
            attempts: 12,
            total: Duration::from_mins(5),
            initial: Duration::from_secs(2),
            longest: Duration::from_secs(30),
            jitter: 0.5,
        }
    }
}

impl RetryPolicy {
    /// One attempt and no more.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The wait after so many failures; `random` is from 0 to 1.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.longest);
        let part = 1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0);
        // A wait that no clock can hold stays as it is.
        Duration::try_from_secs_f64(full.as_secs_f64() * part).map_or(full, |wait| wait.min(full))
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait, then try again.
    Wait(Duration),
    /// Renew the token, then try again at once.
    Renew,
    /// The call has failed.
    GiveUp(GaveUp),
}

/// Why a call was not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// It would be refused again.
    Permanent,
    /// It may have had its effect.
    Ambiguous,
    /// The credentials were refused; a token that was renewed meanwhile, too.
    Unauthenticated,
    /// The number of attempts was used up.
    Attempts,
    /// The next wait would have gone past the total time.
    OutOfTime {
        /// The wait that would have been next.
        wait: Duration,
        /// Whether the server asked for it.
        asked: bool,
    },
}

impl fmt::Display for GaveUp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => formatter.write_str("it would be refused again"),
            Self::Ambiguous => formatter.write_str("it may have had its effect, so it was not repeated"),
            Self::Unauthenticated => formatter.write_str("the credentials were refused"),
            Self::Attempts => formatter.write_str("no more attempts are allowed"),
            Self::OutOfTime { wait, asked: true } => {
                write!(
                    formatter,
                    "the server asks to wait {wait:.1?}, longer than the time that is left"
                )
            }
            Self::OutOfTime { wait, asked: false } => {
                write!(
                    formatter,
                    "the next wait of {wait:.1?} is longer than the time that is left"
                )
            }
        }
    }
}

/// What an attempt has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// Attempts made, this one included.
    pub(crate) attempts: u32,
    /// Time since the call began.
    pub(crate) spent: Duration,
    /// Whether the token was renewed for this call.
    pub(crate) renewed: bool,
}

/// Decides what follows a failed attempt; `asked` is the wait that the server asks for.
pub(crate) fn next(
    policy: &RetryPolicy,
    past: Past,
    class: Class,
    asked: Option<Duration>,
    random: f64,
) -> Next {
    match class {
        Class::Permanent => Next::GiveUp(GaveUp::Permanent),
        Class::Ambiguous => Next::GiveUp(GaveUp::Ambiguous),
        Class::Unauthenticated if past.renewed => Next::GiveUp(GaveUp::Unauthenticated),
        // The renewal is the one extra attempt that the policy does not count.
        Class::Unauthenticated => Next::Renew,
        Class::Retry if past.attempts >= policy.attempts => Next::GiveUp(GaveUp::Attempts),
        Class::Retry => {
            let chosen = policy.wait(past.attempts, random);
            let wait = asked.map_or(chosen, |asked| asked.max(chosen));
            if past.spent.saturating_add(wait) > policy.total {
                let asked = asked.is_some_and(|asked| asked >= chosen);
                Next::GiveUp(GaveUp::OutOfTime { wait, asked })
            } else {
                Next::Wait(wait)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        total: Duration::from_mins(1),
        initial: Duration::from_secs(2),
        longest: Duration::from_secs(30),
        jitter: 0.0,
    };

    fn past(attempts: u32, spent: u64, renewed: bool) -> Past {
        Past {
            attempts,
            spent: Duration::from_secs(spent),
            renewed,
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = (1..8)
            .map(|failures| POLICY.wait(failures, 0.7).as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
        let endless = RetryPolicy {
            initial: Duration::MAX,
            longest: Duration::MAX,
            ..POLICY
        };
        assert_eq!(endless.wait(40, 0.5), Duration::MAX);
        let odd = RetryPolicy {
            jitter: f64::NAN,
            ..POLICY
        };
        assert_eq!(odd.wait(1, 0.5), Duration::from_secs(2));
    }

    #[test]
    fn the_next_step_is_decided() {
        let check = |past, class, asked: Option<u64>, expected| {
            assert_eq!(
                next(&POLICY, past, class, asked.map(Duration::from_secs), 0.0),
                expected,
                "{past:?} {class:?}"
            );
        };
        let wait = |seconds| Next::Wait(Duration::from_secs(seconds));
        check(past(1, 0, false), Class::Retry, None, wait(2));
        check(past(3, 10, false), Class::Retry, None, wait(8));
        check(past(1, 0, false), Class::Retry, Some(20), wait(20));
        check(past(3, 0, false), Class::Retry, Some(1), wait(8));
        check(
            past(4, 0, false),
            Class::Retry,
            None,
            Next::GiveUp(GaveUp::Attempts),
        );
        check(
            past(1, 50, false),
            Class::Retry,
            Some(11),
            Next::GiveUp(GaveUp::OutOfTime {
                wait: Duration::from_secs(11),
                asked: true,
            }),
        );
        check(
            past(3, 59, false),
            Class::Retry,
            None,
            Next::GiveUp(GaveUp::OutOfTime {
                wait: Duration::from_secs(8),
                asked: false,
            }),
        );
        check(
            past(1, 0, false),
            Class::Permanent,
            Some(1),
            Next::GiveUp(GaveUp::Permanent),
        );
        check(
            past(1, 0, false),
            Class::Ambiguous,
            Some(1),
            Next::GiveUp(GaveUp::Ambiguous),
        );
        check(past(4, 0, false), Class::Unauthenticated, None, Next::Renew);
        check(
            past(2, 0, true),
            Class::Unauthenticated,
            None,
            Next::GiveUp(GaveUp::Unauthenticated),
        );
    }

    proptest! {
        /// However the waits fall, a call ends within its number of attempts and its time.
        #[test]
        fn retries_are_bounded(
            attempts in 1u32..20,
            total in 0u64..600,
            initial in 0u64..10,
            longest in 0u64..60,
            jitter in -1.0f64..2.0,
            asked in proptest::option::of(0u64..100),
            random in 0.0f64..=1.0,
        ) {
            let policy = RetryPolicy {
                attempts,
                total: Duration::from_secs(total),
                initial: Duration::from_secs(initial),
                longest: Duration::from_secs(longest),
                jitter,
            };
            let mut spent = Duration::ZERO;
            let mut made = 1;
            while let Next::Wait(wait) =
                next(&policy, Past { attempts: made, spent, renewed: false }, Class::Retry, asked.map(Duration::from_secs), random)
            {
                prop_assert!(asked.is_none_or(|asked| wait >= Duration::from_secs(asked)));
                spent += wait;
                made += 1;
                prop_assert!(made <= attempts);
                prop_assert!(spent <= policy.total);
            }
        }
    }
}
