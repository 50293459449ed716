//! Every rendered file, as it is, and what is refused.

use gipfel_model::{BackendKind, Walltime};
use gipfel_slurm_backend::RenderedJob;
use insta::assert_snapshot;
use serde_json::json;

use crate::cases::{self, Server, all};

#[test]
fn engines_of_three_sizes() {
    for backend in [BackendKind::Vllm, BackendKind::Sglang, BackendKind::Dynamo] {
        for server in cases::sizes(backend) {
            assert_snapshot!(format!("{backend}-{}", server.model), all(&server.rendered()));
        }
    }
}

#[test]
fn ways_of_starting() {
    for (name, server) in cases::ways() {
        assert_snapshot!(name, all(&server.rendered()));
    }
}

#[test]
fn load_generators() {
    assert_snapshot!("load", all(&cases::load(1, 1, true)));
    assert_snapshot!("load-of-two-nodes", all(&cases::load(2, 3, false)));
    assert_snapshot!(
        "queued",
        cases::queued("/scratch/me", "/scratch/me/d-1", "/scratch/gipfel-loadgen").content
    );
}

/// The same job gives the same files.
#[test]
fn rendering_is_pure() {
    let files = |job: RenderedJob| all(&job);
    for (_, server) in cases::ways() {
        assert_eq!(files(server.rendered()), files(server.rendered()));
    }
}

#[test]
fn what_the_profile_says_against_a_job_is_told() {
    let check = |backend_config, walltime: &str, partition: &str, expected: &str| {
        let mut server = Server::new("8b", BackendKind::Vllm, backend_config);
        server.slurm.job.walltime = walltime.parse::<Walltime>().expect("a walltime");
        server.slurm.job.partition = partition.to_owned();
        assert_eq!(server.rendered().warnings.join("\n"), expected);
    };
    check(json!({}), "01:30:00", "debug", "");
    check(json!({"tensor_parallel_size": 16}), "1-00:00:00", "normal", "");
    check(json!({}), "2-00:00:00", "elsewhere", "");
    check(
        json!({"tensor_parallel_size": 16}),
        "02:00:00",
        "debug",
        "partition `debug` of clariden gives at most 01:30:00, and the job asks for 02:00:00\n\
         partition `debug` of clariden gives at most 2 nodes, and the job asks for 4\n\
         partition `debug` of clariden gives at most 1.5 node-hours, and the job asks for 8.0",
    );
}

#[test]
fn what_cannot_work_is_refused() {
    let check = |change: &dyn Fn(&mut Server), expected: &str| {
        let mut server = Server::new("8b", BackendKind::Vllm, json!({}));
        change(&mut server);
        let error = server.render().expect_err("a fault");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        assert!(text.contains(expected), "{text}");
    };
    let config = |server: &mut Server, config: serde_json::Value| {
        server.config = config.as_object().cloned().unwrap_or_default();
    };
    check(
        &|server| config(server, json!({"tensor_parallel_size": 7})),
        "7 GPUs cannot be spread evenly over 2 nodes",
    );
    check(
        &|server| config(server, json!({"data_parallel_size": 8})),
        "works on one node only",
    );
    check(
        &|server| config(server, json!({"profile": "x"})),
        "no argument for `backend_config.profile`",
    );
    check(
        &|server| server.slurm.gpus_per_node = 8,
        "a node of `clariden` has 4",
    );
    check(&|server| server.slurm.port = 65534, "port 65534 is too high");
    check(
        &|server| server.slurm.extra_args.push("\u{1}port\u{1}".to_owned()),
        "a control character",
    );
    check(
        &|server| server.slurm.job.qos = Some("a b".to_owned()),
        "`a b` is no qos",
    );
    check(
        &|server| server.slurm.job.sbatch_args.push("--requeue".to_owned()),
        "gipfel sets it itself",
    );
    check(
        &|server| drop(server.slurm.environment.insert("A-B".to_owned(), String::new())),
        "`A-B` is no name",
    );
    check(
        &|server| {
            server.backend = BackendKind::Dynamo;
            server.slurm.image = None;
        },
        "names no image for `dynamo`: give `image`",
    );
    check(
        &|server| server.backend = BackendKind::Sim,
        "the simulator is gipfel itself",
    );
    check(
        &|server| server.backend = BackendKind::Openai,
        "has no command of its own",
    );
    check(
        &|server| {
            server.backend = BackendKind::Llamacpp;
            server.slurm.gpus_per_node = 1;
            server.slurm.command = Some(vec!["x".to_owned()]);
            config(server, json!({"parallel": 2}));
            server.config.insert("tensor_parallel_size".to_owned(), 2.into());
        },
        "no argument for `backend_config.tensor_parallel_size`",
    );
}
