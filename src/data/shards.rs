//! Shards: tar archives of images (WebDataset), one or a folder of them.
//!
//! An image's class is the number in a file of its name ending in `.cls`, else the folder that it lies in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use tar::{Archive as Tar, EntryType};

use super::catalogue::{Catalogue, Item};
use super::{DataError, classes, decode};
use crate::files;

/// Longest text of a class.
const MAX_CLASS: u64 = 256;
/// Largest class index accepted; one more is the number of classes.
const MOST_CLASSES: usize = 1 << 24;

/// Whether these are shards: a `.tar` file, or a folder that holds such.
pub(super) fn is_of(path: &Path) -> bool {
    match path.is_dir() {
        true => !shards(path).is_empty(),
        false => is_tar(path),
    }
}

fn is_tar(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("tar"))
}

/// The archives right in a folder, by name.
fn shards(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths
        .filter(|path| is_tar(path) && path.is_file())
        .collect();
    found.sort();
    found
}

/// A class folder or an image beside shards.
fn other_images(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && (path.is_dir() || decode::is_supported(path))
    })
}

/// A member that is an image.
struct Member {
    item: Item,
    /// Its name without what follows the first dot.
    key: (u32, String),
    /// The folder that it lies in.
    folder: Option<String>,
}

/// Lists the images in shards.
///
/// # Errors
/// If an archive cannot be read, holds no images, or some have a class and others none.
pub(super) fn list(root: &Path, class_file: Option<&Path>) -> Result<Catalogue, DataError> {
    let paths = match root.is_dir() {
        true => shards(root),
        false => vec![root.to_owned()],
    };
    if root.is_dir()
        && let Some(other) = other_images(root)
    {
        return Err(DataError::Archive {
            path: root.to_owned(),
            reason: format!(
                "holds .tar shards, and {} as well: which of them are the images? Give a folder of the ones",
                other.display()
            ),
        });
    }
    let (mut members, mut numbers) = (Vec::new(), HashMap::new());
    for (archive, path) in (0..).zip(&paths) {
        read(path, archive, &mut members, &mut numbers)?;
    }
    if members.is_empty() {
        return Err(DataError::NoImages {
            path: root.to_owned(),
        });
    }
    let mut catalogue = Catalogue {
        root: root.to_owned(),
        archives: paths.into_iter().map(Into::into).collect(),
        ..Catalogue::default()
    };
    let fail = |path: PathBuf, reason: &str| DataError::Archive {
        path,
        reason: reason.to_owned(),
    };
    let labels: Vec<Option<usize>> = match numbers.is_empty() {
        false => members
            .iter()
            .map(|m| numbers.get(&m.key).copied())
            .collect(),
        true => {
            let folders: BTreeSet<String> =
                members.iter().filter_map(|m| m.folder.clone()).collect();
            let mut names: Vec<String> = folders.into_iter().collect();
            classes::sort(&mut names);
            if let Some(file) = class_file.filter(|_| !names.is_empty()) {
                names = classes::read(file)?;
            }
            let places: BTreeMap<&str, usize> = names
                .iter()
                .enumerate()
                .map(|(i, n)| (n.as_str(), i))
                .collect();
            let of = |m: &Member| places.get(m.folder.as_deref()?).copied();
            let labels = members.iter().map(of).collect();
            catalogue.classes = names;
            labels
        }
    };
    if !numbers.is_empty()
        && let Some(file) = class_file
    {
        catalogue.classes = classes::read(file)?;
    }
    catalogue.items = members.into_iter().map(|m| m.item).collect();
    if labels.iter().all(Option::is_none) && catalogue.classes.is_empty() {
        return Ok(catalogue);
    }
    let mut known = Vec::with_capacity(labels.len());
    for (index, label) in labels.into_iter().enumerate() {
        match label {
            Some(label) if catalogue.classes.is_empty() || label < catalogue.classes.len() => {
                known.push(label);
            }
            Some(_) => {
                return Err(fail(
                    catalogue.path(index),
                    "has a class that --classes does not list",
                ));
            }
            None => {
                return Err(fail(
                    catalogue.path(index),
                    "has no class, and others have: add a file of its name ending in .cls, or put it in a class folder",
                ));
            }
        }
    }
    catalogue.labels = Some(known);
    Ok(catalogue)
}

/// Lists one archive: images, and the numbers of `.cls` files.
fn read(
    path: &Path,
    archive: u32,
    members: &mut Vec<Member>,
    numbers: &mut HashMap<(u32, String), usize>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let fail = |reason: String| DataError::Archive {
        path: path.to_owned(),
        reason,
    };
    let mut keys: HashSet<(u32, String)> = HashSet::new();
    let file = files::open(path).map_err(io)?;
    let mut tar = Tar::new(BufReader::new(file));
    let entries = tar.entries_with_seek();
    for entry in entries.map_err(|e| fail(format!("not a tar archive: {e}")))? {
        let mut entry = entry.map_err(|e| fail(format!("not a tar archive, or cut off: {e}")))?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (folder, base) = match name.trim_start_matches("./").rsplit_once('/') {
            Some((folder, base)) => (Some(folder.to_owned()), base.to_owned()),
            None => (None, name.trim_start_matches("./").to_owned()),
        };
        if base.starts_with('.') {
            continue;
        }
        let stem = base.split('.').next().unwrap_or_default();
        let key = (
            archive,
            format!("{}/{stem}", folder.as_deref().unwrap_or("")),
        );
        let member = Path::new(&base);
        let is_image = decode::is_supported(member) || decode::is_other_image(member);
        if kind != EntryType::Regular && (is_image || base.ends_with(".cls")) {
            return Err(fail(format!(
                "{name}: is a link, or stored in pieces; make the archive of plain files (tar --hard-dereference --dereference)"
            )));
        }
        if is_image {
            if !keys.insert(key.clone()) {
                return Err(fail(format!(
                    "{name}: is a second image of that name; a sample has one image"
                )));
            }
            members.push(Member {
                item: Item::Part {
                    archive,
                    offset: entry.raw_file_position(),
                    length: entry.size(),
                    name: name.into(),
                },
                key,
                folder: folder.and_then(|f| f.rsplit('/').next().map(str::to_owned)),
            });
        } else if base.ends_with(".cls") {
            let mut text = String::new();
            let read = (&mut entry).take(MAX_CLASS).read_to_string(&mut text);
            let number = text.trim().parse().ok().filter(|&n| n < MOST_CLASSES);
            match (read, number) {
                (Ok(_), Some(number)) => numbers.insert(key, number),
                _ => return Err(fail(format!("{name}: is no class index"))),
            };
        }
    }
    Ok(())
}
