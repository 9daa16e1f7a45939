//! The integer form of binary layers, and what it changes in the runtime.

use super::proof::Proof;
use super::{Job, View};
use crate::error::Error;
use crate::normalise::{Form, normalise};
use crate::onnx::proto::ModelProto;
use crate::report::NormalisedReport;

/// The model in normal form, compared with what it was.
///
/// # Errors
/// [`Error::Verification`] if they differ beyond ties.
pub(super) fn form(
    job: &Job,
    model: &ModelProto,
    proof: &Proof<'_>,
) -> Result<(ModelProto, NormalisedReport), Error> {
    let view = View::new(&job.input, model)?;
    let normal = normalise(&view.graph, &view.facts, &view.layers);
    let mut report = NormalisedReport::default();
    for (layer, form) in normal.layers {
        match form {
            Form::Threshold => report.thresholds.push(layer),
            Form::Divided => report.divided.push(layer),
            Form::Unchanged(why) => {
                report.unchanged.insert(layer, why.to_owned());
            }
        }
    }
    report.verification = proof
        .compare(model, &normal.model)
        .map_err(|e| e.about(&job.input))?;
    if !report.verification.passed {
        let why = report.verification.failures.join("; ");
        return Err(Error::Verification(format!(
            "{}: the normalised model differs from the original beyond ties ({why}); run without \
             --normalise",
            job.input.display()
        )));
    }
    Ok((normal.model, report))
}
