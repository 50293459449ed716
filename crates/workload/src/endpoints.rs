//! To which of several servers a request goes.

use crate::stream::{Key, Purpose, Stream};

/// The index of the server of an arrival, one of `endpoints`, all alike.
pub fn draw_endpoint(seed: u64, segment: u32, arrival: u64, endpoints: u32) -> u32 {
    if endpoints <= 1 {
        return 0;
    }
    let mut stream = Stream::new(Key {
        seed,
        purpose: Purpose::Endpoints,
        segment,
        arrival,
        salt: 0,
    });
    stream.between(0, endpoints - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_gets_its_share() {
        let mut counts = [0_u32; 3];
        for arrival in 0..3000 {
            counts[draw_endpoint(7, 1, arrival, 3) as usize] += 1;
        }
        assert_eq!(counts.iter().sum::<u32>(), 3000);
        // Four standard deviations of a third of 3000.
        assert!(
            counts.iter().all(|count| count.abs_diff(1000) < 104),
            "{counts:?}"
        );
    }

    #[test]
    fn the_choice_is_fixed_by_its_address() {
        let golden: Vec<u32> = (0..8).map(|arrival| draw_endpoint(7, 1, arrival, 4)).collect();
        assert_eq!(golden, [2, 3, 1, 0, 1, 2, 2, 3]);
        assert_eq!(draw_endpoint(7, 1, 5, 1), 0);
    }
}
