//! Slurm's compact lists of nodes.

/// A list of nodes that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list of nodes `{list}` is not understood: {reason}")]
pub struct NodesError {
    /// The list.
    pub list: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// No cluster is larger.
const MOST_NODES: usize = 100_000;

/// The names of a compact list: `nid[001001-001002,7],login` has four.
pub fn expand_nodes(list: &str) -> Result<Vec<String>, NodesError> {
    let mut names = Vec::new();
    split_outside(list)
        .and_then(|entries| {
            entries
                .into_iter()
                .try_for_each(|entry| expand_entry(entry, &mut names))
        })
        .map_err(|reason| NodesError {
            list: list.chars().take(200).collect(),
            reason,
        })?;
    Ok(names)
}

/// Splits at the commas outside of brackets.
fn split_outside(list: &str) -> Result<Vec<&str>, &'static str> {
    let (mut entries, mut begin, mut is_inside) = (Vec::new(), 0, false);
    for (at, c) in list.char_indices() {
        match c {
            '[' if is_inside => return Err("brackets within brackets"),
            '[' => is_inside = true,
            ']' if !is_inside => return Err("a bracket is closed that was not opened"),
            ']' => is_inside = false,
            ',' if !is_inside => {
                entries.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if is_inside {
        return Err("a bracket is not closed");
    }
    entries.push(&list[begin..]);
    Ok(entries)
}

/// Expands the first brackets of an entry, and those behind by recursion.
fn expand_entry(entry: &str, names: &mut Vec<String>) -> Result<(), &'static str> {
    if entry.is_empty() {
        return Err("a name is empty");
    }
    let mut expanded = vec![String::new()];
    let mut rest = entry;
    while let Some((before, after)) = rest.split_once('[') {
        let (ranges, behind) = after.split_once(']').ok_or("a bracket is not closed")?;
        let numbers = expand_ranges(ranges)?;
        if names.len() + expanded.len().saturating_mul(numbers.len()) > MOST_NODES {
            return Err("it has too many names");
        }
        expanded = expanded
            .iter()
            .flat_map(|start| {
                numbers
                    .iter()
                    .map(move |number| format!("{start}{before}{number}"))
            })
            .collect();
        rest = behind;
    }
    names.extend(expanded.into_iter().map(|start| start + rest));
    Ok(())
}

/// The numbers of `001-003,7`, as wide as they were written.
fn expand_ranges(ranges: &str) -> Result<Vec<String>, &'static str> {
    let mut numbers = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(low), Ok(high)) = (first.parse::<u64>(), last.parse::<u64>()) else {
            return Err("a range is not of numbers");
        };
        if low > high {
            return Err("a range ends before it begins");
        }
        if high - low >= MOST_NODES as u64 || numbers.len() > MOST_NODES {
            return Err("it has too many names");
        }
        let width = first.len();
        numbers.extend((low..=high).map(|number| format!("{number:0width$}")));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_expanded() {
        let check = |list: &str, expected: Result<&[&str], &str>| {
            let found = expand_nodes(list).map_err(|error| error.reason);
            let found = found
                .as_ref()
                .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref().map_err(|reason| **reason), expected, "{list}");
        };
        check("nid001004", Ok(&["nid001004"]));
        check("nid[001001-001002]", Ok(&["nid001001", "nid001002"]));
        check("nid[09-10,7],login", Ok(&["nid09", "nid10", "nid7", "login"]));
        check("r[1-2]n[1-2]", Ok(&["r1n1", "r1n2", "r2n1", "r2n2"]));
        check("nid[2-1]", Err("a range ends before it begins"));
        check("nid[1", Err("a bracket is not closed"));
        check("nid1]", Err("a bracket is closed that was not opened"));
        check("nid[a-b]", Err("a range is not of numbers"));
        check("", Err("a name is empty"));
        check("n[0-99999999]", Err("it has too many names"));
        check("n[1-1000]n[1-1000]", Err("it has too many names"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(list in "[n0-9,\\[\\]-]{0,40}") {
            if let Ok(names) = expand_nodes(&list) {
                prop_assert!(names.len() <= MOST_NODES);
            }
        }

        #[test]
        fn ranges_have_their_length(low in 0u32..5000, more in 0u32..200) {
            let names = expand_nodes(&format!("nid[{low:06}-{:06}]", low + more)).expect("a list");
            prop_assert_eq!(names.len(), more as usize + 1);
            prop_assert_eq!(names.last(), Some(&format!("nid{:06}", low + more)));
        }
    }
}
