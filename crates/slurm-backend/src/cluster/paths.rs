//! Paths that are not touched.

use firecrest_client::RemotePath;

/// Refuses to remove what cannot be ours: a root, or a directory right below one.
pub(super) fn check_removable(path: &RemotePath) -> Result<(), &'static str> {
    let parts = path.as_str().split('/').filter(|part| !part.is_empty());
    let mut depth = 0;
    for part in parts {
        if matches!(part, "." | "..") {
            return Err("a path with `.` or `..` is not removed: write it out");
        }
        depth += 1;
    }
    if depth < 3 {
        return Err("a directory that near to the root is not removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_not_removed() {
        let check = |text: &str, expected: bool| {
            let path = RemotePath::try_new(text).expect("a path");
            assert_eq!(check_removable(&path).is_ok(), expected, "{text}");
        };
        check("/", false);
        check("/scratch/me", false);
        check("/scratch/me/", false);
        check("//scratch//me", false);
        check("/scratch/me/d-1/../..", false);
        check("/scratch/me/d-1", true);
    }
}
