//! Credentials from variables of the environment.

use std::fmt;

use crate::{builder::Authentication, secret::Secret, token::ClientCredentials};

/// The variables that are missing or wrong, all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct EnvironmentError {
    /// What is missing: the names that would serve, the preferred one first.
    pub missing: Vec<Vec<&'static str>>,
    /// What is wrong: the name, and why.
    pub wrong: Vec<(&'static str, String)>,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults = Vec::new();
        if !self.missing.is_empty() {
            let missing: Vec<String> = self.missing.iter().map(|names| names.join(" or ")).collect();
            faults.push(format!("set {} in the environment", missing.join(", ")));
        }
        for (name, reason) in &self.wrong {
            faults.push(format!("{name} is wrong: {reason}"));
        }
        formatter.write_str(&faults.join("; "))
    }
}

const BASE_URL: &[&str] = &["FIRECREST_URL", "BACKEND_API_BASE_URL"];
const API_KEY: &[&str] = &["FIRECREST_API_KEY"];
const CLIENT_ID: &[&str] = &["FIRECREST_CLIENT_ID", "OAUTH_CLIENT_ID"];
const CLIENT_SECRET: &[&str] = &["FIRECREST_CLIENT_SECRET", "OAUTH_CLIENT_SECRET"];
const TOKEN_URL: &[&str] = &["FIRECREST_TOKEN_URL", "OAUTH_TOKEN_URL", "AUTH_TOKEN_URL"];
const SCOPES: &[&str] = &["FIRECREST_SCOPES", "OAUTH_SCOPES"];

/// The base URL and the credentials. An empty variable counts as missing.
pub(crate) fn read(
    look_up: impl Fn(&str) -> Option<String>,
) -> Result<(String, Authentication), EnvironmentError> {
    let find = |names: &'static [&'static str]| {
        names.iter().find_map(|name| {
            let value = look_up(name)?.trim().to_owned();
            (!value.is_empty()).then_some((*name, value))
        })
    };
    let mut fault = EnvironmentError {
        missing: Vec::new(),
        wrong: Vec::new(),
    };
    let base_url = find(BASE_URL);
    if base_url.is_none() {
        fault.missing.push(BASE_URL.to_vec());
    }
    let authentication = match find(API_KEY) {
        Some((_, key)) => Some(Authentication::ApiKey(Secret::new(key))),
        None => credentials(&find, &mut fault),
    };
    match (base_url, authentication) {
        (Some((_, base_url)), Some(authentication)) => Ok((base_url, authentication)),
        _ => Err(fault),
    }
}

type Found = Option<(&'static str, String)>;

fn credentials(
    find: &impl Fn(&'static [&'static str]) -> Found,
    fault: &mut EnvironmentError,
) -> Option<Authentication> {
    let mut require = |names: &'static [&'static str]| {
        let found = find(names);
        if found.is_none() {
            fault.missing.push(names.to_vec());
        }
        found
    };
    let (id, secret, token_url) = (require(CLIENT_ID), require(CLIENT_SECRET), require(TOKEN_URL));
    if id.is_none() && secret.is_none() && token_url.is_none() {
        // With nothing at all, a key would serve as well.
        fault.missing.retain(|names| names[0] != CLIENT_ID[0]);
        let with_key = CLIENT_ID.iter().chain(API_KEY).copied().collect();
        let at = usize::from(fault.missing.first().is_some_and(|names| names[0] == BASE_URL[0]));
        fault.missing.insert(at, with_key);
    }
    let token_url = token_url.and_then(|(name, text)| match reqwest::Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(url),
        Ok(_) => {
            fault
                .wrong
                .push((name, "it is neither http nor https".to_owned()));
            None
        }
        Err(error) => {
            fault.wrong.push((name, error.to_string()));
            None
        }
    });
    let (_, scopes) = find(SCOPES).unwrap_or_default();
    Some(Authentication::ClientCredentials(ClientCredentials {
        token_url: token_url?,
        id: id?.1,
        secret: Secret::new(secret?.1),
        scopes: scopes
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<&str, &str>) {
        let found = read(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let found = found
            .map(|found| format!("{found:?}"))
            .map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert!(found.contains(expected), "{found}"),
            _ => assert_eq!(found.as_deref().map_err(String::as_str), expected),
        }
    }

    const URL: (&str, &str) = ("BACKEND_API_BASE_URL", "https://api.example/v2");
    const ID: (&str, &str) = ("OAUTH_CLIENT_ID", "me");
    const SECRET: (&str, &str) = ("OAUTH_CLIENT_SECRET", "swordfish");
    const TOKEN: (&str, &str) = ("OAUTH_TOKEN_URL", "https://auth.example/token");

    #[test]
    fn credentials_are_found() {
        check(&[URL, ID, SECRET, TOKEN], Ok("secret: <secret>, scopes: []"));
        check(
            &[
                URL,
                ID,
                SECRET,
                TOKEN,
                ("OAUTH_SCOPES", "a b,c"),
                ("FIRECREST_CLIENT_ID", "you"),
            ],
            Ok(r#"id: "you", secret: <secret>, scopes: ["a", "b", "c"]"#),
        );
        check(&[URL, ("FIRECREST_API_KEY", "swordfish")], Ok("ApiKey(<secret>)"));
    }

    #[test]
    fn all_faults_are_named_at_once() {
        check(
            &[],
            Err(
                "set FIRECREST_URL or BACKEND_API_BASE_URL, FIRECREST_CLIENT_ID or OAUTH_CLIENT_ID or \
                 FIRECREST_API_KEY, FIRECREST_CLIENT_SECRET or OAUTH_CLIENT_SECRET, FIRECREST_TOKEN_URL or \
                 OAUTH_TOKEN_URL or AUTH_TOKEN_URL in the environment",
            ),
        );
        check(
            &[URL, ID, ("OAUTH_TOKEN_URL", "auth")],
            Err(
                "set FIRECREST_CLIENT_SECRET or OAUTH_CLIENT_SECRET in the environment; OAUTH_TOKEN_URL is wrong: \
                 relative URL without a base",
            ),
        );
        check(
            &[ID, SECRET, TOKEN, ("FIRECREST_URL", " ")],
            Err("set FIRECREST_URL or BACKEND_API_BASE_URL in the environment"),
        );
    }
}
