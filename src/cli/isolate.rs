//! Models that are not ours meet a runtime in a child process of this program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check;
use crate::onnx::Model;
use crate::pipeline::{self, DataSource};
use crate::sizes::Sizes;
use crate::verify::{
    Isolated, OrtRuntime, Program, Runtime, RuntimeError, find_operator_library, find_ort_library,
    name_operator_library, serve,
};

use super::args::{RuntimeArgs, RuntimeChoice};
use super::host::Host;
use super::shared::{choose, runtime, tract};

/// The runtime that the arguments ask for, each model of which lives in a process of its own
/// unless they say otherwise.
pub fn isolated(args: &RuntimeArgs, host: &Host<'_>) -> Result<Box<dyn Runtime>, RuntimeError> {
    if args.limits.in_process {
        return runtime(args, host);
    }
    choose(
        args,
        host,
        || worker(args, host, RuntimeChoice::Ort),
        || worker(args, host, RuntimeChoice::Tract),
    )
}

/// A worker of a runtime, whose library is searched here: a worker knows neither this process's
/// folder nor its environment.
fn worker(
    args: &RuntimeArgs,
    host: &Host<'_>,
    choice: RuntimeChoice,
) -> Result<Box<dyn Runtime>, RuntimeError> {
    let (path, mut arguments) = match &host.installation.worker {
        Some(worker) => worker.clone(),
        None => {
            let path = std::env::current_exe().map_err(|e| {
                RuntimeError::Missing(format!("this program does not find itself: {e}"))
            })?;
            (path, Vec::new())
        }
    };
    arguments.extend(["worker", "--runtime"].map(OsString::from));
    let loads = match choice {
        RuntimeChoice::Tract => {
            arguments.push("tract".into());
            "tract".to_owned()
        }
        RuntimeChoice::Ort | RuntimeChoice::Auto => {
            let library = library(args, host)?;
            let name = library.display().to_string();
            arguments.push("ort".into());
            // A bare name is for the system's loader.
            if library.is_absolute() {
                arguments.extend(["--ort-lib".into(), library.into()]);
            }
            if let Some(operators) = operators(args, host)? {
                arguments.extend(["--ops-library".into(), operators.into()]);
            }
            name
        }
    };
    let program = Program {
        path,
        arguments,
        loads,
        stop: Arc::clone(&host.stop),
    };
    Ok(Box::new(Isolated::open(program, args.limits.limits())?))
}

/// ONNX Runtime's library.
pub fn library(args: &RuntimeArgs, host: &Host<'_>) -> Result<PathBuf, RuntimeError> {
    find_ort_library(args.ort_lib.as_deref(), host.installation.ort.as_deref())
}

/// The library of operators, if there is one: only models that have them need it.
///
/// # Errors
/// If one that was named is no file.
pub fn operators(args: &RuntimeArgs, host: &Host<'_>) -> Result<Option<PathBuf>, RuntimeError> {
    let along = host.installation.operators.as_deref();
    match find_operator_library(args.ops_library.as_deref(), along) {
        Ok(path) => Ok(Some(path)),
        Err(e) if args.ops_library.is_some() => Err(e),
        Err(_) => Ok(None),
    }
}

/// A worker: runs the models that it is given on stdin.
pub fn work(args: &RuntimeArgs) -> std::io::Result<()> {
    args.ops_library
        .iter()
        .cloned()
        .for_each(name_operator_library);
    let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
        match (args.runtime, &args.ort_lib) {
            (RuntimeChoice::Tract, _) => tract(),
            (_, Some(library)) => Ok(Box::new(OrtRuntime::new(Some(library))?)),
            (_, None) => Ok(Box::new(OrtRuntime::of_system()?)),
        }
    };
    serve(open, std::io::stdin(), std::io::stdout().lock())
}

/// The runtime that the arguments ask for, after `model` has been tried in it, at the sizes that are
/// given or those of the images: a model that crashes it must not do so after hours of training. That
/// the runtime refuses the model is left to be said by whoever needs it to run.
pub fn tried(
    args: &RuntimeArgs,
    host: &Host<'_>,
    model: &Path,
    sizes: &Sizes,
    source: Option<&DataSource>,
) -> Result<Box<dyn Runtime>, RuntimeError> {
    let runtime = isolated(args, host)?;
    if args.limits.in_process {
        return Ok(runtime);
    }
    if let Ok(mut model) = Model::load(model) {
        // Sizes that do not fit are said by whoever works with them.
        let _ = pipeline::fill_sizes(&mut model, sizes, source);
        check::survives(&model.proto, &*runtime, 0)?;
    }
    Ok(runtime)
}
