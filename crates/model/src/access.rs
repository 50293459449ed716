//! What opens an endpoint: where it is written, and what is read there by the one place that sends it.

use std::{io, path::Path};

use crate::{
    deployment::{ApiKeySource, EndpointSpec, HeaderSource},
    secret::Secret,
};

/// What an endpoint asks for, read where [`EndpointSpec`] says.
#[derive(Debug, Default)]
pub struct Access {
    /// The key that is sent as a bearer token.
    pub key: Option<Secret>,
    /// Headers by name.
    pub headers: Vec<(String, Secret)>,
    /// Certificates in PEM of authorities that are trusted beside the public ones.
    pub authorities: Option<Vec<u8>>,
}

/// Something that an endpoint needs and that is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A variable that is not set, or is no text.
    #[error("the environment variable `{name}` with {what} is not set")]
    Variable {
        /// The variable.
        name: String,
        /// What it should hold.
        what: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{path}` with {what}")]
    File {
        /// The file.
        path: String,
        /// What it should hold.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl EndpointSpec {
    /// Reads what the endpoint asks for, by what gives an environment variable and what gives a file's bytes.
    ///
    /// # Errors
    /// A variable is not set, or a file cannot be read.
    pub fn access(
        &self,
        variable: impl Fn(&str) -> Option<String>,
        file: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Access, AccessError> {
        let read_file = |path: &Path, what: &str| {
            file(path).map_err(|source| AccessError::File {
                path: path.display().to_string(),
                what: what.to_owned(),
                source,
            })
        };
        let secret = |source: &HeaderSource, what: &str| match source {
            HeaderSource::Text(text) => Ok(Secret::new(text)),
            HeaderSource::Environment(name) => {
                let value = variable(name).ok_or_else(|| AccessError::Variable {
                    name: name.clone(),
                    what: what.to_owned(),
                })?;
                Ok(Secret::new(&value))
            }
            HeaderSource::File(path) => {
                let text = String::from_utf8_lossy(&read_file(path, what)?).into_owned();
                Ok(Secret::new(&text))
            }
        };
        let key = match &self.api_key {
            ApiKeySource::None => None,
            ApiKeySource::Environment(name) => Some(HeaderSource::Environment(name.clone())),
            ApiKeySource::File(path) => Some(HeaderSource::File(path.clone())),
        };
        let key = key.map(|source| secret(&source, "the API key")).transpose()?;
        let header = |(name, source): (&String, &HeaderSource)| {
            let value = secret(source, &format!("the header `{name}`"))?;
            Ok((name.clone(), value))
        };
        let headers = self
            .headers
            .iter()
            .map(header)
            .collect::<Result<_, AccessError>>()?;
        let authorities = self
            .ca_file
            .as_deref()
            .map(|path| read_file(path, "certificates of authorities"))
            .transpose()?;
        Ok(Access {
            key,
            headers,
            authorities,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &EndpointSpec) -> String {
        let variable = |name: &str| (name == "SET").then(|| " text\n".to_owned());
        let file = |path: &Path| match path.to_str() {
            Some("/there") => Ok(b"bytes\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        match spec.access(variable, file) {
            Err(error) => error.to_string(),
            Ok(access) => {
                let headers = access
                    .headers
                    .iter()
                    .map(|(name, value)| format!(" {name}={}", value.expose()));
                let key = access.key.as_ref().map_or("-", Secret::expose);
                format!("{key}{} {:?}", headers.collect::<String>(), access.authorities)
            }
        }
    }

    #[test]
    fn what_opens_an_endpoint_is_read_where_it_is() {
        let check = |change: &dyn Fn(&mut EndpointSpec), expected: &str| {
            let mut spec = EndpointSpec::new("http://h");
            change(&mut spec);
            assert_eq!(read(&spec), expected);
        };
        check(&|_| {}, "- None");
        check(
            &|spec| {
                spec.api_key = ApiKeySource::Environment("SET".to_owned());
                spec.headers
                    .insert("A".to_owned(), HeaderSource::Text("plain".to_owned()));
                spec.headers
                    .insert("B".to_owned(), HeaderSource::File("/there".into()));
            },
            "text A=plain B=bytes None",
        );
        check(
            &|spec| spec.api_key = ApiKeySource::Environment("UNSET".to_owned()),
            "the environment variable `UNSET` with the API key is not set",
        );
        check(
            &|spec| {
                spec.headers
                    .insert("B".to_owned(), HeaderSource::Environment("UNSET".to_owned()));
            },
            "the environment variable `UNSET` with the header `B` is not set",
        );
        check(
            &|spec| spec.ca_file = Some("/gone".into()),
            "cannot read `/gone` with certificates of authorities",
        );
    }
}
