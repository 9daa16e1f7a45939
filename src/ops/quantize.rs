//! QONNX's `Quant` and `Trunc` of more than one bit, with the straight-through estimator.

use std::sync::Arc;

use ndarray::{ArrayD, Zip};

use super::ParamKind;
use super::broadcast::expand;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, ChannelsLeft, Op, Saved, ShapeError};
use crate::graph::Quantizer;

/// A quantiser with its scale and zero point, which broadcast to x.
#[derive(Debug, Clone)]
struct Quantize {
    quantizer: Quantizer,
    scale: ArrayD<f32>,
    zero: ArrayD<f32>,
}

impl Quantize {
    fn map(&self, x: &ArrayD<f32>, f: impl Fn(f32, f32, f32) -> f32) -> ArrayD<f32> {
        let (scale, zero) = (
            expand(&self.scale, x.shape()),
            expand(&self.zero, x.shape()),
        );
        Zip::from(x)
            .and(&scale)
            .and(&zero)
            .map_collect(|&x, &s, &z| f(x, s, z))
    }
}

impl Op for Quantize {
    fn name(&self) -> &'static str {
        "Quant"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        for shape in [self.scale.shape(), self.zero.shape()] {
            super::broadcast::Broadcast::into(shape, inputs[0].shape())?;
        }
        let y = self.map(inputs[0], |x, s, z| self.quantizer.apply(x, s, z));
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
            let open = self.map(pass.input(0), |x, s, z| {
                f32::from(u8::from((low..=high).contains(&((x / s + z) / step))))
            });
            grad *= &open;
        }
        vec![Some(grad)]
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        let (output, rank) = (left.output?, left.sample?.len() + 1);
        Some(Arc::new(Self {
            scale: output.of_repeated(&self.scale, rank),
            zero: output.of_repeated(&self.zero, rank),
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
        scale: view.floats(1)?,
        zero: match quantizer {
            Quantizer::Bipolar => ndarray::arr0(0.0).into_dyn(),
            _ => view.floats(2)?,
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
            scale: vector(&[0.5]),
            zero: vector(&[0.0]),
        };
        let x = vector(&[-3.0, -0.3, 0.25, 0.4, 9.0]);
        assert_eq!(forward(&op, &[&x]), vector(&[-1.0, -0.5, 0.0, 0.5, 0.5]));
        let grads = backward(&op, &[&x], vector(&[1.0; 5]), &[true]);
        assert_eq!(grads[0].as_ref(), Some(&vector(&[0.0, 1.0, 1.0, 1.0, 0.0])));
    }
}
