//! QONNX's `Quant` and `Trunc` of more than one bit, with the straight-through estimator.

use std::sync::Arc;

use ndarray::{ArrayD, Zip};

use super::ParamKind;
use super::broadcast::{Broadcast, expand};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, ChannelsLeft, Op, Saved, ShapeError};
use crate::graph::Quantizer;

/// The scale and the zero point of a quantiser, which broadcast to its data.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) scale: ArrayD<f32>,
    pub(super) zero: ArrayD<f32>,
}

impl Steps {
    /// Whether they broadcast to data of that shape.
    pub(super) fn check(&self, shape: &[usize]) -> Result<(), ShapeError> {
        for constant in [&self.scale, &self.zero] {
            Broadcast::into(constant.shape(), shape)?;
        }
        Ok(())
    }

    /// `f` of each element, its scale and its zero point.
    pub(super) fn map(&self, x: &ArrayD<f32>, f: impl Fn(f32, f32, f32) -> f32) -> ArrayD<f32> {
        let (scale, zero) = (
            expand(&self.scale, x.shape()),
            expand(&self.zero, x.shape()),
        );
        Zip::from(x)
            .and(&scale)
            .and(&zero)
            .map_collect(|&x, &s, &z| f(x, s, z))
    }

    /// Those of the channels that are left; `None`: all.
    pub(super) fn of_channels(&self, left: &ChannelsLeft<'_>) -> Option<Self> {
        let (output, rank) = (left.output?, left.sample?.len() + 1);
        Some(Self {
            scale: output.of_repeated(&self.scale, rank),
            zero: output.of_repeated(&self.zero, rank),
        })
    }
}

/// A quantiser.
#[derive(Debug, Clone)]
struct Quantize {
    quantizer: Quantizer,
    steps: Steps,
}

impl Op for Quantize {
    fn name(&self) -> &'static str {
        "Quant"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        self.steps.check(inputs[0].shape())?;
        let y = self
            .steps
            .map(inputs[0], |x, s, z| self.quantizer.apply(x, s, z));
        Ok((y, Saved::Nothing))
    }

    /// That of the output where the input lies within the quantiser's range, else 0.
    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let range = match self.quantizer {
            Quantizer::Integers { low, high, .. } => Some((low, high, 1.0)),
            Quantizer::Rescaled {
                low, high, step, ..
            } => Some((low, high, step)),
            _ => None,
        };
        if let Some((low, high, step)) = range {
            let open = self.steps.map(pass.input(0), |x, s, z| {
                f32::from(u8::from((low..=high).contains(&((x / s + z) / step))))
            });
            grad *= &open;
        }
        vec![Some(grad)]
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        Some(Arc::new(Self {
            steps: self.steps.of_channels(left)?,
            ..self.clone()
        }))
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let quantizer = Quantizer::of(&view.node, |k| view.scalar(k).ok())
        .ok_or_else(|| view.reject("its rounding mode or bit width is not supported"))?;
    let op = Quantize {
        quantizer,
        steps: Steps {
            scale: view.floats(1)?,
            zero: match quantizer {
                Quantizer::Bipolar => ndarray::arr0(0.0).into_dyn(),
                _ => view.floats(2)?,
            },
        },
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Rounding;
    use crate::ops::testing::{backward, forward, vector};

    #[test]
    fn values_and_the_estimator() {
        let op = Quantize {
            quantizer: Quantizer::Integers {
                low: -2.0,
                high: 1.0,
                rounding: Rounding::Nearest,
            },
            steps: Steps {
                scale: vector(&[0.5]),
                zero: vector(&[0.0]),
            },
        };
        let x = vector(&[-3.0, -0.3, 0.25, 0.4, 9.0]);
        assert_eq!(forward(&op, &[&x]), vector(&[-1.0, -0.5, 0.0, 0.5, 0.5]));
        let grads = backward(&op, &[&x], vector(&[1.0; 5]), &[true]);
        assert_eq!(grads[0].as_ref(), Some(&vector(&[0.0, 1.0, 1.0, 1.0, 0.0])));
    }
}
