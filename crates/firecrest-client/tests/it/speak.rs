//! Says a recorded request with the client's own calls.

use std::{collections::BTreeMap, fmt::Debug, num::NonZeroU64};

use firecrest_client::{
    Class, Client, Error, FileMode, JobFilter, JobSpec, ListOptions, Outcome, Portion, RemotePath, Script,
    SubmitFault, SystemName, TimeWindow, UploadError,
};
use serde_json::Value;

use crate::{
    recordings::{Exchange, content, omitted},
    support::{chain, path},
};

/// What the client made of the recorded answer.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A value, as its debug text.
    Value(String),
    /// An error of a call.
    Refused {
        status: Option<u16>,
        message: String,
        class: Class,
        text: String,
    },
}

impl Heard {
    fn of<T: Debug>(outcome: Result<T, Error>) -> Self {
        match outcome {
            Ok(value) => Self::Value(format!("{value:?}")),
            Err(error) => Self::error(&error),
        }
    }

    pub(crate) fn error(error: &Error) -> Self {
        Self::Refused {
            status: error.status(),
            message: error
                .refusal()
                .map(|refusal| refusal.message.clone())
                .unwrap_or_default(),
            class: error.class(),
            text: chain(error.cause()),
        }
    }
}

/// The parameters of a recorded request.
struct Said<'a> {
    exchange: &'a Exchange,
    query: BTreeMap<String, String>,
}

impl Said<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn path(&self) -> RemotePath {
        path(self.parameter("path").expect("a path"))
    }

    fn flag(&self, name: &str) -> bool {
        self.parameter(name) == Some("true")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).map(|text| text.parse().expect("a number"))
    }

    fn portion(&self, skip: &str) -> Portion {
        let number = |name| self.number(name).and_then(NonZeroU64::new);
        match (number("lines"), number("bytes"), self.flag(skip)) {
            (Some(lines), None, false) => Portion::Lines(lines),
            (Some(lines), None, true) => Portion::AllButLines(lines),
            (None, Some(bytes), false) => Portion::Bytes(bytes),
            (None, Some(bytes), true) => Portion::AllButBytes(bytes),
            (None, None, false) => Portion::Usual,
            other => panic!("no portion is {other:?}"),
        }
    }

    fn json(&self) -> &Value {
        &self.exchange.request["json"]
    }

    fn text(&self, keys: &[&str]) -> Option<String> {
        keys.iter()
            .find_map(|key| self.json()[key].as_str())
            .map(str::to_owned)
    }
}

/// Makes the recorded request with the client; nothing when it has no such call.
pub(crate) async fn speak(client: &Client, exchange: &Exchange) -> Option<Heard> {
    let (target, query) = exchange.target();
    let said = Said {
        exchange,
        query: query.into_iter().collect(),
    };
    let parts: Vec<&str> = target.trim_matches('/').split('/').collect();
    let method = exchange.method.as_str();
    let status = client.status();
    Some(match (method, parts.as_slice()) {
        ("GET", ["status", "systems"]) => Heard::of(status.systems().await),
        ("GET", ["status", "liveness"]) => Heard::of(status.liveness().await),
        ("GET", ["status", system, "userinfo"]) => Heard::of(status.user_info(&named(system)).await),
        ("GET", ["status", system, "partitions"]) => {
            Heard::of(status.partitions(&named(system), said.flag("show_hidden")).await)
        }
        ("GET", ["status", system, "nodes"]) => Heard::of(status.nodes(&named(system)).await),
        ("GET", ["status", system, "reservations"]) => Heard::of(status.reservations(&named(system)).await),
        ("GET", ["compute", system, "jobs"]) => {
            let filter = JobFilter {
                name: said.parameter("name").map(|name| name.parse().expect("a name")),
                account: said.parameter("account").map(str::to_owned),
                all_users: said.flag("allusers"),
                window: said.parameter("time_window").map(window),
            };
            Heard::of(client.jobs(&named(system)).list(&filter).await)
        }
        ("GET", ["compute", system, "jobs", id]) => {
            Heard::of(client.jobs(&named(system)).get(&id.parse().expect("an id")).await)
        }
        ("GET", ["compute", system, "jobs", id, "metadata"]) => Heard::of(
            client
                .jobs(&named(system))
                .metadata(&id.parse().expect("an id"))
                .await,
        ),
        ("DELETE", ["compute", system, "jobs", id]) => Heard::of(
            client
                .jobs(&named(system))
                .cancel(&id.parse().expect("an id"))
                .await,
        ),
        ("POST", ["compute", system, "jobs"]) => submit(client, &named(system), &said).await,
        (_, ["filesystem", system, "ops", operation]) => {
            file_operation(client, &named(system), method, operation, &said).await?
        }
        _ => return None,
    })
}

fn named(system: &str) -> SystemName {
    system.parse().expect("a system")
}

fn window(text: &str) -> TimeWindow {
    use TimeWindow::{Day, EightHours, Hour, ThreeDays, Week};
    [Hour, EightHours, Day, ThreeDays, Week]
        .into_iter()
        .find(|window| window.to_string() == text)
        .expect("a window that the server knows")
}

async fn submit(client: &Client, system: &SystemName, said: &Said<'_>) -> Heard {
    match client.jobs(system).submit(&spec(&said.json()["job"])).await {
        Ok(id) => Heard::Value(format!("{id:?}")),
        Err(error) => {
            let SubmitFault::Call(call) = &error.fault else {
                panic!("the client refuses it itself: {error:?}")
            };
            let is_unknown = error.outcome == Outcome::Unknown;
            assert_eq!(is_unknown, call.class() == Class::Ambiguous, "{error:?}");
            Heard::error(call)
        }
    }
}

/// The recorded job, in either case style.
fn spec(job: &Value) -> JobSpec {
    let text = |keys: &[&str]| keys.iter().find_map(|key| job[key].as_str()).map(str::to_owned);
    let directory = text(&["workingDirectory", "working_directory"]).expect("a working directory");
    let script = match (text(&["script"]), text(&["scriptPath", "script_path"])) {
        (Some(script), None) => Script::Inline(script),
        (None, Some(file)) => Script::File(path(&file)),
        other => panic!("no script is {other:?}"),
    };
    let mut spec = JobSpec::new(path(&directory), script);
    spec.name = text(&["name"]).map(|name| name.parse().expect("a name"));
    spec.account = text(&["account"]);
    spec.partition = text(&["partition"]);
    spec.reservation = text(&["reservation"]);
    spec.standard_output = text(&["standardOutput"]);
    spec.standard_error = text(&["standardError"]);
    spec.environment = job["env"].as_object().map(|variables| {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        variables
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    });
    spec
}

async fn file_operation(
    client: &Client,
    system: &SystemName,
    method: &str,
    operation: &str,
    said: &Said<'_>,
) -> Option<Heard> {
    let files = client.files(system);
    Some(match (method, operation) {
        ("POST", "mkdir") => {
            assert_eq!(said.json()["parent"], true);
            let directory = said.text(&["path", "sourcePath"]).expect("a path");
            Heard::of(files.make_directory(&path(&directory)).await)
        }
        ("GET", "ls") => {
            let options = ListOptions {
                show_hidden: said.flag("showHidden"),
                numeric_ids: said.flag("numericUid"),
                recursive: said.flag("recursive"),
                dereference: said.flag("dereference"),
            };
            Heard::of(files.list(&said.path(), options).await)
        }
        ("GET", "stat") => Heard::of(files.stat(&said.path()).await),
        ("GET", "file") => Heard::of(files.kind(&said.path()).await),
        ("GET", "checksum") => Heard::of(files.checksum(&said.path()).await),
        ("GET", "head") => Heard::of(files.head(&said.path(), said.portion("skipTrailing")).await),
        ("GET", "tail") => Heard::of(files.tail(&said.path(), said.portion("skipHeading")).await),
        ("GET", "view") => match said.number("size") {
            Some(size) => Heard::of(
                files
                    .view_range(&said.path(), said.number("offset").unwrap_or_default(), size)
                    .await,
            ),
            None => Heard::of(files.view(&said.path()).await),
        },
        ("GET", "download") => Heard::of(files.download(&said.path()).await.map(|content| {
            format!(
                "{} bytes, {}",
                content.len(),
                firecrest_client::Sha256::of(&content)
            )
        })),
        ("PUT", "chmod") => {
            let mode = u16::from_str_radix(said.json()["mode"].as_str().expect("a mode"), 8).expect("octal");
            let target = path(&said.text(&["path"]).expect("a path"));
            Heard::of(
                files
                    .change_mode(&target, FileMode::try_new(mode).expect("a mode"))
                    .await,
            )
        }
        ("DELETE", "rm") => Heard::of(files.remove(&said.path()).await),
        ("POST", "upload") => {
            let (name, content) = uploaded(said.exchange);
            let target = said.path().join(&name).expect("a path");
            match files.upload(&target, content).await {
                Ok(()) => Heard::Value("()".to_owned()),
                Err(UploadError::Call(error)) => Heard::error(&error),
                Err(error) => panic!("{error}"),
            }
        }
        _ => return None,
    })
}

/// The name and the content of a recorded upload. Of large ones the recording has the size of the form alone;
/// its frame has 176 bytes and the name.
pub(crate) fn uploaded(exchange: &Exchange) -> (String, Vec<u8>) {
    if let Some(size) = omitted(&exchange.request) {
        let sizes = [
            ("max.bin", 5_242_880),
            ("over.bin", 5_242_881),
            ("d3932157.bin", 3_932_157),
        ];
        let more = [("d3932158.bin", 3_932_158), ("d4000000.bin", 4_000_000)];
        let (name, size) = sizes
            .into_iter()
            .chain(more)
            .find(|(name, content)| content + 176 + name.len() == size)
            .expect("a file of the recordings");
        return (name.to_owned(), content(size));
    }
    let text = exchange.request["text"].as_str().expect("a form");
    let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
    let (_, name) = head.split_once("filename=\"").expect("a name");
    let (content, _) = rest.rsplit_once("\r\n--").expect("an end");
    (
        name.split('"').next().expect("a name").to_owned(),
        content.as_bytes().to_vec(),
    )
}
