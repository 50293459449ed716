//! Broken files, each with everything that is said of it.

use insta::assert_snapshot;

pub(crate) fn faults(file: &str) -> String {
    let text = crate::fixture(&format!("broken/{file}"));
    match gipfel_config::parse(&text, file) {
        Ok(plan) => panic!("{file} is valid: {plan:?}"),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn four_faults_are_all_reported() {
    assert_snapshot!(faults("four-faults.yaml"), @"
    four-faults.yaml:2:3: defaults.rate_level: unknown key; did you mean `rate_levels`?
    four-faults.yaml:3:20: defaults.warmup_duration: found `30`; allowed: a duration with its unit, from 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `warmup_duration_s`)
    four-faults.yaml:5:5: experiments[0].url: missing: `deployment: external` needs the server's address
    four-faults.yaml:6:14: experiments[0].backend: found `vlm`; allowed: sim, vllm, sglang, dynamo, llamacpp, ollama, openai; did you mean `vllm`?
    ");
}

#[test]
fn toml_has_the_same_faults() {
    assert_snapshot!(faults("four-faults.toml"), @r#"
    four-faults.toml:2:1: defaults.rate_level: unknown key; did you mean `rate_levels`?
    four-faults.toml:3:19: defaults.warmup_duration: found `30`; allowed: a duration with its unit, from 0, at most 744h, such as `"500ms"`, `"30s"` or `"2min"` (bare seconds go under `warmup_duration_s`)
    four-faults.toml:5:1: experiments[0].url: missing: `deployment = "external"` needs the server's address
    four-faults.toml:8:11: experiments[0].backend: found the text "vlm"; allowed: sim, vllm, sglang, dynamo, llamacpp, ollama, openai; did you mean `vllm`?
    four-faults.toml:9:9: experiments[0].slos[0]: an objective reads `"ttft p95 <= 500ms"` or `"error_rate <= 1%"`, found `ttft p95 < 1s`
    four-faults.toml:11:1: experiments[1].backend: missing: the engine, one of sim, vllm, sglang, dynamo, llamacpp, ollama, openai
    four-faults.toml:11:1: experiments[1].deployment: missing: where the server lives, one of local, external, slurm, k8s
    "#);
}

#[test]
fn every_fault_of_syntax_in_toml() {
    assert_snapshot!(faults("syntax.toml"), @r#"
    syntax.toml:2:19: this is no TOML: string values must be quoted, expected literal string
    syntax.toml:4:1: this is no TOML: duplicate key
    syntax.toml:7:11: this is no TOML: invalid basic string, expected `"`
    "#);
}

#[test]
fn unknown_keys() {
    assert_snapshot!(faults("unknown-keys.yaml"), @"
    unknown-keys.yaml:1:1: defalts: unknown key; allowed: version, include, defaults, dataset, experiments; did you mean `defaults`?
    unknown-keys.yaml:4:3: defaults.partion: unknown key; did you mean `partition`?
    unknown-keys.yaml:5:3: defaults.warmup_s: unknown key; did you mean `warmup_duration_s`?
    unknown-keys.yaml:7:3: dataset.num_prompt: unknown key; allowed: source, path, form, sharegpt_fraction, num_prompts, min_input, max_input, nonce, tokenizer, input_length, output_length, seed; did you mean `num_prompts`?
    unknown-keys.yaml:12:5: experiments[0].colour: unknown key; allowed: model, backend, deployment, backend_config, rate_levels, first_rate, search, all_levels, exact_windows, warmup_duration[_s], measurement_duration[_s], total_time[_s], slos, latency_slos, informational_slos, dataset, arrivals, burstiness, requests_per_level, warmup_ramp, endpoint, stream, seed, repeats, workers, connect_timeout[_s], first_token_timeout[_s], between_tokens_timeout[_s], request_timeout[_s], drain_timeout[_s], server_ready_timeout[_s], port, site, cluster, benchmarker, container, image, hf_token_path, ssh_host, firecrest_system, account, scratch_base, partition, qos, reservation, constraint, exclude, server_time_limit, sbatch_args, benchmarker_nodes, benchmarker_tasks_per_node, benchmarker_partition, benchmarker_time_limit, benchmarker_sbatch_args, hf_home, gpus_per_node, command, environment, extra_args
    unknown-keys.yaml:14:7: experiments[0].backend_config.tensor_paralel_size: unknown key; did you mean `tensor_parallel_size`?
    ");
}

#[test]
fn syntax() {
    assert_snapshot!(faults("syntax.yaml"), @"syntax.yaml:3:12: this is no YAML: illegal placement of ':' indicator; keys of one map begin in one column, and brackets are closed");
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(faults("duplicate-keys.yaml"), @r"
    duplicate-keys.yaml:4:3: defaults.partition: given twice; the first one is in line 2
    duplicate-keys.yaml:6:5: experiments[0].image: missing: `deployment: k8s` needs the image that the server's container is made from
    duplicate-keys.yaml:9:5: experiments[0].backend: given twice; the first one is in line 7
    duplicate-keys.yaml:10:1: experiments: given twice; the first one is in line 5
    ");
}

#[test]
fn durations() {
    assert_snapshot!(faults("durations.yaml"), @r#"
    durations.yaml:2:20: defaults.warmup_duration: found `30`; allowed: a duration with its unit, from 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `warmup_duration_s`)
    durations.yaml:3:27: defaults.measurement_duration_s: found `60s`; allowed: a number of seconds, greater than 0, at most 744h (a duration with its unit goes under `measurement_duration`)
    durations.yaml:4:18: defaults.drain_timeout: found `-5s`; allowed: a duration with its unit, from 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `drain_timeout_s`)
    durations.yaml:5:20: defaults.request_timeout: found `2 fortnights`; allowed: a duration with its unit, greater than 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `request_timeout_s`)
    durations.yaml:7:3: defaults.connect_timeout_s: given beside `connect_timeout`; give one of the two forms
    durations.yaml:8:27: defaults.server_ready_timeout_s: found `0`; allowed: a number of seconds, greater than 0, at most 744h (a duration with its unit goes under `server_ready_timeout`)
    durations.yaml:9:22: defaults.server_time_limit: found `90min`; allowed: a walltime as `HH:MM:SS` or `D-HH:MM:SS`, such as "01:00:00"
    durations.yaml:10:27: defaults.benchmarker_time_limit: found the text "01:75:00"; allowed: a walltime as `HH:MM:SS` or `D-HH:MM:SS`, such as "01:00:00"
    durations.yaml:12:50: experiments[0].between_tokens_timeout: found a list; allowed: a duration with its unit, greater than 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `between_tokens_timeout_s`)
    "#);
}

#[test]
fn rates() {
    assert_snapshot!(faults("rates.yaml"), @r"
    rates.yaml:2:20: defaults.rate_levels[1]: found `0`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`
    rates.yaml:2:23: defaults.rate_levels[2]: found `-3`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`
    rates.yaml:2:31: defaults.rate_levels[4]: found `fast`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`
    rates.yaml:2:37: defaults.rate_levels[5]: the rate 5 req/s is listed twice
    rates.yaml:2:40: defaults.rate_levels[6]: the rate 10 req/s is listed twice
    rates.yaml:2:49: defaults.rate_levels[7]: found `.inf`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`
    rates.yaml:4:50: experiments[0].rate_levels: an empty list; without the key, the peak is searched
    rates.yaml:5:63: experiments[1].rate_levels: found `20`; allowed: a list of rates, such as `[5, 10, 90/min]`
    rates.yaml:6:68: experiments[2].first_rate: given beside `rate_levels`; it is the first of the doubling rates, which listed ones replace
    ");
}

#[test]
fn workloads() {
    assert_snapshot!(faults("workloads.yaml"), @r#"
    workloads.yaml:1:30: dataset.path: given beside `source`; each of them says which prompts are sent
    workloads.yaml:1:51: dataset.form: found `csv`; allowed: jsonl, prompts, sharegpt, codealpaca, sonnet
    workloads.yaml:1:63: dataset.nonce: found `1`; allowed: true, false
    workloads.yaml:1:91: dataset.max_input: the minimum 9 is greater than the maximum 8
    workloads.yaml:2:23: defaults.arrivals: gamma arrivals need `burstiness`, the shape of their gaps
    workloads.yaml:2:50: defaults.requests_per_level: found `0`; allowed: a whole number from 1 to 4294967295
    workloads.yaml:2:66: defaults.warmup_ramp: found `yes`; allowed: true, false; did you mean `true`?
    workloads.yaml:4:82: experiments[0].burstiness: belongs to `arrivals: gamma` alone
    workloads.yaml:4:102: experiments[0].dataset.form: has no effect without `path`, whose form it says
    workloads.yaml:5:62: experiments[1].burstiness: found `0`; allowed: a number from 0.01, such as 0.5
    workloads.yaml:5:82: experiments[1].dataset.path: the name does not say what the file looks like; end it in .jsonl, .json or .txt, or give `form`
    workloads.yaml:6:92: experiments[2].dataset.output_length: these prompts have no answers that could say a length
    workloads.yaml:7:84: experiments[3].dataset.source: found `sharegtp`; allowed: synthetic, sharegpt, codealpaca, sonnet; did you mean `sharegpt`?
    workloads.yaml:7:105: experiments[3].dataset.tokenizer: found the text ""; allowed: the path of a tokenizer.json
    "#);
}

#[test]
fn searches() {
    assert_snapshot!(faults("searches.yaml"), @"
    searches.yaml:2:3: defaults.search: given beside `rate_levels`; a search chooses its own rates
    searches.yaml:2:37: defaults.search.max_rate: the highest rate 5 req/s is not above the lowest one, 10 req/s
    searches.yaml:2:51: defaults.search.precision: found `2`; allowed: a share of the rate such as `2%` or `0.02`, greater than 0, at most 50%
    searches.yaml:2:54: defaults.search.budgte: unknown key; allowed: min_rate, max_rate, precision, budget[_s]; did you mean `budget`?
    searches.yaml:4:12: defaults.repeats: found `0`; allowed: a whole number from 1 to 20
    searches.yaml:5:18: defaults.exact_windows: found `5`; allowed: true, false
    searches.yaml:7:58: experiments[0].search: found `false`; allowed: true, or a map of min_rate, max_rate, precision, budget
    searches.yaml:7:74: experiments[0].repeats: found `21`; allowed: a whole number from 1 to 20
    searches.yaml:8:50: experiments[1].search: given beside `first_rate`; a search chooses its own rates
    searches.yaml:8:50: experiments[1].search: found a list; allowed: true, or a map of min_rate, max_rate, precision, budget
    searches.yaml:9:75: experiments[2].search.budget_s: given beside `budget`; give one of the two forms
    searches.yaml:10:50: experiments[3].search: the highest rate 0.01 req/s is not above the lowest one, 0.05 req/s by default
    searches.yaml:10:87: experiments[3].search.precision: found `0%`; allowed: a share of the rate such as `2%` or `0.02`, greater than 0, at most 50%
    searches.yaml:11:50: experiments[4].search: the budget of 30min is longer than the total_time of 10min; one of the two is enough
    searches.yaml:11:86: experiments[4].search.precision: found `60%`; allowed: a share of the rate such as `2%` or `0.02`, greater than 0, at most 50%
    searches.yaml:12:50: experiments[5].search: no value; allowed: true, or a map of min_rate, max_rate, precision, budget
    searches.yaml:13:50: experiments[6].repeat: unknown key; did you mean `repeats`?
    searches.yaml:13:61: experiments[6].min_rate: belongs under `search`
    searches.yaml:13:74: experiments[6].searh: unknown key; did you mean `search`?
    ");
}

#[test]
fn objectives() {
    assert_snapshot!(faults("objectives.yaml"), @r"
    objectives.yaml:3:18: defaults.latency_slos.ttft_p95_ms: found `500ms`; allowed: milliseconds, greater than 0, at most a day
    objectives.yaml:4:5: defaults.latency_slos.ttft_p95: unknown key; allowed: `<metric>_p<NN>_ms` of the metrics ttft, tpot, itl, e2e, such as ttft_p95_ms; did you mean `ttft_p95_ms`?
    objectives.yaml:5:5: defaults.latency_slos.ttfb_p95_ms: unknown key; allowed: `<metric>_p<NN>_ms` of the metrics ttft, tpot, itl, e2e, such as ttft_p95_ms; did you mean `ttft_p95_ms`?
    objectives.yaml:6:18: defaults.latency_slos.tpot_p95_ms: found `0`; allowed: milliseconds, greater than 0, at most a day
    objectives.yaml:12:9: experiments[0].slos[0]: an objective reads `ttft p95 <= 500ms` or `error_rate <= 1%`, found `ttft p95 < 500ms`
    objectives.yaml:13:9: experiments[0].slos[1]: the limit `500` is no duration with a unit, such as `500ms` or `1.5s`
    objectives.yaml:14:9: experiments[0].slos[2]: the metric `latency` is none of ttft, tpot, itl, e2e, error_rate
    objectives.yaml:15:9: experiments[0].slos[3]: a percentile reads `p50`, `p95` or `p99.9`, found `p100`
    objectives.yaml:16:9: experiments[0].slos[4]: the limit `150%` is no share, such as `1%` or `0.01`
    objectives.yaml:17:5: experiments[0].latency_slos: given beside `slos`; an objective is given in one of the two forms
    objectives.yaml:19:50: experiments[1].slos: an empty list; a search needs an objective, such as `ttft p95 <= 500ms`
    objectives.yaml:20:56: experiments[2].slos: found `ttft p95 <= 500ms`; allowed: a list of objectives, such as `[ttft p95 <= 500ms, error_rate <= 1%]`
    ");
}

#[test]
fn lengths() {
    assert_snapshot!(faults("lengths.yaml"), @r#"
    lengths.yaml:2:22: dataset.sharegpt_fraction: found `70`; allowed: a fraction from 0 to 1
    lengths.yaml:3:16: dataset.num_prompts: found `0`; allowed: a whole number from 1 to 4294967295
    lengths.yaml:4:33: dataset.input_length.distribution: found `gauss`; allowed: normal, uniform, fixed, lognormal
    lengths.yaml:5:3: dataset.output_length.std: missing: the standard deviation in tokens
    lengths.yaml:5:48: dataset.output_length.mean: found `-1`; allowed: a number of tokens greater than 0
    lengths.yaml:5:66: dataset.output_length.max: the minimum 64 is greater than the maximum 8
    lengths.yaml:5:69: dataset.output_length.value: a parameter of `distribution: fixed`, and this one is `normal`
    lengths.yaml:7:75: experiments[0].dataset.input_length: found `0`; allowed: a whole number of tokens from 1, or a map with `distribution`
    lengths.yaml:7:93: experiments[0].dataset.output_length: found the text "12"; allowed: a whole number of tokens from 1, or a map with `distribution`
    lengths.yaml:12:54: experiments[1].dataset.input_length.min: a fixed length has no bounds
    lengths.yaml:13:7: experiments[1].dataset.output_length.sigma: missing: the standard deviation of the logarithm
    "#);
}

#[test]
fn two_data_sets() {
    assert_snapshot!(faults("two-data-sets.yaml"), @r"
    two-data-sets.yaml:2:3: defaults.seed: given beside the `seed` of `dataset`; there is one seed
    two-data-sets.yaml:3:3: defaults.dataset: given at the top level too; a file has one data set for all experiments
    two-data-sets.yaml:9:50: experiments[0].seed: given beside the `seed` of `dataset`; there is one seed
    ");
}

#[test]
fn keys_of_other_deployments() {
    assert_snapshot!(faults("keys-of-other-deployments.yaml"), @r"
    keys-of-other-deployments.yaml:6:5: experiments[0].partition: a key for deployments of kind `slurm`, and this one is `external`
    keys-of-other-deployments.yaml:7:5: experiments[0].command: a key for deployments of kind `local` or `slurm` or `k8s`, and this one is `external`
    keys-of-other-deployments.yaml:8:5: experiments[0].port: a key for deployments of kind `local` or `slurm` or `k8s`, and this one is `external`
    keys-of-other-deployments.yaml:12:5: experiments[1].url: a key for deployments of kind `external`, and this one is `local`
    keys-of-other-deployments.yaml:13:5: experiments[1].gpus_per_node: a key for deployments of kind `slurm` or `k8s`, and this one is `local`
    keys-of-other-deployments.yaml:14:5: experiments[1].k8s_namespace: a key for deployments of kind `external` or `k8s`, and this one is `local`
    keys-of-other-deployments.yaml:17:17: experiments[2].deployment: found `slrum`; allowed: local, external, slurm, k8s; did you mean `slurm`?
    ");
}

#[test]
fn endpoints() {
    assert_snapshot!(faults("endpoints.yaml"), @r"
    endpoints.yaml:5:10: experiments[0].url: the address holds a user or a password; give a key with `api_key_env` or `api_key_file`
    endpoints.yaml:6:5: experiments[0].api_key: a key does not stand in a configuration; `api_key_env` takes the name of an environment variable that holds it, `api_key_file` the path of a file
    endpoints.yaml:10:10: experiments[1].url: found `models.example.org`; allowed: an address such as `http://127.0.0.1:8000` or `https://host/prefix`
    endpoints.yaml:11:18: experiments[1].api_key_env: found a text that is not shown here; allowed: the name of an environment variable, such as `OPENAI_API_KEY`
    endpoints.yaml:15:10: experiments[2].url: the address goes on behind the server's base; it ends before `/v1`
    endpoints.yaml:17:5: experiments[2].api_key_file: given beside `api_key_env`; the key is read at one place
    endpoints.yaml:18:5: experiments[2].headers: found a list; allowed: a map of keys
    endpoints.yaml:19:5: experiments[3].command: missing: `backend: openai` has no program of its own that could be started there
    ");
}

#[test]
fn backend_config() {
    assert_snapshot!(faults("backend-config.yaml"), @r#"
    backend-config.yaml:5:5: experiments[0].tensor_parallel_size: belongs under `backend_config`: it is a setting of vllm
    backend-config.yaml:7:29: experiments[0].backend_config.tensor_parallel_size: found `0`; allowed: a whole number from 1 to 4294967295
    backend-config.yaml:8:22: experiments[0].backend_config.max_model_len: found `32k`; allowed: a whole number from 1 to 4294967295
    backend-config.yaml:9:31: experiments[0].backend_config.gpu_memory_utilization: found `90`; allowed: a number greater than 0, at most 1
    backend-config.yaml:10:30: experiments[0].backend_config.enable_prefix_caching: found `yes`; allowed: true, false; did you mean `true`?
    backend-config.yaml:11:30: experiments[0].backend_config.kv_offloading_backend: found `lm-cache`; allowed: native, lmcache; did you mean `lmcache`?
    backend-config.yaml:12:27: experiments[0].backend_config.kv_transfer_config: found the text "{kv_connector: x"; allowed: a text that holds JSON, in single quotes
    backend-config.yaml:13:7: experiments[0].backend_config.speculative_decoding.draft_model: missing: a draft model goes with its number of tokens
    backend-config.yaml:14:9: experiments[0].backend_config.speculative_decoding.draft_modle: unknown key; allowed: draft_model, num_speculative_tokens, draft_tensor_parallel_size, method, num_steps, eagle_topk; did you mean `draft_model`?
    backend-config.yaml:15:33: experiments[0].backend_config.speculative_decoding.num_speculative_tokens: found `2.5`; allowed: a whole number from 1 to 4294967295
    backend-config.yaml:21:7: experiments[1].backend_config.max_model_len: unknown key; allowed: profile, profiles_file, seed
    backend-config.yaml:25:5: experiments[2].backend_config: found a list; allowed: a map of keys
    "#);
}

#[test]
fn missing() {
    assert_snapshot!(faults("missing.yaml"), @r#"
    missing.yaml:2:3: defaults.partition: no value; allowed: the name of a partition
    missing.yaml:4:5: experiments[0].backend: missing: the engine, one of sim, vllm, sglang, dynamo, llamacpp, ollama, openai
    missing.yaml:4:5: experiments[0].deployment: missing: where the server lives, one of local, external, slurm, k8s
    missing.yaml:4:12: experiments[0].model: found the text ""; allowed: the model's name, path or repository
    missing.yaml:5:5: experiments[1].model: missing: the model's name, path or repository
    missing.yaml:5:5: experiments[1].url: missing: `deployment: external` needs the server's address
    missing.yaml:7:4: experiments[2].model: missing: the model's name, path or repository
    missing.yaml:7:4: experiments[2].backend: missing: the engine, one of sim, vllm, sglang, dynamo, llamacpp, ollama, openai
    missing.yaml:7:4: experiments[2].deployment: missing: where the server lives, one of local, external, slurm, k8s
    missing.yaml:8:5: experiments[3]: found `example/small-8b`; allowed: a map of keys
    "#);
}

#[test]
fn nothing_to_measure() {
    assert_snapshot!(faults("nothing-to-measure.yaml"), @r"
    nothing-to-measure.yaml:1:10: version: the file has version 2, written for a newer gipfel; this gipfel is older and reads version 1
    nothing-to-measure.yaml:3:29: defaults.max_parallel_experiments: found `0`; allowed: a whole number from 1 to 4294967295
    nothing-to-measure.yaml:4:1: experiments: an empty list; there is nothing to measure
    ");
}

#[test]
fn two_documents() {
    assert_snapshot!(faults("two-documents.yaml"), @r"two-documents.yaml:3:1: a second document begins here; a configuration is one document");
}

#[test]
fn misplaced() {
    assert_snapshot!(faults("misplaced.yaml"), @r"
    misplaced.yaml:1:1: rate_levels: belongs under `defaults`, or to an experiment
    misplaced.yaml:2:1: model: belongs to an experiment, not to all of them
    misplaced.yaml:4:3: defaults.backend: belongs to an experiment, not to all of them
    misplaced.yaml:5:3: defaults.url: belongs to an experiment, not to all of them
    misplaced.yaml:6:3: defaults.version: unknown key; allowed: max_parallel_experiments, max_node_hours, rate_levels, first_rate, search, all_levels, exact_windows, warmup_duration[_s], measurement_duration[_s], total_time[_s], slos, latency_slos, informational_slos, dataset, arrivals, burstiness, requests_per_level, warmup_ramp, endpoint, stream, seed, repeats, workers, connect_timeout[_s], first_token_timeout[_s], between_tokens_timeout[_s], request_timeout[_s], drain_timeout[_s], server_ready_timeout[_s], port, site, cluster, benchmarker, container, image, hf_token_path, ssh_host, firecrest_system, account, scratch_base, partition, qos, reservation, constraint, exclude, server_time_limit, sbatch_args, benchmarker_nodes, benchmarker_tasks_per_node, benchmarker_partition, benchmarker_time_limit, benchmarker_sbatch_args, k8s_namespace, ingress_domain, kubernetes, hf_home, gpus_per_node
    misplaced.yaml:11:5: experiments[0].max_parallel_experiments: belongs under `defaults`: it holds for the whole file
    misplaced.yaml:12:5: experiments[0].profile: belongs under `backend_config`: it is a setting of sim
    ");
}

#[test]
fn wrong_shapes() {
    assert_snapshot!(faults("wrong-shapes.yaml"), @r"
    wrong-shapes.yaml:1:10: version: found `one`; allowed: a whole number from 0
    wrong-shapes.yaml:2:1: defaults: found a list; allowed: a map of keys
    wrong-shapes.yaml:3:10: dataset: found `sharegpt`; allowed: a map of keys
    wrong-shapes.yaml:4:1: experiments: found a map; allowed: a list of experiments, each with `model`, `backend` and `deployment`
    ");
}

#[test]
fn aliases() {
    assert_snapshot!(faults("aliases.yaml"), @r"
    aliases.yaml:4:14: experiments[0].backend: found `vlm`; allowed: sim, vllm, sglang, dynamo, llamacpp, ollama, openai; did you mean `vllm`?
    aliases.yaml:4:14: experiments[1].backend: found `vlm`; allowed: sim, vllm, sglang, dynamo, llamacpp, ollama, openai; did you mean `vllm`?
    aliases.yaml:8:5: experiments[2].<<: a merge key takes an alias of a map, or a list of such aliases
    ");
}

#[test]
fn empty() {
    assert_snapshot!(faults("empty.yaml"), @r"empty.yaml:1:1: the file is empty; it needs a list of `experiments`");
}

#[test]
fn objectives_that_no_answer_shows() {
    assert_snapshot!(faults("unseen.yaml"), @r"
    unseen.yaml:2:11: defaults.stream: found `maybe`; allowed: true, false
    unseen.yaml:4:73: experiments[0].stream: answers that are not streamed show no first token and no gaps, so `ttft p95 <= 500ms` cannot be judged; write `slos` with objectives on `e2e` or `error_rate`, or stream
    unseen.yaml:5:73: experiments[1].stream: answers that are not streamed show no first token and no gaps, so `tpot p95 <= 50ms` cannot be judged; write `slos` with objectives on `e2e` or `error_rate`, or stream
    unseen.yaml:6:83: experiments[2].endpoint: found `embeddings`; allowed: chat, completions
    ");
}

#[test]
fn ways_to_a_server() {
    let found = faults("access.yaml");
    assert!(!found.contains("hunter2"), "{found}");
    assert_snapshot!(found, @"
    access.yaml:6:5: experiments[0].urls: given beside `url`; one server has a `url`, several have `urls`
    access.yaml:8:22: experiments[0].headers.Authorization: a secret does not stand in a configuration or a command; give the name of an environment variable that holds it (`NAME: { env: VARIABLE }`, or `--header NAME=VARIABLE`) or a file (`NAME: { file: PATH }`)
    access.yaml:9:18: experiments[0].headers.X-Api-Key: a secret does not stand in a configuration or a command; give the name of an environment variable that holds it (`NAME: { env: VARIABLE }`, or `--header NAME=VARIABLE`) or a file (`NAME: { file: PATH }`)
    access.yaml:10:13: experiments[0].headers.Host: the client writes this header by itself
    access.yaml:11:17: experiments[0].headers.X Team: the name of a header has letters, digits, hyphens and underscores only
    access.yaml:12:15: experiments[0].headers.X-Team: a header's value is a text of printable ASCII characters
    access.yaml:13:23: experiments[0].headers.X-Token.env: found a text that is not shown here; allowed: the name of an environment variable, such as `TEAM_TOKEN`
    access.yaml:13:45: experiments[0].headers.X-Token.file: given beside `env`; the value is read at one place
    access.yaml:14:7: experiments[0].headers.X-Other: found a map; allowed: `env` with the name of a variable, or `file` with a path
    access.yaml:14:18: experiments[0].headers.X-Other.variable: unknown key; allowed: env, file
    access.yaml:15:7: experiments[0].headers.X-Empty: found a map; allowed: `env` with the name of a variable, or `file` with a path
    access.yaml:16:5: experiments[0].ca_file: found a list; allowed: the path of a file of certificates in PEM
    access.yaml:17:12: experiments[0].proxy: found a text that is not shown here; allowed: a proxy's address without user and password, which would be stored; proxies that ask for them are not used
    access.yaml:18:12: experiments[0].http2: found `maybe`; allowed: true, false
    access.yaml:22:23: experiments[1].urls[1]: the address http://h1/v1 is listed twice
    access.yaml:22:37: experiments[1].urls[2]: found `h2`; allowed: an address such as `http://127.0.0.1:8000` or `https://host/prefix`
    access.yaml:23:12: experiments[1].proxy: found `https://proxy`; allowed: a proxy's address, such as `http://proxy.example.org:3128`
    access.yaml:24:56: experiments[2].urls: an empty list; name at least one server
    access.yaml:25:5: experiments[3].url: missing: `deployment: external` needs the server's address
    ");
}

/// No broken file lies there unread.
#[test]
fn every_file_has_its_messages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let tests = [include_str!("broken.rs"), include_str!("damaged.rs")].concat();
    let files = std::fs::read_dir(folder).expect("the folder");
    let names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 30, "{}", names.len());
    for name in names {
        assert!(tests.contains(&format!("faults(\"{name}\")")), "{name}");
    }
}

#[test]
fn kubernetes_objects() {
    assert_snapshot!(faults("kubernetes.yaml"), @r#"
    kubernetes.yaml:2:18: defaults.k8s_namespace: found `My_Space`; allowed: the name of a namespace, of lowercase letters, digits, hyphens and dots
    kubernetes.yaml:4:5: defaults.kubernetes.contxt: unknown key; allowed: context, image_pull_secrets, node_selector, tolerations, gpu_resource, requests, limits, ingress_class, tls_issuer, ca_file, model_cache, hf_token, nccl_over_tcp, cuda_compatibility, load; did you mean `context`?
    kubernetes.yaml:5:25: defaults.kubernetes.image_pull_secrets: found `pull`; allowed: a list of names of Secrets, such as `[my-registry]`
    kubernetes.yaml:6:29: defaults.kubernetes.node_selector.a b: this is no key of a label, such as `node.kubernetes.io/instance-type`
    kubernetes.yaml:6:36: defaults.kubernetes.node_selector.ok: found the text "no spaces here"; allowed: a label's value: at most 63 letters, digits, `-`, `_` and `.`
    kubernetes.yaml:7:19: defaults.kubernetes.tolerations[0].key: missing: the taint's key
    kubernetes.yaml:7:53: defaults.kubernetes.tolerations[1].effect: found `Never`; allowed: NoSchedule, PreferNoSchedule, NoExecute
    kubernetes.yaml:8:22: defaults.kubernetes.requests.cpu: found `many`; allowed: a quantity, such as `8`, `500m` or `64Gi`
    kubernetes.yaml:8:36: defaults.kubernetes.requests.memory: found `64GB`; allowed: a quantity, such as `8`, `500m` or `64Gi`
    kubernetes.yaml:9:15: defaults.kubernetes.limits.shared_memory: unknown key; allowed: cpu, memory, ephemeral_storage
    kubernetes.yaml:10:5: defaults.kubernetes.model_cache.claim: missing: the name of a volume claim
    kubernetes.yaml:10:26: defaults.kubernetes.model_cache.size: found `0Gi`; allowed: a quantity, such as `8`, `500m` or `64Gi`
    kubernetes.yaml:10:43: defaults.kubernetes.model_cache.mount_path: found `models`; allowed: an absolute path in the container, such as `/model-cache`
    kubernetes.yaml:11:15: defaults.kubernetes.hf_token: found `secret`; allowed: a map of keys
    kubernetes.yaml:12:19: defaults.kubernetes.load.pods: found `0`; allowed: a whole number from 1 to 4294967295
    kubernetes.yaml:12:36: defaults.kubernetes.load.architecture: found `arm64`; allowed: aarch64, x86_64
    kubernetes.yaml:14:5: experiments[0].image: missing: `deployment: k8s` needs the image that the server's container is made from
    kubernetes.yaml:17:5: experiments[1].command: missing: `backend: sim` has no program of its own that could be started there
    kubernetes.yaml:21:5: experiments[1].benchmarker: `same-job` is for servers that are Slurm jobs; this one is a server on Kubernetes
    kubernetes.yaml:22:5: experiments[1].hf_token_path: a key for deployments of kind `slurm`, and this one is `k8s`
    kubernetes.yaml:26:5: experiments[2].benchmarker: `in-cluster` is for servers on Kubernetes and for URLs; this one is a Slurm job
    kubernetes.yaml:27:5: experiments[2].kubernetes: a key for deployments of kind `external` or `k8s`, and this one is `slurm`
    kubernetes.yaml:33:5: experiments[3].kubernetes: `load.pods` 3 needs `load.results`, a volume on which 3 pods put their results together
    kubernetes.yaml:33:38: experiments[3].kubernetes.hf_token: missing: `secret`, the name of a Secret of the namespace, or `env`, a variable of gipfel's environment
    kubernetes.yaml:39:5: experiments[4].benchmarker: a Slurm job reaches a server on Kubernetes by its Ingress, and `ingress_domain: none` makes none
    "#);
}

#[test]
fn slurm_jobs() {
    assert_snapshot!(faults("slurm.yaml"), @r#"
    slurm.yaml:2:19: defaults.max_node_hours: found `0`; allowed: a number of node-hours greater than 0
    slurm.yaml:3:12: defaults.cluster: found `slurmrestd`; allowed: firecrest, commands, ssh
    slurm.yaml:4:9: defaults.site: found the text ""; allowed: the name of a profile, or the path of a file
    slurm.yaml:5:17: defaults.scratch_base: found `~/runs`; allowed: an absolute path of the cluster, such as `/scratch/me`
    slurm.yaml:6:12: defaults.account: found `my account`; allowed: the name of an account, without spaces and quotes
    slurm.yaml:7:8: defaults.qos: found the text "a'b"; allowed: the name of a quality of service, without spaces and quotes
    slurm.yaml:8:17: defaults.sbatch_args[0]: found `mem=0`; allowed: an option of sbatch on one line, such as `--mem=0`
    slurm.yaml:8:24: defaults.sbatch_args[1]: found the text "--mem=0\n"; allowed: an option of sbatch on one line, such as `--mem=0`
    slurm.yaml:9:22: defaults.server_time_limit: found `1h`; allowed: a walltime as `HH:MM:SS` or `D-HH:MM:SS`, such as "01:00:00"
    slurm.yaml:10:22: defaults.benchmarker_nodes: found `0`; allowed: a whole number from 1 to 4294967295
    slurm.yaml:15:16: experiments[0].container: found `docker`; allowed: container-engine, container-engine-self-contained, apptainer, none
    slurm.yaml:16:18: experiments[0].benchmarker: found `same_job`; allowed: slurm, same-job, in-cluster, local; did you mean `same-job`?
    slurm.yaml:17:5: experiments[0].k8s_namespace: a key for deployments of kind `external` or `k8s`, and this one is `slurm`
    slurm.yaml:18:5: experiments[1].command: missing: `backend: sim` has no program of its own that could be started there
    slurm.yaml:18:5: experiments[1].ssh_host: missing: `cluster: ssh` needs the name of a login node
    slurm.yaml:26:5: experiments[2].benchmarker: `same-job` is for servers that are Slurm jobs; this one is a URL
    slurm.yaml:27:5: experiments[2].reservation: a key for deployments of kind `slurm`, and this one is `external`
    slurm.yaml:31:5: experiments[3].benchmarker: a key for deployments of kind `slurm` or `external` or `k8s`, and this one is `local`
    slurm.yaml:32:5: experiments[3].max_node_hours: belongs under `defaults`: it holds for the whole file
    "#);
}
