//! Why an engine died, as its log tells.

use serde::Deserialize;

use crate::Engine;

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
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;

    use super::*;
    use crate::engine;

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
