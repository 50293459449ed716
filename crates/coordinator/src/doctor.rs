//! What a cluster's API says of itself, as findings that say what to do.

pub(crate) mod cluster;
pub(crate) mod jobs;
pub(crate) mod kubernetes;

use std::{fmt, time::Duration};

use firecrest_client::{Credential, System, UserInfo};

/// The shortest life of tokens that leaves the client time to renew them before the server refuses them.
const SHORTEST_TOKEN: Duration = Duration::from_mins(1);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As it should be.
    Well,
    /// Works, but should be known.
    Note,
    /// Does not work.
    Fault,
}

/// One line of the doctor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) state: State,
    pub(crate) part: &'static str,
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
}

impl Finding {
    pub(crate) fn well(part: &'static str, text: String) -> Self {
        Self::new(State::Well, part, text)
    }

    pub(crate) fn note(part: &'static str, text: String) -> Self {
        Self::new(State::Note, part, text)
    }

    pub(crate) fn fault(part: &'static str, text: String) -> Self {
        Self::new(State::Fault, part, text)
    }

    fn new(state: State, part: &'static str, text: String) -> Self {
        Self {
            state,
            part,
            // Commands of the cluster write several lines, and a finding is one.
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.state {
            State::Well => "ok",
            State::Note => "note",
            State::Fault => "fault",
        };
        write!(formatter, "{word:<6} {:<12} {}", self.part, self.text)?;
        if let Some(hint) = &self.hint {
            write!(formatter, "\n{:<19} hint: {hint}", "")?;
        }
        Ok(())
    }
}

/// What lets the client in, and how long.
pub(crate) fn credential(credential: &Credential) -> Finding {
    let Credential::Token { life, margin } = *credential else {
        return Finding::well("credentials", "an API key".to_owned());
    };
    let text = format!(
        "the issuer takes them; a token lives {} s and is renewed {} s before its end",
        life.as_secs(),
        margin.as_secs()
    );
    if life < SHORTEST_TOKEN {
        return Finding::fault("credentials", text)
            .hint("FirecREST refuses tokens with less than 30 s left: ask whoever keeps the issuer for a longer life");
    }
    Finding::well("credentials", text)
}

/// Which services of a system answer, as of the last check.
pub(crate) fn health(system: &System) -> Finding {
    let name = &system.name;
    let interval = system
        .probing
        .as_ref()
        .and_then(|probing| probing.interval_check_s);
    let sick: Vec<String> = system
        .unhealthy()
        .map(|health| {
            let place = health
                .path
                .as_ref()
                .map_or_else(String::new, |path| format!(" {path}"));
            let message = health
                .message
                .as_ref()
                .map_or_else(String::new, |message| format!(" ({message})"));
            format!("{}{place}{message}", health.service_type)
        })
        .collect();
    if !sick.is_empty() {
        let finding = Finding::fault("health", format!("{name}: {} do not answer", sick.join(", ")));
        return match interval {
            Some(seconds) => finding.hint(format!(
                "checked every {seconds:.0} s, and refused until the next check: try again then, or see the site's status page"
            )),
            None => finding.hint("see the site's status page"),
        };
    }
    if system.services_health.is_empty() {
        return Finding::note("health", format!("{name}: the site checks none of its services"));
    }
    let services: Vec<&str> = system
        .services_health
        .iter()
        .map(|health| health.path.as_deref().unwrap_or(&health.service_type))
        .collect();
    Finding::well("health", format!("{name}: {} answer", services.join(", ")))
}

/// Who the user is there, and what jobs can be charged to.
pub(crate) fn account(system: &str, user: &UserInfo, wanted: Option<&str>) -> Finding {
    let names: Vec<&str> = user
        .accounts
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    let who = format!("{system}: user {}", user.user.name);
    if let Some(wanted) = wanted
        && !names.contains(&wanted)
    {
        return Finding::fault("account", format!("{who} has no account `{wanted}`")).hint(
            if names.is_empty() {
                "ask for an account on this system".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            },
        );
    }
    if names.is_empty() {
        return Finding::fault("account", format!("{who} has no account"))
            .hint("ask the project's owner to add this user to it");
    }
    let shown: Vec<String> = user
        .accounts
        .iter()
        .map(|account| {
            format!(
                "{}{}",
                account.name,
                if account.default { " (default)" } else { "" }
            )
        })
        .collect();
    Finding::well("account", format!("{who}, accounts {}", shown.join(", ")))
}

fn push(text: &mut String, words: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = fmt::Write::write_fmt(text, words);
}

/// What a packed load generator may take at most; `cargo xtask bundle` holds to it.
const BUNDLE_BYTES: u64 = 4_000_000;

/// How large files may be, and how long commands.
pub(crate) fn limits(system: &System) -> Finding {
    let name = &system.name;
    let (Some(up), Some(down)) = (system.direct_upload_limit(), system.direct_download_limit()) else {
        return Finding::note(
            "limits",
            format!("{name}: the server does not tell them; 5,242,880 bytes up are usual"),
        );
    };
    let mut text = format!("{name}: {up} bytes up and {down} bytes down directly");
    let transfer = system
        .data_operation
        .as_ref()
        .and_then(|operation| operation.data_transfer.as_ref());
    match transfer.and_then(|transfer| transfer.service_type.as_deref()) {
        Some(service) => push(&mut text, format_args!("; above by {service}")),
        None => text.push_str("; nothing larger"),
    }
    let timeouts = system.ssh.as_ref().and_then(|ssh| ssh.timeout.as_ref());
    if let Some(seconds) = timeouts.and_then(|timeouts| timeouts.command_execution_s) {
        push(&mut text, format_args!("; commands end after {seconds} s"));
    }
    if system.transfers_need_account() {
        text.push_str("; larger transfers need an account");
    }
    if up < BUNDLE_BYTES {
        return Finding::fault("limits", text).hint(format!(
            "the load generator has up to {BUNDLE_BYTES} bytes: put it there by hand"
        ));
    }
    Finding::well("limits", text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn system(value: Value) -> System {
        serde_json::from_value(value).expect("a system")
    }

    fn check(finding: &Finding, expected: &str) {
        assert_eq!(finding.to_string(), expected);
    }

    #[test]
    fn a_finding_is_one_line() {
        check(
            &Finding::fault("account", "sacct: error: a\nsacct: error: b\n".to_owned()),
            "fault  account      sacct: error: a sacct: error: b",
        );
    }

    #[test]
    fn health_says_what_does_not_answer() {
        let service = |kind: &str, healthy: bool| json!({"serviceType": kind, "healthy": healthy, "message": if healthy { None } else { Some("refused") }});
        let with = |services: &[Value]| {
            system(json!({"name": "clariden", "probing": {"intervalCheck": 120}, "servicesHealth": services}))
        };
        check(
            &health(&with(&[service("scheduler", true), service("ssh", true)])),
            "ok     health       clariden: scheduler, ssh answer",
        );
        check(
            &health(&with(&[service("scheduler", false), service("ssh", true)])),
            "fault  health       clariden: scheduler (refused) do not answer\n                    hint: checked every \
             120 s, and refused until the next check: try again then, or see the site's status page",
        );
        check(
            &health(&with(&[])),
            "note   health       clariden: the site checks none of its services",
        );
    }

    #[test]
    fn accounts_are_looked_for() {
        let user = |accounts: Value| -> UserInfo {
            let value = json!({"user": {"id": "1", "name": "me"}, "groups": [], "accounts": accounts});
            serde_json::from_value(value).expect("a user")
        };
        let two = user(json!([{"name": "a", "default": true}, {"name": "b", "default": false}]));
        check(
            &account("clariden", &two, Some("b")),
            "ok     account      clariden: user me, accounts a (default), b",
        );
        check(
            &account("clariden", &two, Some("c")),
            "fault  account      clariden: user me has no account `c`\n                    hint: there are a, b",
        );
        check(
            &account("clariden", &user(json!([])), None),
            "fault  account      clariden: user me has no account\n                    hint: ask the project's owner to \
             add this user to it",
        );
    }

    #[test]
    fn limits_are_those_of_the_server() {
        let with = |bytes: Option<u64>| {
            let operation = json!({"maxOpsFileSize": bytes, "dataTransfer": {"serviceType": "s3"}});
            limits(&system(json!({"name": "clariden", "dataOperation": operation})))
        };
        check(
            &with(Some(5_242_880)),
            "ok     limits       clariden: 5242880 bytes up and 3932157 bytes down directly; above by s3",
        );
        assert_eq!(with(Some(1_000_000)).state, State::Fault);
        assert_eq!(with(None).state, State::Note);
    }

    #[test]
    fn tokens_must_live_long_enough() {
        let token = |seconds| {
            credential(&Credential::Token {
                life: Duration::from_secs(seconds),
                margin: Duration::from_secs(75),
            })
        };
        check(
            &token(300),
            "ok     credentials  the issuer takes them; a token lives 300 s and is renewed 75 s before its end",
        );
        assert_eq!(token(40).state, State::Fault);
        check(&credential(&Credential::ApiKey), "ok     credentials  an API key");
    }
}
