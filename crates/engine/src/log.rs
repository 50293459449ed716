//! Why an engine died, and how long it took to start, as its log tells.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Engine, data::LoadPattern};

/// A cause that a log line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogReason {
    /// GPU or host memory ran out.
    OutOfMemory,
    /// Another process listens on the port.
    PortTaken,
    /// The model is not where the engine looks, or may not be read.
    ModelNotFound,
    /// The command does not exist or cannot be run.
    CommandNotFound,
}

/// What a log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFinding {
    /// The cause.
    pub reason: LogReason,
    /// The line that names it.
    pub line: String,
}

impl Engine {
    /// Looks for the first line that names a known cause; what follows it is mostly its consequence.
    pub fn classify_log(&self, log: &str) -> Option<LogFinding> {
        log.lines().find_map(|line| {
            let lower = line.to_ascii_lowercase();
            let holds = |all: &[String]| all.iter().all(|text| lower.contains(text.as_str()));
            let pattern = self.data.log.iter().find(|pattern| holds(&pattern.all))?;
            Some(LogFinding {
                reason: pattern.reason,
                line: line.trim().to_owned(),
            })
        })
    }

    /// How long the steps of the start took by the engine's own word, in seconds; several processes say it, and the
    /// slowest counts.
    pub fn load_steps(&self, log: &str) -> BTreeMap<String, f64> {
        let mut steps = BTreeMap::new();
        for line in log.lines() {
            let line = line.to_ascii_lowercase();
            for pattern in &self.data.load {
                if let Some(seconds) = pattern.seconds(&line) {
                    let longest = steps.entry(pattern.step.clone()).or_insert(seconds);
                    *longest = seconds.max(*longest);
                }
            }
        }
        steps
    }
}

impl LoadPattern {
    /// The number of seconds in a line in lower case, if it is this step's.
    fn seconds(&self, line: &str) -> Option<f64> {
        let (_, rest) = line.split_once(self.line.as_str())?;
        let (text, _) = rest.split_once(self.before.as_str())?;
        let text = text.trim_end();
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        text[digits.len()..].parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;

    use super::*;
    use crate::engine;

    #[test]
    fn the_steps_of_a_start_are_read() {
        let check = |kind, log: &str, expected: &[(&str, f64)]| {
            let found: Vec<_> = engine(kind).load_steps(log).into_iter().collect();
            let found: Vec<_> = found
                .iter()
                .map(|(step, seconds)| (step.as_str(), *seconds))
                .collect();
            assert_eq!(found, expected, "{log}");
        };
        let vllm = "(Worker_TP0) INFO 11-22 10:00:00 [gpu_model_runner.py:1] Model loading took 33.5 GiB memory and 41.25 seconds\n\
            (Worker_TP1) INFO 11-22 10:00:01 [gpu_model_runner.py:1] Model loading took 33.5 GiB and 43.5 seconds\n\
            INFO [monitor.py:34] torch.compile takes 35.7 s in total\n\
            INFO [gpu_model_runner.py:1] Graph capturing finished in 21 secs, took 0.62 GiB\n\
            INFO [core.py:1] init engine (profile, create kv cache, warmup model) took 80.04 seconds\n";
        let steps = [
            ("compile", 35.7),
            ("engine", 80.04),
            ("graphs", 21.0),
            ("weights", 43.5),
        ];
        check(BackendKind::Vllm, vllm, &steps);
        check(BackendKind::Dynamo, vllm, &steps);
        check(
            BackendKind::Sglang,
            "[TP0] Load weight end. elapsed=12.30 s, type=LlamaForCausalLM\n[TP0] Capture cuda graph end. Time elapsed: 5.31 s. mem",
            &[("graphs", 5.31), ("weights", 12.3)],
        );
        check(BackendKind::Vllm, "Model loading took ages, many seconds", &[]);
        check(BackendKind::Sim, vllm, &[]);
    }

    #[test]
    fn deaths_are_named() {
        use BackendKind::{Llamacpp, Ollama, Sglang, Sim, Vllm};
        use LogReason::{CommandNotFound, ModelNotFound, OutOfMemory, PortTaken};
        let check = |kind, line: &str, expected: Option<LogReason>| {
            let log = format!("INFO loading\n{line}\nTraceback: the engine failed\n");
            let found = engine(kind).classify_log(&log);
            assert_eq!(found.as_ref().map(|found| found.reason), expected, "{line}");
            assert!(found.is_none_or(|found| found.line == line.trim()));
        };
        check(
            Vllm,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB",
            Some(OutOfMemory),
        );
        check(
            Vllm,
            "ValueError: No available memory for the cache blocks.",
            Some(OutOfMemory),
        );
        check(
            Sglang,
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            Some(OutOfMemory),
        );
        check(
            Llamacpp,
            "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory",
            Some(OutOfMemory),
        );
        check(Sim, "memory allocation of 12 bytes failed", Some(OutOfMemory));
        check(
            Vllm,
            "OSError: [Errno 98] Address already in use",
            Some(PortTaken),
        );
        check(
            Llamacpp,
            "main: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1",
            Some(PortTaken),
        );
        check(
            Ollama,
            "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
            Some(PortTaken),
        );
        check(
            Vllm,
            "OSError: nope is not a valid model identifier listed on 'https://huggingface.co/models'",
            Some(ModelNotFound),
        );
        check(
            Llamacpp,
            "gguf_init_from_file: failed to open GGUF file 'x.gguf' (No such file or directory)",
            Some(ModelNotFound),
        );
        check(Vllm, "sh: 1: exec: vllm: not found", Some(CommandNotFound));
        check(
            Sglang,
            "/usr/bin/python: No module named sglang",
            Some(CommandNotFound),
        );
        check(
            Vllm,
            "If you are running out of memory, consider decreasing `gpu_memory_utilization`",
            None,
        );
        check(Vllm, "INFO: Application startup complete.", None);
    }
}
