//! Paths as callers write them, and where they lie on this machine.

use std::path::{Path, PathBuf};

use crate::{
    answer::Problem,
    options::{FileSystemOptions, SystemOptions},
};

/// A path inside a declared file system, normalised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// As callers see it.
    pub(crate) shown: String,
    /// On this machine.
    pub(crate) real: PathBuf,
    /// To whom it belongs.
    pub(crate) owner: Owner,
    /// It is a user's folder in its file system, which only root makes and removes.
    pub(crate) is_top: bool,
}

/// To whom a path belongs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owner {
    /// The administrator: the file systems themselves.
    Root,
    /// The user of that name.
    User(String),
    /// Whoever asks.
    Anybody,
}

/// Takes `.` and `..` out of an absolute path.
pub(crate) fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Finds where `path` lies, by the rules of the real server.
pub(crate) fn resolve(system: &SystemOptions, path: &str) -> Result<Place, Problem> {
    if !path.starts_with('/') {
        let text = format!("The provided path ({path}) is not an absolute path.");
        return Err(Problem::bad_request(text));
    }
    place(system, path).ok_or_else(|| {
        Problem::bad_request(format!(
            "The provided path ({}) does not match any of the defined filesystem paths for the requested \
             system ({}).",
            normalise(path),
            system.name
        ))
    })
}

/// Finds where an absolute `path` lies, if it is inside a declared file system.
pub(crate) fn place(system: &SystemOptions, path: &str) -> Option<Place> {
    let shown = normalise(path);
    let (file_system, inner) = system
        .file_systems
        .iter()
        .filter_map(|file_system| Some((file_system, inside(&shown, &normalise(&file_system.path))?)))
        .min_by_key(|(_, inner)| inner.len())?;
    let owner = owner(file_system, &inner);
    let mut real = file_system.folder().to_owned();
    if !inner.is_empty() {
        real.push(&inner);
    }
    let is_top = owner != Owner::Anybody && !inner.contains('/');
    Some(Place {
        shown,
        real,
        owner,
        is_top,
    })
}

/// What is left of `path` below `folder`.
fn inside(path: &str, folder: &str) -> Option<String> {
    let rest = path.strip_prefix(folder)?;
    if folder == "/" {
        return Some(rest.to_owned());
    }
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest.to_owned()),
        None => rest.is_empty().then(String::new),
    }
}

fn owner(file_system: &FileSystemOptions, inner: &str) -> Owner {
    if file_system.shared {
        return Owner::Anybody;
    }
    match inner.split('/').next() {
        Some(name) if !name.is_empty() => Owner::User(name.to_owned()),
        _ => Owner::Root,
    }
}

/// What callers see of a path of this machine.
pub(crate) fn shown(system: &SystemOptions, real: &Path) -> String {
    let found = system.file_systems.iter().find_map(|file_system| {
        let inner = real.strip_prefix(file_system.folder()).ok()?;
        Some(normalise(&format!("{}/{}", file_system.path, inner.display())))
    });
    found.unwrap_or_else(|| real.display().to_string())
}

/// Replaces the paths of file systems that lie elsewhere, so that a script finds its files.
pub(crate) fn translate(system: &SystemOptions, text: &str) -> String {
    let mut moved: Vec<&FileSystemOptions> = system
        .file_systems
        .iter()
        .filter(|file_system| file_system.folder() != Path::new(&file_system.path))
        .collect();
    moved.sort_by_key(|file_system| std::cmp::Reverse(file_system.path.len()));
    let mut translated = String::with_capacity(text.len());
    let mut rest = text;
    'text: while !rest.is_empty() {
        for file_system in &moved {
            if let Some(after) = rest.strip_prefix(file_system.path.as_str())
                && is_boundary(translated.chars().next_back())
                && is_boundary_or_slash(after.chars().next())
            {
                translated.push_str(&file_system.folder().display().to_string());
                rest = after;
                continue 'text;
            }
        }
        let mut characters = rest.chars();
        translated.extend(characters.next());
        rest = characters.as_str();
    }
    translated
}

fn is_boundary(character: Option<char>) -> bool {
    character.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '_' | '-' | '.' | '}'))
}

fn is_boundary_or_slash(character: Option<char>) -> bool {
    character.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn system() -> SystemOptions {
        let at = |path: &str, root: &str| FileSystemOptions {
            path: path.to_owned(),
            root: Some(PathBuf::from(root)),
            ..FileSystemOptions::scratch(Path::new("/"))
        };
        SystemOptions {
            name: "clariden".to_owned(),
            file_systems: vec![
                at("/capstor/scratch/cscs", "/tmp/r/capstor"),
                at("/users", "/tmp/r/users"),
            ],
            ..SystemOptions::default()
        }
    }

    #[track_caller]
    fn check(path: &str, expected: Result<(&str, Owner), &str>) {
        let found = resolve(&system(), path);
        let found = found
            .as_ref()
            .map(|place| (place.real.to_str().unwrap_or_default(), place.owner.clone()))
            .map_err(|problem| problem.message.as_str());
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_are_absolute_and_inside_a_declared_file_system() {
        let tester = || Owner::User("tester".to_owned());
        check(
            "/capstor/scratch/cscs/tester/a b",
            Ok(("/tmp/r/capstor/tester/a b", tester())),
        );
        check(
            "/capstor/scratch/cscs/x/../tester//a/.",
            Ok(("/tmp/r/capstor/tester/a", tester())),
        );
        check("/capstor/scratch/cscs", Ok(("/tmp/r/capstor", Owner::Root)));
        check(
            "relative/x",
            Err("The provided path (relative/x) is not an absolute path."),
        );
        check("~", Err("The provided path (~) is not an absolute path."));
        let outside = "The provided path (/etc) does not match any of the defined filesystem paths for the \
                       requested system (clariden).";
        check("/capstor/scratch/cscs/../../../etc", Err(outside));
        let beside = outside.replace("(/etc)", "(/userspace)");
        check("/userspace", Err(&beside));
    }

    #[test]
    fn scripts_find_their_files() {
        let check = |text: &str, expected: &str| assert_eq!(translate(&system(), text), expected);
        check("cat /users/me/x '/users'", "cat /tmp/r/users/me/x '/tmp/r/users'");
        check("/usersx a/users x-/users", "/usersx a/users x-/users");
        check("D=/capstor/scratch/cscs; cd $D", "D=/tmp/r/capstor; cd $D");
    }

    proptest! {
        #[test]
        fn a_normalised_path_stays_as_it_is(path in "/[a-c./]{0,20}") {
            let once = normalise(&path);
            prop_assert!(once.starts_with('/') && !once.contains("//") && !once.contains("/../"));
            prop_assert_eq!(normalise(&once), once);
        }

        #[test]
        fn no_path_leaves_its_file_system(path in "/(users|capstor/scratch/cscs)/[a-b./]{0,20}") {
            if let Some(place) = place(&system(), &path) {
                prop_assert!(place.real.starts_with("/tmp/r"));
                prop_assert_eq!(shown(&system(), &place.real), place.shown);
            }
        }
    }
}
