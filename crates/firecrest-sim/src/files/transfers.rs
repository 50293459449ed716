//! The calls below `transfer/`: jobs that copy, move, remove, pack, and carry files to and from the storage.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Outcome, Problem},
    call::{Call, Fields},
    clock::now_ms,
    files::{
        access::{Access, CommandFailure, reason},
        listing,
        operations::{Stop, compression_flag, split_path},
        scripts::{self, failing, quoted},
    },
    health::Needed,
    jobs::submission::Submission,
    journal::TransferRecord,
    paths::{self, Place},
    remote::Surface,
    state::Context,
    storage::{Storage, unique},
};

/// A call below `transfer/`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transfer {
    Upload,
    Download,
    Copy,
    Move,
    Remove,
    Compress,
    Extract,
}

impl Transfer {
    /// The transfer of a method and a name.
    pub(crate) fn find(method: &Method, name: &str) -> Option<Self> {
        Some(match (method.as_str(), name) {
            ("POST", "upload") => Self::Upload,
            ("POST", "download") => Self::Download,
            ("POST", "cp") => Self::Copy,
            ("POST", "mv") => Self::Move,
            ("DELETE", "rm") => Self::Remove,
            ("POST", "compress") => Self::Compress,
            ("POST", "extract") => Self::Extract,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Copy => "cp",
            Self::Move => "mv",
            Self::Remove => "rm",
            Self::Compress => "compress",
            Self::Extract => "extract",
        }
    }

    fn job_name(self) -> &'static str {
        match self {
            Self::Upload => "IngressFileTransfer",
            Self::Download => "OutgressFileTransfer",
            Self::Copy => "CopyFiles",
            Self::Move => "MoveFiles",
            Self::Remove => "DeleteFiles",
            Self::Compress => "CompressFiles",
            Self::Extract => "ExtractFiles",
        }
    }
}

/// A transfer's job once it is submitted.
struct Begun {
    job_id: String,
    folder: String,
    output_log: String,
    error_log: String,
}

impl Begun {
    fn to_json(&self, system: &str) -> Value {
        json!({
            "jobId": self.job_id,
            "system": system,
            "workingDirectory": self.folder,
            "logs": { "outputLog": self.output_log, "errorLog": self.error_log },
        })
    }
}

impl Context {
    pub(crate) async fn transfer(&self, transfer: Transfer, call: &Call) -> Outcome {
        let fields = match transfer {
            Transfer::Remove => Fields(
                call.query
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)))
                    .collect(),
            ),
            _ => call.fields()?,
        };
        let directives = match transfer {
            Transfer::Upload | Transfer::Download => Some(fields.object("transferDirectives")?),
            _ => None,
        };
        self.system
            .health
            .require(&self.system.options, Needed::Scheduler)?;
        let place = self.place(&fields.path()?)?;
        match (transfer, directives) {
            (Transfer::Upload, Some(directives)) => {
                self.upload_by_storage(&fields, &directives, &place).await
            }
            (Transfer::Download, Some(directives)) => {
                self.download_by_storage(&fields, &directives, &place).await
            }
            _ => self.transfer_files(transfer, &fields, &place).await,
        }
    }

    fn place(&self, path: &str) -> Result<Place, Problem> {
        self.files().resolve(path).map_err(|stop| match stop {
            Stop::Problem(problem) => problem,
            Stop::Hangs => Problem::server_error("the path cannot be looked up"),
        })
    }

    /// The storage is asked first, with several tries.
    async fn require_storage(&self) -> Result<(), Problem> {
        if self.services().storage_down {
            tokio::time::sleep(self.state.options.limits.storage_timeout).await;
            let url = &self.state.storage.url;
            let text = format!(
                "('Could not connect to the endpoint URL: \"{url}/{}\"',)",
                self.user.name
            );
            return Err(Problem::server_error(text).anonymous().breaks_connection());
        }
        Ok(())
    }

    async fn upload_by_storage(&self, fields: &Fields, directives: &Fields, place: &Place) -> Outcome {
        require_s3(directives)?;
        self.require_storage().await?;
        let size_bytes = directives
            .get("fileSize")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let storage = &self.state.storage;
        let key = Storage::key(&self.user.name, &place.shown);
        let upload = storage
            .begin(&key)
            .map_err(|error| Problem::server_error(error.to_string()))?;
        let object = storage.object(&key);
        let copy = if self.files().denied(place, Access::Write) {
            failing(&format!(
                "cp: cannot create regular file '{}': Permission denied",
                place.shown
            ))
        } else {
            format!("cp {} {}", quoted(&object), quoted(&place.real))
        };
        let script = scripts::ingress(&object, place, &copy, self.state.options.limits.transfer_poll);
        let begun = self.begin(Transfer::Upload, fields, place, &script).await?;
        let part_bytes = self.state.options.limits.part_bytes;
        let parts = size_bytes.div_ceil(part_bytes.max(1));
        let urls: Vec<String> = (1..=parts)
            .map(|number| storage.part_url(&key, &upload, number))
            .collect();
        let body = json!({
            "transferJob": begun.to_json(&self.system.options.name),
            "transferDirectives": {
                "transferMethod": "s3",
                "partsUploadUrls": urls,
                "completeUploadUrl": storage.complete_url(&key, &upload),
                "maxPartSize": part_bytes,
            },
        });
        Ok(Answer::json(StatusCode::CREATED, &body))
    }

    async fn download_by_storage(&self, fields: &Fields, directives: &Fields, place: &Place) -> Outcome {
        require_s3(directives)?;
        self.require_storage().await?;
        let found = self.remote(Surface::Files, 1, async {
            listing::stat(&self.state.users, &self.user, place, true)
        });
        found.await?.map_err(|error| {
            let text = format!("stat: cannot statx '{}': {}", place.shown, reason(&error));
            Problem::from(CommandFailure::new(1, text))
        })?;
        let storage = &self.state.storage;
        let key = Storage::key(&self.user.name, &place.shown);
        storage
            .make_folder(&key)
            .map_err(|error| Problem::server_error(error.to_string()))?;
        let object = storage.object(&key);
        let partial = object.with_extension("partial");
        let part_bytes = self.state.options.limits.part_bytes.max(1);
        let copy = if self.files().denied(place, Access::Read) {
            failing(&format!(
                "cp: cannot open '{}' for reading: Permission denied",
                place.shown
            ))
        } else {
            format!("cp {} {}", quoted(&place.real), quoted(&partial))
        };
        let script = scripts::outgress(place, &partial, &object, &copy, part_bytes);
        let begun = self.begin(Transfer::Download, fields, place, &script).await?;
        let body = json!({
            "transferJob": begun.to_json(&self.system.options.name),
            "transferDirectives": {
                "transferMethod": "s3",
                "downloadUrl": storage.download_url(&key),
            },
        });
        Ok(Answer::json(StatusCode::CREATED, &body))
    }

    async fn transfer_files(&self, transfer: Transfer, fields: &Fields, place: &Place) -> Outcome {
        let target = match transfer {
            Transfer::Remove => None,
            _ => Some(self.place(&fields.required_text("targetPath")?)?),
        };
        let script = self.change(transfer, fields, place, target.as_ref())?;
        let begun = self.begin(transfer, fields, place, &script).await?;
        let status = if transfer == Transfer::Remove {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        Ok(Answer::json(
            status,
            &json!({ "transferJob": begun.to_json(&self.system.options.name) }),
        ))
    }

    fn change(
        &self,
        transfer: Transfer,
        fields: &Fields,
        source: &Place,
        target: Option<&Place>,
    ) -> Result<String, Problem> {
        let files = self.files();
        let removes = matches!(transfer, Transfer::Move | Transfer::Remove);
        let source_is_denied = if removes {
            files.removal_is_denied(source)
        } else {
            files.denied(source, Access::Read)
        };
        let denied = if source_is_denied {
            Some(source)
        } else {
            target.filter(|target| files.denied(target, Access::Write))
        };
        let from = quoted(&source.real);
        let into = target.map(|target| quoted(&target.real)).unwrap_or_default();
        let flag = compression_flag(fields)?;
        let (folder, name) = split_path(&source.real);
        let (folder, name) = (quoted(folder), quoted(name));
        let (command, verb, done) = match transfer {
            Transfer::Copy => (format!("cp -R -v -- {from} {into}"), "copy", "copied"),
            Transfer::Move => (format!("mv -v -- {from} {into}"), "move", "moved"),
            Transfer::Compress => (
                format!("tar -c {flag} -v -f {into} -C {folder} {name}"),
                "compress",
                "compressed",
            ),
            Transfer::Extract => (
                format!("tar -x {flag} -v -f {from} -C {into}"),
                "extract",
                "extracted",
            ),
            _ => (format!("rm -R -v -- {from}"), "delete", "deleted"),
        };
        let command = match denied {
            None => command,
            Some(place) => {
                let program = command.split(' ').next().unwrap_or_default();
                failing(&format!(
                    "{program}: cannot access '{}': Permission denied",
                    place.shown
                ))
            }
        };
        Ok(scripts::change(&command, verb, done))
    }

    /// Submits the job of a transfer, which works in the user's folder of the default file system.
    async fn begin(
        &self,
        transfer: Transfer,
        fields: &Fields,
        place: &Place,
        script: &str,
    ) -> Result<Begun, Problem> {
        let account = fields.text("account")?;
        let options = &self.system.options;
        if account.is_none()
            && options
                .transfer_directives
                .iter()
                .any(|line| line.contains("{account}"))
        {
            return Err(Problem::bad_request(
                "Account parameter is required on this system.",
            ));
        }
        let default = options
            .file_systems
            .iter()
            .find(|file_system| file_system.default_work_dir);
        let default = default
            .or(options.file_systems.first())
            .map_or("/", |file_system| &file_system.path);
        let folder = paths::normalise(&format!("{default}/{}", self.user.name));
        let id = unique();
        let output_log = format!("{folder}/.f7t_file_handling_job_{id}.log");
        let error_log = format!("{folder}/.f7t_file_handling_job_error_{id}.log");
        let directives = options.transfer_directives.join("\n");
        let directives = directives.replace("{account}", account.as_deref().unwrap_or_default());
        let submission = Submission {
            user: Arc::clone(&self.user),
            system: options.name.clone(),
            working_directory: folder.clone(),
            script: format!(
                "#!/bin/bash\n{directives}\n{}{script}",
                scripts::preamble(options)
            ),
            default_name: transfer.job_name().to_owned(),
            name: Some(transfer.job_name().to_owned()),
            account,
            partition: None,
            reservation: None,
            constraints: None,
            standard_output: Some(output_log.clone()),
            standard_error: Some(error_log.clone()),
            standard_input: None,
            environment: Vec::new(),
            paths_are_shown: false,
        };
        let job_id = self.submit(submission).await?;
        self.state.journal.transfer(TransferRecord {
            at_ms: now_ms(),
            kind: transfer.name().to_owned(),
            system: options.name.clone(),
            path: place.shown.clone(),
            job_id: job_id.clone(),
        });
        Ok(Begun {
            job_id,
            folder,
            output_log,
            error_log,
        })
    }
}

fn require_s3(directives: &Fields) -> Result<(), Problem> {
    match directives.text("transferMethod")?.as_deref() {
        Some("s3") => Ok(()),
        _ => Err(Problem::bad_request(
            "Requested transfer method is not available.",
        )),
    }
}
