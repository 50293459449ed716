//! NVIDIA Dynamo's real frontend with its mocker, an engine whose capacity its settings fix.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;
use serde_json::{Map, Value, json};

use super::{answer::Answer, processes, world::World};
use crate::shell;

const DYNAMO: &[&str] = &["ai-dynamo==1.6.1", "ai-dynamo-runtime==1.6.1"];
/// What frontend and mocker import; the packages' own lists are longer and cannot all be had everywhere.
const IMPORTS: &[&str] = &[
    "aiohttp>=3.14.3,<4",
    "certifi",
    "msgspec>=0.19",
    "packaging",
    "prometheus-client>=0.23.1,<1",
    "pydantic>=2.10.6,<=2.13.5",
    "pyzmq>=26",
    "uvloop>=0.21",
];
const MODEL: &str = "tiny-llama";
/// The mocker answers with tokens from anywhere in a vocabulary of this size.
const VOCABULARY: usize = 8192;
/// Eight sequences of 32 tokens at about 25 ms each, less what a p95 of TTFT asks for.
const EXPECTED: std::ops::RangeInclusive<f64> = 9.0..=12.0;

/// Runs `examples/dynamo-mocker.yaml`: its interval holds a rate between 9 and 12 req/s, or it says `unresolved`.
pub(crate) fn play() -> anyhow::Result<()> {
    let packages = fetch(&shell::target().join("e2e-downloads/dynamo"))?;
    let world = World::new("dynamo")?;
    write_model(&world.folder.join(MODEL))?;
    let programs = world.folder.join("bin");
    fs::create_dir_all(&programs)?;
    let script = shell::root().join("examples/dynamo-mocker.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    symlink(&script, programs.join("dynamo-mocker.sh"))?;
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let example = shell::root().join("examples/dynamo-mocker.yaml");
    let mut command = world.gipfel(&["run", "--no-live"]);
    command
        .arg(&example)
        .env("PATH", path)
        .env("PYTHONPATH", packages);
    let output = shell::capture(&mut command)?;
    shell::say(&String::from_utf8_lossy(&output.stdout));
    let answer = Answer::only(&world, &output)?;
    processes::expect_none(&world.results())?;
    shell::say(&answer.describe());
    ensure!(
        answer.conclusion != "nothing_passes",
        "not even the lowest rate passes"
    );
    if let Some(peak) = answer.peak {
        ensure!(
            peak.low <= *EXPECTED.end() && *EXPECTED.start() <= peak.high,
            "the interval {:.2} to {:.2} holds no rate between {} and {}",
            peak.low,
            peak.high,
            EXPECTED.start(),
            EXPECTED.end()
        );
    }
    Ok(())
}

/// Puts the packages into a folder of their own.
fn fetch(folder: &Path) -> anyhow::Result<PathBuf> {
    let packages = folder.join("packages");
    let complete = folder.join("complete");
    if !complete.exists() {
        fs::create_dir_all(folder)?;
        let install = |arguments: &[&str]| {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip.args(["--no-warn-conflicts", "--root-user-action=ignore", "--target"]);
            shell::run(pip.arg(&packages).args(arguments))
        };
        install(&[&["--no-deps"], DYNAMO].concat())?;
        install(IMPORTS)?;
        fs::write(complete, "")?;
    }
    Ok(packages)
}

/// A model as far as the frontend looks at it: its configuration, and a tokenizer that makes a token of each byte.
fn write_model(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let write = |name: &str, value: Value| fs::write(folder.join(name), value.to_string());
    write(
        "config.json",
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
            "vocab_size": VOCABULARY, "max_position_embeddings": 8192,
            "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
        }),
    )?;
    write(
        "tokenizer_config.json",
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192,
            "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
            "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        }),
    )?;
    write("tokenizer.json", tokenizer())?;
    Ok(())
}

/// Byte-level BPE without merges. The tokens beyond the bytes are words, so that every answer is a text.
fn tokenizer() -> Value {
    let special = ["<unk>", "<s>", "</s>"];
    let mut vocabulary = Map::new();
    let bytes = (0..=u8::MAX).map(|byte| byte_character(byte).to_string());
    for token in special.iter().map(ToString::to_string).chain(bytes) {
        vocabulary.insert(token, Value::from(vocabulary.len()));
    }
    while vocabulary.len() < VOCABULARY {
        vocabulary.insert(
            format!("\u{120}w{}", vocabulary.len()),
            Value::from(vocabulary.len()),
        );
    }
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// The character that stands for a byte in byte-level vocabularies: printable ones for themselves, the others by their
/// number from U+0100 on.
fn byte_character(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    if printable(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(byte)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_their_characters() {
        let check = |byte, expected| assert_eq!(byte_character(byte), expected, "{byte}");
        check(b'a', 'a');
        check(0, '\u{100}');
        check(b'\n', '\u{10a}');
        check(b' ', '\u{120}');
        check(0x7f, '\u{121}');
        check(0xad, '\u{143}');
        check(0xff, '\u{ff}');
    }

    #[test]
    fn the_vocabulary_is_complete() {
        let tokenizer = tokenizer();
        let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
        assert_eq!(vocabulary.len(), VOCABULARY);
        let mut ids: Vec<u64> = vocabulary.values().filter_map(Value::as_u64).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..VOCABULARY as u64));
    }
}
