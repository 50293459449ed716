//! The server's URL from a file that its job writes once it answers.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;
use gipfel_model::format_duration;
use tokio::time::MissedTickBehavior;

use crate::files::beside;

/// How often the file is looked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// So much of a file that holds something else is shown.
const SHOWN: usize = 200;

/// Waits for the file and reads the URL in it.
///
/// # Errors
/// The file does not come within `limit`, or holds something else.
pub(crate) async fn wait(path: &Path, limit: Duration) -> anyhow::Result<String> {
    let mut problem = None;
    let Ok(text) = tokio::time::timeout(limit, content(path, &mut problem)).await else {
        let why = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
        bail!(
            "the server's address was not in `{}` within {}{why}: its job still waits for nodes, still loads the model, or \
             has failed; see its log, or wait longer with `--endpoint-timeout`",
            path.display(),
            format_duration(limit)
        );
    };
    match parse(&text) {
        Some(url) => Ok(url.to_owned()),
        None => bail!(
            "`{}` must hold one line `http://HOST:PORT`, found `{}`",
            path.display(),
            shown(&text)
        ),
    }
}

/// What is in the file once it is there; what keeps it from being read is left in `problem`.
async fn content(path: &Path, problem: &mut Option<io::Error>) -> String {
    let mut ticker = tokio::time::interval(INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        let path: PathBuf = path.to_owned();
        match beside(move || std::fs::read(path)).await {
            Ok(bytes) => return String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => *problem = None,
            Err(error) => *problem = Some(error),
        }
    }
}

/// The URL in a text that is nothing but one line `http://HOST:PORT`.
fn parse(text: &str) -> Option<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let (host, port) = line.strip_prefix("http://")?.rsplit_once(':')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let named = !host.is_empty() && host.bytes().all(is_name);
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
    (port.is_some() && (named || address)).then_some(line)
}

fn shown(text: &str) -> String {
    let mut begin: String = text.chars().take(SHOWN).collect();
    if begin.len() < text.len() {
        begin.push('…');
    }
    begin.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_a_url_is_read() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(parse(text), expected, "{text:?}");
        check("http://nid001234:8000\n", Some("http://nid001234:8000"));
        check("http://nid001234:8000", Some("http://nid001234:8000"));
        check("http://10.0.0.1:80\n", Some("http://10.0.0.1:80"));
        check("http://[fe80::1]:80\n", Some("http://[fe80::1]:80"));
        for other in [
            "",
            "\n",
            "nid001234:8000\n",
            "https://nid001234:8000\n",
            "http://nid001234\n",
            "http://nid001234:\n",
            "http://nid001234:0\n",
            "http://nid001234:+80\n",
            "http://nid001234:65536\n",
            "http://:8000\n",
            "http://nid001234:8000/v1\n",
            "http://user:key@nid001234:8000\n",
            "http://[nid]:80\n",
            " http://nid001234:8000\n",
            "http://nid001234:8000\n\n",
            "http://nid001234:8000\r\n",
            "http://a:1\nhttp://b:2\n",
        ] {
            check(other, None);
        }
    }

    #[tokio::test]
    async fn the_file_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("endpoint.txt");
        let short = Duration::from_millis(50);
        let error = wait(&path, short).await.expect_err("no file").to_string();
        assert!(error.contains("endpoint.txt` within 50ms: its job"), "{error}");
        let long = Duration::from_secs(30);
        let (found, ()) = tokio::join!(wait(&path, long), async {
            let fresh = directory.path().join("fresh");
            std::fs::write(&fresh, "http://nid1:8000\n").expect("written");
            std::fs::rename(&fresh, &path).expect("renamed");
        });
        assert_eq!(found.expect("a URL"), "http://nid1:8000");
        std::fs::write(&path, format!("loading\u{1b}[1m{}", "x".repeat(500))).expect("written");
        let error = wait(&path, long).await.expect_err("no URL").to_string();
        assert!(
            error.contains("one line `http://HOST:PORT`, found `loading\\u{1b}[1mxxx")
                && error.ends_with("x…`"),
            "{error}"
        );
    }
}
