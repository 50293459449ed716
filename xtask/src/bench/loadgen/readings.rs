//! All readings of a benchmark by name.

use std::collections::BTreeMap;

use gipfel_loadgen_bench::statistics::median;

use super::probe::Client;

/// What was read, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    values: BTreeMap<(String, &'static str), Vec<f64>>,
    /// What is said in words, in its order.
    pub(super) remarks: Vec<String>,
}

impl Readings {
    /// A further reading of a client's figure.
    pub(super) fn add(&mut self, name: &str, client: Client, value: f64) {
        self.values
            .entry((name.to_owned(), client.name()))
            .or_default()
            .push(value);
    }

    /// All readings of a client's figure.
    pub(super) fn all(&self, name: &str, client: Client) -> &[f64] {
        let key = (name.to_owned(), client.name());
        self.values.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Their median; none if there are none.
    pub(super) fn median(&self, name: &str, client: Client) -> Option<f64> {
        median(self.all(name, client))
    }

    /// The median of the ratios ours / bare of each round.
    pub(super) fn ratio(&self, name: &str) -> Option<f64> {
        let (ours, bare) = (self.all(name, Client::Ours), self.all(name, Client::Bare));
        let ratios: Vec<f64> = ours.iter().zip(bare).map(|(ours, bare)| ours / bare).collect();
        median(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round() {
        let mut readings = Readings::default();
        for (ours, bare) in [(1.0, 2.0), (3.0, 4.0), (9.0, 10.0)] {
            readings.add("x", Client::Ours, ours);
            readings.add("x", Client::Bare, bare);
        }
        assert_eq!(readings.median("x", Client::Ours), Some(3.0));
        assert_eq!(readings.ratio("x"), Some(0.75));
        assert_eq!(readings.ratio("y"), None);
        readings.add("y", Client::Ours, 1.0);
        assert_eq!(readings.ratio("y"), None);
    }
}
