//! What a configuration takes from around it: variables, included files, the site's file.

use std::{ffi::OsString, fmt, io, path::Path};

type ReadFile<'a> = dyn Fn(&Path) -> io::Result<String> + 'a;
type ReadVariable<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Where `${NAME}` and `include` are looked up. Reading itself has no I/O: whoever reads a configuration says what
/// there is.
///
/// ```
/// use gipfel_config::{Surroundings, parse_with};
///
/// let text = "
/// include: site.yaml
/// experiments:
///   - { model: fast, backend: sim, deployment: local, port: \"${PORT:-8000}\" }
/// ";
/// let around = Surroundings::none()
///     .with_variables(|name| (name == "PORT").then(|| "9000".into()))
///     .with_files(|_| Ok("defaults: { seed: 7 }".to_owned()));
/// let plan = parse_with(text, "bench.yaml", &around).expect("a valid configuration");
/// assert_eq!(plan.experiments[0].workload.seed, 7);
/// ```
pub struct Surroundings<'a> {
    variable: Box<ReadVariable<'a>>,
    file: Box<ReadFile<'a>>,
    site: Option<String>,
}

impl Surroundings<'static> {
    /// No variable is set, and no file can be included.
    pub fn none() -> Self {
        let refuse = |_: &Path| {
            let why = "no file can be included here";
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        };
        Self {
            variable: Box::new(|_| None),
            file: Box::new(refuse),
            site: None,
        }
    }
}

impl<'a> Surroundings<'a> {
    /// Looks variables up by `variable`.
    #[must_use]
    pub fn with_variables(self, variable: impl Fn(&str) -> Option<OsString> + 'a) -> Self {
        Self {
            variable: Box::new(variable),
            ..self
        }
    }

    /// Reads included files by `file`.
    #[must_use]
    pub fn with_files(self, file: impl Fn(&Path) -> io::Result<String> + 'a) -> Self {
        Self {
            file: Box::new(file),
            ..self
        }
    }

    /// Takes what the configuration and its includes leave open from this file.
    #[must_use]
    pub fn with_site(self, path: impl Into<String>) -> Self {
        Self {
            site: Some(path.into()),
            ..self
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name)
    }

    pub(crate) fn file(&self, path: &str) -> io::Result<String> {
        (self.file)(Path::new(path))
    }

    pub(crate) fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}
