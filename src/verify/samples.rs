//! Inputs to compare and time models on: images, or seeded random numbers.

use std::ops::Range;

use ndarray::{ArrayD, Axis, IxDyn};
use ndarray_rand::rand::{Rng as _, SeedableRng};
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand_chacha::ChaCha12Rng;

use super::runtime::{NamedTensors, RuntimeError, TensorInfo};
use crate::data::{Dataset, Preprocess};

/// Largest random input of one sample, in elements.
const MAX_RANDOM_ELEMENTS: usize = 1 << 28;

/// Where inputs come from.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Images of a data set, for models with one input.
    Images {
        /// The data set.
        data: &'a Dataset,
        /// Which of its images, in this order.
        indices: &'a [usize],
        /// How pixels become numbers.
        preprocess: &'a Preprocess,
    },
    /// Numbers from a standard normal distribution (bytes: any), for every input: a function of the seed and
    /// the sample alone.
    Random {
        /// The seed.
        seed: u64,
        /// Number of samples.
        count: usize,
    },
}

impl Samples<'_> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Samples::Images { indices, .. } => indices.len(),
            Samples::Random { count, .. } => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples in `range` as inputs of a model, the batch in the first dimension.
    ///
    /// # Errors
    /// If the model's inputs can't be fed from this source.
    pub fn batch(
        &self,
        inputs: &[TensorInfo],
        range: Range<usize>,
    ) -> Result<NamedTensors, RuntimeError> {
        match self {
            Samples::Images {
                data,
                indices,
                preprocess,
            } => {
                let input = image_input(inputs)?;
                let indices = indices.get(range).unwrap_or_default();
                let batch = data.batch(indices, preprocess)?;
                check_shape(input, &batch)?;
                Ok(vec![(input.name.clone(), batch)])
            }
            Samples::Random { seed, .. } => inputs
                .iter()
                .enumerate()
                .map(|(number, input)| {
                    let batch = random_batch(input, number, *seed, range.clone())?;
                    Ok((input.name.clone(), batch))
                })
                .collect(),
        }
    }
}

/// The one input that takes the images.
///
/// # Errors
/// If the model has several inputs, or its input takes neither floats nor bytes.
pub fn image_input(inputs: &[TensorInfo]) -> Result<&TensorInfo, RuntimeError> {
    match inputs {
        [input] if input.float || input.bytes => Ok(input),
        [input] => Err(RuntimeError::Interface(format!(
            "input `{}` takes neither 32-bit floats nor bytes: images cannot be fed to it; put a Cast behind an input of one of these types",
            input.name
        ))),
        _ => Err(RuntimeError::Interface(format!(
            "the model has {} inputs; images can be fed to a model with one input",
            inputs.len()
        ))),
    }
}

fn check_shape(input: &TensorInfo, batch: &ArrayD<f32>) -> Result<(), RuntimeError> {
    let fits = input.shape.is_empty()
        || (input.shape.len() == batch.ndim()
            && input
                .shape
                .iter()
                .zip(batch.shape())
                .skip(1)
                .all(|(want, have)| want.is_none_or(|want| want == *have)));
    if fits {
        return Ok(());
    }
    let want: Vec<String> = input
        .shape
        .iter()
        .map(|side| side.map_or("?".into(), |side| side.to_string()))
        .collect();
    Err(RuntimeError::Interface(format!(
        "input `{}` is [{}], the images give {:?}; use --resize, --crop or --channels",
        input.name,
        want.join(", "),
        batch.shape()
    )))
}

fn random_batch(
    input: &TensorInfo,
    number: usize,
    seed: u64,
    range: Range<usize>,
) -> Result<ArrayD<f32>, RuntimeError> {
    if !input.float && !input.bytes {
        return Err(RuntimeError::Interface(format!(
            "input `{}` takes neither 32-bit floats nor bytes: random inputs cannot be made for it; put a Cast behind an input of one of these types",
            input.name
        )));
    }
    let mut shape = vec![range.len()];
    for side in input.shape.iter().skip(1) {
        match side {
            Some(side) => shape.push(*side),
            None => {
                return Err(RuntimeError::Interface(format!(
                    "input `{}` leaves its size free: random inputs cannot be made for it; use --data",
                    input.name
                )));
            }
        }
    }
    let sample: Option<usize> = shape
        .iter()
        .skip(1)
        .try_fold(1, |n: usize, &s| n.checked_mul(s));
    if sample.is_none_or(|elements| elements > MAX_RANDOM_ELEMENTS) {
        return Err(RuntimeError::Interface(format!(
            "input `{}` is too large for random inputs",
            input.name
        )));
    }
    let mut batch = ArrayD::zeros(IxDyn(&shape));
    for (mut row, sample) in batch.axis_iter_mut(Axis(0)).zip(range) {
        // Each sample has a stream of its own, so that batches of any size give the same numbers.
        let stream = seed ^ (sample as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stream = stream.wrapping_add((number as u64).wrapping_mul(0xd134_2543_de82_ef95));
        let mut rng = ChaCha12Rng::seed_from_u64(stream);
        match input.bytes {
            true => row.map_inplace(|x| *x = f32::from(rng.random::<u8>())),
            false => row.map_inplace(|x| *x = StandardNormal.sample(&mut rng)),
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_samples_do_not_depend_on_the_batch() {
        let inputs = [TensorInfo {
            bytes: false,
            name: "x".into(),
            float: true,
            shape: vec![None, Some(3), Some(4)],
        }];
        let samples = Samples::Random { seed: 1, count: 10 };
        let all = samples.batch(&inputs, 0..10).unwrap();
        let some = samples.batch(&inputs, 4..6).unwrap();
        assert_eq!(some[0].1.shape(), [2, 3, 4]);
        assert_eq!(
            all[0].1.index_axis(Axis(0), 5),
            some[0].1.index_axis(Axis(0), 1)
        );
        assert!(all[0].1.iter().any(|&x| x < 0.0) && all[0].1.iter().any(|&x| x > 0.0));
    }

    #[test]
    fn bytes_are_whole_numbers_of_their_whole_range() {
        let input = TensorInfo {
            name: "x".into(),
            float: false,
            bytes: true,
            shape: vec![None, Some(64)],
        };
        let samples = Samples::Random { seed: 1, count: 40 };
        let batch = &samples.batch(&[input], 0..40).unwrap()[0].1;
        assert!(
            batch
                .iter()
                .all(|x| x.fract() == 0.0 && (0.0..=255.0).contains(x))
        );
        assert!(batch.iter().any(|&x| x < 10.0) && batch.iter().any(|&x| x > 245.0));
    }

    #[test]
    fn inputs_that_cannot_be_made_are_named() {
        let input = |float, shape: Vec<Option<usize>>| TensorInfo {
            bytes: false,
            name: "x".into(),
            float,
            shape,
        };
        let samples = Samples::Random { seed: 1, count: 1 };
        for bad in [
            input(false, vec![None, Some(2)]),
            input(true, vec![None, None]),
            input(true, vec![None, Some(usize::MAX), Some(2)]),
        ] {
            let error = samples.batch(&[bad], 0..1).unwrap_err().to_string();
            assert!(error.contains("`x`"), "{error}");
        }
    }
}
