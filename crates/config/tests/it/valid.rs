//! Files that are read, and what they come to.

use gipfel_config::{Plan, dataset_config, describe, parse_yaml, render_yaml};
use gipfel_model::{LoadPlacement, deployment::Placement};
use insta::{assert_debug_snapshot, assert_snapshot};

fn plan(text: &str) -> Plan {
    parse_yaml(text, "bench.yaml").unwrap_or_else(|faults| panic!("{faults}"))
}

/// The plan of one experiment on an endpoint, with further lines of its own.
fn external(defaults: &str, experiment: &str) -> Plan {
    let head = "{ model: m, backend: openai, deployment: external, url: 'http://h:1'";
    plan(&format!(
        "defaults: {{ {defaults} }}\nexperiments: [{head}, {experiment} }}]\n"
    ))
}

fn warnings(plan: &Plan) -> String {
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    warnings.join("\n")
}

#[test]
fn the_predecessors_form_is_read() {
    let plan = plan(&crate::fixture("valid/alps.yaml"));
    assert_snapshot!(describe(&plan), @r"
    2 experiments, 3 at the same time

    1. example/small-8b with vllm
       server      Slurm, 1 node of 4 GPUs, partition normal, walltime 02:30:00
       load        Slurm, 1 node, partition normal, walltime 01:15:00
       settings    gpu_memory_utilization 0.85, max_model_len 16384, tensor_parallel_size 1
       rates       4, 8, 16, 32 req/s, until two are rejected
       windows     20s warm-up, 45.5s measured, or 3 and 5 × E2E where that is longer; at most 4min22s for 4 levels, and what stretching and draining take
       objectives  ttft p95 <= 750ms
       shown too   e2e p95 <= 12s
       prompts     25 % sharegpt and 75 % codealpaca, input 4 to 1024 tokens, output normal(128, 32) tokens, poisson arrivals, seed 0

    2. example/large-405b with vllm
       server      Slurm, 4 nodes of 4 GPUs, partition normal, walltime 02:30:00
       load        Slurm, 1 node, partition normal, walltime 01:15:00
       settings    gpu_memory_utilization 0.92, max_model_len 16384, speculative_decoding (draft_model example/draft-1b, num_speculative_tokens 4), tensor_parallel_size 16
       rates       4, 8, 16, 32 req/s, until two are rejected
       windows     20s warm-up, 45.5s measured, or 3 and 5 × E2E where that is longer; at most 4min22s for 4 levels, and what stretching and draining take
       objectives  ttft p95 <= 750ms
       shown too   e2e p95 <= 12s
       prompts     25 % sharegpt and 75 % codealpaca, input 4 to 1024 tokens, output normal(128, 32) tokens, poisson arrivals, seed 0
    ");
    assert_snapshot!(warnings(&plan), @r"
    bench.yaml:27:3: dataset.input_length: has no effect on the prompts of a data set, which have lengths of their own; `min_input` and `max_input` bound them
    bench.yaml:47:5: experiments[1].backend_config: tensor_parallel_size 16 is more than gpus_per_node 4: the model spans 4 nodes
    ");
    let Placement::Slurm(server) = &plan.experiments[0].deployment.placement else {
        panic!("it is a Slurm deployment")
    };
    assert_eq!(server.job.account.as_deref(), Some("a-test"));
    assert_eq!((server.port, server.gpus_per_node), (8081, 4));
    assert_eq!(server.hf_token_path, "~/.cache/hf_token");
    assert_eq!(server.reach.site(), "clariden");
    assert_eq!(plan.node_hours().to_string(), "about 1.7, at worst 15.0");
}

#[test]
fn every_key_is_read() {
    let plan = plan(&crate::fixture("valid/every-key.yaml"));
    assert_snapshot!(describe(&plan), @r"
    4 experiments, one after another

    1. fast with sim
       server      this machine, a free port
       settings    profile fast, profiles_file servers.toml, seed 3
       rates       0.5, 2.5, 4, 80 req/s
       windows     500ms warm-up, 1min measured, or 3 and 5 × E2E where that is longer; at most 4min2s for 4 levels, and what stretching and draining take; no level that would end after 10min
       objectives  ttft p95 <= 500ms, tpot p50 <= 50ms, itl p99.9 <= 1.5s, error_rate <= 1%
       prompts     synthetic, input 64 tokens, output uniform(8..32) tokens, constant arrivals, seed 7

    2. fast with sim
       server      this machine, a free port
       settings    profile fast, profiles_file servers.toml, seed 3
       rates       100 req/s
       windows     500ms warm-up, 1min measured, or 3 and 5 × E2E where that is longer; at most 60.5s for 1 level, and what stretching and draining take; no level that would end after 10min
       objectives  ttft p95 <= 500ms, tpot p50 <= 50ms, itl p99.9 <= 1.5s, error_rate <= 1%
       prompts     synthetic, input lognormal(200, 0.5) tokens, output uniform(8..32) tokens, constant arrivals, seed 9

    3. served with openai
       server      https://models.example.org/tenant, key from $MODELS_KEY
       rates       doubling from 1.5 req/s, until two are rejected
       windows     500ms warm-up, 1min measured, or 3 and 5 × E2E where that is longer; no level that would end after 10min
       objectives  ttft p99 <= 800ms, tpot p95 <= 60ms
       shown too   itl p50 <= 40ms
       prompts     synthetic, input 64 tokens, output uniform(8..32) tokens, constant arrivals, seed 7

    4. other with llamacpp
       server      this machine, `llama-server -m {model} --port {port}`, port 9000
       rates       searched from 0.05 req/s, until the peak is known to ±2 % or 10min are over
       objectives  ttft p95 <= 500ms, tpot p50 <= 50ms, itl p99.9 <= 1.5s, error_rate <= 1%
       prompts     synthetic, input 64 tokens, output uniform(8..32) tokens, constant arrivals, seed 7
    ");
    assert_snapshot!(warnings(&plan), @r"
    bench.yaml:29:5: experiments[0].rate_levels: at 0.5 req/s the measured window of 1min holds about 30 requests, and `itl p99.9 <= 1.5s` is accepted from 5000: the level would stay unresolved
    bench.yaml:35:5: experiments[2].all_levels: has no effect without `rate_levels`: doubling rates end after two rejected ones
    bench.yaml:43:5: experiments[3].warmup_duration: has no effect on a search, which chooses its own rates and windows; it is for listed rates
    bench.yaml:43:5: experiments[3].measurement_duration: has no effect on a search, which chooses its own rates and windows; it is for listed rates
    bench.yaml:43:5: experiments[3].all_levels: has no effect on a search, which chooses its own rates and windows; it is for listed rates
    ");
    assert_debug_snapshot!(plan.experiments[2].timeouts, @r"
    Timeouts {
        connect: 2s,
        first_token: 30s,
        between_tokens: 10s,
        total: 120s,
        drain: 45s,
    }
    ");
    assert_debug_snapshot!(plan.experiments[3].deployment.placement, @r#"
    Local(
        LocalSpec {
            command: Some(
                [
                    "llama-server",
                    "-m",
                    "{model}",
                    "--port",
                    "{port}",
                ],
            ),
            environment: {},
            extra_args: [],
            port: 9000,
        },
    )
    "#);
}

#[test]
fn what_is_left_open_has_the_predecessors_defaults() {
    let plan = plan("experiments: [{ model: m, backend: vllm, deployment: local }]");
    assert_eq!(plan.max_parallel_experiments, 2);
    assert_eq!(plan.warnings, []);
    let experiment = &plan.experiments[0];
    assert_eq!(experiment.dataset_config, dataset_config(&experiment.workload));
    assert_snapshot!(render_yaml(&plan), @r"
    version: 1
    defaults:
      max_parallel_experiments: 2
    experiments:
      - model: m
        backend: vllm
        deployment: local
        server_ready_timeout: 15min
        search:
          min_rate: 0.05
          precision: 0.02
        slos:
          - ttft p95 <= 500ms
        informational_slos:
          - e2e p95 <= 10s
        arrivals: poisson
        dataset:
          input_length: { distribution: normal, mean: 512, std: 200, min: 16, max: 1000000 }
          output_length: { distribution: normal, mean: 256, std: 128, min: 2, max: 1000000 }
          seed: 0
    ");
}

#[test]
fn toml_and_yaml_are_two_forms_of_one_plan() {
    let toml = gipfel_config::parse(&crate::fixture("valid/every-key.toml"), "bench.TOML");
    let toml = toml.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        toml.experiments,
        plan(&crate::fixture("valid/every-key.yaml")).experiments
    );
    assert_eq!(toml.max_parallel_experiments, 1);
}

#[test]
fn rendered_files_read_the_same() {
    for file in ["valid/alps.yaml", "valid/every-key.yaml", "valid/slurm.yaml"] {
        let read = plan(&crate::fixture(file));
        let again = plan(&render_yaml(&read));
        assert_eq!(read.experiments, again.experiments);
        assert_eq!(read.max_parallel_experiments, again.max_parallel_experiments);
    }
}

#[test]
fn what_is_shown_reads_the_same_and_says_where_it_comes_from() {
    let text = "
defaults: { seed: 5, total_time: 20min }
experiments:
  - model: m
    backend: vllm
    deployment: local
    environment: { HF_TOKEN: hunter2 }
    repeats: 2
  - model: m
    backend: openai
    deployment: external
    url: http://h:1
    rate_levels: [100]
    latency_slos: { ttft_p99_ms: 800 }
    drain_timeout_s: 30
";
    let read = plan(text);
    let shown = gipfel_config::show(&read);
    let again = plan(&shown);
    let masked = plan(&text.replace("hunter2", "'***'"));
    assert_eq!(again.experiments, masked.experiments);
    assert!(!gipfel_config::show_json(&read).to_string().contains("hunter2"));
    assert_snapshot!(shown, @r#"
    version: 1
    defaults:
      max_parallel_experiments: 2                         # default
    experiments:
      - model: m                                          # bench.yaml:4
        backend: vllm                                     # bench.yaml:5
        deployment: local                                 # bench.yaml:6
        environment:                                      # bench.yaml:7
          HF_TOKEN: "***"                                 # bench.yaml:7
        server_ready_timeout: 15min                       # default
        search:                                           # default
          min_rate: 0.05                                  # default
          precision: 0.02                                 # default
          budget: 20min                                   # bench.yaml:2
        slos:                                             # default
          - ttft p95 <= 500ms
        informational_slos:                               # default
          - e2e p95 <= 10s
        arrivals: poisson                                 # default
        endpoint: chat                                    # default
        stream: true                                      # default
        dataset:                                          # default
          input_length: { distribution: normal, mean: 512, std: 200, min: 16, max: 1000000 }  # default
          output_length: { distribution: normal, mean: 256, std: 128, min: 2, max: 1000000 }  # default
          seed: 5                                         # bench.yaml:2
        connect_timeout: 10s                              # default
        first_token_timeout: 2min                         # default
        between_tokens_timeout: 2min                      # default
        request_timeout: 10min                            # default
        drain_timeout: 5min                               # default
        repeats: 2                                        # bench.yaml:8
      - model: m                                          # bench.yaml:9
        backend: openai                                   # bench.yaml:10
        deployment: external                              # bench.yaml:11
        url: http://h:1                                   # bench.yaml:12
        http2: false                                      # default
        server_ready_timeout: 15min                       # default
        rate_levels: [100]                                # bench.yaml:13
        warmup_duration: 30s                              # default
        measurement_duration: 1min                        # default
        total_time: 20min                                 # bench.yaml:2
        all_levels: false                                 # default
        exact_windows: false                              # default
        slos:                                             # bench.yaml:14
          - ttft p99 <= 800ms
        informational_slos:                               # bench.yaml:14
          - e2e p95 <= 10s
        arrivals: poisson                                 # default
        endpoint: chat                                    # default
        stream: true                                      # default
        dataset:                                          # default
          input_length: { distribution: normal, mean: 512, std: 200, min: 16, max: 1000000 }  # default
          output_length: { distribution: normal, mean: 256, std: 128, min: 2, max: 1000000 }  # default
          seed: 5                                         # bench.yaml:2
        connect_timeout: 10s                              # default
        first_token_timeout: 2min                         # default
        between_tokens_timeout: 2min                      # default
        request_timeout: 10min                            # default
        drain_timeout: 30s                                # bench.yaml:15
        repeats: 1                                        # default
    "#);
}

#[test]
fn objectives_have_two_forms() {
    let check = |defaults: &str, experiment: &str, expected: &str| {
        let plan = external(defaults, experiment);
        let experiment = &plan.experiments[0];
        let texts =
            |slos: &[gipfel_model::Slo]| -> Vec<String> { slos.iter().map(ToString::to_string).collect() };
        let found = [texts(&experiment.slos), texts(&experiment.informational_slos)];
        assert_eq!(found.map(|slos| slos.join(", ")).join(" | "), expected);
    };
    check("", "", "ttft p95 <= 500ms | e2e p95 <= 10s");
    check("", "latency_slos: {}", "ttft p95 <= 500ms | e2e p95 <= 10s");
    check(
        "",
        "latency_slos: { ttft_p99_ms: 800 }",
        "ttft p99 <= 800ms | e2e p95 <= 10s",
    );
    check(
        "",
        "latency_slos: { tpot_p50_ms: 12.5, e2e_p95_ms: 5000 }",
        "ttft p95 <= 500ms, tpot p50 <= 12.5ms | e2e p95 <= 5s",
    );
    check(
        "",
        "latency_slos: { e2e_p90_ms: 9000 }",
        "ttft p95 <= 500ms, e2e p90 <= 9s | ",
    );
    check("", "slos: [itl p99 <= 30ms]", "itl p99 <= 30ms | ");
    check(
        "latency_slos: { ttft_p95_ms: 1 }",
        "slos: [e2e p50 <= 2s]",
        "e2e p50 <= 2s | ",
    );
    check(
        "slos: [e2e p50 <= 2s]",
        "latency_slos: { ttft_p95_ms: 1 }",
        "ttft p95 <= 1ms | e2e p95 <= 10s",
    );
    check(
        "informational_slos: [itl p50 <= 1s]",
        "slos: [e2e p50 <= 2s]",
        "e2e p50 <= 2s | itl p50 <= 1s",
    );
}

#[test]
fn an_experiment_goes_before_the_defaults() {
    let plan = external(
        "seed: 3, warmup_duration: 1s, rate_levels: [200], dataset: { input_length: 9, output_length: 8 }, port: 1",
        "dataset: { seed: 4, input_length: 7 }, warmup_duration_s: 0, first_rate: 5",
    );
    assert_snapshot!(describe(&plan), @r"
    1 experiment

    1. m with openai
       server      http://h:1
       rates       doubling from 5 req/s, until two are rejected
       windows     0s warm-up, 1min measured, or 3 and 5 × E2E where that is longer
       objectives  ttft p95 <= 500ms
       shown too   e2e p95 <= 10s
       prompts     synthetic, input 7 tokens, output 8 tokens, poisson arrivals, seed 4
    ");
}

#[test]
fn a_search_is_bounded_in_many_ways() {
    let check = |defaults: &str, experiment: &str, expected: &str| {
        let plan = external(defaults, experiment);
        let text = render_yaml(&plan);
        let begin = text.find("    search:").unwrap_or_else(|| panic!("{text}"));
        let map: Vec<&str> = text[begin..]
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("      "))
            .map(str::trim)
            .collect();
        assert_eq!(map.join(", "), expected);
        assert_eq!(plan.warnings, []);
    };
    check("", "", "min_rate: 0.05, precision: 0.02");
    check("", "search: true", "min_rate: 0.05, precision: 0.02");
    check("", "search: {}", "min_rate: 0.05, precision: 0.02");
    check(
        "search: { min_rate: 2, budget: 30min }",
        "search: { max_rate: 5400/min, precision: 1.5% }",
        "min_rate: 2, max_rate: 90, precision: 0.015, budget: 30min",
    );
    check(
        "rate_levels: [1, 2]",
        "search: { precision: 0.05, budget_s: 90 }",
        "min_rate: 0.05, precision: 0.05, budget: 1min30s",
    );
    check(
        "total_time: 20min",
        "",
        "min_rate: 0.05, precision: 0.02, budget: 20min",
    );
    check(
        "total_time: 20min",
        "search: { budget: 10min }",
        "min_rate: 0.05, precision: 0.02, budget: 10min",
    );
    let plan = external("search: { budget: 5min }", "rate_levels: [150]");
    assert!(matches!(
        plan.experiments[0].schedule.rates,
        gipfel_model::Rates::Listed(_)
    ));
}

#[test]
fn repeats_have_servers_and_seeds_of_their_own() {
    let text = "
defaults: { repeats: 3, seed: 5, exact_windows: true, rate_levels: [100, 200], max_parallel_experiments: 1 }
experiments:
  - { model: m, backend: vllm, deployment: local }
  - { model: m, backend: vllm, deployment: local, repeats: 1, search: true, exact_windows: false }
  - { model: m, backend: openai, deployment: external, url: 'http://h:1', repeats: 2 }
";
    let plan = self::plan(text);
    let found: Vec<String> = plan
        .experiments
        .iter()
        .map(|experiment| {
            assert_eq!(experiment.dataset_config, dataset_config(&experiment.workload));
            format!(
                "{}/{}/{}",
                experiment.repeat, experiment.deployment.instance, experiment.workload.seed
            )
        })
        .collect();
    assert_eq!(found, ["0/0/5", "1/1/6", "2/2/7", "0/0/5", "0/0/5", "1/0/6"]);
    assert_snapshot!(describe(&plan), @r"
    3 experiments, 6 runs, one after another

    1. m with vllm
       server      this machine, a free port
       rates       100, 200 req/s, until two are rejected
       windows     30s warm-up, 1min measured; at most 3min for 2 levels, and what they take to drain
       objectives  ttft p95 <= 500ms
       shown too   e2e p95 <= 10s
       prompts     synthetic, input normal(512, 200) tokens, output normal(256, 128) tokens, poisson arrivals, seed 5
       repeats     3, each on a fresh server; the seed grows by 1

    2. m with vllm
       server      this machine, a free port
       rates       searched from 0.05 req/s, until the peak is known to ±2 % or max(15min, 60 × E2E) are over
       objectives  ttft p95 <= 500ms
       shown too   e2e p95 <= 10s
       prompts     synthetic, input normal(512, 200) tokens, output normal(256, 128) tokens, poisson arrivals, seed 5

    3. m with openai
       server      http://h:1
       rates       100, 200 req/s, until two are rejected
       windows     30s warm-up, 1min measured; at most 3min for 2 levels, and what they take to drain
       objectives  ttft p95 <= 500ms
       shown too   e2e p95 <= 10s
       prompts     synthetic, input normal(512, 200) tokens, output normal(256, 128) tokens, poisson arrivals, seed 5
       repeats     2, all against this server; the seed grows by 1
    ");
    assert_snapshot!(warnings(&plan), @r"bench.yaml:6:75: experiments[2].repeats: all repeats go to the one server behind the URL: their spread says how well a measurement repeats, not how much fresh deployments differ");
    assert_eq!(self::plan(&render_yaml(&plan)).experiments, plan.experiments);
}

#[test]
fn doubtful_settings_are_warned_of() {
    let plan = external(
        "request_timeout_s: 300",
        "rate_levels: [20, 0.5], dataset: { num_prompts: 10 }",
    );
    assert_snapshot!(warnings(&plan), @r"
    bench.yaml:1:13: defaults.request_timeout_s: limits the whole request here; where it limited the first token before, the key is `first_token_timeout`
    bench.yaml:2:85: experiments[0].rate_levels: the rates were sorted: levels are measured in ascending order
    bench.yaml:2:85: experiments[0].rate_levels: at 0.5 req/s the measured window of 1min holds about 30 requests, and `ttft p95 <= 500ms` is accepted from 100: the level would stay unresolved
    bench.yaml:2:133: experiments[0].dataset.num_prompts: not used by synthetic prompts, of which there are as many as arrivals
    ");
    let plan = external("all_levels: true", "first_rate: 2");
    assert_snapshot!(warnings(&plan), @r"bench.yaml:2:15: experiments[0].all_levels: has no effect without `rate_levels`: doubling rates end after two rejected ones");
    let text = "
experiments:
  - { model: m, backend: vllm, deployment: local, environment: { HF_TOKEN: secret, TOKENIZERS_PARALLELISM: true } }
  - { model: m, backend: vllm, deployment: k8s, image: i, gpus_per_node: 8, backend_config: { tensor_parallel_size: 12, pipeline_parallel_size: 2 } }
";
    assert_snapshot!(warnings(&self::plan(text)), @r"
    bench.yaml:3:76: experiments[0].environment.HF_TOKEN: looks like a secret, and what stands here is written to the run's files; a server on this machine gets gipfel's own environment anyway, one on a cluster the token of `hf_token_path`
    bench.yaml:4:77: experiments[1].backend_config: tensor_parallel_size 12 is more than gpus_per_node 8: the model spans 3 nodes
    ");
}

#[test]
fn kubernetes_has_its_keys() {
    let plan = plan(&crate::fixture("valid/kubernetes.yaml"));
    let described = describe(&plan);
    let places = described
        .lines()
        .filter(|line| line.contains(" server ") || line.contains(" load "));
    assert_snapshot!(places.collect::<Vec<_>>().join("\n"), @r"
    server      Kubernetes, namespace inference, 1 node of 4 GPUs, reached by an Ingress under models.example.org
    server      Kubernetes, namespace inference, 1 node of 4 GPUs, reached by its Service only
    load        Kubernetes, namespace inference, 2 pods
    server      http://models.example.org
    load        Kubernetes, namespace inference, 1 pod
    server      Kubernetes, namespace inference, 1 node of 4 GPUs, reached by an Ingress under models.example.org
    load        Slurm, 1 node, partition normal, walltime 01:00:00
    ");
    assert_snapshot!(warnings(&plan), @"");
    assert_debug_snapshot!(plan.experiments[0].deployment.placement, @r#"
    K8s(
        K8sSpec {
            context: Some(
                "far",
            ),
            namespace: "inference",
            ingress: Some(
                K8sIngress {
                    domain: "models.example.org",
                    class: Some(
                        "nginx",
                    ),
                    tls_issuer: Some(
                        "letsencrypt",
                    ),
                    ca_file: Some(
                        "/etc/ssl/site.pem",
                    ),
                },
            ),
            image: Some(
                "registry.example.org/vllm:1",
            ),
            image_pull_secrets: [
                "pull",
            ],
            node_selector: {
                "node.kubernetes.io/instance-type": "gh200",
            },
            tolerations: [
                K8sToleration {
                    key: "hpc",
                    value: Some(
                        "true",
                    ),
                    effect: Some(
                        "NoSchedule",
                    ),
                },
                K8sToleration {
                    key: "nvidia.com/gpu",
                    value: None,
                    effect: None,
                },
            ],
            requests: K8sRequests {
                cpu: Some(
                    "16",
                ),
                memory: Some(
                    "200Gi",
                ),
                ephemeral_storage: Some(
                    "60Gi",
                ),
                shared_memory: "16Gi",
            },
            limits: K8sLimits {
                cpu: None,
                memory: Some(
                    "400Gi",
                ),
                ephemeral_storage: None,
            },
            gpu_resource: "nvidia.com/gpu",
            gpus_per_node: 4,
            port: 8000,
            command: None,
            environment: {
                "A": "b",
            },
            extra_args: [],
            model_cache: Some(
                K8sModelCache {
                    claim: "models",
                    size: "1Ti",
                    storage_class: Some(
                        "shared",
                    ),
                    mount_path: "/model-cache",
                    is_filled: true,
                },
            ),
            hf_token: Some(
                Secret(
                    K8sSecretKey {
                        name: "hugging-face",
                        key: "token",
                    },
                ),
            ),
            nccl_over_tcp: true,
            cuda_compatibility: false,
        },
    )
    "#);
    assert_debug_snapshot!(plan.experiments[1].load, @r#"
    InCluster(
        K8sLoad {
            context: Some(
                "far",
            ),
            namespace: "inference",
            pods: 2,
            image: "tools",
            image_pull_secrets: [
                "pull",
            ],
            architecture: "x86_64",
            node_selector: {
                "kind": "cpu",
            },
            tolerations: [
                K8sToleration {
                    key: "hpc",
                    value: Some(
                        "true",
                    ),
                    effect: Some(
                        "NoSchedule",
                    ),
                },
                K8sToleration {
                    key: "nvidia.com/gpu",
                    value: None,
                    effect: None,
                },
            ],
            cpu: Some(
                "4",
            ),
            memory: Some(
                "8Gi",
            ),
            results: Some(
                K8sVolume {
                    claim: "results",
                    size: "5Gi",
                    storage_class: None,
                },
            ),
        },
    )
    "#);
    let again = parse_yaml(&render_yaml(&plan), "again.yaml").unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(again.experiments, plan.experiments);
}

#[test]
fn rates_are_sorted_and_have_units() {
    let plan = external("", "rate_levels: [600/min, 2.5/s, '5', 1e2]");
    let gipfel_model::Rates::Listed(rates) = &plan.experiments[0].schedule.rates else {
        panic!("the rates were listed");
    };
    let rates: Vec<f64> = rates.iter().map(|rate| rate.get()).collect();
    assert_eq!(rates, [2.5, 5.0, 10.0, 100.0]);
}

#[test]
fn texts_may_be_tagged_and_quoted() {
    let plan = plan("experiments: [{ model: !!str 405, backend: 'vllm', deployment: \"local\", seed: 0 }]");
    assert_eq!(plan.experiments[0].deployment.model, "405");
}

#[test]
fn the_examples_can_be_run_as_they_stand() {
    for file in ["quickstart.yaml", "llamacpp.yaml", "alps-kubernetes.yaml"] {
        let plan = plan(&crate::fixture(&format!("../../../examples/{file}")));
        assert_eq!(warnings(&plan), "", "{file}");
    }
}

#[test]
fn workloads_are_read_and_written() {
    let plan = plan(&crate::fixture("valid/workloads.yaml"));
    assert_snapshot!(warnings(&plan), @r"
    bench.yaml:10:89: experiments[0].dataset.input_length: has no effect on the prompts of a data set, which have lengths of their own; `min_input` and `max_input` bound them
    bench.yaml:14:5: experiments[4].requests_per_level: has no effect on a search, which chooses its own rates and windows; it is for listed rates
    bench.yaml:14:5: experiments[4].warmup_ramp: has no effect on a search, which chooses its own rates and windows; it is for listed rates
    bench.yaml:15:95: experiments[5].dataset.min_input: has no effect on synthetic prompts; `input_length` says how long they are
    bench.yaml:15:111: experiments[5].dataset.num_prompts: not used by synthetic prompts, of which there are as many as arrivals
    ");
    let described = describe(&plan);
    let prompts = described
        .lines()
        .filter(|line| line.contains("prompts") || line.contains("windows"));
    assert_snapshot!(prompts.collect::<Vec<_>>().join("\n"), @r"
    windows     30s warm-up with a ramp, 500 requests measured; the warm-up 3 × E2E where that is longer; at most 67.5s for 2 levels, and what stretching and draining take
    prompts     70 % sharegpt and 30 % codealpaca, input 4 to 1024 tokens, output as its answers say, counted with tokenizer.json, gamma(0.5) arrivals, seed 3
    windows     30s warm-up with a ramp, 500 requests measured; the warm-up 3 × E2E where that is longer; at most 67.5s for 2 levels, and what stretching and draining take
    prompts     codealpaca, input 4 to 64 tokens, output as its answers say, counted with tokenizer.json, poisson arrivals, seed 3
    windows     30s warm-up with a ramp, 500 requests measured; the warm-up 3 × E2E where that is longer; at most 67.5s for 2 levels, and what stretching and draining take
    prompts     own.jsonl, input 1 to 1000000 tokens, output as its answers say, counted with tokenizer.json, poisson arrivals, seed 3
    windows     30s warm-up with a ramp, 500 requests measured; the warm-up 3 × E2E where that is longer; at most 67.5s for 2 levels, and what stretching and draining take
    prompts     x.data, input 1 to 1000000 tokens, output 8 tokens, counted with tokenizer.json, gamma(0.5) arrivals, seed 3
    prompts     sonnet, input 64 tokens, output normal(256, 128) tokens, counted with tokenizer.json, gamma(0.5) arrivals, seed 3
    windows     30s warm-up with a ramp, 500 requests measured; the warm-up 3 × E2E where that is longer; at most 67.5s for 2 levels, and what stretching and draining take
    prompts     synthetic, input normal(512, 200) tokens, output normal(256, 128) tokens, counted with tokenizer.json, gamma(0.5) arrivals, seed 3
    ");
    let again = parse_yaml(&render_yaml(&plan), "again.yaml").expect("a rendered plan is valid");
    assert_eq!(again.experiments, plan.experiments);
    let records = plan
        .experiments
        .iter()
        .map(|experiment| serde_json::Value::Object(experiment.dataset_config.clone()));
    assert_snapshot!(records.map(|record| record.to_string()).collect::<Vec<_>>().join("\n"), @r#"
    {"max_input":1024,"min_input":4,"nonce":true,"output_length":"dataset","seed":3,"sharegpt_fraction":0.7,"source":"sharegpt+codealpaca","tokenizer":"tokenizer.json"}
    {"max_input":64,"min_input":4,"nonce":true,"output_length":"dataset","seed":3,"source":"codealpaca","tokenizer":"tokenizer.json"}
    {"max_input":1000000,"min_input":1,"nonce":false,"num_prompts":9,"output_length":"dataset","seed":3,"source":"jsonl","tokenizer":"tokenizer.json"}
    {"max_input":1000000,"min_input":1,"nonce":true,"output_length":{"distribution":"fixed","value":8},"seed":3,"source":"sharegpt","tokenizer":"tokenizer.json"}
    {"input_length":{"distribution":"fixed","value":64},"output_length":{"distribution":"normal","max":1000000,"mean":256.0,"min":2,"std":128.0},"seed":3,"source":"sonnet","tokenizer":"tokenizer.json"}
    {"input_length":{"distribution":"normal","max":1000000,"mean":512.0,"min":16,"std":200.0},"num_prompts":5,"output_length":{"distribution":"normal","max":1000000,"mean":256.0,"min":2,"std":128.0},"seed":3,"tokenizer":"tokenizer.json"}
    "#);
}

#[test]
fn the_example_for_alps_is_within_its_node_hours() {
    let text =
        crate::fixture("../../../examples/alps-slurm.yaml").replace("${GIPFEL_ACCOUNT:-csstaff}", "csstaff");
    let plan = plan(&text);
    assert_snapshot!(plan.node_hours(), @"about 3.3, at worst 15.0");
    assert_snapshot!(warnings(&plan), @"bench.yaml:55:5: experiments[2].backend_config: tensor_parallel_size 16 is more than gpus_per_node 4: the model spans 4 nodes");
}

#[test]
fn slurm_jobs_have_their_keys() {
    let plan = plan(&crate::fixture("valid/slurm.yaml"));
    let described = describe(&plan);
    let places = described
        .lines()
        .filter(|line| line.contains(" server ") || line.contains(" load "));
    assert_snapshot!(places.collect::<Vec<_>>().join("\n"), @r"
    server      Slurm, 2 nodes of 4 GPUs, partition gpu, walltime 1-12:00:00
    load        Slurm, 2 nodes with 4 processes each, partition cpu, walltime 02:00:00
    server      Slurm, 1 node of 4 GPUs, partition debug, walltime 01:00:00
    load        in the server's job
    server      http://10.0.0.1:8000
    load        Slurm, 1 node, partition normal, walltime 01:00:00
    server      http://10.0.0.1:8000
    server      Slurm, 1 node of 4 GPUs, partition debug, walltime 01:00:00
    ");
    assert_snapshot!(warnings(&plan), @"
    bench.yaml:30:5: experiments[0].backend_config: tensor_parallel_size 8 is more than gpus_per_node 4: the model spans 2 nodes
    bench.yaml:57:5: experiments[4].benchmarker: the load of this machine reaches the server through a tunnel over ssh, whose time counts as the server's latency; it lives as long as gipfel does
    ");
    assert_snapshot!(plan.node_hours(), @"about 1.2, at worst 79.0");
    let Placement::Slurm(large) = &plan.experiments[0].deployment.placement else {
        panic!("it is a Slurm deployment")
    };
    assert_eq!(large.reach.ssh_host.as_deref(), Some("login.example.org"));
    assert_eq!(large.reach.site(), "./site.toml");
    assert_eq!(large.image.as_deref(), Some("registry.example.org#vllm:1"));
    let job = &large.job;
    let words = [&job.qos, &job.reservation, &job.constraint, &job.exclude].map(Option::as_deref);
    assert_eq!(
        words,
        [
            Some("high"),
            Some("tonight"),
            Some("gpu&nvme"),
            Some("nid001[001-004]")
        ]
    );
    assert_eq!(job.sbatch_args, ["--mem=0", "--mail-type=END"]);
    let LoadPlacement::Slurm(load) = &plan.experiments[2].load else {
        panic!("it has a job of its own")
    };
    assert_eq!(load.reach.firecrest_system.as_deref(), Some("clariden"));
    assert_eq!((load.nodes, load.tasks_per_node), (1, 1));
}

#[test]
fn too_many_node_hours_are_refused() {
    let check = |most: &str, expected: &str| {
        let defaults = format!("defaults: {{ max_node_hours: {most}, server_time_limit: '02:00:00' }}");
        let two = "{ model: m, backend: vllm, deployment: slurm }, { model: m, backend: vllm, deployment: slurm, seed: 2 }";
        let plan = self::plan(&format!("{defaults}\nexperiments: [{two}]"));
        let refusal = plan.check_node_hours().map(|refusal| refusal.to_string());
        assert_eq!(refusal.unwrap_or_default(), expected);
    };
    // Equal deployments share one server of two hours; each run has a load generator of one hour.
    check("4", "");
    check(
        "3.9",
        "the jobs may take 4.0 node-hours if they live until their walltimes, and `max_node_hours` is 3.9",
    );
}
