//! The model on a simulated clock.

use crate::model::{EngineModel, StepLaw, SubmitError};

/// A request to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// When it arrives, in nanoseconds after the start.
    pub arrival_ns: i64,
    /// Tokens of its prompt.
    pub input: u32,
    /// Tokens of its answer.
    pub output: u32,
}

/// When a request's tokens came, in nanoseconds after the start of the simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// The first token.
    pub first_token_ns: i64,
    /// The last token.
    pub last_token_ns: i64,
    /// The largest gap between two tokens; 0 with a single token.
    pub itl_max_ns: i64,
}

/// Runs a schedule, in order of arrival, until each request has ended; the answer has the schedule's order.
///
/// A request that arrives during a step takes part from the next one on; one that arrives at an idle engine starts
/// a step at once.
pub fn simulate(law: StepLaw, seed: u64, schedule: &[Scheduled]) -> Result<Vec<Simulated>, SubmitError> {
    let mut model = EngineModel::new(law, seed);
    let mut results = vec![Simulated::default(); schedule.len()];
    let mut ends = Vec::with_capacity(law.max_seqs as usize);
    let mut next = 0;
    let mut now_ns = 0;
    loop {
        while let Some(request) = schedule.get(next).filter(|request| request.arrival_ns <= now_ns) {
            model.submit(next as u64, request.input, request.output)?;
            next += 1;
        }
        ends.clear();
        if let Some(step) = model.step(|token| ends.push(token)) {
            now_ns += step.duration_ns;
            for token in &ends {
                let result = &mut results[token.request as usize];
                if token.number == 1 {
                    result.first_token_ns = now_ns;
                } else {
                    result.itl_max_ns = result.itl_max_ns.max(now_ns - result.last_token_ns);
                }
                result.last_token_ns = now_ns;
            }
        } else if let Some(request) = schedule.get(next) {
            now_ns = request.arrival_ns;
        } else {
            return Ok(results);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::law;

    const fn request(arrival_ns: i64, input: u32, output: u32) -> Scheduled {
        Scheduled {
            arrival_ns,
            input,
            output,
        }
    }

    #[test]
    fn tokens_come_at_the_ends_of_steps() {
        // Without noise: a step of `law()` lasts 1000 + 10·tokens + context nanoseconds.
        let schedule = [request(500, 10, 3), request(700, 5, 1), request(1_000_000, 1, 1)];
        let results = simulate(law(), 1, &schedule).expect("the requests fit");
        // 500: ten tokens of prompt, ten of context. 1610: one token and the second prompt, context 11 + 5.
        // 2686: one token, context 12.
        let expected = [(1610, 3708, 1076), (2686, 2686, 0), (1_001_011, 1_001_011, 0)];
        let found: Vec<_> = results
            .iter()
            .map(|r| (r.first_token_ns, r.last_token_ns, r.itl_max_ns))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_seeds_give_equal_times() {
        let schedule: Vec<Scheduled> = (0..500).map(|i| request(i * 700, 20, 30)).collect();
        let noisy = StepLaw { noise: 0.05, ..law() };
        let run = |seed| simulate(noisy, seed, &schedule).expect("the requests fit");
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
