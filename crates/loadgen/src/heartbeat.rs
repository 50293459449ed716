//! Whether the server's job still lives, by a file that it keeps changing.

use std::time::Duration;

/// The time between two looks counts for at most so much: when this process or the file system stood still, the server
/// had no chance to be seen.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// What is known of a heartbeat. It is judged by its changes, since the clocks of two machines cannot be compared.
#[derive(Debug)]
pub(crate) struct Pulse {
    timeout: Duration,
    last: Option<Vec<u8>>,
    silent: Duration,
}

impl Pulse {
    /// A heart that may pause for so long.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            last: None,
            silent: Duration::ZERO,
        }
    }

    /// Looks at the file's content, `since` the last look; whether the heart still beats. One that has never been seen
    /// may still begin to.
    pub(crate) fn beats(&mut self, content: Option<Vec<u8>>, since: Duration) -> bool {
        match content {
            Some(content) if self.last.as_ref() != Some(&content) => {
                self.last = Some(content);
                self.silent = Duration::ZERO;
            }
            _ if self.last.is_some() => self.silent += since.min(LONGEST_GAP),
            _ => {}
        }
        self.silent < self.timeout
    }

    /// What the file said last.
    pub(crate) fn last_word(&self) -> String {
        let last = self.last.as_deref().unwrap_or_default();
        let text: String = String::from_utf8_lossy(last).trim().chars().take(100).collect();
        text.escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_that_stands_still_is_noticed() {
        let mut pulse = Pulse::new(Duration::from_secs(3));
        let mut check = |content: Option<&str>, since_s: u64, expected: bool| {
            let content = content.map(|text| text.as_bytes().to_vec());
            assert_eq!(pulse.beats(content, Duration::from_secs(since_s)), expected);
        };
        // Nothing was ever seen: the server may not have begun.
        for _ in 0..10 {
            check(None, 1, true);
        }
        check(Some("1 loading\n"), 1, true);
        check(Some("1 loading\n"), 1, true);
        check(Some("1 loading\n"), 1, true);
        check(Some("2 serving\n"), 1, true);
        check(None, 2, true);
        check(Some("2 serving\n"), 1, false);
        check(Some("3 serving\n"), 1, true);
        assert_eq!(pulse.last_word(), "3 serving");
    }

    #[test]
    fn a_pause_of_our_own_is_not_the_servers() {
        let mut pulse = Pulse::new(Duration::from_mins(1));
        assert!(pulse.beats(Some(b"1".to_vec()), Duration::ZERO));
        assert!(pulse.beats(Some(b"1".to_vec()), Duration::from_hours(1)));
        for _ in 0..10 {
            assert!(pulse.beats(Some(b"1".to_vec()), Duration::from_secs(5)));
        }
        assert!(!pulse.beats(Some(b"1".to_vec()), Duration::from_secs(5)));
    }
}
