//! Whatever the text, and whatever the plan.

use std::{path::PathBuf, time::Duration};

use gipfel_config::{Plan, dataset_config, describe, parse_yaml, render_yaml};
use gipfel_model::{
    AnswerLength, ApiEndpoint, ArrivalProcess, ArrivalRate, BackendKind, ClusterKind, ContainerKind,
    DataSetFile, DataSetForm, DataSetSpec, DeploymentSpec, ExperimentSpec, LengthDistribution, LoadPlacement,
    LocalSpec, PromptSource, Rates, RequestForm, SearchSpec, Slo, SlurmJob, SlurmLoad, SlurmReach, SlurmSpec,
    Timeouts, Walltime, WorkloadSpec,
    deployment::{ApiKeySource, EndpointSpec, HeaderSource, Placement},
    run_config::LevelSchedule,
};
use proptest::{collection, option, prelude::*, sample};
use serde_json::{Map, Value};

/// Reads a text, and checks what holds of every answer.
fn read(text: &str) {
    match parse_yaml(text, "any.yaml") {
        Ok(plan) => {
            assert!(!plan.experiments.is_empty());
            describe(&plan);
            let again = parse_yaml(&render_yaml(&plan), "again.yaml").expect("a rendered plan is valid");
            assert_eq!(plan.experiments, again.experiments);
        }
        Err(faults) => {
            assert!(!faults.as_slice().is_empty());
            assert!(
                faults
                    .as_slice()
                    .is_sorted_by_key(|fault| (fault.place.line, fault.place.column))
            );
            assert_eq!(faults.to_string().lines().count(), faults.as_slice().len());
        }
    }
}

/// A change of a text at a place, both as shares of what there is.
#[derive(Clone, Debug)]
enum Change {
    Delete(sample::Index, usize),
    Insert(sample::Index, String),
    RepeatLine(sample::Index, sample::Index),
    DropLine(sample::Index),
}

impl Change {
    fn apply(&self, text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        let mut lines: Vec<&str> = text.lines().collect();
        match self {
            _ if characters.is_empty() || lines.is_empty() => text.to_owned(),
            Self::Delete(at, count) => {
                let at = at.index(characters.len());
                let kept = characters
                    .iter()
                    .take(at)
                    .chain(characters.iter().skip(at + count));
                kept.collect()
            }
            Self::Insert(at, inserted) => {
                let at = at.index(characters.len());
                let (before, after) = characters.split_at(at);
                before
                    .iter()
                    .copied()
                    .chain(inserted.chars())
                    .chain(after.iter().copied())
                    .collect()
            }
            Self::RepeatLine(from, to) => {
                lines.insert(to.index(lines.len()), lines[from.index(lines.len())]);
                lines.join("\n")
            }
            Self::DropLine(at) => {
                lines.remove(at.index(lines.len()));
                lines.join("\n")
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<sample::Index>;
    let pieces = sample::select(vec![
        ":",
        "-",
        " ",
        "\n",
        "  ",
        "[",
        "${",
        "${A:-5}",
        "$$",
        "include: b.yaml\n",
        "]",
        "{",
        "}",
        "&a",
        "*first",
        "<<: *first",
        "!!str ",
        "'",
        "\"",
        "|",
        ">",
        "#",
        "null",
        "0",
        "-1",
        "1e999",
        ".inf",
        "true",
        "~",
        "?",
        "---",
        "%",
        "\t",
        "\u{feff}",
        "é",
    ]);
    prop_oneof![
        (index(), 1_usize..12).prop_map(|(at, count)| Change::Delete(at, count)),
        (index(), pieces).prop_map(|(at, piece)| Change::Insert(at, piece.to_owned())),
        (index(), any::<char>()).prop_map(|(at, c)| Change::Insert(at, c.to_string())),
        (index(), index()).prop_map(|(from, to)| Change::RepeatLine(from, to)),
        index().prop_map(Change::DropLine),
    ]
}

fn duration(least_ns: u64) -> impl Strategy<Value = Duration> {
    let day_ns = 86_400_000_000_000;
    prop_oneof![
        (1_u64..100_000).prop_map(Duration::from_millis),
        (least_ns..day_ns).prop_map(Duration::from_nanos),
    ]
}

fn rate() -> impl Strategy<Value = ArrivalRate> {
    (1e-3..1e6).prop_map(|rate| ArrivalRate::per_second(rate).expect("a rate"))
}

/// A search leaves the windows and the total time at their defaults: it has none.
fn search() -> impl Strategy<Value = LevelSchedule> {
    let bounds = (rate(), option::of(1.001..100.0));
    (bounds, 1e-6..=0.5, option::of(duration(1))).prop_map(|((min_rate, above), precision, budget)| {
        let above = above.map(|factor: f64| ArrivalRate::per_second(min_rate.get() * factor));
        LevelSchedule {
            rates: Rates::Search(SearchSpec {
                min_rate,
                max_rate: above.map(|rate| rate.expect("a rate")),
                precision,
                budget,
            }),
            warmup: Duration::from_secs(30),
            measured: Duration::from_mins(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        }
    })
}

fn schedule() -> impl Strategy<Value = LevelSchedule> {
    prop_oneof![levels(), search()]
}

fn levels() -> impl Strategy<Value = LevelSchedule> {
    let listed = collection::vec(rate(), 1..8).prop_map(|mut rates| {
        rates.sort_by(|a, b| a.get().total_cmp(&b.get()));
        rates.dedup();
        Rates::Listed(rates)
    });
    let rates = prop_oneof![listed, rate().prop_map(|first| Rates::Doubling { first })];
    (
        rates,
        duration(0),
        duration(1),
        any::<(bool, bool, bool)>(),
        (option::of(duration(1)), option::of(1..100_000_u32)),
    )
        .prop_map(
            |(rates, warmup, measured, flags, (total_time, requests_per_level))| {
                let (all_levels, exact_windows, warmup_ramp) = flags;
                LevelSchedule {
                    requests_per_level,
                    warmup_ramp,
                    exact_windows,
                    all_levels: all_levels && matches!(rates, Rates::Listed(_)),
                    rates,
                    warmup,
                    measured,
                    total_time,
                }
            },
        )
}

fn length() -> impl Strategy<Value = LengthDistribution> {
    let bounds = || (1..5000_u32, 0..=1_000_000_u32).prop_map(|(min, more)| (min, min + more));
    prop_oneof![
        (1..=u32::MAX).prop_map(|value| LengthDistribution::Fixed { value }),
        bounds().prop_map(|(min, max)| LengthDistribution::Uniform { min, max }),
        (1e-3..1e6, 0.0..1e6, bounds()).prop_map(|(mean, std, (min, max))| LengthDistribution::Normal {
            mean,
            std,
            min,
            max
        }),
        (1e-3..1e6, 0.0..10.0, bounds()).prop_map(|(median, sigma, (min, max))| {
            LengthDistribution::Lognormal {
                median,
                sigma,
                min,
                max,
            }
        }),
    ]
}

fn slos(least: usize) -> impl Strategy<Value = Vec<Slo>> {
    let metric = sample::select(vec!["ttft", "tpot", "itl", "e2e"]);
    let latency = (metric, 1..100_000_u32, duration(1)).prop_map(|(metric, quantile, limit)| {
        let limit = gipfel_model::format_duration(limit);
        format!("{metric} p{} <= {limit}", f64::from(quantile) / 1000.0)
    });
    let share = (0..=1000_u32).prop_map(|share| format!("error_rate <= {}%", f64::from(share) / 10.0));
    let slo = prop_oneof![3 => latency, 1 => share].prop_map(|text| text.parse().expect("an objective"));
    collection::vec(slo, least..4)
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    (duration(1), duration(1), duration(1), duration(1), duration(0)).prop_map(
        |(connect, first_token, between_tokens, total, drain)| Timeouts {
            connect,
            first_token,
            between_tokens,
            total,
            drain,
        },
    )
}

/// A text that a configuration can carry: not blank, without a null character.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9/._ -]{0,20}",
        "[${}A-Z:-]{1,8}",
        ".*".prop_map(|text| text.replace('\0', "")),
        sample::select(vec![
            "null", "true", "~", "12", "a: b", "a #b", "- a", "'", "\"", "\\", "\n", " a "
        ])
        .prop_map(str::to_owned),
    ]
    .prop_filter("blank", |text| !text.trim().is_empty())
}

/// What Slurm reads as one word.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9._,:&|*()\\[\\]-]{0,10}"
}

fn reach() -> impl Strategy<Value = SlurmReach> {
    let kind = sample::select(ClusterKind::ALL.to_vec());
    let parts = (
        option::of(word()),
        word(),
        option::of(text()),
        option::of("/[a-z/ ]{1,8}[a-z]"),
    );
    (kind, parts).prop_map(
        |(cluster, (firecrest_system, host, site, scratch_base))| SlurmReach {
            cluster,
            firecrest_system,
            ssh_host: Some(host),
            site,
            scratch_base,
        },
    )
}

fn job() -> impl Strategy<Value = SlurmJob> {
    let optional = || option::of(word());
    let arguments = collection::vec("--[a-z]{1,5}=[a-z '\"#]{0,5}", 0..3);
    let walltime = (1..800_000_u64).prop_map(|seconds| Walltime::from_secs(seconds).expect("a walltime"));
    (
        (optional(), word()),
        (optional(), optional(), optional(), optional()),
        walltime,
        arguments,
    )
        .prop_map(
            |((account, partition), (qos, reservation, constraint, exclude), walltime, sbatch_args)| {
                SlurmJob {
                    account,
                    partition,
                    qos,
                    reservation,
                    constraint,
                    exclude,
                    walltime,
                    sbatch_args,
                }
            },
        )
}

/// Boxed, since the whole of it would not fit on a test's stack.
fn slurm_server() -> BoxedStrategy<SlurmSpec> {
    let container = option::of(sample::select(ContainerKind::ALL.to_vec()));
    let own = (
        collection::vec(text(), 1..4),
        collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,10}", text(), 0..3),
        collection::vec(text(), 0..3),
    );
    let texts = (text(), option::of(text()));
    (reach(), job(), texts, (1..9_u32, any::<u16>(), container), own)
        .prop_map(
            |(reach, job, (hf_token_path, image), (gpus_per_node, port, container), own)| SlurmSpec {
                reach,
                job,
                hf_token_path,
                // It is the data set's as well.
                hf_home: None,
                gpus_per_node,
                port,
                image,
                container,
                command: Some(own.0),
                environment: own.1,
                extra_args: own.2,
            },
        )
        .boxed()
}

/// A load generator for a server of its own kind; it shares the server's cluster and account.
fn load_of(placement: Placement) -> BoxedStrategy<(Placement, LoadPlacement)> {
    let parts = (0..3_u8, reach(), job(), 1..9_u32, 1..9_u32);
    let placed = parts.prop_map(move |(choice, reach, job, nodes, tasks_per_node)| {
        let (reach, account) = match &placement {
            Placement::Slurm(server) => (server.reach.clone(), server.job.account.clone()),
            _ => (reach, job.account.clone()),
        };
        let job = SlurmJob {
            account,
            qos: None,
            reservation: None,
            constraint: None,
            exclude: None,
            ..job
        };
        let load = SlurmLoad {
            reach,
            job,
            nodes,
            tasks_per_node,
            endpoint_timeout: Duration::ZERO,
        };
        let load = match (&placement, choice) {
            (Placement::Slurm(_), 0) => LoadPlacement::SameJob,
            (Placement::Slurm(_) | Placement::External(_), 1) => LoadPlacement::Slurm(Box::new(load)),
            _ => LoadPlacement::Local,
        };
        (placement.clone(), load)
    });
    placed.boxed()
}

fn placement() -> BoxedStrategy<Placement> {
    let name = "[A-Za-z_][A-Za-z0-9_]{0,10}";
    let key = prop_oneof![
        Just(ApiKeySource::None),
        name.prop_map(ApiKeySource::Environment),
        text().prop_map(|path| ApiKeySource::File(path.into())),
    ];
    let url = "https?://[a-z]{1,8}(:[1-9][0-9]{0,3})?(/[a-z]{1,5}){0,2}";
    let header = prop_oneof![
        "[a-z]{1,8}".prop_map(HeaderSource::Text),
        name.prop_map(HeaderSource::Environment),
        text().prop_map(|path| HeaderSource::File(path.into())),
    ];
    let way = (
        collection::btree_map("X-[A-Za-z]{1,5}", header, 0..3),
        option::of(text().prop_map(Into::into)),
        option::of("http://[a-z]{1,8}:[1-9][0-9]{0,3}"),
        any::<bool>(),
        collection::btree_set("http://n[0-9]{1,3}:1", 0..3),
    );
    let external = (url, key, way).prop_map(|(url, api_key, (headers, ca_file, proxy, http2, replicas))| {
        Placement::External(EndpointSpec {
            api_key,
            headers,
            ca_file,
            proxy,
            http2,
            replicas: replicas.into_iter().collect(),
            ..EndpointSpec::new(&url)
        })
    });
    let arguments = |least| collection::vec(text(), least..4);
    let environment = collection::btree_map(name, text(), 0..3);
    let local = (arguments(1), environment, arguments(0), any::<u16>()).prop_map(
        |(command, environment, extra_args, port)| {
            Placement::Local(LocalSpec {
                command: Some(command),
                environment,
                extra_args,
                port,
            })
        },
    );
    let slurm = slurm_server().prop_map(|server| Placement::Slurm(Box::new(server)));
    prop_oneof![external, local, slurm].boxed()
}

fn backend() -> impl Strategy<Value = (BackendKind, Map<String, Value>)> {
    let gpu = sample::select(vec![BackendKind::Vllm, BackendKind::Sglang, BackendKind::Openai]);
    let vllm =
        (gpu, 1..64_u32, 0.01..1.0, any::<bool>(), text()).prop_map(|(backend, size, share, flag, draft)| {
            let config = serde_json::json!({
                "tensor_parallel_size": size,
                "gpu_memory_utilization": share,
                "enable_prefix_caching": flag,
                "kv_transfer_config": "{\"kv_connector\": \"x\"}",
                "speculative_decoding": { "draft_model": draft, "num_speculative_tokens": size },
            });
            (backend, config.as_object().cloned().unwrap_or_default())
        });
    let sim = (text(), any::<u64>()).prop_map(|(profile, seed)| {
        let config = serde_json::json!({ "profile": profile, "seed": seed });
        (BackendKind::Sim, config.as_object().cloned().unwrap_or_default())
    });
    prop_oneof![vllm, sim, Just((BackendKind::Ollama, Map::new()))]
}

/// An experiment with its repeats, as a file has them.
fn repeated() -> impl Strategy<Value = Vec<ExperimentSpec>> {
    (experiment(), 1..4_u32).prop_map(|(first, repeats)| {
        let nth = |repeat: u32| {
            let mut experiment = first.clone();
            experiment.repeat = repeat;
            experiment.workload.seed = first.workload.seed.wrapping_add(u64::from(repeat));
            experiment.dataset_config = dataset_config(&experiment.workload);
            if !matches!(experiment.deployment.placement, Placement::External(_)) {
                experiment.deployment.instance = repeat;
            }
            experiment
        };
        (0..repeats).map(nth).collect()
    })
}

/// Streamed, since what is not streamed has fewer objectives.
fn requests() -> impl Strategy<Value = RequestForm> {
    sample::select(ApiEndpoint::ALL.to_vec()).prop_map(|endpoint| RequestForm {
        endpoint,
        stream: true,
    })
}

/// Where prompts come from, with the lengths that mean something then.
fn prompts() -> impl Strategy<Value = (PromptSource, LengthDistribution, LengthDistribution)> {
    let form = sample::select(DataSetForm::ALL);
    let sizes = (
        1..50_u32,
        50..5_000_u32,
        option::of(1..999_u32),
        any::<(bool, bool)>(),
    );
    let dataset = (form, option::of(text()), sizes).prop_map(|(form, path, (min, max, count, flags))| {
        let own = matches!(form, DataSetForm::Jsonl | DataSetForm::Prompts);
        let is_text = form == DataSetForm::Sonnet;
        let path = path.or_else(|| own.then(|| "own".to_owned())).map(PathBuf::from);
        let (nonce, drawn) = flags;
        DataSetSpec {
            files: vec![DataSetFile {
                form,
                path,
                share: 1.0,
            }],
            min_input: if is_text { 1 } else { min },
            max_input: if is_text { 1_000_000 } else { max },
            num_prompts: count,
            answers: if drawn || is_text {
                AnswerLength::Distribution
            } else {
                AnswerLength::Dataset
            },
            nonce: nonce || is_text,
            hf_home: None,
        }
    });
    let source = (option::of(dataset), option::of(text()));
    (source, length(), length()).prop_map(|((dataset, tokenizer), input, output)| {
        let usual = |mean, std, min| LengthDistribution::Normal {
            mean,
            std,
            min,
            max: 1_000_000,
        };
        let drawn = |answers: AnswerLength| answers == AnswerLength::Distribution;
        let pool = dataset.as_ref().is_some_and(|dataset| !dataset.is_endless());
        let answered = dataset.as_ref().is_some_and(|dataset| !drawn(dataset.answers));
        (
            PromptSource {
                dataset,
                tokenizer: tokenizer.map(PathBuf::from),
            },
            if pool { usual(512.0, 200.0, 16) } else { input },
            if answered { usual(256.0, 128.0, 2) } else { output },
        )
    })
}

fn experiment() -> impl Strategy<Value = ExperimentSpec> {
    let arrivals = prop_oneof![
        Just(ArrivalProcess::Poisson),
        Just(ArrivalProcess::Constant),
        (0.01_f64..0.99).prop_map(|burstiness| ArrivalProcess::Gamma { burstiness }),
    ];
    let workload = (arrivals, prompts(), any::<u64>(), requests()).prop_map(
        |(arrivals, (prompts, input_length, output_length), seed, requests)| WorkloadSpec {
            prompts,
            arrivals,
            input_length,
            output_length,
            seed,
            requests,
        },
    );
    let placed = placement().prop_flat_map(load_of).boxed();
    let deployment = (text(), backend(), placed, duration(1)).prop_map(
        |(model, (backend, backend_config), (placement, mut load), server_ready_timeout)| {
            if let LoadPlacement::Slurm(load) = &mut load {
                load.endpoint_timeout = server_ready_timeout;
            }
            let deployment = DeploymentSpec {
                model,
                backend,
                placement,
                backend_config,
                instance: 0,
                server_ready_timeout,
            };
            (deployment, load)
        },
    );
    let objectives = (slos(1), slos(0), timeouts(), option::of(1..100_u32));
    (deployment.boxed(), workload.boxed(), schedule(), objectives).prop_map(
        |((deployment, load), workload, schedule, (slos, informational_slos, timeouts, workers))| {
            ExperimentSpec {
                deployment,
                load,
                dataset_config: dataset_config(&workload),
                repeat: 0,
                workload,
                schedule,
                slos,
                informational_slos,
                timeouts,
                workers,
            }
        },
    )
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".*") {
        read(&text);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in collection::vec(any::<u8>(), 0..300)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_signs_of_yaml_are_read_without_a_panic(text in "[-:?\\[\\]{},&*!|>'\"%@# \n\tab0~.<]{0,120}") {
        read(&text);
    }

    #[test]
    fn changed_files_are_read_without_a_panic(changes in collection::vec(change(), 1..6), which in any::<bool>()) {
        let file = if which { "valid/alps.yaml" } else { "valid/every-key.yaml" };
        let text = changes.iter().fold(crate::fixture(file), |text, change| change.apply(&text));
        read(&text);
    }

    #[test]
    fn a_rendered_plan_reads_the_same(
        experiments in collection::vec(repeated(), 1..4),
        max_parallel_experiments in 1..10_u32,
    ) {
        let experiments = experiments.concat();
        let plan = Plan { experiments, max_parallel_experiments, ..Plan::default() };
        let text = render_yaml(&plan);
        let again = parse_yaml(&text, "again.yaml").map_err(|faults| TestCaseError::fail(format!("{faults}\n{text}")))?;
        prop_assert_eq!(&again.experiments, &plan.experiments);
        prop_assert_eq!(again.max_parallel_experiments, plan.max_parallel_experiments);
    }
}

#[test]
fn a_few_aliases_do_not_become_a_huge_tree() {
    let level = |level: u32| match level.checked_sub(1) {
        None => "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n".to_owned(),
        Some(below) => format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}]\n"),
    };
    let text: String = (0..30).map(level).collect();
    let faults = parse_yaml(&text, "bomb.yaml").expect_err("too many values");
    assert!(faults.to_string().contains("more than 100000 values"), "{faults}");
}

#[test]
fn depth_and_length_are_bounded() {
    let check = |text: String, expected: &str| {
        let faults = parse_yaml(&text, "deep.yaml").expect_err("out of bounds");
        assert!(faults.to_string().contains(expected), "{faults}");
    };
    check("[".repeat(200), "nested deeper than 64 levels");
    check("- ".repeat(100_000), "nested deeper than 64 levels");
    check(
        "a: &a [*a]".to_owned(),
        "an alias stands inside of what it repeats",
    );
    check("#".repeat((1 << 20) + 1), "longer than 1048576 bytes");
}
