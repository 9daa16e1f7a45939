//! Files that a command will write: checked before any work, so that minutes of training
//! neither end in a folder that does not exist nor overwrite a file that is still needed.

use std::path::{Path, PathBuf};

use super::config;
use crate::checkpoint;
use crate::error::Error;
use crate::output::{self, FileId, Place, Target, folder_of, stdout_is_closed};

/// A path with the name of its argument, if it was given.
pub type Named<'a> = (&'static str, Option<&'a Path>);

/// The files that a job reads and writes.
pub struct Targets<'a> {
    /// The model read.
    pub input: &'a Path,
    /// The model written, if it is.
    pub output: Option<&'a Path>,
    /// Whether these two may be one file.
    pub in_place: bool,
    /// What else is read.
    pub reads: Vec<Named<'a>>,
    /// What else is written.
    pub writes: Vec<Named<'a>>,
    /// Where learning is saved.
    pub checkpoint: Option<&'a Path>,
}

/// Checks that every target can be written, and that none is another target or a file that is
/// read; the targets.
pub fn check(targets: &Targets<'_>) -> Result<Vec<Target>, Error> {
    let input = targets.input;
    let output = ("OUT", targets.output);
    let writes: Vec<Target> = std::iter::once(&output)
        .chain(&targets.writes)
        .filter_map(|&(name, path)| target(name, path?, targets.in_place && name == "OUT"))
        .collect();
    for t in &writes {
        // As typed, for the one mistake that is made most.
        if t.name == "OUT" && !t.in_place && FileId::of_input(input).is_some_and(|i| is(t, &i)) {
            return Err(Error::Usage(format!(
                "{} is both input and output; give another output, or --in-place",
                input.display()
            )));
        }
        writable(&t.path)?;
    }
    let others: Vec<Target> = writes.iter().filter(|t| !t.in_place).cloned().collect();
    output::overwrites(&others, "IN", [input])?;
    for (name, path) in &targets.reads {
        // Of a folder of settings the file in it is read.
        let file = path.map(|p| match *name {
            "--preprocessor" => config::preprocessor_file(p),
            _ => p.to_owned(),
        });
        output::overwrites(&writes, name, file.iter())?;
    }
    output::clash(&writes)?;
    if let Some(folder) = targets.checkpoint {
        saved(&writes, folder)?;
    }
    Ok(writes)
}

/// The targets of a command that reads `inputs`, each with what to call it.
pub fn check_files(
    writes: &[Named<'_>],
    inputs: &[(&'static str, Vec<&Path>)],
) -> Result<Vec<Target>, Error> {
    let writes: Vec<Target> = writes
        .iter()
        .filter_map(|&(name, path)| target(name, path?, false))
        .collect();
    for t in &writes {
        writable(&t.path)?;
    }
    for (name, paths) in inputs {
        output::overwrites(&writes, name, paths)?;
    }
    output::clash(&writes)?;
    Ok(writes)
}

/// Whether one of them is standard output, which then holds nothing else.
pub fn on_stdout(writes: &[Target]) -> bool {
    writes
        .iter()
        .any(|t| matches!(Place::of(&t.path), Ok(Place::Stdout)))
}

fn target(name: &'static str, path: &Path, in_place: bool) -> Option<Target> {
    Some(Target {
        name,
        path: path.to_owned(),
        in_place,
    })
}

fn is(target: &Target, id: &FileId) -> bool {
    FileId::of_output(&target.path).as_ref() == Some(id)
}

/// A checkpoint's own files are its own, also before there are any.
fn saved(writes: &[Target], folder: &Path) -> Result<(), Error> {
    let files = checkpoint::files(folder);
    for file in files.iter().map(PathBuf::as_path).chain([folder]) {
        let Some(id) = FileId::of_output(file) else {
            continue;
        };
        if let Some(t) = writes.iter().find(|t| is(t, &id)) {
            return Err(Error::Usage(format!(
                "{}: {} would take the place of --checkpoint {} or a file of it; name another",
                t.path.display(),
                t.name,
                folder.display()
            )));
        }
    }
    Ok(())
}

fn writable(path: &Path) -> Result<(), Error> {
    let unwritable = |why: String| Error::unsuitable(path, format!("cannot be written: {why}"));
    if path.is_dir() {
        let why = "is a folder; name a file to write";
        return Err(Error::unsuitable(path, why));
    }
    let place = Place::of(path).map_err(|e| unwritable(e.to_string()))?;
    let file = match place {
        Place::File(file) => file,
        Place::Stdout if stdout_is_closed() => {
            return Err(unwritable("standard output is closed".to_owned()));
        }
        Place::Stdout | Place::Stream(_) => return Ok(()),
    };
    let folder = folder_of(&file);
    match folder.is_dir() {
        true => Ok(()),
        false => Err(unwritable(format!(
            "there is no folder {}",
            folder.display()
        ))),
    }
}
