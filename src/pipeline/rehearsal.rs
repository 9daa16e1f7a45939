//! Before hours of learning: the original goes the whole way that what is learned will go.

use super::end::remove;
use super::proof::Proof;
use super::{Job, normal};
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::qonnx;

/// Loads and runs the original in the runtime on a batch of the validation images, compares its
/// answers with their labels, and brings it into the form that will be written.
///
/// # Errors
/// Whatever would stop the job after learning.
pub(super) fn run(
    job: &Job,
    model: &Model,
    original: &ModelProto,
    proof: Proof<'_>,
) -> Result<(), Error> {
    let about = |e: Error| e.about(&job.input);
    let normal = match job.normalise {
        true => Some(normal::form(job, original, &proof)?.0),
        false => None,
    };
    let whole = normal.as_ref().unwrap_or(original);
    let (eliminated, _) = remove(job, model, whole)?;
    if job.to_onnx {
        qonnx::lower(&eliminated.model).map_err(|e| about(e.into()))?;
    }
    // First the original: a runtime that refuses it says so of the model as it came.
    proof
        .accuracy(original, whole, &eliminated.model, None)
        .map_err(about)?;
    let found = proof.verify(whole, &eliminated).map_err(about)?;
    match found.passed {
        true => Ok(()),
        false => Err(Error::Verification(format!(
            "{}: even with no filter pruned, what would be written differs from the original ({}); \
             nothing was learned",
            job.input.display(),
            found.failures.join("; ")
        ))),
    }
}
