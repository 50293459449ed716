//! The step loop of a continuously batching engine, without a clock.
//!
//! One step, as in vLLM's V1 scheduler, first come first served:
//!
//! 1. Running requests in order of admission, each takes `min(need, remaining token budget)` tokens, where
//!    need = prompt + generated − already in the KV cache. When the cache would overflow, the youngest running
//!    request is preempted: its cache is freed and it goes back to the head of the queue, to be recomputed.
//! 2. Unless a request was preempted in this step, waiting requests are admitted while a slot and budget remain and
//!    the chunk fits into the cache.
//! 3. The step lasts (t0 + a·tokens + c·context)·(1 + noise), context = KV tokens of the scheduled requests at the
//!    end of the step.
//! 4. Each scheduled request whose need is met emits a token at the end of the step, the one that completes the
//!    prefill included. At its length it leaves and frees its cache.
//!
//! The token emitted last enters the cache with the next step. What a prefix cache holds of a prompt is in the KV cache
//! from the admission on, without being computed; each request holds a copy of its own.

use std::collections::VecDeque;

use crate::noise::GaussianNoise;

/// The least factor that noise applies to a step, so that time always moves on.
const LEAST_NOISE_FACTOR: f64 = 0.05;

/// What a server's steps cost and what it has room for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLaw {
    /// Every step's fixed cost t0.
    pub base_ns: f64,
    /// The cost a of each token that a step computes.
    pub token_ns: f64,
    /// The cost c of each KV token of the scheduled requests.
    pub context_ns: f64,
    /// Standard deviation of the relative Gaussian noise on a step's length.
    pub noise: f64,
    /// Tokens that one step computes at most.
    pub token_budget: u32,
    /// Requests that run at the same time at most.
    pub max_seqs: u32,
    /// Tokens that the KV cache holds.
    pub kv_tokens: u32,
}

/// A request that the engine could never finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Prompt and answer together exceed the KV cache.
    #[error(
        "{prompt} prompt tokens and {output} answer tokens exceed the {kv_tokens} tokens of the KV cache"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens of the answer.
        output: u32,
        /// Tokens that the KV cache holds.
        kv_tokens: u32,
    },
    /// No prompt or no answer.
    #[error("a request needs at least one prompt token and one answer token")]
    Empty,
}

impl StepLaw {
    /// Whether a request of these lengths can ever be finished.
    pub fn check(&self, prompt: u32, output: u32) -> Result<(), SubmitError> {
        if prompt == 0 || output == 0 {
            return Err(SubmitError::Empty);
        }
        if u64::from(prompt) + u64::from(output) > u64::from(self.kv_tokens) {
            return Err(SubmitError::TooLong {
                prompt,
                output,
                kv_tokens: self.kv_tokens,
            });
        }
        Ok(())
    }
}

/// A token emitted at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The request, as submitted.
    pub request: u64,
    /// Counts the request's tokens from 1.
    pub number: u32,
    /// Whether the request ends with it.
    pub last: bool,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long it lasts.
    pub duration_ns: i64,
    /// Tokens that it computes.
    pub tokens: u32,
    /// KV tokens of the scheduled requests.
    pub context: u64,
    /// Requests that it preempted.
    pub preempted: u32,
}

/// What the engine holds between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests that have a slot.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: f64,
    /// Preemptions since the start.
    pub preemptions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    id: u64,
    prompt: u32,
    output: u32,
    /// Tokens of the prompt that need not be computed.
    prefix: u32,
    generated: u32,
    /// Tokens in the KV cache; of a waiting request those that come with its admission.
    cached: u32,
    admitted: bool,
}

impl Request {
    fn need(&self) -> u32 {
        self.prompt + self.generated - self.cached
    }
}

/// The engine: submit and cancel between steps, step while there is work.
#[derive(Clone, Debug)]
pub struct EngineModel {
    law: StepLaw,
    noise: GaussianNoise,
    /// In order of admission: the youngest last.
    running: Vec<Request>,
    waiting: VecDeque<Request>,
    /// Requests that the latest step admitted for the first time.
    admitted: Vec<u64>,
    kv_used: u64,
    preemptions: u64,
}

/// How far a step's scheduling came.
#[derive(Default)]
struct Schedule {
    /// The first so many of the running requests are scheduled.
    requests: usize,
    tokens: u32,
    preempted: u32,
}

impl EngineModel {
    /// An idle engine; equal seeds give equal noise.
    pub fn new(law: StepLaw, seed: u64) -> Self {
        Self {
            law,
            noise: GaussianNoise::new(seed),
            running: Vec::with_capacity(law.max_seqs.min(4096) as usize),
            waiting: VecDeque::new(),
            admitted: Vec::new(),
            kv_used: 0,
            preemptions: 0,
        }
    }

    /// What its steps cost and what it has room for.
    pub fn law(&self) -> &StepLaw {
        &self.law
    }

    /// Queues a request. Ids are the caller's; they must differ among the requests that live.
    pub fn submit(&mut self, id: u64, prompt: u32, output: u32) -> Result<(), SubmitError> {
        self.submit_with_prefix(id, prompt, 0, output)
    }

    /// Queues a request of whose prompt a prefix cache holds so many tokens; at least one is computed.
    pub fn submit_with_prefix(
        &mut self,
        id: u64,
        prompt: u32,
        prefix: u32,
        output: u32,
    ) -> Result<(), SubmitError> {
        self.law.check(prompt, output)?;
        let prefix = prefix.min(prompt - 1);
        self.waiting.push_back(Request {
            id,
            prompt,
            output,
            prefix,
            generated: 0,
            cached: prefix,
            admitted: false,
        });
        Ok(())
    }

    /// Removes a request and frees what it holds; false if it does not live.
    pub fn cancel(&mut self, id: u64) -> bool {
        if let Some(at) = self.running.iter().position(|request| request.id == id) {
            self.kv_used -= u64::from(self.running.remove(at).cached);
            return true;
        }
        let waiting = self.waiting.iter().position(|request| request.id == id);
        waiting.is_some_and(|at| self.waiting.remove(at).is_some())
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// What the engine holds.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_usage: self.kv_used as f64 / f64::from(self.law.kv_tokens),
            preemptions: self.preemptions,
        }
    }

    /// The requests that the latest step admitted for the first time.
    pub fn admitted(&self) -> &[u64] {
        &self.admitted
    }

    /// Carries out the next step; `on_token` is called for each token that is emitted at its end, in order of
    /// admission. None when the engine is idle.
    pub fn step(&mut self, on_token: impl FnMut(Token)) -> Option<Step> {
        self.admitted.clear();
        if self.is_idle() {
            return None;
        }
        let mut schedule = Schedule::default();
        self.schedule_running(&mut schedule);
        if schedule.preempted == 0 {
            self.admit(&mut schedule);
        }
        let unscheduled: u64 = self.running[schedule.requests..]
            .iter()
            .map(|r| u64::from(r.cached))
            .sum();
        let context = self.kv_used - unscheduled;
        let duration_ns = self.duration_ns(schedule.tokens, context);
        self.preemptions += u64::from(schedule.preempted);
        self.emit(schedule.requests, on_token);
        Some(Step {
            duration_ns,
            tokens: schedule.tokens,
            context,
            preempted: schedule.preempted,
        })
    }

    fn schedule_running(&mut self, schedule: &mut Schedule) {
        while schedule.requests < self.running.len() && schedule.tokens < self.law.token_budget {
            let need = self.running[schedule.requests].need();
            let take = need.min(self.law.token_budget - schedule.tokens);
            while !self.fits(take) {
                self.preempt_youngest(schedule);
                if schedule.requests == self.running.len() {
                    return;
                }
            }
            self.running[schedule.requests].cached += take;
            self.kv_used += u64::from(take);
            schedule.tokens += take;
            schedule.requests += 1;
        }
    }

    fn fits(&self, tokens: u32) -> bool {
        self.kv_used + u64::from(tokens) <= u64::from(self.law.kv_tokens)
    }

    fn preempt_youngest(&mut self, schedule: &mut Schedule) {
        if let Some(mut youngest) = self.running.pop() {
            self.kv_used -= u64::from(youngest.cached);
            youngest.cached = youngest.prefix;
            self.waiting.push_front(youngest);
            schedule.preempted += 1;
        }
    }

    /// Runs after all running requests were scheduled, or with no budget left; so the scheduled requests stay the
    /// first ones.
    fn admit(&mut self, schedule: &mut Schedule) {
        while self.running.len() < self.law.max_seqs as usize && schedule.tokens < self.law.token_budget {
            let Some(mut request) = self.waiting.front().copied() else {
                return;
            };
            let chunk = request.need().min(self.law.token_budget - schedule.tokens);
            // Prompt and answer together are at most the KV cache's tokens, so the sum stays in range.
            if !self.fits(request.cached + chunk) {
                return;
            }
            self.waiting.pop_front();
            if !request.admitted {
                request.admitted = true;
                self.admitted.push(request.id);
            }
            request.cached += chunk;
            self.kv_used += u64::from(request.cached);
            self.running.push(request);
            schedule.tokens += chunk;
            schedule.requests += 1;
        }
    }

    fn duration_ns(&mut self, tokens: u32, context: u64) -> i64 {
        let exact =
            self.law.base_ns + self.law.token_ns * f64::from(tokens) + self.law.context_ns * context as f64;
        let factor = (1.0 + self.law.noise * self.noise.draw()).max(LEAST_NOISE_FACTOR);
        ((exact * factor).round() as i64).max(1)
    }

    fn emit(&mut self, scheduled: usize, mut on_token: impl FnMut(Token)) {
        let mut ended = false;
        for request in &mut self.running[..scheduled] {
            if request.need() > 0 {
                continue;
            }
            request.generated += 1;
            let last = request.generated == request.output;
            ended |= last;
            on_token(Token {
                request: request.id,
                number: request.generated,
                last,
            });
        }
        if ended {
            let kv_used = &mut self.kv_used;
            self.running.retain(|request| {
                let lives = request.generated < request.output;
                if !lives {
                    *kv_used -= u64::from(request.cached);
                }
                lives
            });
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(crate) mod tests;
