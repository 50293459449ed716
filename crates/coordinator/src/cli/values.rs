//! Values that arguments take.

use std::{str::FromStr, time::Duration};

use gipfel_model::{EndpointSpec, Slo, parse_duration};

/// A server's base URL, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(pub String);

impl FromStr for BaseUrl {
    type Err = String;

    /// Refuses what would be printed and stored though it may be secret: user, password, query.
    fn from_str(text: &str) -> Result<Self, String> {
        let url: reqwest::Url = text.parse().map_err(|_| {
            "it is no URL; write `http://` and the server, such as `http://127.0.0.1:8000`".to_owned()
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(
                "write `http://` or `https://` and the server, such as `http://127.0.0.1:8000`".to_owned(),
            );
        }
        let path = url.path().trim_end_matches('/');
        if path.ends_with("/completions") || path.ends_with("/models") {
            return Err("the URL goes on behind the server's base, which ends before `/v1`".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(
                "a URL with a user, a password or a query is refused, since it would be stored; \
                        give an API key with --api-key-env"
                    .to_owned(),
            );
        }
        Ok(Self(EndpointSpec::new(text).url))
    }
}

pub(super) fn parse_precision(text: &str) -> Result<f64, String> {
    gipfel_config::parse_precision(text).ok_or_else(|| {
        "write a share of the rate such as `2%` or `0.02`, greater than 0, at most 50%".to_owned()
    })
}

/// Reads `7d`, or what is a duration elsewhere.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    match days {
        Some(days) => Ok(Duration::from_secs(86_400 * u64::from(days))),
        None => parse_duration(text).map_err(|error| format!("{error}, or write days such as `7d`")),
    }
}

/// The shortest search: less holds no level.
const SHORTEST_TOTAL: Duration = Duration::from_secs(10);

pub(super) fn parse_total_time(text: &str) -> Result<Duration, String> {
    let total = parse_duration(text).map_err(|error| error.to_string())?;
    if total < SHORTEST_TOTAL {
        Err("a search needs at least 10s".to_owned())
    } else {
        Ok(total)
    }
}

/// Reads `500` as `ttft p95 <= 500ms`, as the predecessor's `--slo` did, or an objective.
pub(super) fn parse_slo(text: &str) -> Result<Slo, String> {
    let text = match text.trim().parse::<f64>() {
        Ok(milliseconds) => format!("ttft p95 <= {milliseconds}ms"),
        Err(_) => text.to_owned(),
    };
    text.parse()
        .map_err(|error: gipfel_model::SloError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_holds_no_secret() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                text.parse::<BaseUrl>().ok().map(|url| url.0).as_deref(),
                expected,
                "{text}"
            );
        };
        check("http://127.0.0.1:8000/v1/", Some("http://127.0.0.1:8000"));
        check(
            "https://models.example.org/team/",
            Some("https://models.example.org/team"),
        );
        check("127.0.0.1:8000", None);
        check("localhost:8000", None);
        check("ftp://host", None);
        check("http://user:password@host", None);
        check("http://host?token=1", None);
        check("http://host/v1/chat/completions", None);
        check("http://host/v1/models/", None);
    }

    #[test]
    fn an_age_may_be_days() {
        let check = |text: &str, expected: Option<u64>| {
            let found = parse_age(text).ok().map(|age| age.as_secs());
            assert_eq!(found, expected, "{text}");
        };
        check("7d", Some(604_800));
        check("0s", Some(0));
        check("90min", Some(5400));
        check("d", None);
        check("7", None);
    }

    #[test]
    fn an_objective_may_be_milliseconds() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                parse_slo(text).map(|slo| slo.to_string()),
                Ok(expected.to_owned())
            );
        };
        check("500", "ttft p95 <= 500ms");
        check("ttft p99 <= 1s", "ttft p99 <= 1s");
    }
}
