//! Operators on one element at a time: arithmetic with broadcasting, and functions of one number.

use half::{bf16, f16};
use ndarray::{ArrayD, Zip};

use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId};
use crate::operators::{Arithmetic, How, Operator, Slope, Smoothness, Unary};

/// The bound of one rounding of `value`.
fn rounding(value: f32) -> f32 {
    (SAFETY * UNIT * f64::from(value.abs())) as f32
}

/// The same where `exactly` is what it would be without: of exact inputs there may be nothing to round.
fn rounding_if_any(value: f32, exactly: f64, inputs_exact: bool) -> f32 {
    match inputs_exact && exactly == f64::from(value) {
        true => 0.0,
        false => rounding(value),
    }
}

/// What is exact adds nothing, whatever it is multiplied with.
fn times(error: f32, gain: f32) -> f32 {
    if error == 0.0 { 0.0 } else { error * gain }
}

fn counted(gain: &ArrayD<f32>, error: &ArrayD<f32>) -> ArrayD<f32> {
    Zip::from(gain).and(error).map_collect(|&g, &e| times(e, g))
}

impl Bounds<'_> {
    /// Add, Sub, Mul, Div, Pow, Min, Max, Sum, Mean.
    pub(super) fn arithmetic(
        &self,
        arithmetic: Arithmetic,
        operands: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let shape = out.shape();
        if arithmetic.how == How::Extreme {
            return self.one_of(operands, out);
        }
        let mut bounds = Vec::new();
        let mut values = Vec::new();
        for &t in operands {
            bounds.push(self.bound(t)?.broadcast(shape)?);
            values.push(self.value(t)?.broadcast(shape)?.to_owned());
        }
        let exact = bounds.iter().all(Bound::is_exact);
        if arithmetic.how == How::Sum {
            let mut total = Bound::zeros(shape);
            for (bound, value) in bounds.iter().zip(&values) {
                total.sums += &bound.sums;
                total.single += &bound.single;
                total.single += &value.mapv(rounding);
            }
            return Some(total);
        }
        let [a, b] = &values[..] else { return None };
        let [ea, eb] = &bounds[..] else { return None };
        // How much each operand's error counts.
        let mut gains = (ArrayD::ones(shape), ArrayD::ones(shape));
        match arithmetic.how {
            How::Mul => gains = (b.mapv(f32::abs), a.mapv(f32::abs)),
            How::Div => {
                Zip::from(&mut gains.0)
                    .and(&mut gains.1)
                    .and(a)
                    .and(b)
                    .for_each(|ga, gb, a, b| {
                        (*ga, *gb) = ((1.0 / b).abs(), (a / (b * b)).abs());
                    });
            }
            How::Pow => {
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
        let mut bound = Bound {
            sums: counted(&gains.0, &ea.sums) + counted(&gains.1, &eb.sums),
            single: counted(&gains.0, &ea.single) + counted(&gains.1, &eb.single),
        };
        let result = arithmetic.double?;
        Zip::from(&mut bound.single)
            .and(a)
            .and(b)
            .and(out)
            .for_each(|single, &a, &b, &out| {
                *single += rounding_if_any(out, result(f64::from(a), f64::from(b)), exact);
            });
        if arithmetic.how == How::Mul {
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

    /// One of the operands, or what lies between them: Min, Max, Clip, Where.
    pub(super) fn one_of(&self, operands: &[TensorId], out: &ArrayD<f32>) -> Option<Bound> {
        let mut most = Bound::zeros(out.shape());
        for &t in operands {
            let bound = self.bound(t)?.broadcast(out.shape())?;
            let larger = |a: &mut ArrayD<f32>, b: &ArrayD<f32>| {
                Zip::from(a).and(b).for_each(|a, &b| *a = a.max(b));
            };
            larger(&mut most.sums, &bound.sums);
            larger(&mut most.single, &bound.single);
        }
        Some(most)
    }

    /// (x − zero point)·scale.
    pub(super) fn dequantized(&self, inputs: &[TensorId], out: &ArrayD<f32>) -> Option<Bound> {
        if !self.bound(*inputs.first()?)?.is_exact() {
            return None;
        }
        let single = out.mapv(rounding);
        Some(Bound {
            sums: ArrayD::zeros(out.raw_dim()),
            single,
        })
    }

    /// Another float type; what rounds to 16 bits goes to the next such number where one lies
    /// between it and what it may be.
    pub(super) fn cast(&self, node: &Node<'_>, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        let before = self.bound(x)?.broadcast(out.shape())?;
        let narrow: fn(f32) -> f32 = match node.int("to", 0) {
            10 => |v| f16::from_f32(v).to_f32(),
            16 => |v| bf16::from_f32(v).to_f32(),
            _ => return Some(before),
        };
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        before.map(|part| {
            let step = |&x: &f32, &e: &f32| match e == 0.0 {
                true => 0.0,
                false => f32::max(narrow(x + e) - narrow(x), narrow(x) - narrow(x - e)),
            };
            Some(Zip::from(&value).and(part).map_collect(step))
        })
    }

    /// A slope for what is negative, constant.
    pub(super) fn sloped(&self, inputs: &[TensorId], out: &ArrayD<f32>) -> Option<Bound> {
        let &[x, slope] = inputs else { return None };
        if self.facts.is_data(slope) {
            return None;
        }
        let slope = self.value(slope)?;
        let gain = slope.broadcast(out.shape())?.mapv(|s| s.abs().max(1.0));
        let mut bound = self.bound(x)?.broadcast(out.shape())?;
        bound = bound.map(|part| Some(counted(&gain, part)))?;
        bound.single += &out.mapv(rounding);
        Some(bound)
    }

    /// A function of one number: the steepest slope times the error before, how far it jumps where
    /// a jump lies within that error, and its own rounding.
    pub(super) fn function(
        &self,
        node: &Node<'_>,
        row: &Operator,
        function: Unary,
        x: TensorId,
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        // A decision that was not laid open.
        if row.decides {
            return None;
        }
        let before = self.bound(x)?.broadcast(out.shape())?;
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let slope = match (function.slope)(node) {
            Slope::AtMost(most) => ArrayD::from_elem(out.raw_dim(), most),
            Slope::At(at) => Zip::from(&value).and(out).map_collect(|&x, &y| at(x, y)),
            Slope::Unbounded => return None,
        };
        let mut bound = before.map(|part| Some(counted(&slope, part)))?;
        let total = before.total(1.0);
        let unit = f64::from(function.roundings) * SAFETY * UNIT;
        let on_the_way = match (row.smoothness)(node) {
            Smoothness::Exact => None,
            Smoothness::Rounded | Smoothness::Jumps => Some(0.0),
            Smoothness::Scaled(size) => Some(size.abs()),
        };
        let jumps = (function.jumps)(node);
        Zip::from(&mut bound.single)
            .and(&value)
            .and(&total)
            .and(out)
            .for_each(|single, &x, &error, &y| {
                if error > 0.0 {
                    let near = jumps.iter().filter(|j| (x - j.at).abs() <= error);
                    *single += near.map(|j| j.height).sum::<f32>();
                }
                // No runtime makes anything else of 0 than the 0 that it is.
                let nothing = x == 0.0 && y == 0.0 && error == 0.0;
                if let Some(size) = on_the_way.filter(|_| !nothing) {
                    *single += (unit * f64::from(y.abs().max(size))) as f32;
                }
            });
        Some(bound)
    }
}
