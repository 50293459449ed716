//! The engine's settings: known names, each with its type.

use gipfel_model::BackendKind;
use serde_json::{Map, Value, json};

use crate::{field::Field, schema::shapes, section::Section};

/// What a setting takes.
enum Kind {
    /// A whole number from 1.
    Count,
    /// A whole number from 0.
    Whole,
    /// A number greater than 0.
    Positive,
    /// A share of the memory: greater than 0, at most 1.
    Share,
    Text,
    Flag,
    /// One of these names.
    Name(&'static [&'static str]),
    /// A text that holds JSON.
    Json,
    /// How tokens are guessed ahead.
    SpeculativeDecoding,
}

struct Setting {
    name: &'static str,
    kind: Kind,
}

const fn setting(name: &'static str, kind: Kind) -> Setting {
    Setting { name, kind }
}

/// Settings of the engines that serve a model on GPUs.
const GPU_ENGINE: &[Setting] = &[
    setting("tensor_parallel_size", Kind::Count),
    setting("pipeline_parallel_size", Kind::Count),
    setting("data_parallel_size", Kind::Count),
    setting("expert_parallel_size", Kind::Count),
    setting("max_model_len", Kind::Count),
    setting("max_num_batched_tokens", Kind::Count),
    setting("max_num_seqs", Kind::Count),
    setting("gpu_memory_utilization", Kind::Share),
    setting("kv_cache_dtype", Kind::Text),
    setting("enable_prefix_caching", Kind::Flag),
    setting("enable_chunked_prefill", Kind::Flag),
    setting("enable_expert_parallel", Kind::Flag),
    setting("enforce_eager", Kind::Flag),
    setting("disable_custom_all_reduce", Kind::Flag),
    setting("distributed_executor_backend", Kind::Name(&["mp", "ray"])),
    setting("safetensors_load_strategy", Kind::Text),
    setting("kv_offloading_size", Kind::Positive),
    setting("kv_offloading_backend", Kind::Name(&["native", "lmcache"])),
    setting("kv_transfer_config", Kind::Json),
    setting("swap_space_gb", Kind::Positive),
    setting("num_gpu_blocks_override", Kind::Count),
    setting("block_size", Kind::Count),
    setting("stream_interval", Kind::Count),
    setting("dtype", Kind::Text),
    setting("quantization", Kind::Text),
    setting("load_format", Kind::Text),
    setting("tokenizer", Kind::Text),
    setting("revision", Kind::Text),
    setting("served_model_name", Kind::Text),
    setting("trust_remote_code", Kind::Flag),
    setting("seed", Kind::Whole),
    setting("speculative_decoding", Kind::SpeculativeDecoding),
];

const SPECULATIVE_DECODING: &[Setting] = &[
    setting("draft_model", Kind::Text),
    setting("num_speculative_tokens", Kind::Count),
    setting("draft_tensor_parallel_size", Kind::Count),
    setting("method", Kind::Text),
    setting("num_steps", Kind::Count),
    setting("eagle_topk", Kind::Count),
];

const SIMULATOR: &[Setting] = &[
    setting("profile", Kind::Text),
    setting("profiles_file", Kind::Text),
    setting("seed", Kind::Whole),
];

const LLAMACPP: &[Setting] = &[
    setting("ctx_size", Kind::Count),
    setting("parallel", Kind::Count),
    setting("max_num_seqs", Kind::Count),
    setting("threads", Kind::Count),
    setting("threads_batch", Kind::Count),
    setting("n_gpu_layers", Kind::Whole),
    setting("batch_size", Kind::Count),
    setting("ubatch_size", Kind::Count),
    setting("cache_type_k", Kind::Text),
    setting("cache_type_v", Kind::Text),
    setting("enable_prefix_caching", Kind::Flag),
    setting("served_model_name", Kind::Text),
    setting("seed", Kind::Whole),
];

fn settings(backend: BackendKind) -> &'static [Setting] {
    match backend {
        BackendKind::Sim => SIMULATOR,
        BackendKind::Llamacpp => LLAMACPP,
        // Its settings are environment variables, or part of the model.
        BackendKind::Ollama => &[],
        BackendKind::Vllm | BackendKind::Sglang | BackendKind::Dynamo | BackendKind::Openai => GPU_ENGINE,
    }
}

/// The names of all settings of an engine.
pub(crate) fn names(backend: BackendKind) -> Vec<&'static str> {
    settings(backend).iter().map(|setting| setting.name).collect()
}

/// The settings of an engine as a JSON Schema.
pub(crate) fn schema(backend: BackendKind) -> Value {
    schema_of(settings(backend))
}

fn schema_of(settings: &[Setting]) -> Value {
    let properties: Map<String, Value> = settings
        .iter()
        .map(|setting| (setting.name.to_owned(), shape(&setting.kind)))
        .collect();
    shapes::section(properties)
}

fn shape(kind: &Kind) -> Value {
    match kind {
        Kind::Count => shapes::count(),
        Kind::Whole => shapes::whole(0, u64::MAX),
        Kind::Positive => shapes::above_zero(),
        Kind::Share => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        Kind::Text | Kind::Json => shapes::text(),
        Kind::Flag => shapes::flag(),
        Kind::Name(names) => shapes::choice(names),
        Kind::SpeculativeDecoding => {
            let mut shape = schema_of(SPECULATIVE_DECODING);
            shape["anyOf"] = json!([{ "required": ["method"] }, { "required": DRAFT }]);
            shape
        }
    }
}

/// Reads the settings of `backend`; those of an unknown engine are not looked at.
pub(crate) fn read(field: &Field<'_>, backend: Option<BackendKind>) -> Map<String, Value> {
    let (Some(section), Some(backend)) = (field.as_section(), backend) else {
        return Map::new();
    };
    read_settings(section, settings(backend))
}

fn read_settings(mut section: Section<'_>, settings: &'static [Setting]) -> Map<String, Value> {
    let mut map = Map::new();
    for setting in settings {
        if let Some(value) = read_value(&section.take(setting.name), &setting.kind) {
            map.insert(setting.name.to_owned(), value);
        }
    }
    section.finish(&[]);
    map
}

fn read_value(field: &Field<'_>, kind: &Kind) -> Option<Value> {
    match kind {
        Kind::Count => field.as_count().map(Value::from),
        Kind::Whole => field.as_whole(0..=u64::MAX).map(Value::from),
        Kind::Positive => field
            .as_number("a number greater than 0", |number| number > 0.0)
            .map(Value::from),
        Kind::Share => field
            .as_number("a number greater than 0, at most 1", |number| {
                number > 0.0 && number <= 1.0
            })
            .map(Value::from),
        Kind::Text => field.as_text("a text").map(Value::from),
        Kind::Flag => field.as_flag().map(Value::from),
        Kind::Name(names) => field.as_choice(names, |name| name).map(Value::from),
        Kind::Json => read_json(field).map(Value::from),
        Kind::SpeculativeDecoding => field.as_section().map(read_speculative_decoding),
    }
}

/// What a draft model needs.
const DRAFT: &[&str] = &["draft_model", "num_speculative_tokens"];

/// Tokens are guessed by a draft model unless another method is named.
fn read_speculative_decoding(section: Section<'_>) -> Value {
    let required: &[&str] = if section.has("method") { &[] } else { DRAFT };
    for key in required.iter().filter(|key| !section.has(key)) {
        section.reading.fault(
            section.place_of_key(key),
            "missing: a draft model goes with its number of tokens",
        );
    }
    Value::Object(read_settings(section, SPECULATIVE_DECODING))
}

/// JSON stays the text that it was: the engine reads it itself.
fn read_json<'a>(field: &Field<'a>) -> Option<&'a str> {
    let allowed = "a text that holds JSON, in single quotes";
    let text = field.as_text(allowed)?;
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Some(text),
        Err(_) => field.refuse(allowed),
    }
}
