//! The name that was probably meant.

/// Below this similarity a suggestion confuses more than it helps.
const THRESHOLD: f64 = 0.84;

/// Keys of bare seconds resemble each other more than their letters say.
const SAME_UNIT: f64 = 0.05;

/// The candidate most similar to `found`, the first of equally similar ones; absent when none is similar. One that goes on
/// where `found` ends is as good as the same.
pub(crate) fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (similarity(&found, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= THRESHOLD)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

fn similarity(found: &str, candidate: &str) -> f64 {
    let goes_on = candidate
        .strip_prefix(found)
        .is_some_and(|rest| rest.starts_with('_'));
    if goes_on && !found.is_empty() {
        return 1.0;
    }
    let same_unit = found.ends_with("_s") && candidate.ends_with("_s");
    strsim::jaro_winkler(found, candidate) + if same_unit { SAME_UNIT } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_close() {
        let keys = [
            "rate_levels",
            "warmup_duration",
            "warmup_duration_s",
            "warmup_ramp",
            "measurement_duration_s",
            "gpus_per_node",
            "port",
        ];
        let check = |found, expected| assert_eq!(nearest(found, keys), expected, "{found}");
        check("rate_level", Some("rate_levels"));
        check("rates_level", Some("rate_levels"));
        check("RATE-LEVELS", Some("rate_levels"));
        check("warmup_s", Some("warmup_duration_s"));
        check("gpu_per_nodes", Some("gpus_per_node"));
        check("prot", Some("port"));
        check("warmup", Some("warmup_duration"));
        check("colour", None);
        check("", None);
    }
}
