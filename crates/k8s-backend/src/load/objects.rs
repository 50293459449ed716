//! The objects of a load generator, typed.

use std::collections::BTreeMap;

use gipfel_model::{K8sLoad, RunConfig};
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            ConfigMap, ConfigMapProjection, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference,
            PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec,
            ProjectedVolumeSource, ResourceRequirements, Secret, SecretVolumeSource, Toleration, Volume,
            VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use sha2::{Digest, Sha256};

use crate::{
    labels::{ATTEMPT, claim_label, labels_of_run},
    manifest::shared_volume,
    name::{numbered_name, object_name},
};

/// The container that is judged and whose log is read.
pub(crate) const CONTAINER: &str = "load-generator";

/// What the container runs.
const SCRIPT: &str = include_str!("pod.sh");

/// A ConfigMap takes 1 MiB with all that is in it.
const PIECE_BYTES: usize = 900 * 1024;

/// The load generator publishes what it has when it is told to leave.
const GRACE_S: i64 = 120;

/// The variable of a pod that has to wait for what an earlier one has published.
pub(super) const RESTORED: &str = "GIPFEL_RESTORED";

/// Keys of the claim's data.
pub(crate) const CLAIM_RUN: &str = "run";
pub(crate) const CLAIM_CAMPAIGN: &str = "campaign";

/// A load generator that cannot be put into objects.
#[derive(Debug, thiserror::Error)]
pub enum LoadManifestError {
    /// None sends.
    #[error("a load generator needs at least one pod; set `pods` to 1 or more")]
    NoPods,
    /// Several pods write what the first one reads.
    #[error(
        "{0} pods send together only with a volume for their results: set `results` to a claim that several pods can mount"
    )]
    NoResults(u32),
    /// The configuration cannot be written.
    #[error("the run's configuration cannot be written")]
    Config(#[source] serde_json::Error),
}

/// One start of a run's load generator.
#[derive(Clone, Copy, Debug)]
pub struct LoadAttempt<'a> {
    /// The run, with the endpoint as pods reach it.
    pub config: &'a RunConfig,
    /// What the pods ask for.
    pub load: &'a K8sLoad,
    /// The load generator, packed by gzip.
    pub program: &'a [u8],
    /// Counts the starts, from 1.
    pub attempt: u32,
    /// The uid of the run's claim, which owns what ends with the run; empty before it is made.
    pub claim_uid: &'a str,
    /// Whether the pod has to wait for what an earlier attempt has published.
    pub is_restored: bool,
}

/// Everything that a load generator consists of, beside its claim.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadManifests {
    /// The claim: it stands for the run, is made first and owns all but the volume for results.
    pub claim: ConfigMap,
    /// Where results lie; it has no owner, so that it outlives the run.
    pub results: Option<PersistentVolumeClaim>,
    /// The packed program, in pieces.
    pub program: Vec<ConfigMap>,
    /// `run_config.json`, which may hold what is private.
    pub config: Secret,
    /// What starts the pods.
    pub job: Job,
}

impl LoadManifests {
    /// The objects of this start.
    pub fn new(start: &LoadAttempt<'_>) -> Result<Self, LoadManifestError> {
        let load = start.load;
        match load.pods {
            0 => return Err(LoadManifestError::NoPods),
            1 => {}
            pods if load.results.is_none() => return Err(LoadManifestError::NoResults(pods)),
            _ => {}
        }
        let names = Names::new(start);
        let program = program(&names, start.program);
        Ok(Self {
            claim: claim(&names, start.config),
            results: load.results.as_ref().map(|results| {
                let class = results.storage_class.as_deref();
                shared_volume(&results.claim, &load.namespace, &results.size, class)
            }),
            config: config(&names, start.config)?,
            job: job(&names, start, &program),
            program,
        })
    }
}

struct Names<'a> {
    load: &'a K8sLoad,
    claim: String,
    /// The name of what belongs to this attempt, which is free in every kind.
    attempt: String,
    labels: BTreeMap<String, String>,
    of_attempt: BTreeMap<String, String>,
    owners: Option<Vec<OwnerReference>>,
}

impl<'a> Names<'a> {
    fn new(start: &LoadAttempt<'a>) -> Self {
        let config = start.config;
        let labels = labels_of_run(&config.campaign_id, &config.run_id);
        let mut of_attempt = labels.clone();
        of_attempt.insert(ATTEMPT.to_owned(), start.attempt.to_string());
        let claim = object_name(config.run_id.as_str());
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: claim.clone(),
            uid: start.claim_uid.to_owned(),
            block_owner_deletion: Some(true),
            controller: None,
        };
        Self {
            load: start.load,
            owners: (!start.claim_uid.is_empty()).then(|| vec![owner]),
            claim,
            attempt: numbered_name(config.run_id.as_str(), start.attempt),
            labels,
            of_attempt,
        }
    }

    fn owned(&self, name: String, labels: &BTreeMap<String, String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.load.namespace.clone()),
            labels: Some(labels.clone()),
            owner_references: self.owners.clone(),
            ..ObjectMeta::default()
        }
    }
}

fn claim(names: &Names<'_>, config: &RunConfig) -> ConfigMap {
    let facts = [
        (CLAIM_CAMPAIGN, config.campaign_id.to_string()),
        (CLAIM_RUN, config.run_id.to_string()),
    ];
    let mut labels = names.labels.clone();
    labels.extend([claim_label()]);
    ConfigMap {
        metadata: ObjectMeta {
            owner_references: None,
            ..names.owned(names.claim.clone(), &labels)
        },
        data: Some(facts.map(|(key, fact)| (key.to_owned(), fact)).into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The pieces are named by what they hold, so that a further attempt uses those that are there.
fn program(names: &Names<'_>, packed: &[u8]) -> Vec<ConfigMap> {
    let digest = Sha256::digest(packed);
    let sum: String = crate::name::hexadecimal(&digest[..4]);
    let piece = |(index, bytes): (usize, &[u8])| ConfigMap {
        metadata: names.owned(format!("{}-program-{sum}-{index:03}", names.claim), &names.labels),
        binary_data: Some([(format!("piece-{index:03}"), ByteString(bytes.to_vec()))].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    packed.chunks(PIECE_BYTES).enumerate().map(piece).collect()
}

fn config(names: &Names<'_>, config: &RunConfig) -> Result<Secret, LoadManifestError> {
    let text = serde_json::to_vec_pretty(config).map_err(LoadManifestError::Config)?;
    Ok(Secret {
        metadata: names.owned(names.attempt.clone(), &names.of_attempt),
        data: Some([("run_config.json".to_owned(), ByteString(text))].into()),
        immutable: Some(true),
        ..Secret::default()
    })
}

fn job(names: &Names<'_>, start: &LoadAttempt<'_>, program: &[ConfigMap]) -> Job {
    let pods = i32::try_from(start.load.pods).unwrap_or(i32::MAX);
    let is_indexed = pods > 1;
    Job {
        metadata: names.owned(names.attempt.clone(), &names.of_attempt),
        spec: Some(JobSpec {
            // A pod that starts anew by itself would know nothing of what was measured.
            backoff_limit: Some(0),
            completion_mode: is_indexed.then(|| "Indexed".to_owned()),
            completions: Some(pods),
            parallelism: Some(pods),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names.of_attempt.clone()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(names, start, program)),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

fn pod(names: &Names<'_>, start: &LoadAttempt<'_>, program: &[ConfigMap]) -> PodSpec {
    let load = start.load;
    let secrets = load
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        containers: vec![container(start)],
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(GRACE_S),
        image_pull_secrets: optional(secrets.collect()),
        node_selector: Some(load.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: optional(load.tolerations.iter().map(toleration).collect()),
        volumes: Some(volumes(names, program)),
        automount_service_account_token: Some(false),
        ..PodSpec::default()
    }
}

fn optional<T>(items: Vec<T>) -> Option<Vec<T>> {
    Some(items).filter(|items| !items.is_empty())
}

fn toleration(toleration: &gipfel_model::K8sToleration) -> Toleration {
    let operator = toleration.value.as_ref().map_or("Exists", |_| "Equal");
    Toleration {
        key: Some(toleration.key.clone()),
        operator: Some(operator.to_owned()),
        value: toleration.value.clone(),
        effect: toleration.effect.clone(),
        toleration_seconds: None,
    }
}

fn container(start: &LoadAttempt<'_>) -> Container {
    let load = start.load;
    let asked = [("cpu", &load.cpu), ("memory", &load.memory)];
    let requests: BTreeMap<String, Quantity> = asked
        .into_iter()
        .filter_map(|(name, quantity)| Some((name.to_owned(), Quantity(quantity.clone()?))))
        .collect();
    Container {
        name: CONTAINER.to_owned(),
        image: Some(load.image.clone()),
        command: Some(["/bin/sh", "-c", SCRIPT].map(str::to_owned).into()),
        env: Some(environment(start)),
        resources: Some(ResourceRequirements {
            requests: Some(requests).filter(|requests| !requests.is_empty()),
            ..ResourceRequirements::default()
        }),
        // The last words of a script that gives up.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount("program", true),
            mount("config", true),
            mount("work", false),
            mount("results", false),
        ]),
        ..Container::default()
    }
}

fn environment(start: &LoadAttempt<'_>) -> Vec<EnvVar> {
    let mut variables = vec![
        ("GIPFEL_RESULTS", format!("/results/{}", start.config.run_id)),
        ("GIPFEL_WORK", "/work".to_owned()),
        ("GIPFEL_PROGRAM", "/program".to_owned()),
        ("GIPFEL_CONFIG", "/config/run_config.json".to_owned()),
        // A number alone could be that of another machine's attempt, whose files are still there.
        ("GIPFEL_ATTEMPT", format!("{}-{}", start.attempt, start.claim_uid)),
        ("GIPFEL_ARCHITECTURE", start.load.architecture.clone()),
    ];
    // Logs are read as text.
    variables.push(("NO_COLOR", "1".to_owned()));
    if start.load.pods > 1 {
        variables.push(("GIPFEL_RANKS", start.load.pods.to_string()));
    }
    if start.is_restored {
        variables.push((RESTORED, "awaited".to_owned()));
    }
    variables
        .into_iter()
        .map(|(name, value)| EnvVar {
            name: name.to_owned(),
            value: Some(value),
            ..EnvVar::default()
        })
        .collect()
}

fn mount(name: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: format!("/{name}"),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

fn volumes(names: &Names<'_>, program: &[ConfigMap]) -> Vec<Volume> {
    let named = |name: &str| Volume {
        name: name.to_owned(),
        ..Volume::default()
    };
    let piece = |piece: &ConfigMap| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: piece.metadata.name.clone().unwrap_or_default(),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let results = match &names.load.results {
        Some(results) => Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: results.claim.clone(),
                read_only: None,
            }),
            ..named("results")
        },
        None => Volume {
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..named("results")
        },
    };
    vec![
        Volume {
            projected: Some(ProjectedVolumeSource {
                sources: Some(program.iter().map(piece).collect()),
                ..ProjectedVolumeSource::default()
            }),
            ..named("program")
        },
        Volume {
            secret: Some(SecretVolumeSource {
                secret_name: Some(names.attempt.clone()),
                ..SecretVolumeSource::default()
            }),
            ..named("config")
        },
        Volume {
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..named("work")
        },
        results,
    ]
}
