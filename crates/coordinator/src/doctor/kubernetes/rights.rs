//! What a campaign does in a namespace, and whether it may.

use std::collections::{BTreeMap, BTreeSet};

use gipfel_k8s_backend::{
    WorkloadKind,
    examine::{
        DEPLOYMENT_NEEDS, DYNAMO_NEEDS, Examiner, FORWARD_NEEDS, INGRESS_NEEDS, LEADER_WORKER_SET_NEEDS,
        LOAD_NEEDS, Need, SERVER_NEEDS, TOKEN_NEEDS, VOLUME_NEEDS,
    },
};
use gipfel_model::K8sToken;

use super::{Wanted, words};
use crate::doctor::Finding;

/// Group, kind and part of objects, and what is done with them.
type Needs = BTreeMap<(&'static str, &'static str, &'static str), BTreeSet<&'static str>>;

impl Wanted<'_> {
    /// What has to be allowed, each part once.
    pub(super) fn needs(&self) -> Needs {
        let mut needs = Needs::new();
        let mut add = |list: &[Need]| {
            for need in list {
                let verbs = needs
                    .entry((need.group, need.resource, need.subresource))
                    .or_default();
                verbs.extend(need.verbs);
            }
        };
        for (spec, k8s) in &self.servers {
            add(SERVER_NEEDS);
            if k8s.ingress.is_some() {
                add(INGRESS_NEEDS);
            }
            if k8s.model_cache.is_some() {
                add(VOLUME_NEEDS);
            }
            if matches!(k8s.hf_token, Some(K8sToken::Environment(_))) {
                add(TOKEN_NEEDS);
            }
            add(match WorkloadKind::of(spec, k8s) {
                WorkloadKind::Deployment => DEPLOYMENT_NEEDS,
                WorkloadKind::LeaderWorkerSet => LEADER_WORKER_SET_NEEDS,
                WorkloadKind::DynamoGraphDeployment => DYNAMO_NEEDS,
            });
        }
        if self.forwards {
            add(FORWARD_NEEDS);
        }
        for load in &self.loads {
            add(LOAD_NEEDS);
            if load.results.is_some() {
                add(VOLUME_NEEDS);
            }
        }
        needs
    }
}

/// What may be done with one kind of objects.
pub(crate) struct Right {
    /// The kind, such as `pods/exec` or `jobs of batch`.
    what: String,
    verbs: Vec<&'static str>,
    forbidden: Vec<&'static str>,
    /// Why it is not known.
    unknown: Option<String>,
}

impl Right {
    /// All that is wanted of a namespace.
    pub(crate) async fn all(examiner: &Examiner, wanted: &Wanted<'_>) -> Vec<Self> {
        let needs = wanted.needs();
        let need = |(group, resource, subresource)| Need {
            group,
            resource,
            subresource,
            verbs: &[],
        };
        let asked: Vec<(Need, &'static str)> = needs
            .iter()
            .flat_map(|(kind, verbs)| verbs.iter().map(|verb| (need(*kind), *verb)))
            .collect();
        let mut answers = examiner.allow(&asked).await.into_iter();
        let mut rights = Vec::new();
        for (kind, verbs) in needs {
            let mut right = Self::new(kind);
            for (verb, answer) in verbs.into_iter().zip(answers.by_ref()) {
                right.verbs.push(verb);
                match answer {
                    Ok(true) => {}
                    Ok(false) => right.forbidden.push(verb),
                    Err(error) => right.unknown = Some(words(&error)),
                }
            }
            rights.push(right);
        }
        rights
    }

    fn new((group, resource, subresource): (&str, &str, &str)) -> Self {
        let mut what = resource.to_owned();
        if !subresource.is_empty() {
            what = format!("{what}/{subresource}");
        }
        if !group.is_empty() {
            what = format!("{what} of {group}");
        }
        Self {
            what,
            verbs: Vec::new(),
            forbidden: Vec::new(),
            unknown: None,
        }
    }

    /// What is missing for a campaign; nothing if all is allowed or nobody knows.
    pub(crate) fn missing(&self) -> Option<String> {
        // Who may not watch pods is warned later and has the looks alone.
        let is_needed = |verb: &&&str| !(self.what == "pods" && **verb == "watch");
        let missing: Vec<&str> = self.forbidden.iter().filter(is_needed).copied().collect();
        (!missing.is_empty()).then(|| format!("{}: {}", self.what, missing.join(", ")))
    }

    pub(super) fn finding(&self) -> Finding {
        let Self { what, forbidden, .. } = self;
        match &self.unknown {
            Some(words) => Finding::note("rights", format!("{what}: {words}")),
            None if forbidden.is_empty() => {
                Finding::well("rights", format!("{what}: {}", self.verbs.join(", ")))
            }
            None => Finding::fault("rights", format!("{what}: {} not allowed", forbidden.join(", ")))
                .hint(Self::HINT),
        }
    }

    /// What to do about one that is missing.
    pub(crate) const HINT: &str =
        "ask the namespace's owner for a Role with these verbs, and a RoleBinding to you";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let check = |kind, forbidden: &[&'static str], expected: Option<&str>| {
            let mut right = Right::new(kind);
            right.forbidden = forbidden.to_vec();
            assert_eq!(right.missing().as_deref(), expected);
        };
        check(("", "pods", "exec"), &["get"], Some("pods/exec: get"));
        check(
            ("batch", "jobs", ""),
            &["create", "list"],
            Some("jobs of batch: create, list"),
        );
        check(("", "pods", ""), &["list", "watch"], Some("pods: list"));
        check(("", "pods", ""), &["watch"], None);
        check(("", "pods", ""), &[], None);
    }
}
