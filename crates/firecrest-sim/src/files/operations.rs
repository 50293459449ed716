//! The calls below `ops/`, each as the command behind it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, lchown, symlink},
    path::Path,
    sync::Arc,
};

use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    answer::{Answer, Problem},
    call::{Call, Fields},
    files::{
        access::{Access, CommandFailure, allows, may_change_folder, owns, reason, refuse_quotes},
        content::{self, Amount, Part},
        listing::{self, Listing},
    },
    multipart,
    options::{SystemOptions, UserOptions},
    paths::{self, Place},
    state::Users,
};

/// Whose call it is, and on which system.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) system: Arc<SystemOptions>,
    pub(crate) users: Arc<Users>,
    pub(crate) user: Arc<UserOptions>,
    pub(crate) ops_bytes: u64,
    /// New files become those of the user, whose jobs a real Slurm runs.
    pub(crate) gives_away: bool,
}

/// Why a call has no answer of its own.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    Problem(Problem),
    /// The command never ends.
    Hangs,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<CommandFailure> for Stop {
    fn from(failure: CommandFailure) -> Self {
        Self::Problem(failure.into())
    }
}

type Done = Result<Answer, Stop>;

fn output(status: StatusCode, output: Value) -> Answer {
    Answer::json(status, &json!({ "output": output }))
}

/// Makes the failure of a command on `path` out of an error of the system.
fn failure(
    exit_status: i32,
    before: &str,
    path: &str,
    after: &str,
) -> impl Fn(io::Error) -> CommandFailure + use<> {
    let text = format!("{before}{path}{after}");
    move |error| CommandFailure::new(exit_status, format!("{text}: {}", reason(&error)))
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error())
}

impl Files {
    pub(crate) fn resolve(&self, path: &str) -> Result<Place, Stop> {
        let place = paths::resolve(&self.system, path)?;
        refuse_quotes(&place.shown)?;
        Ok(place)
    }

    /// Makes a new file the user's own where that matters.
    pub(crate) fn give_away(&self, path: &Path) -> io::Result<()> {
        if !self.gives_away {
            return Ok(());
        }
        lchown(path, Some(self.user.uid), Some(self.user.group().1))
    }

    /// Makes a folder with those above it, each the user's own.
    fn make_folders(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.make_folders(path.parent().unwrap_or(path))?;
        fs::create_dir(path)?;
        self.give_away(path)
    }

    fn entry(&self, place: &Place) -> io::Result<Value> {
        let (system, users) = (&self.system, &self.users);
        listing::entry(system, users, &self.user, place, &place.shown, Listing::default())
    }

    /// Opens a file to read it; a pipe that nobody writes to hangs.
    fn open(&self, place: &Place, failed: impl Fn(io::Error) -> CommandFailure) -> Result<File, Stop> {
        let metadata = fs::metadata(&place.real).map_err(&failed)?;
        if !allows(&self.user, place, &metadata, Access::Read) {
            return Err(failed(denied()).into());
        }
        if metadata.file_type().is_fifo() {
            return Err(Stop::Hangs);
        }
        if metadata.is_dir() {
            let error = io::Error::from_raw_os_error(rustix::io::Errno::ISDIR.raw_os_error());
            return Err(failed(error).into());
        }
        Ok(File::open(&place.real).map_err(&failed)?)
    }

    pub(crate) fn mkdir(&self, fields: &Fields) -> Done {
        let place = self.resolve(&fields.path()?)?;
        let failed = failure(1, "mkdir: cannot create directory '", &place.shown, "'");
        let with_parents = fields.flag("parent");
        if !(with_parents && place.real.is_dir()) {
            self.may_make(&place, with_parents).map_err(&failed)?;
            let made = if with_parents {
                self.make_folders(&place.real)
            } else {
                fs::create_dir(&place.real).and_then(|()| self.give_away(&place.real))
            };
            made.map_err(&failed)?;
        }
        Ok(output(StatusCode::CREATED, self.entry(&place).map_err(&failed)?))
    }

    /// Whether the nearest folder that is there may be changed.
    fn may_make(&self, place: &Place, with_parents: bool) -> io::Result<()> {
        if with_parents && !place.is_top && owns(&self.user, place) {
            return Ok(());
        }
        may_change_folder(&self.user, place)
    }

    pub(crate) fn upload(&self, call: &Call) -> Done {
        let folder = self.resolve(call.path_parameter()?)?;
        let content_type = call.header("content-type").unwrap_or_default();
        let file = multipart::file(content_type, &call.body).ok_or_else(|| Problem::missing("file"))?;
        if file.content.len() as u64 > self.ops_bytes {
            let text = "File to upload is too large.";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).into());
        }
        let place = self.resolve(&format!("{}/{}", folder.shown, file.name))?;
        let failed = failure(1, "bash: line 1: ", &place.shown, "");
        self.may_write(&place).map_err(&failed)?;
        // A pipe that nobody reads from hangs.
        if fs::metadata(&place.real).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            return Err(Stop::Hangs);
        }
        let mut written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&place.real)
            .map_err(&failed)?;
        written.write_all(file.content).map_err(&failed)?;
        self.give_away(&place.real).map_err(&failed)?;
        // The command that would write the file waits for a first byte.
        if file.content.is_empty() {
            Err(Stop::Hangs)
        } else {
            Ok(Answer::no_content())
        }
    }

    fn may_write(&self, place: &Place) -> io::Result<()> {
        match fs::metadata(&place.real) {
            Ok(metadata) if allows(&self.user, place, &metadata, Access::Write) => Ok(()),
            Ok(_) => Err(denied()),
            Err(_) => may_change_folder(&self.user, place),
        }
    }

    pub(crate) fn download(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let mut file = self.open(&place, failure(1, "base64: ", &place.shown, ""))?;
        let failed = failure(1, "base64: read error", "", "");
        // The file comes as base64 text into a buffer of this size.
        let length = file.metadata().map_err(&failed)?.len();
        if length.div_ceil(3) * 4 >= self.ops_bytes {
            return Err(too_long());
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(&failed)?;
        Ok(Answer::text(StatusCode::OK, "application/octet-stream", content))
    }

    pub(crate) fn ls(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(2, "ls: cannot access '", &place.shown, "'");
        let asked = Listing {
            hidden: call.flag("showHidden"),
            recursive: call.flag("recursive"),
            numeric: call.flag("numericUid"),
            dereference: call.flag("dereference"),
        };
        let metadata = fs::symlink_metadata(&place.real).map_err(&failed)?;
        let (system, users, user) = (&self.system, &self.users, &self.user);
        let entries = if fs::metadata(&place.real).is_ok_and(|target| target.is_dir()) {
            if !allows(user, &place, &metadata, Access::Read) {
                return Err(failure(2, "ls: cannot open directory '", &place.shown, "'")(denied()).into());
            }
            listing::entries(system, users, user, &place, asked).map_err(&failed)?
        } else {
            vec![listing::entry(system, users, user, &place, &place.shown, asked).map_err(&failed)?]
        };
        Ok(output(StatusCode::OK, Value::Array(entries)))
    }

    pub(crate) fn stat(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(1, "stat: cannot statx '", &place.shown, "'");
        let numbers = listing::stat(&self.users, &self.user, &place, call.flag("dereference"));
        Ok(output(StatusCode::OK, numbers.map_err(failed)?))
    }

    pub(crate) fn file(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let metadata = fs::symlink_metadata(&place.real);
        let kind = match metadata {
            // The command tells of it on its output, and ends well.
            Err(error) => format!("cannot open `{}' ({})", place.shown, reason(&error)),
            Ok(metadata) if metadata.is_dir() => "directory".to_owned(),
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(&place.real).unwrap_or_default();
                format!("symbolic link to {}", paths::shown(&self.system, &target))
            }
            Ok(metadata) if metadata.file_type().is_fifo() => "fifo (named pipe)".to_owned(),
            Ok(_) => {
                let failed = failure(1, "file: cannot open `", &place.shown, "'");
                let mut beginning = Vec::new();
                let file = self.open(&place, &failed)?;
                file.take(65_536).read_to_end(&mut beginning).map_err(&failed)?;
                content::kind(&beginning).to_owned()
            }
        };
        Ok(output(StatusCode::OK, json!(kind)))
    }

    pub(crate) fn checksum(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(1, "sha256sum: ", &place.shown, "");
        let mut file = self.open(&place, &failed)?;
        let mut digest = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            let length = file.read(&mut piece).map_err(&failed)?;
            if length == 0 {
                break;
            }
            digest.update(&piece[..length]);
        }
        let sum = hex(&digest.finalize());
        Ok(output(
            StatusCode::OK,
            json!({"algorithm": "SHA256", "checksum": sum}),
        ))
    }

    pub(crate) fn head(&self, call: &Call) -> Done {
        self.part(call, "head", "skipTrailing", content::head)
    }

    pub(crate) fn tail(&self, call: &Call) -> Done {
        self.part(call, "tail", "skipHeading", content::tail)
    }

    fn part(
        &self,
        call: &Call,
        program: &str,
        flag: &str,
        part: impl Fn(&[u8], Amount, bool) -> Part,
    ) -> Done {
        let (amount, unit) = match (call.number("bytes")?, call.number("lines")?) {
            (Some(_), Some(_)) => {
                let text = "Only one of `bytes` or `lines` can be specified.";
                return Err(Problem::bad_request(text).into());
            }
            (Some(bytes), None) => (Amount::Bytes(bytes), "bytes"),
            (None, lines) => (Amount::Lines(lines.unwrap_or(10)), "lines"),
        };
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(
            1,
            &format!("{program}: cannot open '"),
            &place.shown,
            "' for reading",
        );
        let mut bytes = Vec::new();
        self.open(&place, &failed)?
            .read_to_end(&mut bytes)
            .map_err(&failed)?;
        let part = part(&bytes, amount, call.flag(flag));
        if part.content.len() as u64 >= self.ops_bytes {
            return Err(too_long());
        }
        Ok(output(
            StatusCode::OK,
            json!({
                "content": part.content,
                "contentType": unit,
                "startPosition": part.start,
                "endPosition": part.end,
            }),
        ))
    }

    pub(crate) fn view(&self, call: &Call) -> Done {
        let size = call.number("size")?.unwrap_or(self.ops_bytes);
        if size == 0 {
            let text = "`size` value must be an integer value greater than 0";
            return Err(Problem::bad_request(text).into());
        }
        if size > self.ops_bytes {
            let text = format!("`size` value must be less than {} bytes", self.ops_bytes);
            return Err(Problem::bad_request(text).into());
        }
        let offset = call.number("offset")?.unwrap_or_default();
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(1, "tail: cannot open '", &place.shown, "' for reading");
        let mut file = self.open(&place, &failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(&failed)?;
        let mut bytes = Vec::new();
        file.take(size).read_to_end(&mut bytes).map_err(&failed)?;
        if bytes.len() as u64 >= self.ops_bytes {
            return Err(too_long());
        }
        Ok(output(StatusCode::OK, json!(String::from_utf8_lossy(&bytes))))
    }

    pub(crate) fn chmod(&self, fields: &Fields) -> Done {
        let place = self.resolve(&fields.path()?)?;
        let mode = fields.required_text("mode")?;
        let invalid = || CommandFailure::new(1, format!("chmod: invalid mode: '{mode}'"));
        let bits = u32::from_str_radix(&mode, 8)
            .ok()
            .filter(|&bits| bits <= 0o7777)
            .ok_or_else(invalid)?;
        let absent = failure(1, "chmod: cannot access '", &place.shown, "'");
        fs::metadata(&place.real).map_err(&absent)?;
        let failed = failure(1, "chmod: changing permissions of '", &place.shown, "'");
        self.must_own(&place).map_err(&failed)?;
        fs::set_permissions(&place.real, fs::Permissions::from_mode(bits)).map_err(&failed)?;
        Ok(output(StatusCode::OK, self.entry(&place).map_err(&absent)?))
    }

    /// Only root gives files away, so that only what changes nothing is carried out.
    pub(crate) fn chown(&self, fields: &Fields) -> Done {
        let place = self.resolve(&fields.path()?)?;
        let absent = failure(1, "chown: cannot access '", &place.shown, "'");
        fs::metadata(&place.real).map_err(&absent)?;
        let failed = failure(1, "chown: changing ownership of '", &place.shown, "'");
        self.must_own(&place).map_err(&failed)?;
        let owner = fields.text("owner")?.unwrap_or_default();
        let group = fields.text("group")?.unwrap_or_default();
        let is_own_group = group.is_empty() || self.user.group().0 == group;
        if !(owner.is_empty() || owner == self.user.name) || !is_own_group {
            return Err(failed(not_permitted()).into());
        }
        Ok(output(StatusCode::OK, self.entry(&place).map_err(&absent)?))
    }

    fn must_own(&self, place: &Place) -> io::Result<()> {
        if owns(&self.user, place) {
            Ok(())
        } else {
            Err(not_permitted())
        }
    }

    pub(crate) fn rm(&self, call: &Call) -> Done {
        let place = self.resolve(call.path_parameter()?)?;
        let failed = failure(1, "rm: cannot remove '", &place.shown, "'");
        let metadata = fs::symlink_metadata(&place.real).map_err(&failed)?;
        may_change_folder(&self.user, &place).map_err(&failed)?;
        let removed = if metadata.is_dir() {
            fs::remove_dir_all(&place.real)
        } else {
            fs::remove_file(&place.real)
        };
        removed.map_err(&failed)?;
        Ok(Answer::no_content())
    }

    pub(crate) fn symlink(&self, fields: &Fields) -> Done {
        let target = self.resolve(&fields.path()?)?;
        let link = self.resolve(&fields.required_text("linkPath")?)?;
        let failed = failure(1, "ln: failed to create symbolic link '", &link.shown, "'");
        may_change_folder(&self.user, &link).map_err(&failed)?;
        symlink(&target.real, &link.real).map_err(&failed)?;
        self.give_away(&link.real).map_err(&failed)?;
        Ok(output(StatusCode::CREATED, self.entry(&link).map_err(&failed)?))
    }

    /// Whether a job of the user would be refused there; what is not there fails by itself.
    pub(crate) fn denied(&self, place: &Place, access: Access) -> bool {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match access {
            Access::Write => self.may_write(place).is_err_and(refused),
            Access::Read => fs::metadata(&place.real)
                .is_ok_and(|metadata| !allows(&self.user, place, &metadata, Access::Read)),
        }
    }

    /// Whether a job of the user would be refused to remove that.
    pub(crate) fn removal_is_denied(&self, place: &Place) -> bool {
        let allowed = may_change_folder(&self.user, place);
        allowed.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the user may write a file there, in the words of `tar`.
    pub(crate) fn may_archive_to(&self, place: &Place) -> Result<(), CommandFailure> {
        self.may_write(place)
            .map_err(failure(2, "tar (child): ", &place.shown, ": Cannot open"))
    }

    /// Whether the user may write into that folder, in the words of `tar`.
    pub(crate) fn may_extract_to(&self, place: &Place) -> Result<(), CommandFailure> {
        let failed = failure(2, "tar: ", &place.shown, ": Cannot open");
        let metadata = fs::metadata(&place.real).map_err(&failed)?;
        let allowed = allows(&self.user, place, &metadata, Access::Write);
        if allowed { Ok(()) } else { Err(failed(denied())) }
    }
}

fn not_permitted() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::PERM.raw_os_error())
}

fn too_long() -> Stop {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "Command output exceeded buffer limit.",
    )
    .into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The arguments of `tar` for a compression of the API.
pub(crate) fn compression_flag(fields: &Fields) -> Result<&'static str, Problem> {
    Ok(match fields.text("compression")?.as_deref() {
        None | Some("gzip") => "-z",
        Some("bzip2") => "-j",
        Some("xz") => "-J",
        Some("none") => "",
        Some(_) => {
            let message = "Input should be 'none', 'bzip2', 'gzip' or 'xz'";
            return Err(Problem::validation("enum", "body", json!("compression"), message));
        }
    })
}

/// A path as a folder and the name in it.
pub(crate) fn split_path(path: &Path) -> (&Path, &Path) {
    let name = path.file_name().map_or(Path::new("."), Path::new);
    (path.parent().unwrap_or(path), name)
}
