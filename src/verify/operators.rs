//! The library with the operators of the form `ops`, which ONNX Runtime loads for models that have them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use prost::Message;

use super::runtime::RuntimeError;
use crate::graph::OPS_DOMAIN;
use crate::onnx::proto::OperatorSetIdProto;

/// What a user does when it is missing.
const REMEDY: &str = "build it with `cargo build --release -p bnn-ops`, and name it with --ops-library or ONNX_BNNPRUNE_OPS, or put it beside this program";

/// Names the library, instead of the option.
const VARIABLE: &str = "ONNX_BNNPRUNE_OPS";

static NAMED: OnceLock<PathBuf> = OnceLock::new();

/// Names the library for this process; the first name holds.
pub fn name_operator_library(path: PathBuf) {
    let _ = NAMED.set(path);
}

/// The library of operators: `explicit` (`--ops-library`), else the one named for this process, else the
/// environment variable `ONNX_BNNPRUNE_OPS`, else the one that came `along` with the tool, else beside the
/// executable.
///
/// # Errors
/// [`RuntimeError::Missing`] with what to do: where one that was named is no file, or none is found.
pub fn find_operator_library(
    explicit: Option<&Path>,
    along: Option<&Path>,
) -> Result<PathBuf, RuntimeError> {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let named = match (explicit, NAMED.get(), variable) {
        (Some(path), ..) => Some(("--ops-library", path.to_owned())),
        (None, Some(path), _) => Some(("the library of operators", path.clone())),
        (None, None, Some(path)) => Some((VARIABLE, path.into())),
        (None, None, None) => None,
    };
    if let Some((source, path)) = named {
        let path = std::path::absolute(&path).unwrap_or(path);
        return match path.is_file() {
            true => Ok(path),
            false => Err(RuntimeError::Missing(format!(
                "{source}: {}: there is no such file; {REMEDY}",
                path.display()
            ))),
        };
    }
    if let Some(path) = along.filter(|path| path.is_file()) {
        return Ok(path.to_owned());
    }
    let name = format!("{DLL_PREFIX}onnx_bnnprune_ops{DLL_SUFFIX}");
    let executable = std::env::current_exe().ok();
    let beside = executable.and_then(|path| Some(path.parent()?.join(&name)));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        RuntimeError::Missing(format!(
            "the library of operators on bits ({name}) was not found; {REMEDY}"
        ))
    })
}

/// What a model imports, and nothing else of it.
#[derive(Clone, PartialEq, Message)]
struct Imports {
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

/// Whether a model needs the library.
pub(super) fn needs_operators(model: &[u8]) -> bool {
    let imports = Imports::decode(model).unwrap_or_default();
    imports
        .opset_import
        .iter()
        .any(|o| o.domain() == OPS_DOMAIN)
}
