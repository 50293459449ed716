//! What Kubernetes objects ask for, from the key `kubernetes` of a configuration.

use std::collections::BTreeMap;

use gipfel_model::{
    K8sIngress, K8sLimits, K8sLoad, K8sModelCache, K8sRequests, K8sSecretKey, K8sSpec, K8sToken,
    K8sToleration, K8sVolume, LocalSpec,
};

use crate::{field::Field, section::Section};

/// The domain of a cluster without an Ingress.
pub(crate) const NO_INGRESS: &str = "none";

/// The kinds of nodes that there are load generators for.
pub(crate) const ARCHITECTURES: &[&str] = &["aarch64", "x86_64"];

/// What a taint does to pods.
pub(crate) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A quantity as Kubernetes writes it.
pub(crate) const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// A name that DNS can carry, which names of objects are.
pub(crate) const NAME: &str = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$";

/// What one level of the file says; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct KubernetesSettings {
    namespace: Option<String>,
    ingress_domain: Option<String>,
    context: Option<String>,
    image_pull_secrets: Option<Vec<String>>,
    node_selector: Option<BTreeMap<String, String>>,
    tolerations: Option<Vec<K8sToleration>>,
    gpu_resource: Option<String>,
    requests: RequestSettings,
    limits: LimitSettings,
    ingress_class: Option<String>,
    tls_issuer: Option<String>,
    ca_file: Option<String>,
    model_cache: Option<K8sModelCache>,
    hf_token: Option<K8sToken>,
    nccl_over_tcp: Option<bool>,
    cuda_compatibility: Option<bool>,
    load: LoadSettings,
}

#[derive(Clone, Debug, Default)]
struct RequestSettings {
    cpu: Option<String>,
    memory: Option<String>,
    ephemeral_storage: Option<String>,
    shared_memory: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct LimitSettings {
    cpu: Option<String>,
    memory: Option<String>,
    ephemeral_storage: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct LoadSettings {
    pods: Option<u32>,
    image: Option<String>,
    architecture: Option<&'static str>,
    cpu: Option<String>,
    memory: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    results: Option<K8sVolume>,
}

impl KubernetesSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let namespace = name(&section.take("k8s_namespace"), "the name of a namespace");
        let ingress_domain = name(
            &section.take("ingress_domain"),
            "a domain, or `none` for a server that is reached inside the cluster only",
        );
        let own = section.take("kubernetes").as_section();
        let of_cluster = Self {
            namespace,
            ingress_domain,
            ..Self::default()
        };
        match own {
            Some(mut section) => of_cluster.with(&mut section).finished(section),
            None => of_cluster,
        }
    }

    fn with(self, section: &mut Section<'_>) -> Self {
        Self {
            context: text(
                &section.take("context"),
                "the name of a context of the kubeconfig",
            ),
            image_pull_secrets: names(&section.take("image_pull_secrets")),
            node_selector: labels(&section.take("node_selector")),
            tolerations: tolerations(&section.take("tolerations")),
            gpu_resource: label_key(
                &section.take("gpu_resource"),
                "the name of a resource, such as `nvidia.com/gpu`",
            ),
            requests: RequestSettings::take(&section.take("requests")),
            limits: LimitSettings::take(&section.take("limits")),
            ingress_class: name(&section.take("ingress_class"), "the name of an Ingress class"),
            tls_issuer: name(
                &section.take("tls_issuer"),
                "the name of a cluster issuer of cert-manager",
            ),
            ca_file: section
                .take("ca_file")
                .as_text("the path of a file of certificates in PEM")
                .map(str::to_owned),
            model_cache: model_cache(&section.take("model_cache")),
            hf_token: token(&section.take("hf_token")),
            nccl_over_tcp: section.take("nccl_over_tcp").as_flag(),
            cuda_compatibility: section.take("cuda_compatibility").as_flag(),
            load: LoadSettings::take(&section.take("load")),
            ..self
        }
    }

    fn finished(self, section: Section<'_>) -> Self {
        section.finish(&[]);
        self
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        let text = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            namespace: text(self.namespace, &defaults.namespace),
            ingress_domain: text(self.ingress_domain, &defaults.ingress_domain),
            context: text(self.context, &defaults.context),
            image_pull_secrets: self
                .image_pull_secrets
                .or_else(|| defaults.image_pull_secrets.clone()),
            node_selector: self.node_selector.or_else(|| defaults.node_selector.clone()),
            tolerations: self.tolerations.or_else(|| defaults.tolerations.clone()),
            gpu_resource: text(self.gpu_resource, &defaults.gpu_resource),
            requests: self.requests.or(&defaults.requests),
            limits: self.limits.or(&defaults.limits),
            ingress_class: text(self.ingress_class, &defaults.ingress_class),
            tls_issuer: text(self.tls_issuer, &defaults.tls_issuer),
            ca_file: text(self.ca_file, &defaults.ca_file),
            model_cache: self.model_cache.or_else(|| defaults.model_cache.clone()),
            hf_token: self.hf_token.or_else(|| defaults.hf_token.clone()),
            nccl_over_tcp: self.nccl_over_tcp.or(defaults.nccl_over_tcp),
            cuda_compatibility: self.cuda_compatibility.or(defaults.cuda_compatibility),
            load: self.load.or(&defaults.load),
        }
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("ml")
    }

    fn ingress(&self) -> Option<K8sIngress> {
        let domain = self.ingress_domain.as_deref().unwrap_or("swissai.svc.cscs.ch");
        (domain != NO_INGRESS).then(|| K8sIngress {
            domain: domain.to_owned(),
            class: self.ingress_class.clone(),
            tls_issuer: self.tls_issuer.clone(),
            ca_file: self.ca_file.as_ref().map(Into::into),
        })
    }

    /// Whether servers are reached from outside.
    pub(crate) fn has_ingress(&self) -> bool {
        self.ingress().is_some()
    }

    /// A server; program, environment and arguments are those of `local`.
    pub(crate) fn server(
        &self,
        local: LocalSpec,
        image: Option<String>,
        gpus_per_node: u32,
        port: u16,
    ) -> K8sSpec {
        let default = K8sSpec::new(self.namespace());
        K8sSpec {
            context: self.context.clone(),
            ingress: self.ingress(),
            image,
            image_pull_secrets: self.image_pull_secrets.clone().unwrap_or_default(),
            node_selector: self.node_selector.clone().unwrap_or_default(),
            tolerations: self.tolerations.clone().unwrap_or_default(),
            requests: self.requests.resolve(),
            limits: self.limits.resolve(),
            gpu_resource: self.gpu_resource.clone().unwrap_or(default.gpu_resource),
            gpus_per_node,
            port,
            command: local.command,
            environment: local.environment,
            extra_args: local.extra_args,
            model_cache: self.model_cache.clone(),
            hf_token: self.hf_token.clone(),
            nccl_over_tcp: self.nccl_over_tcp.unwrap_or(default.nccl_over_tcp),
            cuda_compatibility: self.cuda_compatibility.unwrap_or(default.cuda_compatibility),
            namespace: default.namespace,
        }
    }

    /// A load generator.
    pub(crate) fn load(&self) -> K8sLoad {
        let default = K8sLoad::new(self.namespace());
        let own = &self.load;
        let node_selector = own.node_selector.clone().or_else(|| self.node_selector.clone());
        K8sLoad {
            context: self.context.clone(),
            pods: own.pods.unwrap_or(default.pods),
            image: own.image.clone().unwrap_or(default.image),
            image_pull_secrets: self.image_pull_secrets.clone().unwrap_or_default(),
            architecture: own.architecture.map_or(default.architecture, str::to_owned),
            node_selector: node_selector.unwrap_or_default(),
            tolerations: self.tolerations.clone().unwrap_or_default(),
            cpu: own.cpu.clone(),
            memory: own.memory.clone(),
            results: own.results.clone(),
            namespace: default.namespace,
        }
    }

    /// Several pods put their results together through a volume.
    pub(crate) fn check_load(&self, section: &Section<'_>) {
        let pods = self.load.pods.unwrap_or(1);
        if pods > 1 && self.load.results.is_none() {
            section.reading.fault(
                section.place_of_key("kubernetes"),
                format!(
                    "`load.pods` {pods} needs `load.results`, a volume on which {pods} pods put their results together"
                ),
            );
        }
    }
}

impl RequestSettings {
    fn take(field: &Field<'_>) -> Self {
        let Some(mut section) = field.as_section() else {
            return Self::default();
        };
        let mut take = |key| quantity(&section.take(key));
        let settings = Self {
            cpu: take("cpu"),
            memory: take("memory"),
            ephemeral_storage: take("ephemeral_storage"),
            shared_memory: take("shared_memory"),
        };
        section.finish(&[]);
        settings
    }

    fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            cpu: or(self.cpu, &defaults.cpu),
            memory: or(self.memory, &defaults.memory),
            ephemeral_storage: or(self.ephemeral_storage, &defaults.ephemeral_storage),
            shared_memory: or(self.shared_memory, &defaults.shared_memory),
        }
    }

    fn resolve(&self) -> K8sRequests {
        let default = K8sRequests::default();
        K8sRequests {
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            ephemeral_storage: self.ephemeral_storage.clone(),
            shared_memory: self.shared_memory.clone().unwrap_or(default.shared_memory),
        }
    }
}

impl LimitSettings {
    fn take(field: &Field<'_>) -> Self {
        let Some(mut section) = field.as_section() else {
            return Self::default();
        };
        let mut take = |key| quantity(&section.take(key));
        let settings = Self {
            cpu: take("cpu"),
            memory: take("memory"),
            ephemeral_storage: take("ephemeral_storage"),
        };
        section.finish(&[]);
        settings
    }

    fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            cpu: or(self.cpu, &defaults.cpu),
            memory: or(self.memory, &defaults.memory),
            ephemeral_storage: or(self.ephemeral_storage, &defaults.ephemeral_storage),
        }
    }

    fn resolve(&self) -> K8sLimits {
        K8sLimits {
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            ephemeral_storage: self.ephemeral_storage.clone(),
        }
    }
}

impl LoadSettings {
    fn take(field: &Field<'_>) -> Self {
        let Some(mut section) = field.as_section() else {
            return Self::default();
        };
        let settings = Self {
            pods: section.take("pods").as_count(),
            image: text(
                &section.take("image"),
                "an image with a shell and gzip, such as `busybox:1.37`",
            ),
            architecture: section.take("architecture").as_choice(ARCHITECTURES, |name| name),
            cpu: quantity(&section.take("cpu")),
            memory: quantity(&section.take("memory")),
            node_selector: labels(&section.take("node_selector")),
            results: volume(&section.take("results")),
        };
        section.finish(&[]);
        settings
    }

    fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            pods: self.pods.or(defaults.pods),
            image: or(self.image, &defaults.image),
            architecture: self.architecture.or(defaults.architecture),
            cpu: or(self.cpu, &defaults.cpu),
            memory: or(self.memory, &defaults.memory),
            node_selector: self.node_selector.or_else(|| defaults.node_selector.clone()),
            results: self.results.or_else(|| defaults.results.clone()),
        }
    }
}

fn text(field: &Field<'_>, allowed: &str) -> Option<String> {
    let text = field.as_text(allowed)?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return field.refuse(format!("{allowed}, without spaces"));
    }
    Some(text.to_owned())
}

/// Lowercase letters, digits, hyphens and dots, which is what names of objects are made of.
fn name(field: &Field<'_>, allowed: &str) -> Option<String> {
    let text = field.as_text(allowed)?;
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_edge = |b: Option<u8>| b.is_some_and(is_alphanumeric);
    let is_name = text.len() <= 253
        && text.bytes().all(|b| is_alphanumeric(b) || b"-.".contains(&b))
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().last());
    if is_name {
        Some(text.to_owned())
    } else {
        field.refuse(format!(
            "{allowed}, of lowercase letters, digits, hyphens and dots"
        ))
    }
}

fn names(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.as_list("a list of names of Secrets, such as `[my-registry]`")?;
    Some(
        items
            .iter()
            .filter_map(|item| name(item, "the name of a Secret"))
            .collect(),
    )
}

/// What a label's or a taint's key, or the name of a resource, is made of.
fn label_key(field: &Field<'_>, allowed: &str) -> Option<String> {
    let text = field.as_text(allowed)?;
    if is_label_key(text) {
        Some(text.to_owned())
    } else {
        field.refuse(allowed)
    }
}

fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').unwrap_or(("x", text));
    let is_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    !prefix.is_empty()
        && prefix.chars().all(is_domain)
        && (1..=63).contains(&name.len())
        && is_label_value(name)
}

/// What a label's value is made of, which may be empty.
fn is_label_value(text: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && is_edge(text.chars().next())
        && is_edge(text.chars().last())
}

fn labels(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let mut section = field.as_section()?;
    let mut labels = BTreeMap::new();
    for (key, value) in section.take_rest() {
        if !is_label_key(key) {
            value.fault("this is no key of a label, such as `node.kubernetes.io/instance-type`");
            continue;
        }
        let Some(text) = value.as_argument() else {
            continue;
        };
        if is_label_value(&text) {
            labels.insert(key.to_owned(), text);
        } else {
            let _: Option<()> = value.refuse("a label's value: at most 63 letters, digits, `-`, `_` and `.`");
        }
    }
    Some(labels)
}

fn tolerations(field: &Field<'_>) -> Option<Vec<K8sToleration>> {
    let items =
        field.as_list("a list of taints, such as `[{ key: hpc, value: \"true\", effect: NoSchedule }]`")?;
    Some(items.iter().filter_map(toleration).collect())
}

fn toleration(field: &Field<'_>) -> Option<K8sToleration> {
    let mut section = field.as_section()?;
    let key = label_key(
        &section.take("key").required("the taint's key"),
        "a taint's key, such as `nvidia.com/gpu`",
    );
    let value = section.take("value").as_argument();
    let effect = section.take("effect").as_choice(EFFECTS, |name| name);
    section.finish(&[]);
    Some(K8sToleration {
        key: key?,
        value,
        effect: effect.map(str::to_owned),
    })
}

fn quantity(field: &Field<'_>) -> Option<String> {
    let allowed = "a quantity, such as `8`, `500m` or `64Gi`";
    let text = field.as_text(allowed)?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let is_number = digits.parse::<f64>().is_ok_and(|number| number > 0.0)
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().next().is_some_and(|b| b.is_ascii_digit())
        && digits.bytes().last().is_some_and(|b| b.is_ascii_digit());
    let units = [
        "", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    if is_number && units.contains(&unit) {
        Some(text.to_owned())
    } else {
        field.refuse(allowed)
    }
}

/// A claim's name, size and storage class.
fn claim(section: &mut Section<'_>, default_size: &str) -> Option<K8sVolume> {
    let claim = name(
        &section.take("claim").required("the name of a volume claim"),
        "the name of a volume claim",
    );
    let size = quantity(&section.take("size"));
    let storage_class = name(&section.take("storage_class"), "the name of a storage class");
    Some(K8sVolume {
        claim: claim?,
        size: size.unwrap_or_else(|| default_size.to_owned()),
        storage_class,
    })
}

fn volume(field: &Field<'_>) -> Option<K8sVolume> {
    let mut section = field.as_section()?;
    let volume = claim(&mut section, "20Gi");
    section.finish(&[]);
    volume
}

fn model_cache(field: &Field<'_>) -> Option<K8sModelCache> {
    let mut section = field.as_section()?;
    let volume = claim(&mut section, "500Gi");
    let mount_path = read_path(&section.take("mount_path"));
    let is_filled = section.take("filled").as_flag();
    section.finish(&[]);
    let volume = volume?;
    Some(K8sModelCache {
        claim: volume.claim,
        size: volume.size,
        storage_class: volume.storage_class,
        mount_path: mount_path.unwrap_or_else(|| "/model-cache".to_owned()),
        is_filled: is_filled.unwrap_or(false),
    })
}

fn read_path(field: &Field<'_>) -> Option<String> {
    let allowed = "an absolute path in the container, such as `/model-cache`";
    let text = field.as_text(allowed)?;
    if text.starts_with('/') && !text.contains([':', '\0']) {
        Some(text.to_owned())
    } else {
        field.refuse(allowed)
    }
}

fn token(field: &Field<'_>) -> Option<K8sToken> {
    let mut section = field.as_section()?;
    section.exclusive("secret", "env", "each of them says where the token comes from");
    let variable = section.take("env");
    let secret = section.take("secret");
    if !variable.is_given() && !secret.is_given() {
        field.fault("missing: `secret`, the name of a Secret of the namespace, or `env`, a variable of gipfel's environment");
    }
    let key = label_key(&section.take("key"), "a key of the Secret");
    let variable = variable_name(&variable);
    let secret = name(&secret, "the name of a Secret of the namespace");
    section.finish(&[]);
    if let Some(variable) = variable {
        return Some(K8sToken::Environment(variable));
    }
    Some(K8sToken::Secret(K8sSecretKey {
        name: secret?,
        key: key.unwrap_or_else(|| "token".to_owned()),
    }))
}

fn variable_name(field: &Field<'_>) -> Option<String> {
    let allowed = "the name of an environment variable, such as `HF_TOKEN`";
    let text = field.as_text(allowed)?;
    match crate::parse_variable(text) {
        Ok(_) => Some(text.to_owned()),
        Err(_) => field.refuse(allowed),
    }
}
