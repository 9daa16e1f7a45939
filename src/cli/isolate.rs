//! Models that are not ours meet a runtime in a child process of this program.

use std::ffi::OsString;
use std::path::Path;

use onnx_bnnprune::check;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::verify::{Isolated, OrtRuntime, Runtime, RuntimeError, serve};

use super::args::RuntimeArgs;
use super::shared::runtime;

/// The runtime that the arguments ask for, each model of which is tried in a process of its own
/// unless they say otherwise.
pub fn isolated(args: &RuntimeArgs) -> Result<Box<dyn Runtime>, RuntimeError> {
    let inner = runtime(args)?;
    if args.limits.in_process {
        return Ok(inner);
    }
    let program = std::env::current_exe()
        .map_err(|e| RuntimeError::Missing(format!("this program does not find itself: {e}")))?;
    let limits = args.limits.limits();
    let arguments = worker_arguments(&*inner)?;
    Ok(Box::new(Isolated::new(inner, program, arguments, limits)))
}

/// What makes this program a worker of that runtime, found where it was found here.
fn worker_arguments(runtime: &dyn Runtime) -> Result<Vec<OsString>, RuntimeError> {
    let mut arguments = vec!["worker".into(), "--runtime".into()];
    if runtime.name() == "tract" {
        arguments.push("tract".into());
        return Ok(arguments);
    }
    arguments.push("ort".into());
    let ort = OrtRuntime::new(None)?;
    // A bare name was found by the system's loader, which will find it again.
    if ort.library().is_absolute() {
        arguments.push("--ort-lib".into());
        arguments.push(ort.library().into());
    }
    Ok(arguments)
}

/// A worker: tries the model on stdin.
pub fn work(args: &RuntimeArgs) -> std::io::Result<()> {
    let input = std::io::stdin();
    serve(|| runtime(args), input, std::io::stdout().lock())
}

/// The runtime that the arguments ask for, after it has survived `model` in a process of its own:
/// a model that crashes it must not do so after hours of training. That the runtime refuses the
/// model is left to be said by whoever needs it to run.
pub fn tried(args: &RuntimeArgs, model: &Path) -> Result<Box<dyn Runtime>, RuntimeError> {
    let runtime = isolated(args)?;
    if args.limits.in_process {
        return Ok(runtime);
    }
    if let Ok(model) = Model::load(model) {
        check::survives(&model.proto, &*runtime, 0)?;
    }
    Ok(runtime)
}
