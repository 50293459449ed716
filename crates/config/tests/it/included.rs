//! Configurations of several files, and variables.

use std::{collections::BTreeMap, io, path::Path};

use gipfel_config::{Faults, Plan, Surroundings, parse_with};
use insta::assert_snapshot;

/// Files by name; the first one is the configuration.
struct World<'a> {
    files: BTreeMap<&'a str, &'a str>,
    site: Option<&'a str>,
}

impl<'a> World<'a> {
    fn of(files: &[(&'a str, &'a str)]) -> Self {
        Self {
            files: files.iter().copied().collect(),
            site: None,
        }
    }

    fn read(&self, file: &str) -> Result<Plan, Faults> {
        let around = Surroundings::none()
            .with_variables(|name| match name {
                "ACCOUNT" => Some("a-17".into()),
                "PORT" => Some("9000".into()),
                "RATES" => Some("fast".into()),
                "EMPTY" => Some("".into()),
                _ => None,
            })
            .with_files(|path: &Path| {
                let text = self.files.get(path.to_str().unwrap_or_default());
                text.map(|text| (*text).to_owned())
                    .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
            });
        let around = match self.site {
            Some(site) => around.with_site(site),
            None => around,
        };
        parse_with(self.files.get(file).expect("the configuration"), file, &around)
    }

    fn show(&self, file: &str) -> String {
        match self.read(file) {
            Ok(plan) => gipfel_config::show(&plan),
            Err(faults) => panic!("{faults}"),
        }
    }

    fn faults(&self, file: &str) -> String {
        self.read(file).expect_err("it has faults").to_string()
    }
}

const ONE: &str = "experiments: [{ model: m, backend: vllm, deployment: slurm }]\n";

#[test]
fn the_nearest_file_goes_first_and_each_value_says_where_it_comes_from() {
    let bench = "
include: [sites/alps.yaml, sites/team.toml]
defaults: { measurement_duration_s: 20, partition: debug, seed: 7 }
experiments:
  - { model: m, backend: vllm, deployment: slurm, rate_levels: [100, 200], port: '${PORT}' }
";
    let alps = "
include: ../base.yaml
defaults:
  account: ${ACCOUNT}
  partition: normal
  warmup_duration: 5s
  measurement_duration: 10min
  search: true
";
    let team = "
[defaults]
warmup_duration = \"7s\"
scratch_base = \"/scratch/${TEAM:-ml}\"
[dataset]
input_length = 100
";
    let base = "
defaults: { hf_home: /base/hf, account: nobody, max_parallel_experiments: 4, first_token_timeout: 9s }
";
    let site = "defaults: { hf_home: /site/hf, hf_token_path: /site/token }\n";
    let mut world = World::of(&[
        ("bench.yaml", bench),
        ("sites/alps.yaml", alps),
        ("sites/team.toml", team),
        ("base.yaml", base),
        ("/etc/gipfel.yaml", site),
    ]);
    world.site = Some("/etc/gipfel.yaml");
    assert_snapshot!(world.show("bench.yaml"), @r#"
    version: 1
    defaults:
      max_parallel_experiments: 4                         # base.yaml:2
    experiments:
      - model: m                                          # bench.yaml:5
        backend: vllm                                     # bench.yaml:5
        deployment: slurm                                 # bench.yaml:5
        cluster: firecrest                                # default
        scratch_base: /scratch/ml                         # sites/team.toml:4
        account: a-17                                     # sites/alps.yaml:4
        partition: debug                                  # bench.yaml:3
        server_time_limit: "01:00:00"                     # default
        hf_token_path: /site/token                        # /etc/gipfel.yaml:1
        hf_home: /base/hf                                 # base.yaml:2
        gpus_per_node: 4                                  # default
        port: 9000                                        # bench.yaml:5
        benchmarker: slurm                                # default
        benchmarker_partition: normal                     # default
        benchmarker_time_limit: "01:00:00"                # default
        benchmarker_nodes: 1                              # default
        benchmarker_tasks_per_node: 1                     # default
        server_ready_timeout: 15min                       # default
        rate_levels: [100, 200]                           # bench.yaml:5
        warmup_duration: 7s                               # sites/team.toml:3
        measurement_duration: 20s                         # bench.yaml:3
        all_levels: false                                 # default
        exact_windows: false                              # default
        slos:                                             # default
          - ttft p95 <= 500ms
        informational_slos:                               # default
          - e2e p95 <= 10s
        arrivals: poisson                                 # default
        endpoint: chat                                    # default
        stream: true                                      # default
        dataset:                                          # sites/team.toml:5
          input_length: 100                               # sites/team.toml:6
          output_length: { distribution: normal, mean: 256, std: 128, min: 2, max: 1000000 }  # default
          seed: 7                                         # bench.yaml:3
        connect_timeout: 10s                              # default
        first_token_timeout: 9s                           # base.yaml:2
        between_tokens_timeout: 2min                      # default
        request_timeout: 10min                            # default
        drain_timeout: 5min                               # default
        repeats: 1                                        # default
    "#);
}

#[test]
fn an_empty_or_commented_file_says_nothing() {
    for site in ["", "# nothing\n", "defaults:\n", "version: 1\ndefaults: {}\n"] {
        let bench = format!("include: site.yaml\n{ONE}");
        let world = World::of(&[("bench.yaml", &bench), ("site.yaml", site)]);
        assert!(world.read("bench.yaml").is_ok(), "{site}");
    }
}

#[test]
fn faults_of_all_files_are_reported_at_their_places() {
    let bench = "
include: [site.yaml, missing.yaml, 5, [a]]
defaults: { warmup_duration: 5 }
experiments: [{ model: m, backend: vlm, deployment: slurm }]
";
    let site = "
include: deep/site.toml
version: 2
defaults:
  acount: a-17
  model: m
experiments: []
partition: debug
";
    let deep = "
[defaults]
warmup_duration = 5
port = 99999
";
    let world = World::of(&[
        ("bench.yaml", bench),
        ("site.yaml", site),
        ("deep/site.toml", deep),
    ]);
    assert_snapshot!(world.faults("bench.yaml"), @r#"
    bench.yaml:2:22: include[1]: cannot read `missing.yaml`: no such file; a path starts at the folder of the file that names it
    bench.yaml:2:36: include[2]: cannot read `5`: no such file; a path starts at the folder of the file that names it
    bench.yaml:2:39: include[3]: found a list; allowed: the path of a YAML or TOML file, or a list of such paths
    bench.yaml:3:30: defaults.warmup_duration: found `5`; allowed: a duration with its unit, from 0, at most 744h, such as `500ms`, `30s` or `2min` (bare seconds go under `warmup_duration_s`)
    bench.yaml:4:36: experiments[0].backend: found `vlm`; allowed: sim, vllm, sglang, dynamo, llamacpp, ollama, openai; did you mean `vllm`?
    site.yaml:3:10: version: the file has version 2, written for a newer gipfel; this gipfel is older and reads version 1
    site.yaml:5:3: defaults.acount: unknown key; did you mean `account`?
    site.yaml:6:3: defaults.model: belongs to an experiment, not to all of them
    site.yaml:7:1: experiments: belongs to the file that includes this one, which holds settings for all its experiments
    site.yaml:8:1: partition: belongs under `defaults`, or to an experiment
    deep/site.toml:3:19: defaults.warmup_duration: found `5`; allowed: a duration with its unit, from 0, at most 744h, such as `"500ms"`, `"30s"` or `"2min"` (bare seconds go under `warmup_duration_s`)
    deep/site.toml:4:8: defaults.port: found `99999`; allowed: a whole number from 0 to 65535
    "#);
}

#[test]
fn damaged_includes() {
    let check = |site: &str| {
        let bench = format!("include: site.yaml\n{ONE}");
        World::of(&[("bench.yaml", &bench), ("site.yaml", site)]).faults("bench.yaml")
    };
    assert_snapshot!(check("defaults: [\n"), @"site.yaml:2:1: this is no YAML: while parsing a node, did not find expected node content; keys of one map begin in one column, and brackets are closed");
    assert_snapshot!(check("- a\n- b\n"), @"site.yaml:1:1: an included file is a map of keys, such as `defaults:`");
    assert_snapshot!(check("defaults: { partition: debug, partition: normal }\n"), @"site.yaml:1:31: defaults.partition: given twice; the first one is in line 1");
}

#[test]
fn circles_and_depth() {
    let bench = format!("include: a/one.yaml\n{ONE}");
    let world = World::of(&[
        ("bench.yaml", &bench),
        ("a/one.yaml", "include: ../two.yaml"),
        ("two.yaml", "defaults: {}\ninclude: [./a/one.yaml, two.yaml]"),
    ]);
    assert_snapshot!(world.faults("bench.yaml"), @"
    two.yaml:2:11: include[0]: the files include each other: a/one.yaml → two.yaml → a/one.yaml
    two.yaml:2:25: include[1]: the files include each other: two.yaml → two.yaml
    ");

    let names: Vec<(String, String)> = (0..10)
        .map(|index| (format!("{index}.yaml"), format!("include: {}.yaml", index + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> = names
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let bench = format!("include: 0.yaml\n{ONE}");
    files.push(("bench.yaml", &bench));
    assert_snapshot!(World::of(&files).faults("bench.yaml"), @"7.yaml:1:10: include: the 8 files above include each other already; put what they say together");
}

#[test]
fn a_site_that_is_not_there() {
    let mut world = World::of(&[("bench.yaml", ONE)]);
    world.site = Some("/etc/gipfel.yaml");
    assert_snapshot!(world.faults("bench.yaml"), @"/etc/gipfel.yaml:1:1: cannot read `/etc/gipfel.yaml`: no such file; it is the site's file, named by `--site` or `GIPFEL_SITE`");
}

#[test]
fn nothing_is_around_unless_it_is_said() {
    let bench = format!("include: ${{SITE}}\n{ONE}");
    assert_snapshot!(gipfel_config::parse(&bench, "b.yaml").expect_err("no variables"), @"b.yaml:1:10: include: the environment variable `SITE` is not set; set it, or write `${SITE:-default}`");
    let bench = format!("include: site.yaml\n{ONE}");
    assert_snapshot!(gipfel_config::parse(&bench, "b.yaml").expect_err("no files"), @"b.yaml:1:10: include: cannot read `site.yaml`: no file can be included here; a path starts at the folder of the file that names it");
}

#[test]
fn variables_are_typed_by_their_place() {
    let bench = "
defaults: { seed: '${SEED:-5}', exact_windows: '${EXACT:-true}', rate_levels: ['${RATE:-90/min}', 200] }
experiments:
  - model: org/${MODEL:-small}-${PORT}b
    backend: vllm
    deployment: local
    port: ${PORT}
    environment: { A: '${EMPTY}', B: $HOME, C: '$${PORT}', D: '$$5' }
";
    let world = World::of(&[("bench.yaml", bench)]);
    let plan = world
        .read("bench.yaml")
        .unwrap_or_else(|faults| panic!("{faults}"));
    let spec = &plan.experiments[0];
    assert_eq!(spec.deployment.model, "org/small-9000b");
    assert_eq!(spec.workload.seed, 5);
    assert_snapshot!(format!("{:?}", spec.deployment.placement), @r#"Local(LocalSpec { command: None, environment: {"A": "", "B": "$HOME", "C": "${PORT}", "D": "$5"}, extra_args: [], port: 9000 })"#);
    let again = gipfel_config::parse_yaml(&gipfel_config::render_yaml(&plan), "again.yaml").expect("a plan");
    assert_eq!(again.experiments, plan.experiments);
}

#[test]
fn a_variable_in_braces_is_quoted() {
    let text = "experiments: [{ model: m, backend: sim, deployment: local, port: ${PORT} }]";
    let faults = gipfel_config::parse(text, "b.yaml").expect_err("it is no YAML");
    assert_snapshot!(faults, @"b.yaml:1:67: this is no YAML: while parsing a flow mapping, did not find expected ',' or '}'; within `[ ]` and `{ }` a value with `${NAME}` stands in quotes");
}

#[test]
fn faults_of_variables() {
    let bench = "
defaults:
  account: ${NOBODY}
  partition: ${1X}-${
  rate_levels: ['${RATES}']
  port: ${PORT}0
  scratch_base: ${EMPTY}
experiments:
  - model: m
    backend: openai
    deployment: external
    url: https://host/${MY_API_KEY}
    headers: { Authorization: 'Bearer ${NAME}' }
  - model: m
    backend: vllm
    deployment: local
    environment: { HF_TOKEN: '${MINE}', OTHER: '${HF_TOKEN:-x}' }
";
    let bench_toml = "
[defaults]
account = \"${NOBODY}\"
port = \"${RATES}\"
[[experiments]]
model = \"m\"
backend = \"openai\"
deployment = \"external\"
url = \"http://${OPENAI_API_KEY}\"
";
    let world = World::of(&[("bench.yaml", bench), ("bench.toml", bench_toml)]);
    assert_snapshot!(world.faults("bench.yaml"), @"
    bench.yaml:3:12: defaults.account: the environment variable `NOBODY` is not set; set it, or write `${NOBODY:-default}`
    bench.yaml:4:14: defaults.partition: `${1X}` names no variable; allowed: `${NAME}`, `${NAME:-default}`; `$$` stands for a `$`
    bench.yaml:4:14: defaults.partition: `${` is not closed; `$$` stands for a `$`
    bench.yaml:5:17: defaults.rate_levels[0]: found `fast` in place of `${RATES}`; allowed: a rate greater than 0 in requests per second, such as `40` or `2.5`, or `90/min`
    bench.yaml:6:9: defaults.port: found `90000` in place of `${PORT}0`; allowed: a whole number from 0 to 65535
    bench.yaml:7:17: defaults.scratch_base: found `` in place of `${EMPTY}`; allowed: an absolute path of the cluster, such as `/scratch/me`
    bench.yaml:12:10: experiments[0].url: `${MY_API_KEY}` looks like a secret, which would end in the plan and its files; `api_key_env: MY_API_KEY` takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment
    bench.yaml:13:16: experiments[0].headers.Authorization: a key is not put into a header from a variable; `api_key_env` names the variable, which is then sent as a bearer token
    bench.yaml:17:20: experiments[1].environment.HF_TOKEN: looks like a secret, which would end in the run's files; leave the entry out: the server inherits gipfel's own environment
    bench.yaml:17:48: experiments[1].environment.OTHER: `${HF_TOKEN}` looks like a secret, which would end in the plan and its files; `api_key_env: HF_TOKEN` takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment
    ");
    assert_snapshot!(world.faults("bench.toml"), @r#"
    bench.toml:3:11: defaults.account: the environment variable `NOBODY` is not set; set it, or write `${NOBODY:-default}`
    bench.toml:4:8: defaults.port: found `fast` in place of `${RATES}`; allowed: a whole number from 0 to 65535
    bench.toml:9:7: experiments[0].url: `${OPENAI_API_KEY}` looks like a secret, which would end in the plan and its files; `api_key_env = "OPENAI_API_KEY"` takes an endpoint's key from the variable, and a server of this machine inherits gipfel's environment
    "#);
}
