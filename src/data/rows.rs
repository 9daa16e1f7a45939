//! Files of pixels in rows: CIFAR's binary version, and IDX, in which MNIST comes.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::catalogue::{Archive, Catalogue, Item};
use super::{DataError, classes};
use crate::files;

/// Side of CIFAR's images.
const SIDE: u32 = 32;
/// Bytes of one of its images.
const PIXELS: u64 = 3 * 32 * 32;
/// Most bytes of a file that is read as a whole.
const MOST: u64 = 4 << 30;

fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Archive {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io {
        path: path.clone(),
        source,
    }
}

/// Batches that a folder may have.
const MOST_BATCHES: usize = 1000;

/// CIFAR's binary files: `data_batch_1.bin` and so on (or `train.bin`) of a folder, or one file.
pub(super) mod cifar {
    use super::*;

    /// The files to learn from at that path; those for tests are named by themselves.
    pub fn files_at(path: &Path) -> Vec<PathBuf> {
        if path.is_file() {
            let bin = path.extension().is_some_and(|e| e == "bin");
            return Vec::from_iter(bin.then(|| path.to_owned()));
        }
        let batches = (1..=MOST_BATCHES).map(|i| path.join(format!("data_batch_{i}.bin")));
        let mut found: Vec<PathBuf> = batches.filter(|p| p.is_file()).collect();
        found.extend(Some(path.join("train.bin")).filter(|p| p.is_file()));
        found
    }

    /// Lists their images.
    pub fn list(root: &Path, class_file: Option<&Path>) -> Result<Catalogue, DataError> {
        let mut catalogue = Catalogue {
            root: root.to_owned(),
            ..Catalogue::default()
        };
        let mut labels = Vec::new();
        let files = files_at(root);
        if let (true, Some(last)) = (root.is_dir(), last_batch(&files))
            && let Some(missing) = (1..last)
                .map(|i| root.join(format!("data_batch_{i}.bin")))
                .find(|p| !p.is_file())
        {
            return Err(fail(
                &missing,
                "is missing, and a later batch is there; copy it again",
            ));
        }
        for (archive, path) in (0..).zip(files) {
            let size = std::fs::metadata(&path).map_err(io(&path))?.len();
            // One label an image, or CIFAR-100's two, of which the second is the finer.
            let mut fits = [1, 2]
                .into_iter()
                .filter(|extra| size % (PIXELS + extra) == 0);
            let (extra, other) = (fits.next(), fits.next());
            let known = size > 0 && size <= MOST && other.is_none();
            let extra = extra.filter(|_| known).ok_or_else(|| {
                fail(&path, format!("has {size} bytes, which are no rows of CIFAR's binary version (3,073 or 3,074 each)"))
            })?;
            let bytes = files::read(&path, MOST).map_err(io(&path))?;
            let row = PIXELS + extra;
            for (place, row_bytes) in (0..).zip(bytes.chunks_exact(row as usize)) {
                let label = row_bytes
                    .get(extra as usize - 1)
                    .copied()
                    .unwrap_or_default();
                labels.push(usize::from(label));
                catalogue.items.push(Item::Pixels {
                    archive,
                    offset: place * row + extra,
                    shape: [3, SIDE, SIDE],
                });
            }
            catalogue.archives.push(Archive::from(path));
        }
        catalogue.classes = match class_file {
            Some(file) => classes::read(file)?,
            None => names(root),
        };
        bounded(&mut catalogue, labels)
    }

    /// The number of the last batch among the files.
    fn last_batch(files: &[PathBuf]) -> Option<usize> {
        let numbers = files.iter().filter_map(|path| {
            let name = path.file_stem()?.to_str()?;
            name.strip_prefix("data_batch_")?.parse().ok()
        });
        numbers.max()
    }

    /// The names that come with the files.
    fn names(root: &Path) -> Vec<String> {
        let folder = if root.is_dir() {
            Some(root)
        } else {
            root.parent()
        };
        let found = folder.into_iter().flat_map(|folder| {
            let names = ["batches.meta.txt", "fine_label_names.txt"];
            names.map(|name| folder.join(name))
        });
        let mut found = found.filter(|path| path.is_file());
        found
            .find_map(|path| classes::read(&path).ok())
            .unwrap_or_default()
    }
}

/// IDX files: `train-images-idx3-ubyte`, its labels beside it, either of them packed by gzip.
pub(super) mod idx {
    use super::*;

    /// The file of images at that path.
    pub fn images_at(path: &Path) -> Option<PathBuf> {
        if path.is_dir() {
            let names = ["train-images-idx3-ubyte", "train-images.idx3-ubyte"];
            let names = names
                .iter()
                .flat_map(|n| [(*n).to_owned(), format!("{n}.gz")]);
            return names.map(|name| path.join(name)).find(|p| p.is_file());
        }
        let name = path.file_name()?.to_string_lossy().into_owned();
        name.contains("idx3-ubyte").then(|| path.to_owned())
    }

    /// Lists the images.
    pub fn list(root: &Path, class_file: Option<&Path>) -> Result<Catalogue, DataError> {
        let Some(path) = images_at(root) else {
            return Err(DataError::NoImages {
                path: root.to_owned(),
            });
        };
        let images = read(&path)?;
        let [count, height, width] = header(&path, &images, 3)?;
        let area = u64::from(height) * u64::from(width);
        let all = u64::from(count).checked_mul(area);
        if all.and_then(|n| n.checked_add(16)) != Some(images.len() as u64) {
            return Err(fail(
                &path,
                format!(
                    "says that it holds {count} images of {height}x{width}, and has other bytes"
                ),
            ));
        }
        let item = |index: u32| Item::Pixels {
            archive: 0,
            offset: 16 + u64::from(index) * area,
            shape: [1, height, width],
        };
        let mut catalogue = Catalogue {
            root: root.to_owned(),
            items: (0..count).map(item).collect(),
            ..Catalogue::default()
        };
        if let Some(file) = class_file {
            catalogue.classes = classes::read(file)?;
        }
        let packed = path.extension().is_some_and(|e| e == "gz");
        catalogue.archives.push(Archive {
            unpacked: packed.then(|| Arc::new(images)),
            path: path.clone(),
        });
        let Some(beside) = labels_of(&path) else {
            return Ok(catalogue);
        };
        let labels = read(&beside)?;
        let [found] = header(&beside, &labels, 1)?;
        let labels: Vec<usize> = labels.iter().skip(8).map(|&b| b.into()).collect();
        if found != count || labels.len() != count as usize {
            return Err(fail(
                &beside,
                format!(
                    "has {} labels, and {} has {count} images",
                    labels.len(),
                    path.display()
                ),
            ));
        }
        bounded(&mut catalogue, labels)
    }

    /// The labels beside a file of images, packed or not.
    pub fn labels_of(images: &Path) -> Option<PathBuf> {
        let name = images.file_name()?.to_str()?;
        let name = name.replace("images", "labels").replace("idx3", "idx1");
        let plain = name.trim_end_matches(".gz");
        let names = [plain.to_owned(), format!("{plain}.gz")];
        let beside = names.iter().map(|name| images.with_file_name(name));
        beside
            .into_iter()
            .find(|path| path.is_file() && path != images)
    }

    fn read(path: &Path) -> Result<Vec<u8>, DataError> {
        if path.extension().is_none_or(|e| e != "gz") {
            return files::read(path, MOST).map_err(io(path));
        }
        let mut bytes = Vec::new();
        let file = files::open(path).map_err(io(path))?;
        let mut unpacked = GzDecoder::new(file).take(MOST + 1);
        unpacked.read_to_end(&mut bytes).map_err(io(path))?;
        match bytes.len() as u64 > MOST {
            true => Err(io(path)(ErrorKind::FileTooLarge.into())),
            false => Ok(bytes),
        }
    }

    /// The sizes that a file of bytes claims.
    fn header<const N: usize>(path: &Path, bytes: &[u8], rank: u8) -> Result<[u32; N], DataError> {
        if bytes.get(..4) != Some(&[0, 0, 8, rank]) {
            return Err(fail(
                path,
                format!("is no IDX file of bytes in {rank} dimensions"),
            ));
        }
        let mut sizes = [0; N];
        for (size, word) in sizes
            .iter_mut()
            .zip(bytes.get(4..).unwrap_or_default().chunks_exact(4))
        {
            *size = word.try_into().map_or(0, u32::from_be_bytes);
        }
        match sizes.iter().all(|&n| (1..=1 << 30).contains(&n)) {
            true => Ok(sizes),
            false => Err(fail(
                path,
                "says that it holds nothing, or more than there can be",
            )),
        }
    }
}

/// The catalogue with its labels, which have to be among the classes, where these have names.
fn bounded(catalogue: &mut Catalogue, labels: Vec<usize>) -> Result<Catalogue, DataError> {
    let classes = catalogue.classes.len();
    let beyond = labels
        .iter()
        .find(|&&label| classes > 0 && label >= classes);
    if let Some(label) = beyond {
        let reason = format!("holds class {label}, and {classes} classes have names");
        return Err(fail(&catalogue.root, reason));
    }
    let mut catalogue = std::mem::take(catalogue);
    catalogue.labels = Some(labels);
    Ok(catalogue)
}

/// What is read beside a file that is named: labels, and the names of classes.
pub(super) fn beside(path: &Path) -> Vec<PathBuf> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(path),
    };
    let names = ["batches.meta.txt", "fine_label_names.txt"];
    let names = names.map(|name| folder.join(name)).into_iter();
    let labels = idx::images_at(path).and_then(|images| idx::labels_of(&images));
    names.filter(|p| p.is_file()).chain(labels).collect()
}
