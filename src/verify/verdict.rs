//! The verification of the design: compare, explain what differs, decide.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::batched::BatchedSession;
use super::compare::{OutputStats, Tolerance, compare};
use super::kept_channels::KeptChannels;
use super::predictions::Predictions;
use super::repeat::Repeat;
use super::runtime::{Runtime, RuntimeError, SessionOptions, TensorInfo};
use super::samples::Samples;
use super::ties::{Explanation, TieExplainer};
use crate::onnx::proto::ModelProto;

/// Faults, and ties, that are described one by one; the others are counted.
const DESCRIBED: usize = 3;

/// Whether the candidate computes what the reference computes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Verification {
    /// The runtime's name.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Samples run.
    pub samples: usize,
    /// Samples of these on which the reference gives no finite number: there, only that the
    /// candidate gives none either was compared.
    pub not_compared: usize,
    /// Largest absolute difference of any output on any sample where both are finite, ties included.
    pub max_abs_diff: f64,
    /// A NaN or infinity stands against another value, which no difference measures.
    pub non_finite_differs: bool,
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
    /// What a reader should know: which inputs and outputs were taken for each other.
    #[serde(default)]
    pub notes: Vec<String>,
    /// See [`Comparison::predictions`](super::Comparison::predictions).
    #[serde(skip)]
    pub predictions: [Predictions; 2],
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
    map: &KeptChannels,
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
        not_compared: found.not_finite,
        max_abs_diff: found.max_abs_diff,
        non_finite_differs: found.non_finite_differs,
        top1_agreement: found.top1_agreement,
        outputs: found.outputs,
        predictions: found.predictions,
        ..Verification::default()
    };
    if found.samples == 0 {
        verification
            .failures
            .push("no samples to compare on".into());
    } else if found.not_finite == found.samples {
        verification.failures.push(
            "the reference gives no finite output on any sample: there is nothing to compare"
                .into(),
        );
    }
    if second.is_of_one() && first.fixed_batch().is_none() {
        verification.failures.push(
            "the candidate runs one sample at a time only, which its inputs do not declare, the reference any number of them".into(),
        );
    }
    if !found.offending.is_empty() {
        let inputs = first.inputs().to_vec();
        drop((first, second));
        let judge = Judge {
            runtime,
            reference,
            candidate,
            samples,
            options,
        };
        judge.explain(map, &inputs, &found.offending, &mut verification);
    }
    verification.passed = verification.failures.is_empty();
    Ok(verification)
}

/// What is needed to explain samples.
struct Judge<'a> {
    runtime: &'a dyn Runtime,
    reference: &'a ModelProto,
    candidate: &'a ModelProto,
    samples: &'a Samples<'a>,
    options: &'a VerifyOptions,
}

impl Judge<'_> {
    /// Explains samples one by one: what is no tie is a fault, and so are too many ties.
    fn explain(
        &self,
        map: &KeptChannels,
        inputs: &[TensorInfo],
        offending: &[usize],
        verdict: &mut Verification,
    ) {
        let all = verdict.samples;
        let mut faults = Vec::new();
        let mut repeat: Option<Repeat> = None;
        let mut explainer = TieExplainer::new(
            self.runtime,
            self.reference,
            self.candidate,
            map,
            self.samples,
            self.options.tolerance,
        );
        for &sample in offending {
            let explanation = match &mut explainer {
                Ok(explainer) => self
                    .samples
                    .batch(inputs, sample..sample + 1)
                    .and_then(|inputs| explainer.explain(&inputs))
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match explanation {
                Ok(Explanation::Tie(tie)) => {
                    verdict.ties += 1;
                    if verdict.ties <= DESCRIBED {
                        let note = format!("sample {sample}: {tie}");
                        verdict.tie_notes.push(note);
                    }
                }
                Ok(Explanation::Fault(why)) => {
                    faults.push(format!("sample {sample}: fault: {why}"));
                }
                Err(error) => {
                    faults.push(format!("sample {sample}: cannot be explained: {error}"));
                    break;
                }
            }
            if faults.len() >= DESCRIBED {
                // The verdict stands; explaining the rest would only take time.
                break;
            }
            if share(verdict.ties, all) > Repeat::ALWAYS {
                let most = *repeat.get_or_insert_with(|| self.repeat());
                if share(verdict.ties, all) > most.ties_allowed() {
                    faults.push(format!(
                        "ties would have to explain {} samples or more, {:.1} % or more of {all}: \
                         the reference differs from itself on {:.1} % when its sums are added up \
                         in another order",
                        verdict.ties,
                        100.0 * share(verdict.ties, all),
                        100.0 * most.beyond
                    ));
                    break;
                }
            }
        }
        let changed = 1.0 - verdict.top1_agreement.unwrap_or(1.0);
        if faults.is_empty() && changed > Repeat::ALWAYS {
            let most = *repeat.get_or_insert_with(|| self.repeat());
            if changed > most.top1_allowed() {
                faults.push(format!(
                    "ties would have to explain another top-1 class on {:.1} % of the samples: the \
                     reference differs from itself on {:.1} %",
                    100.0 * changed,
                    100.0 * most.top1
                ));
            }
        }
        if faults.is_empty() {
            return;
        }
        let beyond = offending.len();
        verdict
            .failures
            .push(format!("{beyond} of {all} samples beyond the tolerance"));
        verdict.failures.append(&mut faults);
        let narrower = explainer.ok().and_then(|explainer| explainer.narrower());
        if let Some((node, less, all)) = narrower {
            verdict.failures.push(format!(
                "the candidate has fewer channels, first at '{node}' ({less} of {all}): a pruned \
                 model agrees with its masked model (--save-masked), not with the original"
            ));
        }
    }

    /// What the reference shows against itself; nothing where it cannot be run again.
    fn repeat(&self) -> Repeat {
        let options = self.options;
        let measured = Repeat::measure(
            self.runtime,
            self.reference,
            self.samples,
            options.batch,
            options.tolerance,
            &options.session,
        );
        measured.unwrap_or_default()
    }
}

fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}
