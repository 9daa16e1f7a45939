//! Files that a job will write: checked before any work, so that minutes of training
//! neither end in a folder that does not exist nor overwrite a file that is still needed.

use std::path::{Path, PathBuf};

use onnx_bnnprune::error::Error;

/// The files that a job reads and writes, each with the name of its argument.
pub struct Targets<'a> {
    /// The model read.
    pub input: &'a Path,
    /// The model written, if it is.
    pub output: Option<&'a Path>,
    /// Whether these two may be one file.
    pub in_place: bool,
    /// What else is read.
    pub reads: Vec<(&'static str, Option<&'a Path>)>,
    /// What else is written.
    pub writes: Vec<(&'static str, Option<&'a Path>)>,
}

/// Checks that every target can be written, and that none is another target or a file that is read.
pub fn check(targets: &Targets<'_>) -> Result<(), Error> {
    let same = |a: &Path, b: &Path| resolved(a) == resolved(b);
    let input = targets.input;
    if !targets.in_place && targets.output.is_some_and(|output| same(input, output)) {
        return Err(Error::Usage(format!(
            "{} is both input and output; give another output, or --in-place",
            input.display()
        )));
    }
    let given = |&(name, path): &(&'static str, Option<&Path>)| Some((name, path?.to_owned()));
    let mut taken: Vec<(&str, PathBuf)> = targets.reads.iter().filter_map(given).collect();
    let output = ("OUT", targets.output);
    for (name, path) in std::iter::once(&output)
        .chain(&targets.writes)
        .filter_map(given)
    {
        writable(&path)?;
        // Whether OUT may be IN was settled above.
        let is_input = (name != "OUT" && same(&path, input)).then_some("IN");
        let other = taken.iter().find(|(_, p)| same(&path, p)).map(|(n, _)| *n);
        if let Some(other) = is_input.or(other) {
            return Err(Error::Usage(format!(
                "{}: {name} would overwrite {other}, which is the same file; name another",
                path.display()
            )));
        }
        taken.push((name, path));
    }
    Ok(())
}

/// A path that is the same for all paths to one file, whether it exists yet or not.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (folder(path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

fn writable(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        let why = "is a folder; name a file to write";
        return Err(Error::unsuitable(path, why));
    }
    let folder = folder(path);
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Error::unsuitable(
            path,
            format!("cannot be written: there is no folder {}", folder.display()),
        )),
    }
}
