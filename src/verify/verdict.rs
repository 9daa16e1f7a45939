//! The verification of the design: compare, explain what differs, decide.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::batched::BatchedSession;
use super::channel_map::ChannelMap;
use super::compare::{OutputStats, Tolerance, compare};
use super::runtime::{Runtime, RuntimeError, SessionOptions};
use super::samples::Samples;
use super::ties::{Explanation, TieExplainer};
use crate::onnx::proto::ModelProto;

/// Faults, and ties, that are described one by one; the others are counted.
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
    /// The first ties, a line each: the node and how close it was.
    pub tie_notes: Vec<String>,
    /// Each output by itself.
    pub outputs: Vec<OutputStats>,
    /// The verdict.
    pub passed: bool,
    /// Why it failed, a line each.
    pub failures: Vec<String>,
}

/// How models are compared.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// Samples a run.
    pub batch: usize,
    /// How far outputs may lie apart.
    pub tolerance: Tolerance,
    /// How models are loaded.
    pub session: SessionOptions,
}

impl VerifyOptions {
    /// The rule of the design, with this many samples a run.
    pub fn in_batches_of(batch: usize) -> Self {
        Self {
            batch,
            tolerance: Tolerance::default(),
            session: SessionOptions::default(),
        }
    }
}

/// Compares two models on `samples`. `map` says which channels of the
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
    options: &VerifyOptions,
) -> Result<Verification, RuntimeError> {
    let load = |model: &ModelProto| {
        let bytes = model.encode_to_vec();
        runtime
            .load(&bytes, &options.session)
            .map(BatchedSession::new)
    };
    let mut first = load(reference)?;
    let mut second = load(candidate).map_err(RuntimeError::of_candidate)?;
    let found = compare(
        &mut first,
        &mut second,
        samples,
        options.batch,
        options.tolerance,
    )?;
    let mut verification = Verification {
        runtime: runtime.name().to_owned(),
        runtime_version: runtime.version().to_owned(),
        samples: found.samples,
        max_abs_diff: found.max_abs_diff,
        top1_agreement: found.top1_agreement,
        outputs: found.outputs,
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
        let mut explainer =
            TieExplainer::new(runtime, reference, candidate, map, options.tolerance);
        for &sample in &found.offending {
            let explanation = match &mut explainer {
                Ok(explainer) => samples
                    .batch(&inputs, sample..sample + 1)
                    .and_then(|inputs| explainer.explain(&inputs)),
                Err(error) => Ok(Explanation::Fault(format!("cannot be explained: {error}"))),
            };
            match explanation {
                Ok(Explanation::Tie(tie)) => {
                    verification.ties += 1;
                    if verification.ties <= DESCRIBED {
                        let note = format!("sample {sample}: {tie}");
                        verification.tie_notes.push(note);
                    }
                }
                Ok(Explanation::Fault(why)) => {
                    faults += 1;
                    if faults <= DESCRIBED {
                        verification
                            .failures
                            .push(format!("sample {sample}: fault: {why}"));
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
