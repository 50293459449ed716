//! The endpoint of a server that gipfel does not own.

use std::collections::BTreeMap;

use gipfel_model::{
    EndpointSpec,
    deployment::{ApiKeySource, HeaderSource, base},
};

use crate::{field::Field, section::Section};

/// Keys that only an external deployment reads.
pub(crate) const KEYS: &[&str] = &[
    "url",
    "urls",
    "api_key_env",
    "api_key_file",
    "headers",
    "ca_file",
    "proxy",
    "http2",
];

const URLS: &str = "a list of addresses, such as `[http://node1:8000, http://node2:8000]`";

const URL: &str = "an address such as `http://127.0.0.1:8000` or `https://host/prefix`";

/// Takes the endpoint's keys; absent without a `url`.
pub(crate) fn take_endpoint(section: &mut Section<'_>) -> Option<EndpointSpec> {
    section.exclusive("url", "urls", "one server has a `url`, several have `urls`");
    let url = section.take("url");
    let urls = section.take("urls");
    let api_key = take_api_key(section);
    let headers = take_headers(section);
    let ca_file = section
        .take("ca_file")
        .as_text("the path of a file of certificates in PEM");
    let proxy = read_proxy(&section.take("proxy"));
    let http2 = section.take("http2").as_flag();
    let mut urls = read_urls(&urls).into_iter().chain(read_url(&url));
    let first = urls.next()?;
    Some(EndpointSpec {
        replicas: urls.map(base).collect(),
        api_key,
        headers,
        ca_file: ca_file.map(Into::into),
        proxy: proxy.map(str::to_owned),
        http2: http2.unwrap_or(false),
        ..EndpointSpec::new(first)
    })
}

fn take_api_key(section: &mut Section<'_>) -> ApiKeySource {
    section.exclusive("api_key_env", "api_key_file", "the key is read at one place");
    if section.has("api_key") {
        section.reading.fault(
            section.place_of_key("api_key"),
            "a key does not stand in a configuration; `api_key_env` takes the name of an environment variable \
             that holds it, `api_key_file` the path of a file",
        );
        section.skip("api_key");
    }
    let environment = section.take("api_key_env").secret();
    let file = section.take("api_key_file");
    let file = file.as_text("the path of a file that holds the key");
    match (read_variable(&environment, "OPENAI_API_KEY"), file) {
        (Some(name), _) => ApiKeySource::Environment(name.to_owned()),
        (None, Some(path)) => ApiKeySource::File(path.into()),
        (None, None) => ApiKeySource::None,
    }
}

/// The value is not repeated in the fault: it may be the key itself.
fn read_variable<'a>(field: &Field<'a>, example: &str) -> Option<&'a str> {
    let allowed = format!("the name of an environment variable, such as `{example}`");
    let text = field.as_text(&allowed)?;
    if is_variable(text) {
        Some(text)
    } else {
        field.refuse(allowed)
    }
}

/// Reads the name of an environment variable. What is none is not shown: it may be the key itself.
///
/// # Errors
/// A sentence that does not show the text.
pub fn parse_variable(text: &str) -> Result<String, String> {
    if is_variable(text) {
        Ok(text.to_owned())
    } else {
        Err("the name of an environment variable is wanted, such as `OPENAI_API_KEY`, not the key".to_owned())
    }
}

fn is_variable(text: &str) -> bool {
    let starts_well = !text.starts_with(|c: char| c.is_ascii_digit());
    starts_well && !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Headers whose names hold one of these carry secrets.
const SECRET_NAMES: &[&str] = &[
    "authorization",
    "cookie",
    "key",
    "token",
    "secret",
    "password",
    "credential",
    "signature",
];

/// Headers that the client writes by itself, about the connection and the body.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
];

fn take_headers(section: &mut Section<'_>) -> BTreeMap<String, HeaderSource> {
    let mut headers = BTreeMap::new();
    let Some(mut map) = section.take("headers").as_section() else {
        return headers;
    };
    for (name, value) in map.take_rest() {
        let Some(source) = read_header(&value.clone().secret()) else {
            continue;
        };
        if let Err(problem) = check_header(name, &source) {
            value.fault(problem);
        } else {
            headers.insert(name.to_owned(), source);
        }
    }
    headers
}

/// Whether a header can be sent, and holds no secret that would be stored; else what is wrong.
///
/// # Errors
/// A sentence that does not show the value.
pub fn check_header(name: &str, source: &HeaderSource) -> Result<(), String> {
    if !is_header_name(name) {
        return Err("the name of a header has letters, digits, hyphens and underscores only".to_owned());
    }
    let lower = name.to_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) {
        return Err("the client writes this header by itself".to_owned());
    }
    match source {
        HeaderSource::Environment(variable) if !is_variable(variable) => {
            Err("the name of an environment variable is wanted, such as `TEAM_TOKEN`".to_owned())
        }
        HeaderSource::Text(_) if SECRET_NAMES.iter().any(|secret| lower.contains(secret)) => Err(
            "a secret does not stand in a configuration or a command; give the name of an environment variable that \
             holds it (`NAME: { env: VARIABLE }`, or `--header NAME=VARIABLE`) or a file (`NAME: { file: PATH }`)"
                .to_owned(),
        ),
        HeaderSource::Text(text) if text.chars().any(|c| c.is_control() || !c.is_ascii()) => {
            Err("a header's value is a text of printable ASCII characters".to_owned())
        }
        HeaderSource::Environment(_) | HeaderSource::File(_) | HeaderSource::Text(_) => Ok(()),
    }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A value, or a map that says where a secret one is read.
fn read_header(value: &Field<'_>) -> Option<HeaderSource> {
    if !value.is_map() {
        let text = value.as_text("a text, or a map of `env` or `file`")?;
        return Some(HeaderSource::Text(text.to_owned()));
    }
    let mut source = value.as_section()?;
    source.exclusive("env", "file", "the value is read at one place");
    let variable = source.take("env").secret();
    let file = source.take("file");
    let is_empty = !variable.is_given() && !file.is_given();
    let path = file.as_text("the path of a file that holds the value");
    let variable = read_variable(&variable, "TEAM_TOKEN");
    source.finish(&[]);
    if is_empty {
        return value.refuse("`env` with the name of a variable, or `file` with a path");
    }
    variable
        .map(|name| HeaderSource::Environment(name.to_owned()))
        .or_else(|| path.map(|path| HeaderSource::File(path.into())))
}

/// A proxy's address; a user or a password in it would end in files of ours.
fn read_proxy<'a>(field: &Field<'a>) -> Option<&'a str> {
    let allowed = "a proxy's address, such as `http://proxy.example.org:3128`";
    let text = field.as_text(allowed)?;
    match parse_proxy(text) {
        Ok(_) => Some(text),
        Err(_) if text.contains('@') => field.clone().secret().refuse(PROXY_WITHOUT_USER),
        Err(_) => field.refuse(allowed),
    }
}

const PROXY_WITHOUT_USER: &str = "a proxy's address without user and password, which would be stored; proxies that ask for them are not used";

/// Reads a proxy's address, `http://host:port`.
///
/// # Errors
/// A sentence that does not show the address.
pub fn parse_proxy(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err(format!("this is not {PROXY_WITHOUT_USER}"));
    }
    let authority = text
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    match authority {
        Some(authority) if is_authority(authority) && !authority.contains('/') => Ok(text.to_owned()),
        _ => Err("this is no proxy's address, such as `http://proxy.example.org:3128`".to_owned()),
    }
}

/// Several servers; the same address twice would get twice the load.
fn read_urls<'a>(field: &Field<'a>) -> Vec<&'a str> {
    let mut urls: Vec<&str> = Vec::new();
    if field.is_empty_list() {
        field.fault("an empty list; name at least one server");
    }
    for item in field.as_list(URLS).unwrap_or_default() {
        let Some(url) = read_url(&item) else { continue };
        if urls.iter().any(|known| base(known) == base(url)) {
            item.fault(format!("the address {url} is listed twice"));
        } else {
            urls.push(url);
        }
    }
    urls
}

/// An address without credentials, which would end in logs and databases.
fn read_url<'a>(field: &Field<'a>) -> Option<&'a str> {
    let text = field.as_text(URL)?;
    let may_hold_secret = text.contains(['@', '?']);
    let masked = if may_hold_secret {
        &field.clone().secret()
    } else {
        field
    };
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else {
        return masked.refuse(URL);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        field
            .fault("the address holds a user or a password; give a key with `api_key_env` or `api_key_file`");
        return None;
    }
    let path_of_the_api = ["/completions", "/v1/models"]
        .iter()
        .any(|end| rest.ends_with(end));
    if rest.contains(['?', '#']) || path_of_the_api {
        field.fault("the address goes on behind the server's base; it ends before `/v1`");
        return None;
    }
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if clean && is_authority(authority) {
        Some(text)
    } else {
        masked.refuse(URL)
    }
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (
            address,
            port.strip_prefix(':').or(port.is_empty().then_some("80")),
        ),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        },
    };
    let port = port.and_then(|port| port.parse::<u16>().ok());
    !host.is_empty() && port.is_some_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let check = |text, expected| assert_eq!(is_authority(text), expected, "{text}");
        check("host", true);
        check("host:8000", true);
        check("[::1]:8000", true);
        check("[::1]", true);
        check("", false);
        check(":8000", false);
        check("host:port", false);
        check("host:0", false);
        check("host:", false);
    }

    #[test]
    fn names_of_headers() {
        let check = |text, expected| assert_eq!(is_header_name(text), expected, "{text}");
        check("X-Team", true);
        check("x_team.2", true);
        check("", false);
        check("X Team", false);
        check("X-Team:", false);
        check("Ü", false);
    }
}
