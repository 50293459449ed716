//! Node names as Slurm writes them: `nid[001001-001002,001004]`.

/// Numbered names that begin alike.
struct Group<'a> {
    prefix: &'a str,
    width: usize,
    ranges: Vec<(u64, u64)>,
}

/// Writes names in Slurm's short form; those without a number come first.
pub(crate) fn compress(names: &[String]) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut written: Vec<String> = Vec::new();
    for name in names {
        let Some((prefix, width, number)) = split(name) else {
            written.push(name.clone());
            continue;
        };
        let known = groups
            .iter_mut()
            .find(|group| group.prefix == prefix && group.width == width);
        match known.map(|group| &mut group.ranges) {
            None => groups.push(Group {
                prefix,
                width,
                ranges: vec![(number, number)],
            }),
            Some(ranges) => match ranges.last_mut() {
                Some(last) if last.1 + 1 == number => last.1 = number,
                _ => ranges.push((number, number)),
            },
        }
    }
    written.extend(groups.iter().map(Group::write));
    written.join(",")
}

impl Group<'_> {
    fn write(&self) -> String {
        let (prefix, width) = (self.prefix, self.width);
        let range = |&(first, last): &(u64, u64)| {
            if first == last {
                format!("{first:0width$}")
            } else {
                format!("{first:0width$}-{last:0width$}")
            }
        };
        match self.ranges.as_slice() {
            [one] if one.0 == one.1 => format!("{prefix}{}", range(one)),
            ranges => format!(
                "{prefix}[{}]",
                ranges.iter().map(range).collect::<Vec<_>>().join(",")
            ),
        }
    }
}

fn split(name: &str) -> Option<(&str, usize, u64)> {
    let digits_at = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (prefix, digits) = name.split_at(digits_at);
    Some((prefix, digits.len(), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: &str) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(compress(&names), expected);
    }

    #[test]
    fn names_are_joined_in_ranges() {
        check(&[], "");
        check(&["nid001001"], "nid001001");
        check(&["nid001001", "nid001002"], "nid[001001-001002]");
        check(
            &["nid001001", "nid001002", "nid001004"],
            "nid[001001-001002,001004]",
        );
        check(&["127.0.0.1", "127.0.0.2"], "127.0.0.[1-2]");
        check(&["nid1", "nid001"], "nid1,nid001");
        check(&["login", "nid7"], "login,nid7");
    }
}
