use proptest::prelude::*;

use super::*;

/// Without noise; a step lasts 1000 + 10·tokens + context nanoseconds.
pub(crate) fn law() -> StepLaw {
    StepLaw {
        base_ns: 1000.0,
        token_ns: 10.0,
        context_ns: 1.0,
        noise: 0.0,
        token_budget: 100,
        max_seqs: 8,
        kv_tokens: 1000,
    }
}

/// Submits `(prompt, output)` requests with ids from 0 and writes each step as
/// `tokens/context/duration: request.token … (! = last), preemptions`.
fn trace(law: StepLaw, requests: &[(u32, u32)]) -> String {
    let mut model = EngineModel::new(law, 1);
    for (id, &(prompt, output)) in requests.iter().enumerate() {
        model.submit(id as u64, prompt, output).expect("the request fits");
    }
    let mut lines = Vec::new();
    loop {
        let mut emitted = Vec::new();
        let step = model.step(|token| {
            emitted.push(format!(
                " {}.{}{}",
                token.request,
                token.number,
                if token.last { "!" } else { "" }
            ));
        });
        let Some(step) = step else { break };
        let preempted = match step.preempted {
            0 => String::new(),
            count => format!(", {count} preempted"),
        };
        let emitted = emitted.concat();
        lines.push(format!(
            "{}/{}/{}:{emitted}{preempted}",
            step.tokens, step.context, step.duration_ns
        ));
    }
    assert_eq!(model.kv_used, 0, "an idle engine holds no cache");
    lines.join("\n")
}

#[test]
fn the_step_that_completes_the_prefill_emits_a_token() {
    insta::assert_snapshot!(trace(law(), &[(10, 3)]), @"
    10/10/1110: 0.1
    1/11/1021: 0.2
    1/12/1022: 0.3!
    ");
}

#[test]
fn a_prompt_beyond_the_budget_is_computed_in_chunks() {
    // The second request starts with the budget that the last chunk of the first one leaves.
    insta::assert_snapshot!(trace(law(), &[(250, 2), (80, 1)]), @"
    100/100/2100:
    100/200/2200:
    100/300/2300: 0.1
    31/331/1641: 0.2! 1.1!
    ");
}

#[test]
fn decoding_goes_before_admission_within_the_budget() {
    let law = StepLaw {
        token_budget: 10,
        ..law()
    };
    // The third prompt gets one token of the first step's budget and, after two decodes, eight of the second's.
    insta::assert_snapshot!(trace(law, &[(4, 3), (5, 2), (9, 1)]), @"
    10/10/1110: 0.1 1.1
    10/20/1120: 0.2 1.2! 2.1!
    1/6/1016: 0.3!
    ");
}

#[test]
fn a_budget_that_runs_out_leaves_the_youngest_unscheduled() {
    let law = StepLaw {
        token_budget: 2,
        ..law()
    };
    // Context counts the scheduled requests only: the third one's cache is not read in the steps without it.
    insta::assert_snapshot!(trace(law, &[(1, 3), (1, 2), (1, 1)]), @"
    2/2/1022: 0.1 1.1
    2/4/1024: 0.2 1.2!
    2/4/1024: 0.3! 2.1!
    ");
}

#[test]
fn slots_limit_the_batch() {
    let law = StepLaw { max_seqs: 2, ..law() };
    insta::assert_snapshot!(trace(law, &[(5, 2), (5, 1), (5, 1)]), @"
    10/10/1110: 0.1 1.1!
    6/11/1071: 0.2! 2.1!
    ");
}

#[test]
fn a_prompt_waits_until_it_fits_into_the_cache() {
    let law = StepLaw {
        kv_tokens: 20,
        ..law()
    };
    // The second prompt needs 12 tokens: it waits until the first request has left, and blocks the third.
    insta::assert_snapshot!(trace(law, &[(10, 3), (12, 1), (1, 1)]), @"
    10/10/1110: 0.1
    1/11/1021: 0.2
    1/12/1022: 0.3!
    13/13/1143: 1.1! 2.1!
    ");
}

#[test]
fn the_youngest_is_preempted_and_recomputed() {
    let law = StepLaw {
        kv_tokens: 20,
        ..law()
    };
    // Both decode until 10 + 10 tokens fill the cache. Then the second is preempted with three tokens emitted; it
    // comes back when its 8 + 3 tokens fit, and no step emits a token twice.
    insta::assert_snapshot!(trace(law, &[(8, 5), (8, 5)]), @"
    16/16/1176: 0.1 1.1
    2/18/1038: 0.2 1.2
    2/20/1040: 0.3 1.3
    1/11/1021: 0.4, 1 preempted
    1/12/1022: 0.5!
    11/11/1121: 1.4
    1/12/1022: 1.5!
    ");
}

#[test]
fn nobody_is_admitted_in_a_step_that_preempts() {
    let law = StepLaw {
        token_budget: 4,
        kv_tokens: 8,
        ..law()
    };
    // In the fourth step a chunk of three of the preempted request's five tokens would fit into budget and cache.
    insta::assert_snapshot!(trace(law, &[(2, 5), (2, 4)]), @"
    4/4/1044: 0.1 1.1
    2/6/1026: 0.2 1.2
    2/8/1028: 0.3 1.3
    1/5/1015: 0.4, 1 preempted
    1/6/1016: 0.5!
    4/4/1044:
    1/5/1015: 1.4!
    ");
}

#[test]
fn a_cached_prefix_takes_room_and_no_time() {
    let law = StepLaw {
        kv_tokens: 30,
        ..law()
    };
    let mut model = EngineModel::new(law, 1);
    for id in 0..2 {
        model.submit_with_prefix(id, 20, 15, 2).expect("the request fits");
    }
    let step = model.step(|_| {}).expect("there is work");
    // The second request does not fit beside the first one, though it computes five tokens only.
    assert_eq!((step.tokens, step.context, model.admitted()), (5, 20, &[0][..]));
    model.step(|_| {});
    assert_eq!(model.admitted(), [0; 0]);
    let step = model.step(|_| {}).expect("there is work");
    assert_eq!((step.tokens, step.context, model.admitted()), (5, 20, &[1][..]));
    model.step(|_| {});
    assert_eq!(model.kv_used, 0);
}

#[test]
fn cancelling_frees_slot_and_cache() {
    let mut model = EngineModel::new(StepLaw { max_seqs: 1, ..law() }, 1);
    for id in 0..3 {
        model.submit(id, 10, 5).expect("the request fits");
    }
    model.step(|_| {});
    assert_eq!((model.load().running, model.load().waiting), (1, 2));
    assert!((model.load().kv_usage - 0.01).abs() < 1e-12);
    assert!(model.cancel(0));
    assert!(model.cancel(2));
    assert!(!model.cancel(0));
    assert_eq!((model.load().running, model.load().waiting), (0, 1));
    assert_eq!(model.kv_used, 0);
    let mut tokens = Vec::new();
    model.step(|token| tokens.push(token.request));
    assert_eq!(tokens, [1]);
}

#[test]
fn a_request_that_could_never_end_is_refused() {
    let mut model = EngineModel::new(law(), 1);
    let check = |model: &mut EngineModel, prompt, output, expected: &str| {
        let found = model.submit(0, prompt, output).map_err(|error| error.to_string());
        assert_eq!(found.err().unwrap_or_default(), expected);
    };
    check(&mut model, 900, 100, "");
    check(
        &mut model,
        901,
        100,
        "901 prompt tokens and 100 answer tokens exceed the 1000 tokens of the KV cache",
    );
    check(
        &mut model,
        u32::MAX,
        u32::MAX,
        "4294967295 prompt tokens and 4294967295 answer tokens exceed the 1000 tokens of the KV cache",
    );
    check(
        &mut model,
        0,
        1,
        "a request needs at least one prompt token and one answer token",
    );
}

proptest! {
    #[test]
    fn every_request_gets_exactly_its_tokens(
        requests in prop::collection::vec((1_u32..60, 1_u32..40, 0_u32..70), 1..60),
        budget in 1_u32..80,
        slots in 1_u32..10,
        cache in 100_u32..300,
    ) {
        let law = StepLaw { token_budget: budget, max_seqs: slots, kv_tokens: cache, noise: 0.05, ..law() };
        let mut model = EngineModel::new(law, 1);
        let mut received = vec![0; requests.len()];
        for (id, &(prompt, output, prefix)) in requests.iter().enumerate() {
            model.submit_with_prefix(id as u64, prompt, prefix, output).expect("the request fits");
        }
        let mut steps = 0;
        loop {
            let step = model.step(|token| {
                let count = &mut received[token.request as usize];
                *count += 1;
                assert_eq!(token.number, *count);
                assert_eq!(token.last, *count == requests[token.request as usize].1);
            });
            let Some(step) = step else { break };
            prop_assert!(step.tokens >= 1 && step.tokens <= budget);
            prop_assert!(step.duration_ns > 0);
            prop_assert!(model.load().running <= slots as usize);
            prop_assert!(model.load().kv_usage <= 1.0);
            steps += 1;
            prop_assert!(steps < 100_000, "the engine makes no progress");
        }
        let expected: Vec<u32> = requests.iter().map(|&(_, output, _)| output).collect();
        prop_assert_eq!(received, expected);
        prop_assert_eq!(model.load(), Load { preemptions: model.load().preemptions, ..Load::default() });
    }
}
