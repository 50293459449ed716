//! How a server is started: a program of one's own, its environment and its arguments.

use std::collections::BTreeMap;

use gipfel_model::{DeploymentSpec, LocalSpec, deployment::Placement};

use crate::{field::Field, secrets::is_secret, section::Section};

/// Keys of servers that gipfel starts as processes.
pub(crate) const KEYS: &[&str] = &["command", "environment", "extra_args"];

/// Takes the keys of a local server; the port is read with the clusters'.
pub(crate) fn take_local(section: &mut Section<'_>) -> LocalSpec {
    let command = section.take("command");
    let environment = section.take("environment");
    let extra_args = section.take("extra_args");
    LocalSpec {
        command: read_command(&command),
        environment: read_environment(&environment),
        extra_args: read_arguments(&extra_args, "a list of arguments, such as `[--threads, 4]`")
            .unwrap_or_default(),
        port: 0,
    }
}

/// Hides the values of variables that look like secrets.
pub(crate) fn mask_secrets(deployment: &mut DeploymentSpec) {
    let environment = match &mut deployment.placement {
        Placement::Local(local) => &mut local.environment,
        Placement::Slurm(slurm) => &mut slurm.environment,
        Placement::K8s(k8s) => &mut k8s.environment,
        Placement::External(_) => return,
    };
    let secrets = environment.iter_mut().filter(|(name, _)| is_secret(name));
    secrets.for_each(|(_, value)| "***".clone_into(value));
}

fn read_command(field: &Field<'_>) -> Option<Vec<String>> {
    let allowed = "a list of a program and its arguments, such as `[my-server, --port, \"{port}\"]`";
    let command = read_arguments(field, allowed)?;
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        field.fault("names no program; without the key, the engine's own command is used");
        return None;
    }
    Some(command)
}

fn read_arguments(field: &Field<'_>, allowed: &str) -> Option<Vec<String>> {
    let items = field.as_list(allowed)?;
    Some(items.iter().filter_map(Field::as_argument).collect())
}

fn read_environment(field: &Field<'_>) -> BTreeMap<String, String> {
    let Some(mut section) = field.as_section() else {
        return BTreeMap::new();
    };
    let mut environment = BTreeMap::new();
    for (name, value) in section.take_rest() {
        let value = value.secret();
        if name.is_empty() || name.contains(['=', '\0']) {
            value.fault("this is no name of an environment variable");
            continue;
        }
        if is_secret(name) {
            value.reading.warn(
                &value.place(),
                "looks like a secret, and what stands here is written to the run's files; a server on this machine \
                 gets gipfel's own environment anyway, one on a cluster the token of `hf_token_path`",
            );
        }
        if let Some(text) = value.as_argument() {
            environment.insert(name.to_owned(), text);
        }
    }
    environment
}
