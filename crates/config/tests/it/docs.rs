//! The examples of docs/workloads.md are configurations, once they are given an experiment.

use gipfel_config::parse_yaml;

/// The texts of a page's fenced blocks of this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let rest = page.split(&fence).skip(1);
    let ends = rest.filter_map(|text| text.split_once("\n```"));
    ends.map(|(block, _)| block.to_owned()).collect()
}

#[test]
fn the_examples_of_workloads_are_valid() {
    let page = crate::fixture("../../../docs/workloads.md");
    let blocks = blocks(&page, "yaml");
    assert!(blocks.len() >= 7, "{}", blocks.len());
    for block in blocks {
        let experiments = "experiments: [{ model: m, backend: sim, deployment: local }]";
        let plan = parse_yaml(&format!("{block}\n{experiments}\n"), "workloads.md");
        plan.unwrap_or_else(|faults| panic!("{faults}\n{block}"));
    }
}
