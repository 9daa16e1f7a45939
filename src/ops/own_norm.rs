//! Normalisations by the statistics of each sample itself: `InstanceNormalization`, `GroupNormalization`,
//! `LayerNormalization` and `RMSNormalization`.

use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::broadcast::{Broadcast, sum_to};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Params, Saved, ShapeError, Traits, check};
use crate::arrays::{array, slice, slice_mut};

/// What is normalised together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    /// Each channel of `[N, C, …]` by itself.
    Channel,
    /// So many groups of neighbouring channels.
    Groups(usize),
    /// All axes from this one on.
    From(usize),
}

/// `y = scale · (x - mean) / √(variance + epsilon) + shift`: inputs x, scale and perhaps shift, which stay as
/// they are. Where it is not centred, the mean counts as 0.
#[derive(Debug, Clone)]
struct OwnNorm {
    name: &'static str,
    together: Together,
    centred: bool,
    epsilon: f32,
}

impl OwnNorm {
    /// How many neighbouring numbers are normalised together.
    fn count(&self, x: &[usize]) -> Result<usize, ShapeError> {
        let of = |axes: &[usize]| axes.iter().product::<usize>();
        let count = match self.together {
            Together::Channel => of(x.get(2..).unwrap_or_default()),
            Together::Groups(groups) => {
                let channels = x.get(1).copied().unwrap_or(0);
                check(groups > 0 && channels % groups == 0, || {
                    format!("{groups} groups of {channels} channels")
                })?;
                channels / groups * of(&x[2..])
            }
            Together::From(axis) => of(x.get(axis..).unwrap_or_default()),
        };
        check(count > 0, || format!("nothing of {x:?} to normalise"))?;
        Ok(count)
    }

    /// The shape of scale and shift as it is repeated along x.
    fn repeated(&self, x: &[usize], parameter: &[usize]) -> Vec<usize> {
        match self.together {
            Together::Channel | Together::Groups(_) => {
                let mut shape = vec![1; x.len().saturating_sub(1)];
                if let Some(first) = shape.first_mut() {
                    *first = parameter.iter().product();
                }
                shape
            }
            Together::From(_) => parameter.to_vec(),
        }
    }

    /// A parameter in that shape.
    fn spread(
        &self,
        x: &[usize],
        parameter: &ArrayD<f32>,
    ) -> Result<(Broadcast, ArrayD<f32>), ShapeError> {
        let shape = self.repeated(x, parameter.shape());
        let way = Broadcast::into(&shape, x)?;
        Ok((way, array(&shape, slice(parameter).to_vec())))
    }

    /// The mean of numbers, where that is subtracted.
    fn mean(&self, of: &[f32]) -> f64 {
        match self.centred {
            true => of.iter().map(|&v| f64::from(v)).sum::<f64>() / of.len().max(1) as f64,
            false => 0.0,
        }
    }

    /// Mean and 1 / √(variance + epsilon) of numbers.
    fn statistics(&self, of: &[f32]) -> (f64, f64) {
        let n = of.len().max(1) as f64;
        let mean = self.mean(of);
        let square = |&v: &f32| (f64::from(v) - mean).powi(2);
        let variance = of.iter().map(square).sum::<f64>() / n;
        (mean, 1.0 / (variance + f64::from(self.epsilon)).sqrt())
    }

    /// The gradient of x, given x normalised.
    fn of_input(
        &self,
        pass: &Backward<'_>,
        normal: &ArrayD<f32>,
        grad: &ArrayD<f32>,
        count: usize,
    ) -> ArrayD<f32> {
        let x = pass.input(0);
        let (way, scale) =
            (self.spread(x.shape(), pass.input(1))).expect("shapes of the forward pass");
        let mut grad = way.zip(grad, &scale, |g, s| g * s);
        let stretches = slice_mut(&mut grad).par_chunks_exact_mut(count);
        let values = slice(x).par_chunks_exact(count);
        let pairs = values.zip(slice(normal).par_chunks_exact(count));
        stretches.zip(pairs).for_each(|(g, (x, y))| {
            let n = count as f64;
            let (_, factor) = self.statistics(x);
            let mean = self.mean(g);
            let dot = g.iter().zip(y).map(|(&g, &y)| f64::from(g) * f64::from(y));
            let dot = dot.sum::<f64>() / n;
            for (g, &y) in g.iter_mut().zip(y) {
                *g = (factor * (f64::from(*g) - mean - f64::from(y) * dot)) as f32;
            }
        });
        grad
    }

    fn normalised(&self, x: &ArrayD<f32>, count: usize) -> ArrayD<f32> {
        let mut y = x.clone();
        let stretches = slice_mut(&mut y).par_chunks_exact_mut(count);
        stretches.for_each(|stretch| {
            let (mean, factor) = self.statistics(stretch);
            for v in stretch {
                *v = ((f64::from(*v) - mean) * factor) as f32;
            }
        });
        y
    }
}

impl Op for OwnNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            per_channel: !matches!(self.together, Together::From(_)),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let mut y = self.normalised(x, self.count(x.shape())?);
        let (way, scale) = self.spread(x.shape(), inputs[1])?;
        y = way.zip(&y, &scale, |y, s| y * s);
        if let Some(shift) = inputs.get(2) {
            let (way, shift) = self.spread(x.shape(), shift)?;
            y = way.zip(&y, &shift, |y, s| y + s);
        }
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shape = pass.shapes[0];
        let count = self.count(shape).expect("shapes of the forward pass");
        // The gradient of a parameter that is repeated along x.
        let summed = |grad: ArrayD<f32>, k: usize| {
            let sum = sum_to(grad, &self.repeated(shape, pass.shapes[k]));
            array(pass.shapes[k], sum.into_raw_vec_and_offset().0)
        };
        let mut grads = vec![None; pass.wanted.len()];
        if pass.wanted.get(2) == Some(&true) {
            grads[2] = Some(summed(grad.clone(), 2));
        }
        if !pass.wanted[0] && !pass.wanted[1] {
            return grads;
        }
        let normal = self.normalised(pass.input(0), count);
        if pass.wanted[1] {
            let product = Broadcast::Same.zip(&grad, &normal, |g, y| g * y);
            grads[1] = Some(summed(product, 1));
        }
        if pass.wanted[0] {
            grads[0] = Some(self.of_input(pass, &normal, &grad, count));
        }
        grads
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        match k {
            0 => wanted[0] || wanted[1],
            1 => wanted[0],
            _ => false,
        }
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let x = view.input_shape(0)?;
    if x.len() < 2 || view.is_constant(0) {
        return Err(view.reject("its input has to be data, of a batch"));
    }
    if (1..view.input_count()).any(|k| view.has_input(k) && !view.is_constant(k)) {
        return Err(view.reject("its scale and its shift have to be constant"));
    }
    let op = view.node.op();
    let (name, together) = match op {
        "InstanceNormalization" => ("InstanceNormalization", Together::Channel),
        "GroupNormalization" => {
            let groups = usize::try_from(view.node.int("num_groups", 0)).unwrap_or(0);
            // Until opset 20 scale and shift were those of groups.
            if groups == 0 || view.input_shape(1)? != [x[1]] {
                return Err(
                    view.reject("only scales and shifts of each channel are supported (opset 21)")
                );
            }
            ("GroupNormalization", Together::Groups(groups))
        }
        _ => {
            let axis = view.node.axis(-1, x.len()).filter(|&a| a > 0);
            let axis = axis.ok_or_else(|| {
                view.reject("it normalises over the batch, which is not supported")
            })?;
            let name = match op {
                "RMSNormalization" => "RMSNormalization",
                _ => "LayerNormalization",
            };
            (name, Together::From(axis))
        }
    };
    let own = OwnNorm {
        name,
        together,
        centred: op != "RMSNormalization",
        epsilon: view.node.epsilon(),
    };
    view.imported(own, &[ParamKind::Constant; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    fn all() -> Vec<(OwnNorm, Vec<usize>)> {
        let of = |together| OwnNorm {
            name: "OwnNorm",
            together,
            centred: true,
            epsilon: 1e-2,
        };
        vec![
            (of(Together::Channel), vec![4]),
            (of(Together::Groups(2)), vec![4]),
            (of(Together::From(1)), vec![4, 3, 2]),
            (of(Together::From(3)), vec![2]),
            (of(Together::From(2)), vec![3, 2]),
        ]
    }

    #[test]
    fn means_are_0_and_deviations_1() {
        let x = random(&[2, 4, 3, 2], 1).mapv(|x| 5.0 + x);
        for (op, shape) in all() {
            let (scale, shift) = (ArrayD::ones(&shape[..]), ArrayD::zeros(&shape[..]));
            let y = forward(&op, &[&x, &scale, &shift]);
            let count = op.count(x.shape()).unwrap();
            for stretch in slice(&y).chunks_exact(count) {
                let n = count as f32;
                let (mean, square) = (
                    stretch.iter().sum::<f32>() / n,
                    stretch.iter().map(|y| y * y).sum::<f32>() / n,
                );
                assert!(mean.abs() < 1e-4, "{op:?}: {mean}");
                assert!((0.2..1.01).contains(&square), "{op:?}: {square}");
            }
        }
    }

    #[test]
    fn without_the_mean_squares_have_the_mean_1() {
        let x = random(&[2, 4, 3, 2], 1).mapv(|x| 5.0 + x);
        for op in not_centred() {
            let y = forward(&op.0, &[&x, &ArrayD::ones(&op.1[..])]);
            for stretch in slice(&y).chunks_exact(op.0.count(x.shape()).unwrap()) {
                let square = stretch.iter().map(|y| y * y).sum::<f32>() / stretch.len() as f32;
                assert!((0.99..1.0).contains(&square), "{square}");
                assert!(stretch.iter().all(|&y| y > 0.5));
            }
        }
    }

    fn not_centred() -> Vec<(OwnNorm, Vec<usize>)> {
        let layers = all().into_iter();
        let layers = layers.filter(|(op, _)| matches!(op.together, Together::From(_)));
        let not_centred = |op| OwnNorm {
            centred: false,
            ..op
        };
        layers.map(|(op, shape)| (not_centred(op), shape)).collect()
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (op, shape) in all().into_iter().chain(not_centred()) {
            let parameters = [random(&shape, 2), random(&shape, 3)];
            let [scale, shift] = parameters;
            check_gradients(&op, &[random(&[2, 4, 3, 2], 1), scale.clone(), shift]);
            check_gradients(&op, &[random(&[2, 4, 3, 2], 1), scale]);
        }
    }
}
