//! The command line of an engine.

use gipfel_model::{BackendKind, DeploymentSpec, LocalSpec};
use serde_json::{Map, Value};

use crate::{
    Engine,
    data::{LaunchData, Setting},
};

/// A command that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The engine has no argument for a key.
    #[error(
        "`{engine}` has no argument for `backend_config.{key}`; known are {known}; pass others through `extra_args`"
    )]
    UnknownSetting {
        /// The engine.
        engine: BackendKind,
        /// The key, with dots between its parts.
        key: String,
        /// The keys that exist, separated by commas.
        known: String,
    },
    /// A key's value is of another type.
    #[error("`backend_config.{key}` is {found}, expected {expected}")]
    WrongType {
        /// The key, with dots between its parts.
        key: String,
        /// The JSON that was found.
        found: String,
        /// What the argument takes.
        expected: &'static str,
    },
    /// `command` is an empty list.
    #[error("`command` is empty; leave it out for the engine's own command")]
    Empty,
}

impl Engine {
    /// Program and arguments: the command of `local` or the engine's own, with `{model}`, `{host}` and `{port}`
    /// filled in, then the arguments of `spec.backend_config`, then `local.extra_args`.
    ///
    /// `None` when there is no command to start from: the engine is only a URL, or takes several processes. The
    /// simulator's program is `{gipfel}`, which the caller replaces by the path of the running executable.
    pub fn command(
        &self,
        spec: &DeploymentSpec,
        local: &LocalSpec,
        host: &str,
        port: u16,
    ) -> Result<Option<Vec<String>>, CommandError> {
        let Some(template) = local.command.as_ref().or(self.data.launch.command.as_ref()) else {
            return Ok(None);
        };
        if template.is_empty() {
            return Err(CommandError::Empty);
        }
        let port = port.to_string();
        let values = [("model", spec.model.as_str()), ("host", host), ("port", &port)];
        let mut command: Vec<String> = template.iter().map(|part| fill(part, &values)).collect();
        self.render_settings(&spec.backend_config, &mut command)?;
        command.extend(local.extra_args.iter().map(|part| fill(part, &values)));
        Ok(Some(command))
    }

    /// What the engine needs in its environment to listen there; the user's own entries go before.
    pub fn environment(&self, host: &str, port: u16) -> Vec<(String, String)> {
        let port = port.to_string();
        let values = [("host", host), ("port", port.as_str())];
        let LaunchData { environment, .. } = &self.data.launch;
        environment
            .iter()
            .map(|(name, value)| (name.clone(), fill(value, &values)))
            .collect()
    }

    pub(crate) fn render_settings(
        &self,
        config: &Map<String, Value>,
        out: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        let settings = &self.data.launch.settings;
        for (key, value) in config {
            let setting = settings
                .get(key)
                .ok_or_else(|| self.unknown(key, settings.keys()))?;
            self.render(key, setting, value, out)?;
        }
        Ok(())
    }

    fn render(
        &self,
        key: &str,
        setting: &Setting,
        value: &Value,
        out: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        let wrong = |expected| CommandError::WrongType {
            key: key.to_owned(),
            found: value.to_string(),
            expected,
        };
        match setting {
            Setting::Value(flag) => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => return Err(wrong("a text or a number")),
                };
                out.extend([flag.clone(), text]);
            }
            Setting::Switch { on, off } => {
                let flag = if value.as_bool().ok_or_else(|| wrong("true or false"))? {
                    on
                } else {
                    off
                };
                out.extend((!flag.is_empty()).then(|| flag.clone()));
            }
            Setting::Json { flag, rename } => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Object(entries) => {
                        let name = |key: &String| rename.get(key).unwrap_or(key).clone();
                        let entries: Map<_, _> = entries
                            .iter()
                            .map(|(key, value)| (name(key), value.clone()))
                            .collect();
                        Value::Object(entries).to_string()
                    }
                    _ => return Err(wrong("an object, or its JSON as a text")),
                };
                out.extend([flag.clone(), text]);
            }
            Setting::Table { keys, defaults } => {
                let mut entries = value.as_object().ok_or_else(|| wrong("an object"))?.clone();
                for (key, value) in defaults {
                    entries
                        .entry(key.clone())
                        .or_insert_with(|| Value::String(value.clone()));
                }
                for (part, value) in &entries {
                    let path = format!("{key}.{part}");
                    let setting = keys.get(part).ok_or_else(|| self.unknown(&path, keys.keys()))?;
                    self.render(&path, setting, value, out)?;
                }
            }
        }
        Ok(())
    }

    fn unknown<'a>(&self, key: &str, known: impl Iterator<Item = &'a String>) -> CommandError {
        let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known
        };
        CommandError::UnknownSetting {
            engine: self.kind,
            key: key.to_owned(),
            known,
        }
    }
}

/// Fills the named places of `text` in one pass, so that a value is never searched for places again. Other braces
/// stay, such as those of JSON.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let place = values.iter().find_map(|(name, value)| {
            let after = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, after))
        });
        let (value, after) = place.unwrap_or(("{", &rest[1..]));
        filled.push_str(value);
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gipfel_model::deployment::Placement;
    use serde_json::json;

    use super::*;
    use crate::engine;

    fn command(kind: BackendKind, config: Value, local: LocalSpec) -> Result<Option<String>, String> {
        let Value::Object(backend_config) = config else {
            panic!("an object")
        };
        let spec = DeploymentSpec {
            model: "swiss-ai/Apertus-{port}".to_owned(),
            backend: kind,
            placement: Placement::Local(local.clone()),
            backend_config,
            instance: 0,
            server_ready_timeout: Duration::from_mins(15),
        };
        let command = engine(kind).command(&spec, &local, "127.0.0.1", 8000);
        command
            .map(|command| command.map(|parts| parts.join(" ")))
            .map_err(|error| error.to_string())
    }

    fn rendered(kind: BackendKind, config: Value) -> String {
        command(kind, config, LocalSpec::default()).unwrap().unwrap()
    }

    #[test]
    fn the_predecessors_settings_become_vllm_flags() {
        let config = json!({
            "tensor_parallel_size": 4, "max_model_len": 32768, "gpu_memory_utilization": 0.9,
            "kv_cache_dtype": "fp8", "enable_prefix_caching": false, "enforce_eager": false,
            "speculative_decoding": {"draft_model": "swiss-ai/Apertus-1B-Draft", "num_speculative_tokens": 5},
        });
        insta::assert_snapshot!(rendered(BackendKind::Vllm, config), @r#"vllm serve swiss-ai/Apertus-{port} --host 127.0.0.1 --port 8000 --no-enable-prefix-caching --gpu-memory-utilization 0.9 --kv-cache-dtype fp8 --max-model-len 32768 --speculative-config {"model":"swiss-ai/Apertus-1B-Draft","num_speculative_tokens":5} --tensor-parallel-size 4"#);
    }

    #[test]
    fn the_same_settings_become_sglang_flags() {
        let config = json!({
            "tensor_parallel_size": 4, "max_model_len": 32768, "gpu_memory_utilization": 0.9,
            "kv_cache_dtype": "fp8_e5m2", "enable_prefix_caching": false,
            "speculative_decoding": {"draft_model": "d", "num_speculative_tokens": 5},
        });
        insta::assert_snapshot!(rendered(BackendKind::Sglang, config), @"python -m sglang.launch_server --model-path swiss-ai/Apertus-{port} --host 127.0.0.1 --port 8000 --enable-metrics --disable-radix-cache --mem-fraction-static 0.9 --kv-cache-dtype fp8_e5m2 --context-length 32768 --speculative-draft-model-path d --speculative-algorithm STANDALONE --speculative-num-draft-tokens 5 --tp-size 4");
    }

    #[test]
    fn other_engines_have_their_commands() {
        insta::assert_snapshot!(rendered(BackendKind::Llamacpp, json!({"parallel": 8})), @"llama-server -m swiss-ai/Apertus-{port} --host 127.0.0.1 --port 8000 --metrics --slots --parallel 8");
        insta::assert_snapshot!(rendered(BackendKind::Ollama, json!({})), @"ollama serve");
        insta::assert_snapshot!(
            rendered(BackendKind::Sim, json!({"profile": "apertus-8b", "profiles_file": "s.toml", "seed": 7})),
            @"{gipfel} sim --host 127.0.0.1 --port 8000 --model swiss-ai/Apertus-{port} --profile apertus-8b --profiles s.toml --seed 7"
        );
        assert_eq!(
            command(BackendKind::Openai, json!({}), LocalSpec::default()),
            Ok(None)
        );
        assert_eq!(
            command(BackendKind::Dynamo, json!({}), LocalSpec::default()),
            Ok(None)
        );
        let environment = engine(BackendKind::Ollama).environment("127.0.0.1", 8000);
        assert_eq!(
            environment,
            [("OLLAMA_HOST".to_owned(), "127.0.0.1:8000".to_owned())]
        );
    }

    #[test]
    fn a_command_of_ones_own_is_filled_and_extended() {
        let local = LocalSpec {
            command: Some(
                ["serve", "{model}", "--bind={host}:{port}", "{\"a\": {x}}"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            extra_args: vec!["--log={port}".to_owned()],
            ..LocalSpec::default()
        };
        let command = command(BackendKind::Vllm, json!({"max_num_seqs": 8}), local);
        insta::assert_snapshot!(command.unwrap().unwrap(), @r#"serve swiss-ai/Apertus-{port} --bind=127.0.0.1:8000 {"a": {x}} --max-num-seqs 8 --log=8000"#);
    }

    #[test]
    fn what_an_engine_cannot_do_is_named() {
        let check = |kind, config, expected: &str| {
            let error = command(kind, config, LocalSpec::default()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(
            BackendKind::Llamacpp,
            json!({"tensor_parallel_size": 2}),
            "`llamacpp` has no argument for `backend_config.tensor_parallel_size`",
        );
        check(
            BackendKind::Sim,
            json!({"profil": "x"}),
            "known are profile, profiles_file, seed",
        );
        check(
            BackendKind::Vllm,
            json!({"max_model_len": true}),
            "`backend_config.max_model_len` is true, expected a text or a number",
        );
        check(
            BackendKind::Vllm,
            json!({"enable_prefix_caching": "yes"}),
            "is \"yes\", expected true or false",
        );
        check(
            BackendKind::Sglang,
            json!({"speculative_decoding": {"magic": 1}}),
            "`backend_config.speculative_decoding.magic`",
        );
        let empty = LocalSpec {
            command: Some(Vec::new()),
            ..LocalSpec::default()
        };
        assert!(
            command(BackendKind::Vllm, json!({}), empty)
                .unwrap_err()
                .contains("empty")
        );
    }

    #[test]
    fn places_are_filled_once() {
        let check =
            |text: &str, expected: &str| assert_eq!(fill(text, &[("a", "{b}"), ("b", "B")]), expected);
        check("{a}{b}", "{b}B");
        check("{", "{");
        check("{{a}}", "{{b}}");
        check("{c} {a", "{c} {a");
        check("", "");
    }
}
