//! The verification of the design: compare, explain what differs, decide.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::batched::BatchedSession;
use super::channel_map::ChannelMap;
use super::compare::compare;
use super::runtime::{Runtime, RuntimeError, SessionOptions};
use super::samples::Samples;
use super::ties::{Explanation, TieExplainer};
use crate::onnx::proto::ModelProto;

/// Faults that are described one by one; the others are counted.
const DESCRIBED: usize = 3;

/// Whether the candidate computes what the reference computes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// The runtime's name.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Samples compared.
    pub samples: usize,
    /// Largest absolute difference of any output on any sample, ties included.
    pub max_abs_diff: f64,
    /// Share of samples with the same most probable class; absent without classes.
    pub top1_agreement: Option<f64>,
    /// Samples beyond the tolerance that a tie at a discontinuity explains.
    pub ties: usize,
    /// The verdict.
    pub passed: bool,
    /// Why it failed, a line each.
    pub failures: Vec<String>,
}

/// Compares two models on `samples`, `batch` at a time. `map` says which channels of the
/// reference's tensors the candidate has kept. Weights must be inline.
///
/// # Errors
/// If the reference can't be loaded or run; [`RuntimeError::Candidate`] if the candidate can't, or
/// has another interface. A difference in values is no error: see [`Verification::passed`].
pub fn verify(
    runtime: &dyn Runtime,
    reference: &ModelProto,
    candidate: &ModelProto,
    map: &ChannelMap,
    samples: &Samples<'_>,
    batch: usize,
    options: &SessionOptions,
) -> Result<Verification, RuntimeError> {
    let load = |model: &ModelProto| {
        let bytes = model.encode_to_vec();
        runtime.load(&bytes, options).map(BatchedSession::new)
    };
    let mut first = load(reference)?;
    let mut second = load(candidate).map_err(RuntimeError::of_candidate)?;
    let found = compare(&mut first, &mut second, samples, batch)?;
    let mut verification = Verification {
        runtime: runtime.name().to_owned(),
        runtime_version: runtime.version().to_owned(),
        samples: found.samples,
        max_abs_diff: found.max_abs_diff,
        top1_agreement: found.top1_agreement,
        ..Verification::default()
    };
    if found.samples == 0 {
        verification
            .failures
            .push("no samples to compare on".into());
    }
    if !found.offending.is_empty() {
        let inputs = first.inputs().to_vec();
        let mut faults = 0;
        let mut explainer = TieExplainer::new(runtime, reference, candidate, map);
        for &sample in &found.offending {
            let explanation = match &mut explainer {
                Ok(explainer) => samples
                    .batch(&inputs, sample..sample + 1)
                    .and_then(|inputs| explainer.explain(&inputs)),
                Err(error) => Ok(Explanation::Fault(format!("cannot be explained: {error}"))),
            };
            match explanation {
                Ok(Explanation::Tie(_)) => verification.ties += 1,
                Ok(Explanation::Fault(why)) => {
                    faults += 1;
                    if faults <= DESCRIBED {
                        verification
                            .failures
                            .push(format!("sample {sample}: {why}"));
                    } else {
                        // The verdict stands; explaining the rest would only take time.
                        break;
                    }
                }
                Err(error) => {
                    faults += 1;
                    let failure = format!("sample {sample}: cannot be explained: {error}");
                    verification.failures.push(failure);
                    break;
                }
            }
        }
        if faults > 0 {
            let beyond = found.offending.len();
            let summary = format!("{beyond} of {} samples beyond the tolerance", found.samples);
            verification.failures.insert(0, summary);
        }
    }
    verification.passed = verification.failures.is_empty();
    Ok(verification)
}
