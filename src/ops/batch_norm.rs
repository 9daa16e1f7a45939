//! `BatchNormalization`, by running statistics; the engine normalises by those of a batch.

use bnn_kernels::elementwise::{
    ChannelStatistics, ElementwiseChain, Normalization, Source, WantedGradients,
};
use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Role, Saved, ShapeError, Traits, check};
use crate::arrays::{array, slice, slice_mut};

/// `y = γ · (x - mean) / √(variance + epsilon) + β`: inputs x `[N, C, …]`, γ, β, running mean and
/// running variance, each `[C]`.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl BatchNorm {
    /// With the values of γ, β, running mean and running variance.
    pub(crate) fn normalization<'a>(&self, params: [&'a ArrayD<f32>; 4]) -> Normalization<'a> {
        let [gamma, beta, mean, variance] = params.map(slice);
        Normalization {
            epsilon: self.epsilon,
            gamma,
            beta,
            mean,
            variance,
        }
    }

    fn alone<'a>(&self, params: [&'a ArrayD<f32>; 4]) -> ElementwiseChain<'a> {
        ElementwiseChain {
            normalization: Some(self.normalization(params)),
            ..ElementwiseChain::default()
        }
    }
}

/// Mean and biased variance of each channel of `x` `[N, C, …]`.
pub(crate) fn channel_statistics(x: &ArrayD<f32>) -> ChannelStatistics {
    let planes = Planes::around(x.shape(), 1);
    let count = planes.outer * planes.inner;
    let n = count.max(1) as f64;
    let mean: Vec<f32> = planes
        .sums(slice(x))
        .into_iter()
        .map(|s| (s / n) as f32)
        .collect();
    let data = slice(x);
    let squares = planes.fold(data, data, |c, x, _| {
        let d = x - mean[c];
        [d * d]
    });
    ChannelStatistics {
        mean,
        variance: squares.into_iter().map(|[s]| (s / n) as f32).collect(),
        count,
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::Exact,
            role: Role::Normalization(self),
            per_channel: true,
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let channels = x.shape().get(1).copied();
        check(
            inputs[1..].iter().all(|p| Some(p.len()) == channels),
            || {
                format!(
                    "its parameters do not have one value per channel of {:?}",
                    x.shape()
                )
            },
        )?;
        let params = [1, 2, 3, 4].map(|k| inputs[k]);
        let y = (self.alone(params)).forward(Source::Floats(slice(x)), x.shape(), None);
        Ok((array(x.shape(), y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let params = [1, 2, 3, 4].map(|k| pass.input(k));
        let wanted = WantedGradients {
            input: pass.wanted[0],
            normalization: pass.wanted[1] || pass.wanted[2],
            mask: false,
        };
        let x = pass.input(0);
        let found = self.alone(params).backward(
            Source::Floats(slice(x)),
            x.shape(),
            slice_mut(&mut grad),
            wanted,
        );
        let sum = |input: usize| {
            let values = found
                .normalization
                .iter()
                .map(|s| s[2 - input] as f32)
                .collect();
            pass.wanted[input].then(|| array(pass.shapes[input], values))
        };
        let (gamma, beta) = (sum(1), sum(2));
        vec![wanted.input.then_some(grad), gamma, beta, None, None]
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        k > 0 || wanted.iter().any(|w| *w)
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.node.int("training_mode", 0) != 0 {
        return Err(view.reject(
            "training_mode = 1 makes the output depend on the batch; export the model in evaluation mode, or give --inference-mode",
        ));
    }
    let op = BatchNorm {
        epsilon: view.node.epsilon(),
    };
    use ParamKind::{Beta, Constant, Gamma, RunningMean, RunningVariance};
    view.imported(op, &[Constant, Gamma, Beta, RunningMean, RunningVariance])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients_of, forward, random};

    fn inputs(shape: &[usize]) -> [ArrayD<f32>; 5] {
        let c = [shape[1]];
        [
            random(shape, 1),
            random(&c, 2),
            random(&c, 3),
            random(&c, 4),
            random(&c, 5).mapv(|v| v.abs() + 0.5),
        ]
    }

    #[test]
    fn running_statistics_are_the_definition() {
        let i = inputs(&[3, 4, 5]);
        let y = forward(&BatchNorm { epsilon: 0.1 }, &i.each_ref());
        for (at, y) in y.indexed_iter() {
            let c = [at[1]];
            let expected = i[1][c] * (i[0][&at] - i[3][c]) / (i[4][c] + 0.1).sqrt() + i[2][c];
            assert!((y - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for shape in [vec![4, 3, 2, 3], vec![7, 3]] {
            // Running statistics have no gradient: they are estimated, not trained.
            let wanted = [true, true, true, false, false];
            check_gradients_of(&BatchNorm { epsilon: 1e-2 }, &inputs(&shape), &wanted);
        }
    }
}
