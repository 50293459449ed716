//! The endpoint of a server that gipfel does not own.

use gipfel_model::{EndpointSpec, deployment::ApiKeySource};

use crate::{field::Field, section::Section};

/// Keys that only an external deployment reads.
pub(crate) const KEYS: &[&str] = &[
    "url",
    "api_key_env",
    "api_key_file",
    "headers",
    "ca_file",
    "proxy",
];

const URL: &str = "an address such as `http://127.0.0.1:8000` or `https://host/prefix`";

/// Takes the endpoint's keys; absent without a `url`.
pub(crate) fn take_endpoint(section: &mut Section<'_>) -> Option<EndpointSpec> {
    let url = section.take("url");
    let api_key = take_api_key(section);
    take_later(section);
    Some(EndpointSpec {
        api_key,
        ..EndpointSpec::new(read_url(&url)?)
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
    match (read_variable(&environment), file) {
        (Some(name), _) => ApiKeySource::Environment(name.to_owned()),
        (None, Some(path)) => ApiKeySource::File(path.into()),
        (None, None) => ApiKeySource::None,
    }
}

/// The value is not repeated in the fault: it may be the key itself.
fn read_variable<'a>(field: &Field<'a>) -> Option<&'a str> {
    let allowed = "the name of an environment variable, such as `OPENAI_API_KEY`";
    let text = field.as_text(allowed)?;
    let starts_well = !text.starts_with(|c: char| c.is_ascii_digit());
    let is_name = starts_well && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_name {
        Some(text)
    } else {
        field.refuse(allowed)
    }
}

/// What is read and checked already and comes with a later version.
fn take_later(section: &mut Section<'_>) {
    let headers = section.take("headers");
    if let Some(mut map) = headers.as_section() {
        for (_, header) in map.take_rest() {
            header.secret().as_text("a header's value, a text");
        }
        headers
            .reading
            .unsupported(&headers.place(), "endpoint headers", false);
    }
    for (key, allowed, feature) in [
        (
            "ca_file",
            "the path of a file of certificates",
            "certificates of one's own",
        ),
        ("proxy", "the address of a proxy", "endpoint proxies"),
    ] {
        let field = section.take(key).secret();
        if field.as_text(allowed).is_some() {
            field.reading.unsupported(&field.place(), feature, false);
        }
    }
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
}
