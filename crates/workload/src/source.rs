//! The requests of a run: what each arrival asks for, whatever prompts come from.

use std::sync::Arc;

use gipfel_model::{AnswerLength, WorkloadSpec};

use crate::{
    CountTokens, Lengths, Message, Pool, PromptWriter, draw_lengths,
    stream::{Key, Purpose, Stream},
    words::WORDS,
};

/// What prompts are made of.
#[derive(Clone, Debug)]
pub enum Corpus {
    /// Words of a list.
    Words,
    /// Entries of data sets, each used once.
    Pool(Arc<Pool>),
    /// Lines of a text, drawn for each prompt.
    Lines(Arc<[String]>),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The conversation that is to be answered; never empty.
    pub messages: Vec<Message>,
    /// Tokens of prompt and answer.
    pub lengths: Lengths,
}

/// Makes the requests of one run.
#[derive(Clone, Debug)]
pub struct Requests {
    spec: WorkloadSpec,
    writer: PromptWriter,
    corpus: Corpus,
    tokens: Option<Arc<dyn CountTokens>>,
    /// The tokens of each word of the list after another word, with a tokenizer.
    word_tokens: Arc<[u32]>,
}

/// Looks at a prompt's tokens until its length is settled; a text of about one token a word needs three.
const MOST_LOOKS: u32 = 16;

impl Requests {
    /// Those of a run, whose id `salt` is. With `tokens`, prompts have exactly the tokens that are drawn for them.
    pub fn new(spec: WorkloadSpec, salt: &str, corpus: Corpus, tokens: Option<Arc<dyn CountTokens>>) -> Self {
        let word_tokens = tokens.as_deref().map(count_words).unwrap_or_default();
        Self {
            writer: PromptWriter::new(spec.seed, salt),
            spec,
            corpus,
            tokens,
            word_tokens: word_tokens.into(),
        }
    }

    /// How many requests there are; absent when there is no end of them.
    pub fn len(&self) -> Option<u64> {
        match &self.corpus {
            Corpus::Pool(pool) => Some(pool.len()),
            Corpus::Words | Corpus::Lines(_) => None,
        }
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The request of an arrival, which is number `request` of the run's schedule; absent when the pool is used up.
    pub fn get(&self, segment: u32, arrival: u64, request: u64) -> Option<Request> {
        let lengths = draw_lengths(&self.spec, segment, arrival);
        let made = |prompt: String, input| Request {
            messages: vec![Message::user(prompt)],
            lengths: Lengths { input, ..lengths },
        };
        match &self.corpus {
            Corpus::Words => {
                let write = |words, out: &mut String| self.writer.write(segment, arrival, words, out);
                let summed = self.summed(lengths.input, segment, arrival);
                let (prompt, input) = summed.unwrap_or_else(|| self.sized(lengths.input, write));
                Some(made(prompt, input))
            }
            Corpus::Lines(lines) => {
                let (prompt, input) = self.sized(lengths.input, |words, out| {
                    self.write_lines(lines, segment, arrival, words, out);
                });
                Some(made(prompt, input))
            }
            Corpus::Pool(pool) => {
                let entry = pool.get(request)?;
                let dataset = self.spec.prompts.dataset.as_ref()?;
                let mut messages = entry.messages.clone();
                let mut input = entry.input;
                if dataset.nonce
                    && let Some(first) = messages.first_mut()
                {
                    let nonce = format!("[{}] ", self.writer.nonce(segment, arrival));
                    first.content.insert_str(0, &nonce);
                    let counted = self.tokens.as_ref().and_then(|tokens| tokens.count(&nonce));
                    input = input.saturating_add(counted.unwrap_or(0));
                }
                let output = match dataset.answers {
                    AnswerLength::Dataset => entry.output.unwrap_or(lengths.output),
                    AnswerLength::Distribution => lengths.output,
                };
                Some(Request {
                    messages,
                    lengths: Lengths { input, output },
                })
            }
        }
    }

    /// A prompt of exactly so many tokens by the sum of its words' tokens, which one look at the whole confirms: requests are
    /// made by the threads that send, and a tokenizer takes its time.
    fn summed(&self, wanted: u32, segment: u32, arrival: u64) -> Option<(String, u32)> {
        let tokens = self.tokens.as_ref()?;
        let mut prompt = self.writer.nonce(segment, arrival);
        let mut left = wanted.checked_sub(tokens.count(&prompt)?)?;
        let mut add = |index: usize| {
            prompt.push(' ');
            prompt.push_str(WORDS[index]);
        };
        for index in self.writer.words(segment, arrival) {
            let cost = self.word_tokens[index];
            if cost == 0 || cost > left {
                break;
            }
            add(index);
            left -= cost;
        }
        let words = self.word_tokens.iter().enumerate();
        let singles = words.filter(|(_, cost)| **cost == 1).map(|(index, _)| index);
        singles.cycle().take(left as usize).for_each(add);
        let found = tokens.count(&prompt)?;
        (found == wanted).then_some((prompt, found))
    }

    /// A prompt of so many tokens, and how many it has; without a tokenizer, of so many words.
    ///
    /// The words of a prompt are the first ones of a longer prompt, so the number of words is found by looking at what the
    /// tokenizer makes of a few; what is missing then is filled with short words.
    fn sized(&self, wanted: u32, write: impl Fn(u32, &mut String)) -> (String, u32) {
        let mut prompt = String::new();
        write(wanted, &mut prompt);
        let Some(tokens) = &self.tokens else {
            return (prompt, wanted);
        };
        let count = |text: &str| tokens.count(text).unwrap_or(0);
        let (mut words, mut found) = (wanted, count(&prompt));
        let mut looks = 0;
        while found > wanted && words > 1 && looks < MOST_LOOKS {
            let fewer = u64::from(words) * u64::from(wanted) / u64::from(found.max(1));
            words = (fewer as u32).clamp(1, words - 1);
            write(words, &mut prompt);
            found = count(&prompt);
            looks += 1;
        }
        // Up again word by word, as long as it fits.
        let mut best = (prompt.clone(), found);
        while best.1 < wanted && looks < MOST_LOOKS {
            words += (wanted - best.1).div_ceil(2).max(1);
            write(words, &mut prompt);
            found = count(&prompt);
            if found > wanted {
                break;
            }
            best = (prompt.clone(), found);
            looks += 1;
        }
        for filler in [" the", " a", " I", ".", "!"].into_iter().cycle().take(40) {
            if best.1 >= wanted {
                break;
            }
            let longer = format!("{}{filler}", best.0);
            let found = count(&longer);
            if found > best.1 && found <= wanted {
                best = (longer, found);
            }
        }
        best
    }

    /// A nonce, and lines that are drawn from the text until there are so many words; the last one is cut.
    fn write_lines(&self, lines: &[String], segment: u32, arrival: u64, words: u32, out: &mut String) {
        out.clear();
        out.push_str(&self.writer.nonce(segment, arrival));
        let mut stream = Stream::new(Key {
            seed: self.spec.seed,
            purpose: Purpose::Lines,
            segment,
            arrival,
            salt: 0,
        });
        let mut left = words.saturating_sub(1) as usize;
        while left > 0 {
            let line = &lines[stream.below(lines.len() as u32) as usize];
            for (number, word) in line.split_whitespace().take(left).enumerate() {
                out.push(if number == 0 { '\n' } else { ' ' });
                out.push_str(word);
                left -= 1;
            }
        }
    }
}

/// The tokens of each word of the list when it follows another one.
fn count_words(tokens: &dyn CountTokens) -> Vec<u32> {
    let count = |text: &str| tokens.count(text).unwrap_or(0);
    let before = count("note");
    let after = WORDS
        .iter()
        .map(|word| count(&format!("note {word}")).saturating_sub(before));
    after.collect()
}
