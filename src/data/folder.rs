//! A folder per class of PNG or JPEG images, or one folder of unlabelled images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::catalogue::{Catalogue, Item};
use super::{DataError, classes, decode, rows};

/// Entries of a folder looked at to see whether it holds images.
const MOST_ENTRIES: usize = 1000;

/// Lists the images under `root`, sorted by class, then by path.
///
/// # Errors
/// If there are none, or they are no classes.
pub(super) fn list(root: &Path, class_file: Option<&Path>) -> Result<Catalogue, DataError> {
    let mut flat = Vec::new();
    let mut by_class: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry);
    for entry in walk.into_iter().filter_entry(visible) {
        let path = match entry {
            Ok(entry) if entry.file_type().is_dir() => {
                if entry.depth() == 1 {
                    let class = class_name(entry.path(), entry.file_name().to_str())?;
                    by_class.entry(class).or_default();
                }
                continue;
            }
            Ok(entry) => entry.into_path(),
            // A link back to a folder that holds it: what is there is listed already.
            Err(error) if error.loop_ancestor().is_some() => continue,
            // An image behind a link that leads nowhere cannot be read, as it may be damaged.
            Err(error) => match error
                .path()
                .filter(|path| path.is_symlink() && is_image(path))
            {
                Some(path) => path.to_owned(),
                None => return Err(walk_error(root, error)),
            },
        };
        if !is_image(&path) {
            continue;
        }
        match class_of(root, &path) {
            None => flat.push(path),
            Some(class) => by_class.entry(class).or_default().push(path),
        }
    }
    if by_class.values().all(Vec::is_empty) {
        if flat.is_empty() {
            return Err(DataError::NoImages {
                path: root.to_owned(),
            });
        }
        return Ok(Catalogue {
            root: root.to_owned(),
            items: flat.into_iter().map(Item::File).collect(),
            ..Catalogue::default()
        });
    }
    if let Some(path) = flat.into_iter().next() {
        return Err(DataError::Mixed { path });
    }
    let classes = match class_file {
        Some(file) => listed_classes(root, file, &by_class)?,
        None => {
            if let Some((class, _)) = by_class.iter().find(|(_, files)| files.is_empty()) {
                return Err(DataError::EmptyClass {
                    path: root.join(class),
                });
            }
            let mut names: Vec<String> = by_class.keys().cloned().collect();
            classes::sort(&mut names);
            names
        }
    };
    let (mut items, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        for path in by_class.remove(class).unwrap_or_default() {
            items.push(Item::File(path));
            labels.push(label);
        }
    }
    Ok(Catalogue {
        root: root.to_owned(),
        items,
        labels: Some(labels),
        classes,
        archives: Vec::new(),
    })
}

/// The files of images under a folder, or the data set's one file: what [`super::load()`] reads.
pub fn image_files(root: &Path) -> impl Iterator<Item = PathBuf> {
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry);
    let walk = WalkDir::new(root).follow_links(true).into_iter();
    let beside = rows::beside(root).into_iter();
    walk.filter_entry(visible)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| entry.depth() == 0 || holds_data(entry.path()))
        .map(DirEntry::into_path)
        .chain(beside)
}

/// Whether the name says that this is an image; of other kinds too, which are found to be none that is read, by name.
fn is_image(path: &Path) -> bool {
    decode::is_supported(path) || decode::is_other_image(path)
}

/// Whether the name says that this is an image, or a file of several.
fn holds_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let archive = [".tar", ".bin", "-ubyte", "-ubyte.gz"];
    decode::is_supported(path) || archive.iter().any(|end| name.ends_with(end))
}

/// Whether a folder holds an image file itself, as far as its first entries show; what lies deeper
/// is not looked at.
pub fn holds_image(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let mut entries = entries.take(MOST_ENTRIES).filter_map(Result::ok);
    entries.any(|entry| decode::is_supported(&entry.path()) && entry.path().is_file())
}

/// The classes of `--classes`, checked against the folders.
fn listed_classes(
    root: &Path,
    file: &Path,
    by_class: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<Vec<String>, DataError> {
    let classes = classes::read(file)?;
    let unlisted = by_class
        .iter()
        .find(|(class, files)| !files.is_empty() && !classes.contains(class));
    if let Some((class, _)) = unlisted {
        return Err(DataError::Classes {
            path: root.join(class),
            reason: format!(
                "class folder is not listed in {}; add or remove it",
                file.display()
            ),
        });
    }
    if !classes.iter().any(|class| by_class.contains_key(class)) {
        return Err(DataError::Classes {
            path: file.to_owned(),
            reason: format!("none of its classes is a folder of {}", root.display()),
        });
    }
    Ok(classes)
}

/// The class of a file: the folder right under `root` that holds it.
fn class_of(root: &Path, path: &Path) -> Option<String> {
    let mut parts = path.strip_prefix(root).ok()?.components();
    let first = parts.next()?;
    parts.next()?;
    first.as_os_str().to_str().map(str::to_owned)
}

fn class_name(path: &Path, name: Option<&str>) -> Result<String, DataError> {
    name.map(str::to_owned).ok_or_else(|| DataError::Classes {
        path: path.to_owned(),
        reason: "the folder's name is not UTF-8; rename it".into(),
    })
}

fn is_hidden(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    // What macOS's archiver leaves behind is as invisible to its users as a dot file.
    name.starts_with('.') || name == "__MACOSX"
}

fn walk_error(root: &Path, error: walkdir::Error) -> DataError {
    let path = error.path().unwrap_or(root).to_owned();
    let source = error
        .into_io_error()
        .unwrap_or_else(|| std::io::Error::other("cannot be listed"));
    DataError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Channels, LoadOptions, Pixels, Preprocess, load};
    use image::{ImageBuffer, Rgb};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn save(path: &Path, side: u32, value: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        ImageBuffer::from_pixel(side, side, Rgb([value, 0, 255 - value]))
            .save(path)
            .unwrap();
    }

    fn options(side: u32) -> LoadOptions {
        LoadOptions {
            channels: Some(3),
            size: Some(side.to_string().parse().unwrap()),
            ..LoadOptions::default()
        }
    }

    #[test]
    fn classes_are_sorted_and_hidden_files_ignored() {
        let dir = tempfile::tempdir().unwrap();
        for (class, value) in [("10", 10), ("2", 2), ("1", 1)] {
            save(&dir.path().join(class).join("a.png"), 4, value);
            save(&dir.path().join(class).join("deep/b.png"), 4, value);
        }
        std::fs::write(dir.path().join("2/.DS_Store"), "x").unwrap();
        std::fs::write(dir.path().join("2/._a.png"), "x").unwrap();
        std::fs::write(dir.path().join("README.txt"), "x").unwrap();
        std::fs::create_dir(dir.path().join(".cache")).unwrap();
        let last = AtomicUsize::new(0);
        let data = load(dir.path(), &options(4), &|done, all| {
            assert_eq!(all, 6);
            last.fetch_max(done, Ordering::Relaxed);
            true
        })
        .unwrap();
        assert_eq!(last.into_inner(), 6);
        assert_eq!(data.classes, ["1", "2", "10"]);
        assert_eq!(data.labels, Some(vec![0, 0, 1, 1, 2, 2]));
        assert_eq!(data.image_shape(), [3, 4, 4]);
        let Pixels::U8(images) = &data.images else {
            panic!("not 8-bit")
        };
        assert_eq!(images[[4, 0, 0, 0]], 10);
        assert_eq!(images[[4, 2, 3, 3]], 245);
    }

    #[test]
    fn a_class_file_gives_the_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        save(&root.join("cat/a.png"), 4, 1);
        save(&root.join("dog/a.png"), 4, 2);
        let file = dir.path().join("classes.txt");
        let with = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let options = LoadOptions {
                classes: Some(file.clone()),
                ..options(4)
            };
            load(&root, &options, &|_, _| true)
        };
        let data = with("dog\nbird\ncat\n").unwrap();
        assert_eq!(data.labels, Some(vec![0, 2]));
        assert_eq!(data.class_count(), Some(3));
        let error = with("dog\n").unwrap_err().to_string();
        assert!(error.contains("cat: class folder is not listed"), "{error}");
    }

    #[test]
    fn flat_folders_are_unlabelled() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("b.jpg"), 8, 200);
        save(&dir.path().join("a.png"), 8, 100);
        let gray = LoadOptions {
            preprocess: Preprocess {
                channels: Channels::Gray,
                ..Preprocess::default()
            },
            channels: Some(1),
            ..LoadOptions::default()
        };
        let data = load(dir.path(), &gray, &|_, _| true).unwrap();
        assert_eq!((data.len(), data.labels.as_ref()), (2, None));
        assert_eq!(data.image_shape(), [1, 8, 8]);
    }

    #[test]
    fn mistakes_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let error = |root: &Path| {
            load(root, &options(4), &|_, _| true)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&root.join("absent")).contains("absent: cannot be read"));
        assert!(error(root).contains("no PNG or JPEG image"));
        save(&root.join("a/1.png"), 4, 1);
        save(&root.join("b/1.png"), 5, 1);
        save(&root.join("b/2.png"), 6, 1);
        let message = error(root);
        assert!(message.contains("b/1.png: image is 5x5"), "{message}");
        std::fs::remove_dir_all(root.join("b")).unwrap();
        std::fs::create_dir(root.join("b")).unwrap();
        assert!(error(root).contains("b: class folder without"));
        std::fs::remove_dir(root.join("b")).unwrap();
        save(&root.join("stray.png"), 4, 1);
        assert!(error(root).contains("stray.png: image beside class folders"));
        std::fs::remove_file(root.join("stray.png")).unwrap();
        std::fs::write(root.join("a/odd.bmp"), "BM, and what a bitmap holds").unwrap();
        assert!(error(root).contains("odd.bmp: neither a PNG nor a JPEG"));
        let one = LoadOptions {
            channels: Some(1),
            ..options(4)
        };
        std::fs::remove_file(root.join("a/odd.bmp")).unwrap();
        let message = load(root, &one, &|_, _| true).unwrap_err().to_string();
        assert!(message.contains("use --channels gray"), "{message}");
    }
}
