//! More broken files: damaged texts, variables, includes, and TOML, in which remedies are written as TOML has them.

use insta::assert_snapshot;

use crate::broken::faults;

#[test]
fn tabs() {
    assert_snapshot!(faults("tabs.yaml"), @"tabs.yaml:2:2: this is no YAML: tabs disallowed within this context (block indentation); indent with spaces");
}

#[test]
fn unclosed_quote() {
    assert_snapshot!(faults("unclosed-quote.yaml"), @"unclosed-quote.yaml:2:12: this is no YAML: invalid indentation in quoted scalar; a quote is perhaps not closed");
}

#[test]
fn indentation() {
    assert_snapshot!(faults("indentation.yaml"), @"indentation.yaml:4:4: this is no YAML: while parsing a block collection, did not find expected '-' indicator; keys of one map begin in one column, and brackets are closed");
}

#[test]
fn tags() {
    assert_snapshot!(faults("tags.yaml"), @"tags.yaml:2:9: the tag `tag:yaml.org,2002:!int` is not read; only `!!str` is");
}

#[test]
fn list_at_the_top() {
    assert_snapshot!(faults("list-at-the-top.yaml"), @"list-at-the-top.yaml:1:1: a configuration is a map of keys, such as `experiments:`");
}

#[test]
fn key_that_is_a_list() {
    assert_snapshot!(faults("key-that-is-a-list.yaml"), @"key-that-is-a-list.yaml:5:7: a key is a text, not a list or a map");
}

#[test]
fn truth_values() {
    assert_snapshot!(faults("truth-values.yaml"), @r#"
    truth-values.yaml:2:15: defaults.all_levels: found `yes`; allowed: true, false; did you mean `true`?
    truth-values.yaml:3:18: defaults.exact_windows: found the text "on"; allowed: true, false; did you mean `true`?
    truth-values.yaml:4:11: defaults.search: found `no`; allowed: true, or a map of min_rate, max_rate, precision, budget
    truth-values.yaml:9:38: experiments[0].backend_config.enforce_eager: found `1`; allowed: true, false
    truth-values.yaml:9:60: experiments[0].backend_config.trust_remote_code: found `off`; allowed: true, false; did you mean `false`?
    "#);
}

#[test]
fn numbers() {
    assert_snapshot!(faults("numbers.yaml"), @r#"
    numbers.yaml:2:9: defaults.port: found `65536`; allowed: a whole number from 0 to 65535
    numbers.yaml:3:9: defaults.seed: found `-1`; allowed: a whole number from 0
    numbers.yaml:4:12: defaults.workers: found `0`; allowed: a whole number from 1 to 4294967295
    numbers.yaml:5:12: defaults.repeats: found `2.5`; allowed: a whole number from 1 to 20
    numbers.yaml:6:18: defaults.gpus_per_node: found the text "4"; allowed: a whole number from 0 to 4294967295
    numbers.yaml:8:56: experiments[0].port: found `http`; allowed: a whole number from 0 to 65535
    numbers.yaml:8:71: experiments[0].workers: found `1_000`; allowed: a whole number from 1 to 4294967295
    numbers.yaml:8:84: experiments[0].seed: found `99999999999999999999`; allowed: a whole number from 0
    "#);
}

#[test]
fn local_servers() {
    assert_snapshot!(faults("local-servers.yaml"), @r#"
    local-servers.yaml:5:14: experiments[0].command: found `my-server --port {port}`; allowed: a list of a program and its arguments, such as `[my-server, --port, "{port}"]`
    local-servers.yaml:9:5: experiments[1].command: names no program; without the key, the engine's own command is used
    local-servers.yaml:10:17: experiments[1].extra_args: found `--threads 4`; allowed: a list of arguments, such as `[--threads, 4]`
    local-servers.yaml:11:5: experiments[1].environment: found a list; allowed: a map of keys
    local-servers.yaml:12:5: experiments[2].command: missing: `backend: dynamo` has no program of its own that could be started there
    local-servers.yaml:15:27: experiments[2].environment.A=B: this is no name of an environment variable
    local-servers.yaml:15:30: experiments[2].environment.C: found a list; allowed: a text
    "#);
}

#[test]
fn variables() {
    assert_snapshot!(faults("variables.yaml"), @"
    variables.yaml:2:12: defaults.account: the environment variable `SLURM_ACCOUNT` is not set; set it, or write `${SLURM_ACCOUNT:-default}`
    variables.yaml:3:9: defaults.seed: `${` is not closed; `$$` stands for a `$`
    variables.yaml:4:14: defaults.partition: `${9LIVES:-x}` names no variable; allowed: `${NAME}`, `${NAME:-default}`; `$$` stands for a `$`
    variables.yaml:9:10: experiments[0].url: `${OPENAI_API_KEY}` looks like a secret, which would end in the plan and its files; `api_key_env: OPENAI_API_KEY` takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment
    variables.yaml:13:20: experiments[1].environment.HF_TOKEN: looks like a secret, which would end in the run's files; leave the entry out: the server inherits gipfel's own environment
    ");
}

#[test]
fn variables_in_toml() {
    assert_snapshot!(faults("variables.toml"), @r#"
    variables.toml:2:11: defaults.account: the environment variable `SLURM_ACCOUNT` is not set; set it, or write `${SLURM_ACCOUNT:-default}`
    variables.toml:8:7: experiments[0].url: `${TEAM_SECRET}` looks like a secret, which would end in the plan and its files; `api_key_env = "TEAM_SECRET"` takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment
    "#);
}

#[test]
fn includes() {
    assert_snapshot!(faults("includes.yaml"), @"
    includes.yaml:1:11: include[0]: cannot read `site.yaml`: no file can be included here; a path starts at the folder of the file that names it
    includes.yaml:1:22: include[1]: the files include each other: includes.yaml → includes.yaml
    includes.yaml:1:37: include[2]: the files include each other: includes.yaml → includes.yaml
    ");
}

#[test]
fn include_of_a_map() {
    assert_snapshot!(faults("include-of-a-map.yaml"), @"
    include-of-a-map.yaml:1:1: include: found a map; allowed: the path of a YAML or TOML file, or a list of such paths
    include-of-a-map.yaml:3:50: experiments[0].include: belongs at the top of the file, beside `experiments`
    ");
}

#[test]
fn objectives_in_toml() {
    assert_snapshot!(faults("objectives.toml"), @r#"
    objectives.toml:5:8: experiments[0].slos: found the text "ttft p95 <= 500ms"; allowed: a list of objectives, such as `["ttft p95 <= 500ms", "error_rate <= 1%"]`
    objectives.toml:6:23: experiments[0].informational_slos[0]: the limit `500` is no duration with a unit, such as `"500ms"` or `"1.5s"`
    objectives.toml:6:42: experiments[0].informational_slos[1]: a percentile reads `p50`, `p95` or `p99.9`, found `p200`
    objectives.toml:12:1: experiments[1].slos: an empty list; a search needs an objective, such as `"ttft p95 <= 500ms"`
    "#);
}

#[test]
fn rates_in_toml() {
    assert_snapshot!(faults("rates.toml"), @r#"
    rates.toml:2:19: defaults.rate_levels[1]: found `0`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `"90/min"`
    rates.toml:2:22: defaults.rate_levels[2]: found the text "fast"; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `"90/min"`
    rates.toml:3:26: defaults.measurement_duration_s: found the text "60s"; allowed: a number of seconds, greater than 0, at most 744h (a duration with its unit goes under `measurement_duration`)
    rates.toml:4:14: defaults.total_time: found `600`; allowed: a duration with its unit, greater than 0, at most 744h, such as `"500ms"`, `"30s"` or `"2min"` (bare seconds go under `total_time_s`)
    rates.toml:10:15: experiments[0].rate_levels: found `20`; allowed: a list of rates, such as `[5, 10, "90/min"]`
    rates.toml:16:24: experiments[1].search.precision: found `2`; allowed: a share of the rate such as `"2%"` or `0.02`, greater than 0, at most 50%
    rates.toml:16:36: experiments[1].search.budget: found `30`; allowed: a duration with its unit, greater than 0, at most 744h, such as `"500ms"`, `"30s"` or `"2min"` (bare seconds go under `budget_s`)
    "#);
}

#[test]
fn endpoints_in_toml() {
    assert_snapshot!(faults("endpoints.toml"), @r#"
    endpoints.toml:5:7: experiments[0].url: found the text "models.example.org"; allowed: an address such as `"http://127.0.0.1:8000"` or `"https://host/prefix"`
    endpoints.toml:6:1: experiments[0].command: a key for deployments of kind `local` or `slurm` or `k8s`, and this one is `external`
    endpoints.toml:8:1: experiments[1].command: missing: `backend = "openai"` has no program of its own that could be started there
    endpoints.toml:12:14: experiments[1].extra_args: found the text "--threads 4"; allowed: a list of arguments, such as `["--threads", 4]`
    "#);
}

#[test]
fn lengths_in_toml() {
    assert_snapshot!(faults("lengths.toml"), @r#"
    lengths.toml:2:16: dataset.input_length: found the text "512"; allowed: a whole number of tokens from 1, or a table with `distribution`
    lengths.toml:3:1: dataset.output_length.std: missing: the standard deviation in tokens
    lengths.toml:5:11: defaults.dataset: given at the top level too; a file has one data set for all experiments
    lengths.toml:12:59: experiments[0].dataset.output_length.value: found `0`; allowed: a whole number from 1 to 4294967295
    lengths.toml:12:62: experiments[0].dataset.output_length.min: a fixed length has no bounds
    "#);
}

#[test]
fn walltimes_in_toml() {
    assert_snapshot!(faults("walltimes.toml"), @r#"
    walltimes.toml:2:21: defaults.server_time_limit: found the text "90min"; allowed: a walltime as `"HH:MM:SS"` or `"D-HH:MM:SS"`, such as "01:00:00"
    walltimes.toml:3:26: defaults.benchmarker_time_limit: found `90`; allowed: a walltime as `"HH:MM:SS"` or `"D-HH:MM:SS"`, such as "01:00:00"
    walltimes.toml:10:22: experiments[0].backend_config.kv_transfer_config: found the text "{"; allowed: a text that holds JSON, in single quotes
    walltimes.toml:11:17: experiments[0].backend_config.max_model_len: found the text "8192"; allowed: a whole number from 1 to 4294967295
    "#);
}

#[test]
fn merge_in_toml() {
    assert_snapshot!(faults("merge.toml"), @"merge.toml:5:1: a merge key is YAML's; TOML has none");
}

#[test]
fn one_table_in_toml() {
    assert_snapshot!(faults("one-table.toml"), @"one-table.toml:1:2: experiments: found a table; allowed: tables `[[experiments]]`, each with `model`, `backend` and `deployment`");
}

#[test]
fn damaged_in_toml() {
    assert_snapshot!(faults("damaged.toml"), @"
    damaged.toml:1:10: this is no TOML: unclosed table, expected `]`
    damaged.toml:4:9: this is no TOML: string values must be quoted, expected literal string
    damaged.toml:6:1: this is no TOML: duplicate key
    ");
}

#[test]
fn empty_in_toml() {
    assert_snapshot!(faults("empty.toml"), @"empty.toml:1:1: experiments: missing: tables `[[experiments]]`, each with `model`, `backend` and `deployment`");
}
