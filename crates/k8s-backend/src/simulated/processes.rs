//! Pods as processes of this machine.
//!
//! A container's command is started with its environment. Volumes are directories, and what of the environment, the
//! command and its arguments names a mount's path names the directory in its place.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// How long a server may take to answer a probe on the loopback interface.
const PROBE: Duration = Duration::from_millis(500);

/// What a pod's processes need of other objects: those by kind and name.
pub(super) type Held = BTreeMap<String, Value>;

/// The pods that run, and the directories of their volumes.
#[derive(Debug)]
pub(super) struct Processes {
    root: PathBuf,
    running: BTreeMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    ended: Option<(i32, &'static str)>,
    environment: BTreeMap<String, String>,
    log: PathBuf,
    probe: Option<(u16, String)>,
    was_ready: bool,
}

/// A command in a pod, to be run.
#[derive(Debug)]
pub(super) struct InPod {
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Whether the client writes its input.
    pub(super) has_input: bool,
}

impl Processes {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            running: BTreeMap::new(),
        }
    }

    /// Starts the pod's container.
    pub(super) fn start(&mut self, name: &str, pod: &Value, held: &Held) -> io::Result<()> {
        let container = &pod["spec"]["containers"][0];
        let directory = self.root.join(name);
        fs::create_dir_all(&directory)?;
        let mounts = self.mounts(name, pod, held)?;
        let environment = environment(container, held, &mounts);
        let words = ["command", "args"]
            .iter()
            .flat_map(|key| container[key].as_array().cloned().unwrap_or_default());
        let words: Vec<String> = words
            .filter_map(|word| Some(expand(&placed(word.as_str()?, &mounts), &environment)))
            .collect();
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| io::Error::other("the container has no command"))?;
        let log = directory.join("log");
        let output = File::create(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(&environment)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        let probe = &container["readinessProbe"]["httpGet"];
        let port = container["ports"][0]["containerPort"].as_u64();
        let running = Running {
            child,
            ended: None,
            environment,
            log,
            probe: port
                .zip(probe["path"].as_str())
                .map(|(port, path)| (port as u16, path.to_owned())),
            was_ready: false,
        };
        self.running.insert(name.to_owned(), running);
        Ok(())
    }

    /// The directory of each mount's path.
    fn mounts(&self, name: &str, pod: &Value, held: &Held) -> io::Result<Vec<(String, PathBuf)>> {
        let empty = Vec::new();
        let volumes = pod["spec"]["volumes"].as_array().unwrap_or(&empty);
        let mut mounts = Vec::new();
        for mount in pod["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap_or(&empty)
        {
            let path = mount["mountPath"].as_str().unwrap_or_default();
            let Some(volume) = volumes.iter().find(|volume| volume["name"] == mount["name"]) else {
                continue;
            };
            let directory = match volume["persistentVolumeClaim"]["claimName"].as_str() {
                Some(claim) => self.root.join("claims").join(claim),
                None => self
                    .root
                    .join(name)
                    .join(volume["name"].as_str().unwrap_or_default()),
            };
            fs::create_dir_all(&directory)?;
            for (file, bytes) in contents(volume, held) {
                fs::write(directory.join(file), with_services_here(bytes))?;
            }
            mounts.push((path.to_owned(), directory));
        }
        Ok(mounts)
    }

    /// The pod's `status` as a kubelet would write it.
    pub(super) fn status(&mut self, name: &str) -> Option<Value> {
        let running = self.running.get_mut(name)?;
        if running.ended.is_none()
            && let Ok(Some(status)) = running.child.try_wait()
        {
            let code = status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal));
            let code = code.unwrap_or(1);
            running.ended = Some((code, if code == 0 { "Completed" } else { "Error" }));
        }
        if let Some((code, reason)) = running.ended {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            return Some(json!({
                "phase": phase,
                "conditions": [condition("PodScheduled", true), condition("Ready", false)],
                "containerStatuses": [{
                    "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": code, "reason": reason } }
                }]
            }));
        }
        let is_ready = running
            .probe
            .as_ref()
            .is_none_or(|(port, path)| answers(*port, path));
        running.was_ready |= is_ready;
        Some(json!({
            "phase": "Running",
            "conditions": [condition("PodScheduled", true), condition("Ready", is_ready)],
            "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": is_ready, "restartCount": 0,
                "state": { "running": {} }
            }]
        }))
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// What the pod has printed.
    pub(super) fn log(&self, name: &str) -> Option<String> {
        let bytes = fs::read(&self.running.get(name)?.log).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A command to be run beside the pod's, which has to run.
    pub(super) fn beside(&self, name: &str, command: Vec<String>, has_input: bool) -> Option<InPod> {
        let running = self.running.get(name).filter(|running| running.ended.is_none())?;
        Some(InPod {
            command,
            environment: running.environment.clone(),
            has_input,
        })
    }

    /// Kills what runs in the pods; these are seen to have failed then.
    pub(super) fn kill(&mut self) {
        for running in self
            .running
            .values_mut()
            .filter(|running| running.ended.is_none())
        {
            // What has ended cannot be killed.
            let _ = kill_process_group(Pid::from_child(&running.child), Signal::KILL);
            // Whoever looks next finds it ended.
            if running.child.wait().is_ok() {
                running.ended = Some((137, "Error"));
            }
        }
    }

    /// Ends the pod; its own files go with it.
    pub(super) fn end(&mut self, name: &str) {
        let Some(mut running) = self.running.remove(name) else {
            return;
        };
        let group = Pid::from_child(&running.child);
        // What has ended cannot be killed.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = running.child.wait();
        let _ = fs::remove_dir_all(self.root.join(name));
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for name in self.running.keys().cloned().collect::<Vec<_>>() {
            self.end(&name);
        }
    }
}

fn condition(kind: &str, is_so: bool) -> Value {
    json!({ "type": kind, "status": if is_so { "True" } else { "False" } })
}

/// The text with Services named by this machine's address: its own names do not know them.
fn with_services_here(bytes: Vec<u8>) -> Vec<u8> {
    const SCHEME: &str = "http://";
    let Ok(text) = String::from_utf8(bytes.clone()) else {
        return bytes;
    };
    let mut parts = text.split(SCHEME);
    let mut here = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let host = part.split([':', '/', '"']).next().unwrap_or_default();
        here.push_str(SCHEME);
        let is_service = host.rsplit('.').next() == Some("svc");
        match part.strip_prefix(host).filter(|_| is_service) {
            Some(rest) => {
                here.push_str("127.0.0.1");
                here.push_str(rest);
            }
            None => here.push_str(part),
        }
    }
    here.into_bytes()
}

/// The files of a volume.
fn contents(volume: &Value, held: &Held) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    if let Some(name) = volume["configMap"]["name"].as_str() {
        files.extend(data_of(held.get(&format!("configmaps/{name}"))));
    }
    if let Some(name) = volume["secret"]["secretName"].as_str() {
        files.extend(data_of(held.get(&format!("secrets/{name}"))));
    }
    let empty = Vec::new();
    for source in volume["projected"]["sources"].as_array().unwrap_or(&empty) {
        for (kind, field) in [("configmaps", "configMap"), ("secrets", "secret")] {
            if let Some(name) = source[field]["name"].as_str() {
                files.extend(data_of(held.get(&format!("{kind}/{name}"))));
            }
        }
    }
    files
}

/// The data of a ConfigMap or a Secret.
fn data_of(object: Option<&Value>) -> Vec<(String, Vec<u8>)> {
    let Some(object) = object else {
        return Vec::new();
    };
    let is_secret = object["kind"] == "Secret";
    let entries = |key: &str| object[key].as_object().cloned().unwrap_or_default();
    let text =
        |(name, value): (String, Value)| (name, value.as_str().unwrap_or_default().as_bytes().to_vec());
    let packed = |(name, value): (String, Value)| {
        let bytes = serde_json::from_value::<k8s_openapi::ByteString>(value).map(|bytes| bytes.0);
        (name, bytes.unwrap_or_default())
    };
    let mut files: Vec<(String, Vec<u8>)> = entries("stringData").into_iter().map(text).collect();
    files.extend(entries("binaryData").into_iter().map(packed));
    if is_secret {
        files.extend(entries("data").into_iter().map(packed));
    } else {
        files.extend(entries("data").into_iter().map(text));
    }
    files
}

/// The text with a mount's path at its beginning replaced by the directory.
fn placed(text: &str, mounts: &[(String, PathBuf)]) -> String {
    for (path, directory) in mounts {
        if let Some(rest) = text.strip_prefix(path.as_str())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return format!("{}{rest}", directory.display());
        }
    }
    text.to_owned()
}

/// The text with `$(NAME)` replaced as Kubernetes does.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

fn environment(container: &Value, held: &Held, mounts: &[(String, PathBuf)]) -> BTreeMap<String, String> {
    let empty = Vec::new();
    let mut environment = BTreeMap::new();
    for variable in container["env"].as_array().unwrap_or(&empty) {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let secret = &variable["valueFrom"]["secretKeyRef"];
        let value = match (variable["value"].as_str(), secret["name"].as_str()) {
            (Some(value), _) => placed(value, mounts),
            (None, Some(secret_name)) => {
                let data = data_of(held.get(&format!("secrets/{secret_name}")));
                let key = secret["key"].as_str().unwrap_or_default();
                let found = data.into_iter().find(|(name, _)| name == key);
                found.map_or_else(String::new, |(_, bytes)| {
                    String::from_utf8_lossy(&bytes).into_owned()
                })
            }
            (None, None) => continue,
        };
        environment.insert(name, value);
    }
    environment
}

/// Whether a server of this machine answers with 200.
fn answers(port: u16, path: &str) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// The directory of a simulated cluster's volumes.
pub(super) fn root(directory: &Path) -> PathBuf {
    directory.join("pods")
}
