//! What to do about what the scheduler, the kubelet or the API server of Kubernetes has said.

const NOT_PULLED: &str = "is `image` (of a load generator: `kubernetes.load.image`) written right, and may this namespace pull it? \
         `kubernetes.image_pull_secrets` names the Secret of a registry that asks who you are";

const NOT_STATIC: &str = "the load generator needs libraries that its image does not have: leave `--loadgen` out, or give it \
                          a static one (`cargo xtask bundle`)";

/// Words of them, in lower case, and what to do when one holds all of them. The first that fits counts.
const RULES: &[(&[&str], &str)] = &[
    (&["imagepullbackoff"], NOT_PULLED),
    (&["errimagepull"], NOT_PULLED),
    (
        &["invalidimagename"],
        "`image` is no image's name: it is written `registry/repository:tag`",
    ),
    (
        &["untolerated taint"],
        "nodes that fit have a taint: name it in `kubernetes.tolerations`",
    ),
    (
        &["node affinity/selector"],
        "no node has the labels of `kubernetes.node_selector`: `gipfel doctor k8s FILE` counts those that do",
    ),
    (
        &["unschedulable", "insufficient"],
        "no node has so much room now: wait until others have ended, ask for less with `kubernetes.requests`, or look \
         whether `gpus_per_node` and `kubernetes.gpu_resource` are the cluster's (`gipfel doctor k8s FILE`)",
    ),
    (
        &["failed quota", "must specify"],
        "the namespace's quota wants to know these of every container: `kubernetes.requests` and `kubernetes.limits` for \
         the server, and a LimitRange of the namespace for all others",
    ),
    (
        &["exceeded quota"],
        "the namespace's quota is used up: end what uses it, or ask for more; `gipfel doctor k8s FILE` shows it",
    ),
    (
        &["persistentvolumeclaim"],
        "is the claim of `kubernetes.model_cache` there, and does its storage class make volumes? `gipfel doctor k8s FILE` \
         looks",
    ),
    (
        &["createcontainerconfigerror"],
        "a Secret that the container reads is missing: see `kubernetes.hf_token`; `gipfel doctor k8s FILE` looks for it",
    ),
    (
        &["oomkilled"],
        "the container had more of the node's memory than it may: raise `kubernetes.requests.memory` and \
         `kubernetes.limits.memory`, or `kubernetes.load.memory` for the load generator",
    ),
    (
        &["deleted while it ran", "preempt"],
        "pods of a higher priority took its place: ask the namespace's owner for a priority class, or run when others do not",
    ),
    (
        &["deleted while it ran"],
        "somebody deleted the pod, or its node was drained or lost: `kubectl get events` of the namespace says more; \
         `gipfel resume` goes on with another server",
    ),
    (
        &[
            "does not run on this node",
            "is for x86_64 and the processor is x86_64",
        ],
        NOT_STATIC,
    ),
    (
        &[
            "does not run on this node",
            "is for aarch64 and the processor is aarch64",
        ],
        NOT_STATIC,
    ),
    (
        &["does not run on this node"],
        "set `kubernetes.load.architecture` to that of the nodes, or choose others with `kubernetes.load.node_selector`",
    ),
    (
        &["forbidden"],
        "you may not do this in the namespace: `gipfel doctor k8s FILE` lists each right that is missing",
    ),
    (
        &["credentials are not accepted"],
        "log in again: tokens of a kubeconfig end after hours; then `gipfel resume` goes on",
    ),
];

/// What to do about a message.
pub(super) fn of_text(message: &str) -> Option<&'static str> {
    let text = message.to_lowercase();
    let fits = |words: &[&str]| words.iter().all(|word| text.contains(word));
    RULES
        .iter()
        .find(|(words, _)| fits(words))
        .map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_words_name_the_key() {
        let check = |message: &str, expected: Option<&str>| {
            let found = of_text(message);
            let is_so = match expected {
                Some(part) => found.is_some_and(|remedy| remedy.contains(part)),
                None => found.is_none(),
            };
            assert!(is_so, "{message}: {found:?}");
        };
        check(
            "Unschedulable: 0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {hpc: true}",
            Some("kubernetes.tolerations"),
        );
        check(
            "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
            Some("gpus_per_node"),
        );
        check(
            "ImagePullBackOff: Back-off pulling image \"x\"",
            Some("kubernetes.image_pull_secrets"),
        );
        check(
            "ErrImagePull: failed to resolve reference \"x\"",
            Some("kubernetes.image_pull_secrets"),
        );
        check(
            "the load generator does not run on this node: it is for x86_64 and the processor is x86_64: not found",
            Some("static"),
        );
        check(
            "the load generator does not run on this node: it is for aarch64 and the processor is x86_64: not found",
            Some("kubernetes.load.architecture"),
        );
        check(
            "FailedCreate: pods \"p\" is forbidden: failed quota: q: must specify limits.memory",
            Some("kubernetes.limits"),
        );
        check("OOMKilled, exit code 137", Some("kubernetes.requests.memory"));
        check(
            "FailedCreate: pods \"p\" is forbidden: exceeded quota: gpu-quota",
            Some("quota"),
        );
        check(
            "the pod `p` was deleted while it ran: PreemptionByScheduler: for a pod of a higher priority",
            Some("priority class"),
        );
        check("the pod `p` was deleted while it ran", Some("drained"));
        check("the container ended: Error, exit code 1", None);
    }
}
