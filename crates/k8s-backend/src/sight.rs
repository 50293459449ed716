//! What becomes of a server's pods between two looks.
//!
//! A pod that has ended may be replaced within a second: by the controller of a set, which makes a whole group anew, or where
//! it was evicted. Who looks later sees pods that load, and nothing of the end.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::judge::{disruption, pod_end};

/// What the API server tells of pods.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// These are all that there are.
    All(Vec<Pod>),
    /// This one is new or has changed.
    Is(Box<Pod>),
    /// This one is no more.
    Gone(Box<Pod>),
}

/// The end of a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Loss {
    /// A container of it ended.
    Ended(Box<Pod>),
    /// It was taken away while the server was in use or by the cluster, with what that says.
    Deleted(Box<Pod>, Option<String>),
}

impl Loss {
    pub(crate) fn pod(&self) -> &Pod {
        match self {
            Self::Ended(pod) | Self::Deleted(pod, _) => pod,
        }
    }
}

/// The pods of a server as they were last told of, by their uid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    pods: BTreeMap<String, Pod>,
    /// Whether the server was ready. Before that its controller may make pods anew, as that of a set does when a container
    /// before the server's is tried again.
    was_ready: bool,
}

impl Sight {
    /// What a list tells. Pods that leave at that time are those of an earlier form.
    pub(crate) fn new(pods: Vec<Pod>) -> Self {
        let staying = pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Self {
            pods: staying.map(|pod| (uid(&pod), pod)).collect(),
            was_ready: false,
        }
    }

    /// The server is ready, or was.
    pub(crate) fn set_ready(&mut self) {
        self.was_ready = true;
    }

    /// The pods that are there.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        self.pods.values().cloned().collect()
    }

    /// Takes in what is told, and says which pod has ended by it.
    pub(crate) fn step(&mut self, told: Told) -> Option<Loss> {
        match told {
            Told::Is(pod) => self.see(*pod),
            Told::Gone(pod) => {
                let was_known = self.pods.remove(&uid(&pod)).is_some();
                self.loss(*pod).filter(|_| was_known)
            }
            Told::All(pods) => {
                let here: Vec<String> = pods.iter().map(uid).collect();
                let missing = |known: &String| !here.contains(known);
                let gone: Vec<String> = self.pods.keys().filter(|known| missing(known)).cloned().collect();
                let gone: Vec<Pod> = gone.iter().filter_map(|known| self.pods.remove(known)).collect();
                let seen: Vec<Loss> = pods.into_iter().filter_map(|pod| self.see(pod)).collect();
                let gone = gone.into_iter().filter_map(|pod| self.loss(pod));
                seen.into_iter().chain(gone).next()
            }
        }
    }

    fn see(&mut self, pod: Pod) -> Option<Loss> {
        let is_leaving = pod.metadata.deletion_timestamp.is_some();
        if is_leaving {
            // Its containers end because it leaves.
            let was_known = self.pods.remove(&uid(&pod)).is_some();
            return self.loss(pod).filter(|_| was_known);
        }
        let loss = pod_end(&pod, &[]).map(|_| Loss::Ended(Box::new(pod.clone())));
        self.pods.insert(uid(&pod), pod);
        loss
    }

    /// That a pod is taken away.
    fn loss(&self, pod: Pod) -> Option<Loss> {
        let words = disruption(&pod);
        (self.was_ready || words.is_some()).then(|| Loss::Deleted(Box::new(pod), words))
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, state: &Value) -> Pod {
        let status =
            json!({ "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 0 });
        let mut status = status;
        status["state"] = state.clone();
        let pod = json!({
            "metadata": { "name": format!("p-{uid}"), "uid": uid },
            "status": { "phase": "Running", "containerStatuses": [status] }
        });
        serde_json::from_value(pod).expect("it is a pod")
    }

    fn waits(uid: &str) -> Pod {
        pod(uid, &json!({ "waiting": { "reason": "ContainerCreating" } }))
    }

    fn runs(uid: &str) -> Pod {
        pod(uid, &json!({ "running": {} }))
    }

    fn ended(uid: &str) -> Pod {
        pod(
            uid,
            &json!({ "terminated": { "exitCode": 1, "reason": "Error" } }),
        )
    }

    fn leaves(mut pod: Pod) -> Pod {
        let timestamp = serde_json::from_value(json!("2026-11-21T21:20:06Z"));
        pod.metadata.deletion_timestamp = timestamp.expect("it is a time");
        pod
    }

    fn is(pod: Pod) -> Told {
        Told::Is(Box::new(pod))
    }

    fn gone(pod: Pod) -> Told {
        Told::Gone(Box::new(pod))
    }

    /// What is seen of a server that was ready, or not yet.
    fn check(was_ready: bool, told: Vec<Told>, expected: &str) {
        let mut sight = Sight::default();
        if was_ready {
            sight.set_ready();
        }
        let losses: Vec<Loss> = told.into_iter().filter_map(|told| sight.step(told)).collect();
        let first = losses.first().map_or_else(String::new, |loss| {
            let kind = match loss {
                Loss::Ended(_) => "ended",
                Loss::Deleted(..) => "deleted",
            };
            let name = loss.pod().metadata.name.as_deref().unwrap_or_default();
            format!("{name} {kind}")
        });
        assert_eq!(first, expected);
    }

    #[test]
    fn an_end_is_seen_although_another_pod_runs_then() {
        check(true, vec![Told::All(vec![waits("1")]), is(runs("1"))], "");
        let ends = || vec![is(runs("1")), is(ended("1")), gone(ended("1")), is(runs("2"))];
        check(true, ends(), "p-1 ended");
        check(false, ends(), "p-1 ended");
        let leaves = vec![is(runs("1")), is(leaves(runs("1"))), is(leaves(ended("1")))];
        check(true, leaves, "p-1 deleted");
        check(
            true,
            vec![is(runs("1")), gone(runs("1")), is(waits("2"))],
            "p-1 deleted",
        );
    }

    #[test]
    fn a_list_after_a_gap_tells_of_what_is_missing() {
        let all = Told::All;
        check(true, vec![all(vec![runs("1")]), all(vec![runs("1")])], "");
        check(
            true,
            vec![all(vec![runs("1")]), all(vec![waits("2")])],
            "p-1 deleted",
        );
        check(
            true,
            vec![all(vec![runs("1"), runs("2")]), all(vec![ended("1")])],
            "p-1 ended",
        );
    }

    #[test]
    fn before_the_server_is_ready_its_pods_may_be_made_anew() {
        let anew = vec![
            is(runs("1")),
            is(leaves(runs("1"))),
            gone(ended("1")),
            is(waits("2")),
        ];
        check(false, anew, "");
        check(
            false,
            vec![Told::All(vec![runs("1")]), Told::All(vec![waits("2")])],
            "",
        );
    }

    #[test]
    fn a_pod_that_left_before_anybody_looked_is_an_earlier_one() {
        let mut sight = Sight::new(vec![leaves(runs("1")), runs("2")]);
        sight.set_ready();
        assert_eq!(sight.step(is(leaves(ended("1")))), None);
        assert_eq!(sight.step(gone(ended("1"))), None);
        assert!(sight.step(gone(runs("2"))).is_some());
    }

    #[test]
    fn the_cluster_says_why_a_pod_was_taken_away() {
        let mut pod = runs("1");
        let status = pod.status.as_mut().expect("it has one");
        status.conditions = serde_json::from_value(json!([{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod"
        }]))
        .expect("they are conditions");
        let mut sight = Sight::default();
        assert_eq!(sight.step(is(pod.clone())), None);
        let Some(Loss::Deleted(_, Some(words))) = sight.step(gone(pod)) else {
            panic!("it was taken away");
        };
        assert!(words.starts_with("PreemptionByScheduler: "), "{words}");
    }
}
