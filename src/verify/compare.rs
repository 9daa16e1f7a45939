//! Do two models give the same outputs? The rule of the verification, without ties.

use ndarray::{ArrayD, ArrayViewD, Axis};
use serde::{Deserialize, Serialize};

use super::batched::BatchedSession;
use super::predictions::Predictions;
use super::runtime::{NamedTensors, RuntimeError};
use super::samples::Samples;

/// How far two outputs may lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute.
    pub atol: f64,
    /// Relative to max|reference| of a sample's output.
    pub rtol: f64,
}

impl Default for Tolerance {
    /// 1e-4 · max(1, max|reference|).
    fn default() -> Self {
        Self {
            atol: 1e-4,
            rtol: 1e-4,
        }
    }
}

/// How far one output lies apart, over all samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutputStats {
    /// Name in the graph.
    pub name: String,
    /// Largest absolute difference, where both are finite.
    pub max_abs_diff: f64,
    /// Mean absolute difference, where both are finite.
    pub mean_abs_diff: f64,
    /// Largest magnitude in the reference.
    pub max_abs: f64,
    /// Samples beyond the tolerance.
    pub beyond: usize,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Samples compared.
    pub samples: usize,
    /// Largest |reference − candidate| over all samples and outputs, where both are finite.
    pub max_abs_diff: f64,
    /// Share of samples (or of positions, for outputs `[N, K, …]`) with the same largest entry
    /// along axis 1 of the first output; `None` where the model has no such output.
    pub top1_agreement: Option<f64>,
    /// Samples beyond the tolerance: ties or faults.
    pub offending: Vec<usize>,
    /// Samples on which the reference gives no finite number.
    pub not_finite: usize,
    /// Whether a non-finite value stands where the other model has another one.
    pub non_finite_differs: bool,
    /// Each output by itself, in graph order.
    pub outputs: Vec<OutputStats>,
    /// The classes that the reference, and the candidate, gives each sample; empty where a sample has
    /// none or several.
    pub predictions: [Predictions; 2],
}

/// Adds up a [`Comparison`] batch by batch.
#[derive(Default)]
struct Tally {
    found: Comparison,
    tolerance: Tolerance,
    /// Elements compared of each output.
    elements: Vec<usize>,
    top1_equal: usize,
    top1_total: usize,
}

/// Runs both models on all samples, `batch` at a time; outputs may lie apart by `tolerance`.
///
/// # Errors
/// If the reference can't be run; [`RuntimeError::Candidate`] if the candidate can't, or if its
/// inputs or outputs differ in name or shape.
pub fn compare(
    reference: &mut BatchedSession,
    candidate: &mut BatchedSession,
    samples: &Samples<'_>,
    batch: usize,
    tolerance: Tolerance,
) -> Result<Comparison, RuntimeError> {
    check_interface(reference, candidate).map_err(RuntimeError::of_candidate)?;
    let mut tally = Tally {
        tolerance,
        ..Tally::default()
    };
    let batch = batch.max(1);
    for start in (0..samples.len()).step_by(batch) {
        let range = start..samples.len().min(start.saturating_add(batch));
        let inputs = samples.batch(reference.inputs(), range.clone())?;
        let expected = reference.run(&inputs)?;
        let actual = candidate.run(&inputs).map_err(RuntimeError::of_candidate)?;
        tally
            .add(&expected, &actual, range.len())
            .map_err(RuntimeError::of_candidate)?;
    }
    let Tally {
        mut found,
        top1_equal,
        top1_total,
        elements,
        ..
    } = tally;
    for (output, elements) in found.outputs.iter_mut().zip(elements) {
        output.mean_abs_diff /= elements.max(1) as f64;
    }
    found.top1_agreement = (top1_total > 0).then(|| top1_equal as f64 / top1_total as f64);
    Ok(found)
}

fn check_interface(
    reference: &BatchedSession,
    candidate: &BatchedSession,
) -> Result<(), RuntimeError> {
    let sides = [
        ("inputs", reference.inputs(), candidate.inputs()),
        ("outputs", reference.outputs(), candidate.outputs()),
    ];
    for (what, a, b) in sides {
        let names = |infos: &[super::TensorInfo]| -> Vec<String> {
            infos.iter().map(|info| info.name.clone()).collect()
        };
        if names(a) != names(b) {
            return Err(RuntimeError::Interface(format!(
                "the models differ in their {what}: {:?} and {:?}",
                names(a),
                names(b)
            )));
        }
    }
    Ok(())
}

impl Tally {
    fn add(
        &mut self,
        expected: &NamedTensors,
        actual: &NamedTensors,
        samples: usize,
    ) -> Result<(), RuntimeError> {
        let first = self.found.samples;
        let mut offending = vec![false; samples];
        let mut finite = vec![false; samples];
        for (number, ((name, a), (_, b))) in expected.iter().zip(actual).enumerate() {
            if a.shape() != b.shape() {
                return Err(RuntimeError::Interface(format!(
                    "output `{name}` is {:?} in the one model and {:?} in the other",
                    a.shape(),
                    b.shape()
                )));
            }
            if self.found.outputs.len() <= number {
                self.elements.push(0);
                self.found.outputs.push(OutputStats {
                    name: name.clone(),
                    ..OutputStats::default()
                });
            }
            if a.shape().first() != Some(&samples) {
                // An output without a batch belongs to every sample of it.
                let difference = difference(a.view(), b.view());
                if !self.note(number, &difference, samples) {
                    offending.fill(true);
                }
                if difference.shows_something(a.len()) {
                    finite.fill(true);
                }
                continue;
            }
            for (sample, (bad, finite)) in offending.iter_mut().zip(&mut finite).enumerate() {
                let (a, b) = (a.index_axis(Axis(0), sample), b.index_axis(Axis(0), sample));
                let elements = a.len();
                let difference = difference(a, b);
                *bad |= !self.note(number, &difference, 1);
                *finite |= difference.shows_something(elements);
            }
            if number == 0 {
                self.add_top1(a, b);
            }
        }
        let beyond = offending.iter().enumerate().filter(|(_, bad)| **bad);
        self.found
            .offending
            .extend(beyond.map(|(sample, _)| first + sample));
        self.found.samples += samples;
        self.found.not_finite += finite.iter().filter(|finite| !**finite).count();
        Ok(())
    }

    /// Adds the difference of an output on `samples` samples; whether it is within the tolerance.
    fn note(&mut self, output: usize, difference: &Difference, samples: usize) -> bool {
        let passes = difference.passes(self.tolerance);
        self.found.max_abs_diff = self.found.max_abs_diff.max(difference.max_abs);
        self.found.non_finite_differs |= difference.non_finite_differs;
        if let (Some(stats), Some(elements)) = (
            self.found.outputs.get_mut(output),
            self.elements.get_mut(output),
        ) {
            stats.max_abs_diff = stats.max_abs_diff.max(difference.max_abs);
            stats.max_abs = stats.max_abs.max(difference.largest);
            stats.mean_abs_diff += difference.sum;
            *elements += difference.compared;
            if !passes {
                stats.beyond += samples;
            }
        }
        passes
    }

    fn add_top1(&mut self, a: &ArrayD<f32>, b: &ArrayD<f32>) {
        let samples = a.shape().first().copied().unwrap_or(0);
        let (first, second) = (top1(a.view()), top1(b.view()));
        self.top1_total += first.len();
        self.top1_equal += first.iter().zip(&second).filter(|(a, b)| a == b).count();
        let [of_a, of_b] = &mut self.found.predictions;
        of_a.add(a.view(), samples);
        of_b.add(b.view(), samples);
    }
}

/// How two tensors differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// Largest difference where both are finite.
    pub max_abs: f64,
    /// max|reference| over finite values.
    pub largest: f64,
    /// Sum of the differences where both are finite.
    pub sum: f64,
    /// Elements where both are finite.
    pub compared: usize,
    /// A NaN or infinity without its equal on the other side.
    pub non_finite_differs: bool,
}

impl Difference {
    /// Whether there was a finite number to compare, or nothing at all.
    fn shows_something(&self, elements: usize) -> bool {
        elements == 0 || self.compared > 0
    }

    /// The rule: at most the absolute or the relative tolerance, whichever is larger, and
    /// non-finite values alike.
    pub(super) fn passes(&self, tolerance: Tolerance) -> bool {
        let most = tolerance.atol.max(tolerance.rtol * self.largest);
        !self.non_finite_differs && self.max_abs <= most
    }
}

/// Compares two tensors of one shape.
pub(super) fn difference(
    reference: ArrayViewD<'_, f32>,
    candidate: ArrayViewD<'_, f32>,
) -> Difference {
    let mut found = Difference {
        max_abs: 0.0,
        largest: 0.0,
        sum: 0.0,
        compared: 0,
        non_finite_differs: false,
    };
    for (&a, &b) in reference.iter().zip(candidate.iter()) {
        if a.is_finite() && b.is_finite() {
            let apart = (f64::from(a) - f64::from(b)).abs();
            found.max_abs = found.max_abs.max(apart);
            found.largest = found.largest.max(f64::from(a.abs()));
            found.sum += apart;
            found.compared += 1;
        } else {
            let alike = a == b || (a.is_nan() && b.is_nan());
            found.non_finite_differs |= !alike;
        }
    }
    found
}

/// The index of the largest entry along axis 1, for every sample and position of `[N, K, …]`
/// with K ≥ 2; the first of equals; NaN counts as smallest. Empty for other shapes.
pub(super) fn top1(output: ArrayViewD<'_, f32>) -> Vec<usize> {
    if output.ndim() < 2 || output.len_of(Axis(1)) < 2 {
        return Vec::new();
    }
    output
        .lanes(Axis(1))
        .into_iter()
        .map(|lane| {
            let mut best = (0, f32::NEG_INFINITY);
            for (index, &value) in lane.iter().enumerate() {
                if value > best.1 {
                    best = (index, value);
                }
            }
            best.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    fn named(x: ndarray::Array2<f32>) -> NamedTensors {
        vec![("y".into(), x.into_dyn())]
    }

    fn tally(a: ndarray::Array2<f32>, b: ndarray::Array2<f32>) -> Tally {
        let mut tally = Tally::default();
        let samples = a.nrows();
        tally.add(&named(a), &named(b), samples).unwrap();
        tally
    }

    #[test]
    fn the_tolerance_is_relative_to_each_sample() {
        let tally = tally(
            arr2(&[[0.5, 0.0], [1000.0, 0.0], [0.5, 0.0]]),
            arr2(&[[0.50009, 0.0], [1000.09, 0.0], [0.5002, 0.0]]),
        );
        assert_eq!(tally.found.offending, [2]);
        assert!((tally.found.max_abs_diff - 0.09).abs() < 1e-3);
        assert_eq!((tally.top1_equal, tally.top1_total), (3, 3));
        let output = &tally.found.outputs[0];
        assert_eq!((output.name.as_str(), output.beyond), ("y", 1));
        assert_eq!((output.max_abs, tally.elements[0]), (1000.0, 6));
    }

    #[test]
    fn either_tolerance_suffices() {
        let x = arr2(&[[100.0f32, 0.0]]).into_dyn();
        let y = arr2(&[[100.05f32, 0.0]]).into_dyn();
        let found = difference(x.view(), y.view());
        let passes = |atol, rtol| found.passes(Tolerance { atol, rtol });
        assert!(passes(0.1, 0.0) && passes(0.0, 1e-3));
        assert!(!passes(0.01, 0.0) && !passes(0.0, 1e-4) && !passes(0.0, 0.0));
    }

    #[test]
    fn non_finite_values_must_match() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let same = tally(
            arr2(&[[nan, inf, -inf, 1.0]]),
            arr2(&[[nan, inf, -inf, 1.0]]),
        );
        assert!(same.found.offending.is_empty() && !same.found.non_finite_differs);
        for (a, b) in [(nan, 0.0), (0.0, nan), (inf, -inf), (inf, nan), (1.0, inf)] {
            let differs = tally(arr2(&[[a, 0.0]]), arr2(&[[b, 0.0]]));
            assert_eq!(differs.found.offending, [0], "{a} {b}");
            assert!(differs.found.non_finite_differs);
        }
    }

    #[test]
    fn top1_takes_the_first_of_equals_along_axis_1() {
        let x = arr2(&[[1.0, 1.0], [f32::NAN, -5.0], [0.0, 2.0]]).into_dyn();
        assert_eq!(top1(x.view()), [0, 1, 1]);
        assert!(top1(ndarray::arr1(&[1.0f32]).into_dyn().view()).is_empty());
    }

    #[test]
    fn shapes_must_match() {
        let mut tally = Tally::default();
        let result = tally.add(&named(arr2(&[[1.0, 2.0]])), &named(arr2(&[[1.0]])), 1);
        assert!(matches!(result, Err(RuntimeError::Interface(_))));
    }
}
