//! Operators on one element at a time: arithmetic with broadcasting, and activations.

use ndarray::{ArrayD, Zip};

use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId};

/// Roundings that a runtime's approximation of a transcendental function is worth.
const APPROXIMATED: f64 = 8.0;

/// The bound of one rounding of `value`, where `exactly` is what it would be without.
fn rounding(value: f32, exactly: f64, inputs_exact: bool) -> f32 {
    match inputs_exact && exactly == f64::from(value) {
        true => 0.0,
        false => (SAFETY * UNIT * f64::from(value.abs())) as f32,
    }
}

impl Bounds<'_> {
    /// Add, Sub, Mul, Div, Pow, Min, Max, Sum, Mean, Where.
    pub(super) fn arithmetic(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let shape = out.shape();
        let op = node.op();
        let operands = match op {
            // The condition is a decision.
            "Where" => inputs.get(1..)?,
            _ => inputs,
        };
        let mut bounds = Vec::new();
        let mut values = Vec::new();
        for &t in operands {
            bounds.push(self.bound(t)?.broadcast(shape)?);
            values.push(self.value(t)?.broadcast(shape)?.to_owned());
        }
        let exact = bounds.iter().all(Bound::is_exact);
        if matches!(op, "Max" | "Min" | "Where") {
            let mut most = bounds.pop()?;
            for bound in bounds {
                let larger = |a: &mut ArrayD<f32>, b: &ArrayD<f32>| {
                    Zip::from(a).and(b).for_each(|a, &b| *a = a.max(b));
                };
                larger(&mut most.sums, &bound.sums);
                larger(&mut most.single, &bound.single);
            }
            return Some(most);
        }
        if matches!(op, "Sum" | "Mean") {
            let mut total = Bound::zeros(shape);
            for (bound, value) in bounds.iter().zip(&values) {
                total.sums += &bound.sums;
                total.single += &bound.single;
                total.single += &value.mapv(|v| rounding(v, f64::NAN, false));
            }
            return Some(total);
        }
        let [a, b] = &values[..] else { return None };
        let [ea, eb] = &bounds[..] else { return None };
        // How much each operand's error counts.
        let mut gains = (ArrayD::ones(shape), ArrayD::ones(shape));
        match op {
            "Mul" => gains = (b.mapv(f32::abs), a.mapv(f32::abs)),
            "Div" => {
                Zip::from(&mut gains.0)
                    .and(&mut gains.1)
                    .and(a)
                    .and(b)
                    .for_each(|ga, gb, a, b| {
                        (*ga, *gb) = ((1.0 / b).abs(), (a / (b * b)).abs());
                    });
            }
            "Pow" => {
                // The exponent has to be exact: e·x^(e−1), as large as it gets nearby.
                if !eb.is_exact() {
                    return None;
                }
                Zip::from(&mut gains.0).and(a).and(b).for_each(|g, a, e| {
                    *g = (e * a.abs().powf(e - 1.0)).abs() * 2.0;
                });
            }
            _ => {}
        }
        let counted = |gain: &ArrayD<f32>, error: &ArrayD<f32>| {
            // What is exact adds nothing, whatever it is multiplied with.
            Zip::from(gain)
                .and(error)
                .map_collect(|&g, &e| if e == 0.0 { 0.0 } else { g * e })
        };
        let mut bound = Bound {
            sums: counted(&gains.0, &ea.sums) + counted(&gains.1, &eb.sums),
            single: counted(&gains.0, &ea.single) + counted(&gains.1, &eb.single),
        };
        let result = |a: f32, b: f32| {
            let (a, b) = (f64::from(a), f64::from(b));
            match op {
                "Add" => a + b,
                "Sub" => a - b,
                "Mul" => a * b,
                "Div" => a / b,
                _ => a.powf(b),
            }
        };
        Zip::from(&mut bound.single)
            .and(a)
            .and(b)
            .and(out)
            .for_each(|single, &a, &b, &out| *single += rounding(out, result(a, b), exact));
        if op == "Mul" {
            // A scale behind a layer, which a runtime folds into its weights; powers of two keep
            // them on their grid.
            for (&t, scale) in operands.iter().zip([b, a]) {
                if let Some(latent) = self.latent.get(&t).filter(|l| l.shape() == shape)
                    && !scale.iter().all(|s| s.to_bits() & 0x007f_ffff == 0)
                {
                    bound.sums += &(latent * &scale.mapv(f32::abs));
                }
            }
        }
        Some(bound)
    }

    /// (x − zero point)·scale.
    pub(super) fn dequantized(&self, inputs: &[TensorId], out: &ArrayD<f32>) -> Option<Bound> {
        if !self.bound(*inputs.first()?)?.is_exact() {
            return None;
        }
        let single = out.mapv(|v| rounding(v, f64::NAN, false));
        Some(Bound {
            sums: ArrayD::zeros(out.raw_dim()),
            single,
        })
    }

    /// Activations: the steepest slope times the error before, and the rounding of the result.
    pub(super) fn activation(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let x = *inputs.first()?;
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let before = self.bound(x)?.broadcast(out.shape())?;
        let alpha = |default: f32| node.float("alpha", default).abs();
        let steepest = match node.op() {
            "LeakyRelu" => alpha(0.01).max(1.0),
            "Elu" => alpha(1.0).max(1.0),
            "Celu" | "Tanh" | "Sigmoid" | "Softplus" | "Softsign" => 1.0,
            "Selu" => node.float("gamma", 1.050_701) * node.float("alpha", 1.673_263_2).max(1.0),
            "HardSigmoid" => alpha(0.2),
            "HardSwish" => 1.5,
            "Gelu" | "Mish" | "Erf" => 1.2,
            "PRelu" => {
                let slope = self.value(*inputs.get(1)?)?;
                let slope = slope.iter().fold(1.0, |most: f32, s| most.max(s.abs()));
                let single = before.single.mapv(|e| e * slope);
                let rounded = out.mapv(|v| rounding(v, f64::NAN, false));
                return Some(Bound {
                    sums: before.sums.mapv(|e| e * slope),
                    single: single + rounded,
                });
            }
            "Exp" | "Log" | "Sqrt" | "Reciprocal" | "ThresholdedRelu" => 0.0,
            _ => return None,
        };
        let slope = Zip::from(&value)
            .and(out)
            .map_collect(|&x, &y| match node.op() {
                // Twice the slope here: it is not much steeper within rounding.
                "Exp" => 2.0 * y.abs(),
                "Log" => 2.0 / x.abs(),
                "Sqrt" => 1.0 / y.abs(),
                "Reciprocal" => 2.0 * y * y,
                "ThresholdedRelu" => 1.0,
                _ => steepest,
            });
        let step = |error: &ArrayD<f32>| {
            Zip::from(error)
                .and(&slope)
                .map_collect(|&e, &s| if e == 0.0 { 0.0 } else { e * s })
        };
        let mut bound = Bound {
            sums: step(&before.sums),
            single: step(&before.single),
        };
        if node.op() == "ThresholdedRelu" {
            // It jumps by its threshold there.
            let threshold = alpha(1.0);
            let total = before.total(1.0);
            Zip::from(&mut bound.single)
                .and(&value)
                .and(&total)
                .for_each(|single, x, &error| {
                    if error > 0.0 && (x - threshold).abs() <= error {
                        *single += threshold;
                    }
                });
            return Some(bound);
        }
        let approximated = APPROXIMATED * SAFETY * UNIT;
        let piecewise = matches!(node.op(), "LeakyRelu" | "HardSigmoid" | "HardSwish");
        bound.single += &out.mapv(|v| match piecewise {
            true => rounding(v, f64::NAN, false),
            false => (approximated * f64::from(v.abs())) as f32,
        });
        Some(bound)
    }
}
