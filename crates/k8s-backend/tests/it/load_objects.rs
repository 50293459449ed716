//! The objects of a load generator.

use std::{fmt::Debug, process::Command};

use gipfel_k8s_backend::{LoadAttempt, LoadManifests, labels_of_run};
use gipfel_model::{K8sLoad, K8sToleration, K8sVolume};
use k8s_openapi::api::{batch::v1::Job, core::v1::Secret};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::run::{config, load};

fn rendered(load: &K8sLoad, program: &[u8]) -> anyhow::Result<LoadManifests> {
    let config = config("http://server:8080", &"r-1".parse()?, &[1.0], 1);
    Ok(LoadManifests::new(&LoadAttempt {
        config: &config,
        load,
        program,
        attempt: 2,
        claim_uid: "uid-1",
        is_restored: false,
    })?)
}

fn several(pods: u32) -> K8sLoad {
    K8sLoad {
        pods,
        results: Some(K8sVolume {
            claim: "results".to_owned(),
            size: "10Gi".to_owned(),
            storage_class: None,
        }),
        ..load()
    }
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("JSON")
}

#[test]
fn one_pod_is_a_plain_job() -> anyhow::Result<()> {
    let job = value(&rendered(&load(), b"program")?.job);
    let spec = &job["spec"];
    assert_eq!(spec["backoffLimit"], 0);
    assert_eq!(spec["completions"], 1);
    assert_eq!(spec["completionMode"], Value::Null);
    assert_eq!(spec["activeDeadlineSeconds"], Value::Null);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(job["metadata"]["labels"]["gipfel/attempt"], "2");
    Ok(())
}

#[test]
fn several_pods_are_an_indexed_job_on_one_volume() -> anyhow::Result<()> {
    let manifests = rendered(&several(3), b"program")?;
    let job = value(&manifests.job);
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    assert_eq!([&spec["completions"], &spec["parallelism"]], [3, 3]);
    let pod = &spec["template"]["spec"];
    let environment = pod["containers"][0]["env"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        environment.contains(&json!({"name": "GIPFEL_RANKS", "value": "3"})),
        "{environment:?}"
    );
    let volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
    assert!(
        volumes.contains(&json!({"name": "results", "persistentVolumeClaim": {"claimName": "results"}})),
        "{volumes:?}"
    );
    let volume = manifests
        .results
        .map(|results| value(&results))
        .unwrap_or_default();
    assert_eq!(volume["spec"]["accessModes"], json!(["ReadWriteMany"]));
    assert_eq!(volume["metadata"]["ownerReferences"], Value::Null, "it stays");
    Ok(())
}

#[test]
fn what_cannot_work_is_refused() {
    let check = |load: K8sLoad, part: &str| {
        let error = rendered(&load, b"program").expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    };
    let alone = |pods| K8sLoad { pods, ..load() };
    check(alone(0), "at least one pod");
    check(alone(2), "set `results` to a claim");
}

#[test]
fn the_nodes_are_chosen() -> anyhow::Result<()> {
    let load = K8sLoad {
        node_selector: [("pool".to_owned(), "cpu".to_owned())].into(),
        tolerations: vec![K8sToleration {
            key: "dedicated".to_owned(),
            value: None,
            effect: None,
        }],
        image_pull_secrets: vec!["registry".to_owned()],
        cpu: Some("4".to_owned()),
        memory: Some("8Gi".to_owned()),
        ..load()
    };
    let pod = value(&rendered(&load, b"program")?.job)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["nodeSelector"], json!({"pool": "cpu"}));
    assert_eq!(
        pod["tolerations"],
        json!([{"key": "dedicated", "operator": "Exists"}])
    );
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    let requests = &pod["containers"][0]["resources"]["requests"];
    assert_eq!(*requests, json!({"cpu": "4", "memory": "8Gi"}));
    Ok(())
}

#[test]
fn the_program_fits_into_config_maps() -> anyhow::Result<()> {
    let program: Vec<u8> = (0..2_000_000_u32).map(|number| number as u8).collect();
    let manifests = rendered(&load(), &program)?;
    assert_eq!(manifests.program.len(), 3);
    let mut whole = Vec::new();
    for piece in &manifests.program {
        let data = piece.binary_data.clone().unwrap_or_default();
        // With all that surrounds it, it has to stay below 1 MiB.
        assert!(data.values().all(|bytes| bytes.0.len() <= 900 * 1024));
        whole.extend(data.into_values().flat_map(|bytes| bytes.0));
    }
    assert!(whole == program, "the pieces are the program");
    Ok(())
}

#[test]
fn every_object_reads_back_whole_and_is_found_by_its_labels() -> anyhow::Result<()> {
    fn check<K: Serialize + DeserializeOwned + PartialEq + Debug>(object: &K) -> anyhow::Result<()> {
        let written = value(object);
        let read: K = serde_json::from_value(written.clone())?;
        assert_eq!(value(&read), written);
        let labels = labels_of_run(&"c-1".parse()?, &"r-1".parse()?);
        for (key, label) in labels {
            assert_eq!(written["metadata"]["labels"][&key], *label, "{written}");
        }
        Ok(())
    }
    let manifests = rendered(&several(2), b"program")?;
    check(&manifests.claim)?;
    check::<Secret>(&manifests.config)?;
    check::<Job>(&manifests.job)?;
    manifests.program.iter().try_for_each(check)
}

/// The script of the pods, run by hand with a program in place of the load generator.
fn script(program: &str) -> anyhow::Result<(Option<i32>, String, String)> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("program"))?;
    std::fs::write(at("plain"), program)?;
    let packed = Command::new("gzip").arg("-c").arg(at("plain")).output()?.stdout;
    let (first, second) = packed.split_at(packed.len() / 2);
    std::fs::write(at("program/piece-000"), first)?;
    std::fs::write(at("program/piece-001"), second)?;
    std::fs::create_dir_all(at("results"))?;
    std::fs::write(at("results/stop"), "of an earlier attempt")?;
    let words =
        value(&rendered(&load(), b"program")?.job)["spec"]["template"]["spec"]["containers"][0]["command"]
            .clone();
    let words: Vec<String> = serde_json::from_value(words)?;
    let output = Command::new(&words[0])
        .args(&words[1..])
        .env("GIPFEL_RESULTS", at("results"))
        .env("GIPFEL_WORK", at("work"))
        .env("GIPFEL_PROGRAM", at("program"))
        .env("GIPFEL_CONFIG", at("config"))
        .env("GIPFEL_ATTEMPT", "1-uid")
        .env("GIPFEL_ARCHITECTURE", "aarch64")
        .output()?;
    let ended = std::fs::read_to_string(at("results/ended.txt")).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!at("results/stop").exists(), "an earlier word does not hold");
    Ok((output.status.code(), ended, said))
}

#[test]
fn the_script_tells_how_the_load_generator_ended() -> anyhow::Result<()> {
    let program = "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\n: > \"$GIPFEL_RESULTS/fetched\"\nexit 11\n";
    let (code, ended, said) = script(program)?;
    assert_eq!(
        (code, ended.as_str()),
        (Some(0), "11 the load generator\n"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_program_of_another_architecture_is_told() -> anyhow::Result<()> {
    let (code, ended, said) = script("#!/no/such/loader\n")?;
    assert_eq!((code, ended.as_str()), (Some(126), ""), "{said}");
    assert!(
        said.contains("does not run on this node: it is for aarch64 and the processor is"),
        "{said}"
    );
    Ok(())
}
