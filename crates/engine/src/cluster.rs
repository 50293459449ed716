//! The commands of an engine on the nodes of a cluster.

use gipfel_model::{DeploymentSpec, LocalSpec};
use serde_json::Value;

use crate::{
    Engine,
    command::{CommandError, fill},
};

/// What is started on each node. Every part has its places filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCommand {
    /// What takes the requests on the first node, beside the command.
    pub frontend: Option<Vec<String>>,
    /// The command of every node.
    pub command: Vec<String>,
    /// What goes behind it on every node when there are several; absent: one node has to be enough.
    pub ranks: Option<Vec<String>>,
    /// What goes behind that on every node but the first.
    pub followers: Vec<String>,
    /// Variables of every node.
    pub environment: Vec<(String, String)>,
    /// Whether Ray joins the nodes, so that the command runs on the first node only.
    pub with_ray: bool,
}

impl Engine {
    /// The commands for a cluster, with `places` and the model filled in: those of the user's own `local.command` or the
    /// engine's, then the arguments of `spec.backend_config`, then `local.extra_args`.
    ///
    /// `None` when there is no command to start from. The simulator's program is `{gipfel}` as for one machine.
    pub fn cluster_command(
        &self,
        spec: &DeploymentSpec,
        local: &LocalSpec,
        places: &[(&str, &str)],
    ) -> Result<Option<ClusterCommand>, CommandError> {
        let launch = &self.data.launch;
        let own = local.command.as_ref();
        let Some(template) = own
            .or(launch.cluster.command.as_ref())
            .or(launch.command.as_ref())
        else {
            return Ok(None);
        };
        if template.is_empty() {
            return Err(CommandError::Empty);
        }
        let values = [&[("model", spec.model.as_str())], places].concat();
        let filled =
            |parts: &[String]| -> Vec<String> { parts.iter().map(|part| fill(part, &values)).collect() };
        let mut command = filled(template);
        self.render_settings(&spec.backend_config, &mut command)?;
        command.extend(filled(&local.extra_args));
        let variables = launch.environment.iter().chain(&launch.cluster.environment);
        Ok(Some(ClusterCommand {
            frontend: launch
                .cluster
                .frontend
                .as_deref()
                .filter(|_| own.is_none())
                .map(filled),
            command,
            ranks: launch.cluster.ranks.as_deref().map(filled),
            followers: filled(&launch.cluster.followers),
            environment: variables
                .map(|(name, value)| (name.clone(), fill(value, &values)))
                .collect(),
            with_ray: self.is_with_ray(spec),
        }))
    }

    fn is_with_ray(&self, spec: &DeploymentSpec) -> bool {
        self.data.launch.cluster.ray.as_ref().is_some_and(|ray| {
            let given = spec.backend_config.get(&ray.key).and_then(Value::as_str);
            given == Some(ray.value.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gipfel_model::{BackendKind, deployment::Placement};
    use serde_json::json;

    use super::*;
    use crate::engine;

    fn command(backend: BackendKind, config: Value, local: &LocalSpec) -> Option<ClusterCommand> {
        let spec = DeploymentSpec {
            model: "m/{rank}".to_owned(),
            backend,
            placement: Placement::Local(local.clone()),
            backend_config: config.as_object().cloned().unwrap_or_default(),
            instance: 0,
            server_ready_timeout: Duration::from_mins(15),
        };
        let places = [
            ("host", "H"),
            ("port", "P"),
            ("rank", "R"),
            ("nodes", "4"),
            ("address", "A"),
            ("head", "F"),
            ("head_port", "Q"),
            ("directory", "/d"),
        ];
        engine(backend)
            .cluster_command(&spec, local, &places)
            .expect("a command")
    }

    #[test]
    fn engines_know_several_nodes() {
        let check = |backend, config: Value, expected: [&str; 4], with_ray: bool| {
            let found = command(backend, config, &LocalSpec::default()).expect("a command");
            let joined = |parts: &[String]| parts.join(" ");
            let parts = [
                joined(found.frontend.as_deref().unwrap_or_default()),
                joined(&found.command),
                joined(found.ranks.as_deref().unwrap_or_default()),
                joined(&found.followers),
            ];
            assert_eq!(parts, expected);
            assert_eq!(found.with_ray, with_ray);
        };
        check(
            BackendKind::Vllm,
            json!({"tensor_parallel_size": 16}),
            [
                "",
                "vllm serve m/{rank} --host H --port P --tensor-parallel-size 16",
                "--nnodes 4 --node-rank R --master-addr F --master-port Q",
                "--headless",
            ],
            false,
        );
        check(
            BackendKind::Vllm,
            json!({"distributed_executor_backend": "ray"}),
            [
                "",
                "vllm serve m/{rank} --host H --port P --distributed-executor-backend ray",
                "--nnodes 4 --node-rank R --master-addr F --master-port Q",
                "--headless",
            ],
            true,
        );
        check(
            BackendKind::Sglang,
            json!({}),
            [
                "",
                "python -m sglang.launch_server --model-path m/{rank} --host H --port P --enable-metrics",
                "--nnodes 4 --node-rank R --dist-init-addr F:Q",
                "",
            ],
            false,
        );
        check(
            BackendKind::Dynamo,
            json!({"max_model_len": 8}),
            [
                "python3 -m dynamo.frontend --http-host H --http-port P",
                "python3 -m dynamo.vllm --model m/{rank} --max-model-len 8",
                "--nnodes 4 --node-rank R --master-addr F --master-port Q",
                "--headless",
            ],
            false,
        );
    }

    #[test]
    fn a_command_of_ones_own_takes_the_place_of_the_engines() {
        let local = LocalSpec {
            command: Some(
                ["serve", "{model}", "{address}:{port}"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            extra_args: vec!["--rank={rank}".to_owned()],
            ..LocalSpec::default()
        };
        let found = command(BackendKind::Dynamo, json!({"max_num_seqs": 8}), &local).expect("a command");
        assert_eq!(found.frontend, None);
        assert_eq!(
            found.command.join(" "),
            "serve m/{rank} A:P --max-num-seqs 8 --rank=R"
        );
        assert_eq!(
            command(BackendKind::Openai, json!({}), &LocalSpec::default()),
            None
        );
    }

    /// The file of docs/adding-an-engine.md is an engine.
    #[test]
    fn an_engine_is_added_by_one_file() {
        let page = include_str!("../../../docs/adding-an-engine.md");
        let file = page
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("a file");
        // Kinds are compiled in: the new one takes the place of another.
        let file = file.replace("name = \"ownserve\"", "name = \"openai\"");
        let kind = BackendKind::Openai;
        let data = crate::data::parse_text(kind, &file).unwrap_or_else(|error| panic!("{error}: {error:?}"));
        let engine = Engine { kind, data };
        let spec = DeploymentSpec {
            model: "m".to_owned(),
            backend: kind,
            placement: Placement::Local(LocalSpec::default()),
            backend_config: json!({
                "tensor_parallel_size": 8, "enable_prefix_caching": false, "speculative_decoding": {"draft_model": "d"},
            })
            .as_object()
            .cloned()
            .unwrap_or_default(),
            instance: 0,
            server_ready_timeout: Duration::from_mins(15),
        };
        let local = LocalSpec::default();
        let alone = engine
            .command(&spec, &local, "127.0.0.1", 8000)
            .expect("a command")
            .unwrap_or_default();
        assert_eq!(
            alone.join(" "),
            "ownserve --model m --host 127.0.0.1 --port 8000 --no-prefix-cache --speculative {\"model\":\"d\"} \
             --tensor-parallel 8"
        );
        let places = [
            ("nodes", "2"),
            ("rank", "1"),
            ("head", "F"),
            ("head_port", "Q"),
            ("address", "A"),
        ];
        let cluster = engine
            .cluster_command(&spec, &local, &places)
            .expect("a command")
            .expect("a command");
        assert_eq!(
            cluster.ranks.unwrap_or_default().join(" "),
            "--nodes 2 --rank 1 --leader F:Q"
        );
        assert_eq!(cluster.followers, ["--no-http"]);
        assert_eq!(
            cluster.environment,
            [("OWNSERVE_ADDRESS".to_owned(), "A".to_owned())]
        );
        assert_eq!(engine.health_path(), "/health");
        let finding = engine
            .classify_log("Ownserve: Not enough memory for the model")
            .expect("a finding");
        assert_eq!(finding.reason, crate::LogReason::OutOfMemory);
    }

    #[test]
    fn variables_are_filled() {
        let found = command(BackendKind::Dynamo, json!({}), &LocalSpec::default()).expect("a command");
        let directory = found.environment.iter().find(|(name, _)| name == "DYN_FILE_KV");
        assert_eq!(directory.map(|(_, value)| value.as_str()), Some("/d/discovery"));
        let found = command(BackendKind::Ollama, json!({}), &LocalSpec::default()).expect("a command");
        assert_eq!(found.environment, [("OLLAMA_HOST".to_owned(), "H:P".to_owned())]);
    }
}
