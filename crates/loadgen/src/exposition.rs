//! Prometheus' text format, as far as gauges and counters need it.
//!
//! Our own, since the parser of the registry takes no colon in a name, and every engine's names have one.

/// Names and values of the samples; comments and what is no sample are left out.
pub(crate) fn samples(page: &str) -> impl Iterator<Item = (&str, f64)> {
    page.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim_start();
    let end = line.find(|one: char| one == '{' || one.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let rest = match rest.strip_prefix('{') {
        Some(labels) => after_labels(labels)?,
        None => rest,
    };
    // A timestamp may follow.
    let value = rest.split_ascii_whitespace().next()?;
    Some((name, value.parse().ok()?))
}

/// What follows the closing brace; one within a quoted value closes nothing.
fn after_labels(labels: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, one) in labels.char_indices() {
        match one {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return labels.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, expected: &[(&str, f64)]) {
        assert_eq!(samples(page).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn samples_are_read() {
        check(
            "# HELP vllm:num_requests_running Requests in a slot.\n# TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n",
            &[("vllm:num_requests_running", 3.0)],
        );
        check(
            "a 1\r\nb\t2e3 1395066363000\n  c{} 4\n",
            &[("a", 1.0), ("b", 2000.0), ("c", 4.0)],
        );
        check("a{le=\"+Inf\"} +Inf\nb -1", &[("a", f64::INFINITY), ("b", -1.0)]);
        assert!(samples("a NaN").next().is_some_and(|(_, value)| value.is_nan()));
    }

    #[test]
    fn labels_may_hold_anything() {
        check(r#"a{x="}",y="\"} 7",z="{"} 5"#, &[("a", 5.0)]);
        check(r#"a{x="\\"} 5"#, &[("a", 5.0)]);
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        check("", &[]);
        check("\n#\n# a 1\na\n{} 1\n<html> <p>\na{x=\"} 5\na{ 5\na one\n", &[]);
    }
}
