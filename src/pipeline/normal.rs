//! The integer form of binary layers, and what it changes in the runtime.

use std::path::Path;

use super::proof::Proof;
use super::{Job, View};
use crate::error::Error;
use crate::normalise::{Form, normalise};
use crate::onnx::proto::ModelProto;
use crate::qonnx;
use crate::report::NormalisedReport;
use crate::verify::KeptChannels;

/// `--normalise` for a QONNX model that is to stay one.
pub(super) fn needs_standard(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: --normalise writes standard operators; for a QONNX model give --to onnx as well",
        path.display()
    ))
}

/// Refuses a model of which no layer is in another form now.
///
/// # Errors
/// [`Error::Unsuitable`] with the reason of the first.
pub(super) fn some(job: &Job, found: &NormalisedReport) -> Result<(), Error> {
    if !found.thresholds.is_empty() || !found.divided.is_empty() {
        return Ok(());
    }
    let why = match found.unchanged.iter().next() {
        Some((name, why)) => format!("'{name}': {why}"),
        None => "it has no binary layer (±1 weights on ±1 inputs)".to_owned(),
    };
    let why = format!("has nothing that the integer form would write in another way: {why}");
    Err(Error::unsuitable(&job.input, why))
}

/// A model with the masks on that it will have: what masked filters compute is not looked at.
pub(super) type Masking<'a> = &'a dyn Fn(&ModelProto) -> Result<ModelProto, Error>;

/// The model in normal form, compared with what it was, both under `masking`. A QONNX model has to become one
/// of standard operators.
///
/// # Errors
/// [`Error::Usage`] for a QONNX model that is to stay one; [`Error::Verification`] if the two differ
/// beyond ties; and what masking says.
pub(super) fn form(
    job: &Job,
    model: &ModelProto,
    masking: Option<Masking<'_>>,
    proof: &Proof<'_>,
) -> Result<(ModelProto, NormalisedReport), Error> {
    if qonnx::is_qonnx(model) && job.form.is_none_or(|form| form.is_qonnx()) {
        return Err(needs_standard(&job.input));
    }
    let lowered = qonnx::lower(model).map_err(|e| Error::from(e).about(&job.input))?;
    let model = &*lowered.model;
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
    let mut map = KeptChannels::default();
    normal.rescaled.iter().for_each(|t| map.rescale(t));
    report.rescaled = normal.rescaled;
    let masked = match masking {
        Some(masking) => Some([masking(model)?, masking(&normal.model)?]),
        None => None,
    };
    let [before, after] = match &masked {
        Some([before, after]) => [before, after],
        None => [model, &normal.model],
    };
    report.verification = proof
        .compare(before, after, &map)
        .map_err(|e| e.about(&job.input))?;
    if !report.verification.passed {
        let why = report.verification.failures.join("; ");
        let option = match job.form {
            Some(form) => format!("--to {}", form.name()),
            None => "--normalise".to_owned(),
        };
        return Err(Error::Verification(format!(
            "{}: the integer form differs from the original beyond ties ({why}); leave {option} out",
            job.input.display()
        )));
    }
    Ok((normal.model, report))
}
