//! `--only`: some of a configuration's experiments.

use anyhow::bail;
use gipfel_model::ExperimentSpec;

use crate::view::experiment;

/// The experiments of which a pattern matches the model, the backend, the deployment, or all three as `--dry-run` lists
/// them; each pattern has to match one.
pub(crate) fn choose(
    experiments: Vec<ExperimentSpec>,
    patterns: &[String],
) -> anyhow::Result<Vec<ExperimentSpec>> {
    if patterns.is_empty() {
        return Ok(experiments);
    }
    for pattern in patterns {
        if !experiments.iter().any(|experiment| fits(experiment, pattern)) {
            bail!(
                "--only `{pattern}` matches none of the experiments:\n  {}",
                experiments.iter().map(label).collect::<Vec<_>>().join("\n  ")
            );
        }
    }
    let wanted = |experiment: &ExperimentSpec| patterns.iter().any(|pattern| fits(experiment, pattern));
    Ok(experiments.into_iter().filter(wanted).collect())
}

/// `apertus-8b on vllm, local`.
pub(crate) fn label(experiment: &ExperimentSpec) -> String {
    let kind = experiment.deployment.placement.kind();
    format!("{}, {kind}", experiment::label(experiment))
}

fn fits(experiment: &ExperimentSpec, pattern: &str) -> bool {
    let spec = &experiment.deployment;
    let texts = [
        label(experiment),
        spec.model.clone(),
        spec.backend.to_string(),
        spec.placement.kind().to_string(),
    ];
    texts.iter().any(|text| matches(pattern, text))
}

/// A pattern with `*` or `?` is a whole text; any other is a part of it. Capitals make no difference.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    if pattern.contains(['*', '?']) {
        let pattern: Vec<char> = pattern.chars().collect();
        let text: Vec<char> = text.chars().collect();
        glob(&pattern, &text)
    } else {
        text.contains(&pattern)
    }
}

/// Whether the pattern is the whole text: a star that does not fit is tried one character further on.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&character) if character == '?' || character == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, matched)) => {
                    star = Some((at, matched + 1));
                    p = at + 1;
                    t = matched + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use gipfel_model::BackendKind;

    use super::*;
    use crate::view::samples;

    fn experiments() -> Vec<ExperimentSpec> {
        let deployments = [
            samples::deployment(0, "apertus-8b", BackendKind::Vllm),
            samples::deployment(1, "apertus-70b", BackendKind::Vllm),
            samples::deployment(2, "apertus-70b", BackendKind::Sglang),
        ];
        deployments
            .into_iter()
            .map(|mut deployment| deployment.runs.remove(0).experiment)
            .collect()
    }

    #[test]
    fn patterns_choose() {
        let check = |patterns: &[&str], expected: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let chosen = choose(experiments(), &patterns).expect("some match");
            let labels: Vec<String> = chosen.iter().map(label).collect();
            assert_eq!(labels, expected, "{patterns:?}");
        };
        let all = [
            "apertus-8b on vllm, local",
            "apertus-70b on vllm, local",
            "apertus-70b on sglang, local",
        ];
        check(&[], &all);
        check(&["apertus"], &all);
        check(&["8B"], &all[..1]);
        check(&["sglang", "8b"], &[all[0], all[2]]);
        check(&["*70b"], &all[1..]);
        check(&["*70b on v*"], &all[1..2]);
    }

    #[test]
    fn what_matches_nothing_lists_the_experiments() {
        let error = choose(experiments(), &["llama".to_owned()]).expect_err("none matches");
        insta::assert_snapshot!(error, @"
        --only `llama` matches none of the experiments:
          apertus-8b on vllm, local
          apertus-70b on vllm, local
          apertus-70b on sglang, local
        ");
    }

    #[test]
    fn globs() {
        let check =
            |pattern: &str, text: &str, expected| assert_eq!(matches(pattern, text), expected, "{pattern}");
        check("a*c", "abc", true);
        check("a*c", "abcd", false);
        check("a*b*c*", "aXbYc", true);
        check("?", "", false);
        check("*", "", true);
        check("**", "x", true);
        check("a?c", "abc", true);
    }
}
