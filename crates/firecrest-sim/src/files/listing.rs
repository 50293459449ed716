//! Files as `ls` and `stat` show them.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    clock,
    options::{SystemOptions, UserOptions},
    paths::{self, Owner, Place},
    state::Users,
};

/// How a listing is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) hidden: bool,
    pub(crate) recursive: bool,
    pub(crate) numeric: bool,
    pub(crate) dereference: bool,
}

/// Who owns a file, by name and number.
fn ownership(users: &Users, owner: &Owner, caller: &UserOptions) -> (String, String, u32, u32) {
    let user = match owner {
        Owner::Root => None,
        Owner::Anybody => Some(caller),
        Owner::User(name) => users.get(name).map(AsRef::as_ref),
    };
    match user {
        None => ("root".to_owned(), "root".to_owned(), 0, 0),
        Some(user) => {
            let (group, gid) = user.group();
            (user.name.clone(), group.to_owned(), user.uid, gid)
        }
    }
}

/// One file under the name `name`.
pub(crate) fn entry(
    system: &SystemOptions,
    users: &Users,
    caller: &UserOptions,
    place: &Place,
    name: &str,
    listing: Listing,
) -> io::Result<Value> {
    let metadata = if listing.dereference {
        fs::metadata(&place.real)?
    } else {
        fs::symlink_metadata(&place.real)?
    };
    let target = if metadata.is_symlink() {
        fs::read_link(&place.real).ok()
    } else {
        None
    };
    let (user, group, uid, gid) = ownership(users, &place.owner, caller);
    Ok(json!({
        "name": name,
        "type": kind(&metadata).to_string(),
        "linkTarget": target.map(|target| paths::shown(system, &target)),
        "user": if listing.numeric { uid.to_string() } else { user },
        "group": if listing.numeric { gid.to_string() } else { group },
        "permissions": permissions(metadata.mode()),
        "lastModified": clock::local(metadata.mtime()),
        "size": size(system, &metadata, &place.real).to_string(),
    }))
}

/// A link is as long as the path that callers see in it.
fn size(system: &SystemOptions, metadata: &Metadata, real: &Path) -> u64 {
    let target = if metadata.is_symlink() {
        fs::read_link(real).ok()
    } else {
        None
    };
    target.map_or(metadata.len(), |target| {
        paths::shown(system, &target).len() as u64
    })
}

/// All that a folder holds, by name.
pub(crate) fn entries(
    system: &SystemOptions,
    users: &Users,
    caller: &UserOptions,
    place: &Place,
    listing: Listing,
) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    collect(&mut found, &place.real, "", listing)?;
    found.sort();
    let placed = |name: &String| Place {
        shown: format!("{}/{name}", place.shown),
        real: place.real.join(name),
        owner: paths::place(system, &format!("{}/{name}", place.shown))
            .map_or(Owner::Root, |inner| inner.owner),
        is_top: false,
    };
    // A file that was removed since is not listed.
    let shown = |name: &String| entry(system, users, caller, &placed(name), name, listing).ok();
    Ok(found.iter().filter_map(shown).collect())
}

fn collect(found: &mut Vec<String>, folder: &Path, prefix: &str, listing: Listing) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && !listing.hidden {
            continue;
        }
        let path = format!("{prefix}{name}");
        if listing.recursive && item.file_type()?.is_dir() {
            collect(found, &item.path(), &format!("{path}/"), listing)?;
        }
        found.push(path);
    }
    Ok(())
}

/// The numbers of `stat`.
pub(crate) fn stat(
    users: &Users,
    caller: &UserOptions,
    place: &Place,
    dereference: bool,
) -> io::Result<Value> {
    let metadata = if dereference {
        fs::metadata(&place.real)?
    } else {
        fs::symlink_metadata(&place.real)?
    };
    let (_, _, uid, gid) = ownership(users, &place.owner, caller);
    Ok(json!({
        "mode": metadata.mode(),
        "ino": metadata.ino(),
        "dev": metadata.dev(),
        "nlink": metadata.nlink(),
        "uid": uid,
        "gid": gid,
        "size": metadata.len(),
        "atime": metadata.atime(),
        "ctime": metadata.ctime(),
        "mtime": metadata.mtime(),
    }))
}

fn kind(metadata: &Metadata) -> char {
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        'd'
    } else if file_type.is_symlink() {
        'l'
    } else if file_type.is_fifo() {
        'p'
    } else if file_type.is_socket() {
        's'
    } else if file_type.is_char_device() {
        'c'
    } else if file_type.is_block_device() {
        'b'
    } else {
        '-'
    }
}

fn permissions(mode: u32) -> String {
    "rwxrwxrwx"
        .char_indices()
        .map(|(index, letter)| if mode >> (8 - index) & 1 == 1 { letter } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_nine_letters() {
        assert_eq!(permissions(0o100_644), "rw-r--r--");
        assert_eq!(permissions(0o40_755), "rwxr-xr-x");
        assert_eq!(permissions(0o100_000), "---------");
    }
}
