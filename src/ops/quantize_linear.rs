//! `QuantizeLinear` and `DequantizeLinear` of data, with the straight-through estimator: what lies around binary
//! layers is often quantised to eight bits.

use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::quantize::Steps;
use super::{Backward, ChannelsLeft, Op, Saved, ShapeError};
use crate::graph::integer_range;
use crate::onnx::DataType;

/// Either of the two.
#[derive(Debug, Clone)]
struct Linear {
    steps: Steps,
    way: Way,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    /// To integers between these.
    Quantize(f32, f32),
    /// Back to real numbers.
    Dequantize,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Quantize(..) => "QuantizeLinear",
            Way::Dequantize => "DequantizeLinear",
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        self.steps.check(x.shape())?;
        let y = match self.way {
            Way::Quantize(low, high) => self.steps.map(x, |x, s, z| {
                ((x / s).round_ties_even() + z).clamp(low, high)
            }),
            Way::Dequantize => self.steps.map(x, |x, s, z| (x - z) * s),
        };
        Ok((y, Saved::Nothing))
    }

    /// As if nothing were rounded: 0 where the integer is cut off.
    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        grad *= &match self.way {
            Way::Quantize(low, high) => self.steps.map(pass.input(0), |x, s, z| {
                let inside = (low..=high).contains(&((x / s).round_ties_even() + z));
                if inside { 1.0 / s } else { 0.0 }
            }),
            Way::Dequantize => self.steps.map(pass.input(0), |_, s, _| s),
        };
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
    let rank = view.input_shape(0)?.len();
    if view.node.int("block_size", 0) != 0 {
        return Err(view.reject("scales of blocks are not supported"));
    }
    // One number, or one for each place on an axis.
    let spread = |values: Vec<f32>| -> Option<ArrayD<f32>> {
        let mut shape = vec![1; rank];
        if values.len() > 1 {
            *shape.get_mut(view.node.axis(1, rank)?)? = values.len();
        }
        ArrayD::from_shape_vec(IxDyn(&shape), values).ok()
    };
    let unfit = || view.reject("its scale and zero point do not fit its input");
    let scale = spread(view.floats(1)?.into_iter().collect()).ok_or_else(unfit)?;
    let zero = match view.has_input(2) {
        true => view.ints(2)?.into_iter().map(|z| z as f32).collect(),
        false => vec![0.0],
    };
    let zero = spread(zero).ok_or_else(unfit)?;
    let way = match view.node.op() {
        "DequantizeLinear" => Way::Dequantize,
        _ => {
            let kind = view
                .facts
                .element(view.graph.output_of(view.id, 0).ok_or_else(unfit)?);
            let range = kind.and_then(DataType::from_onnx).and_then(integer_range);
            let (low, high) =
                range.ok_or_else(|| view.reject("only integers of 8 and 16 bits are supported"))?;
            Way::Quantize(low, high)
        }
    };
    let steps = Steps { scale, zero };
    view.imported(Linear { steps, way }, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backward, forward, vector};

    #[test]
    fn values_and_the_estimator() {
        let quantize = Linear {
            steps: Steps {
                scale: vector(&[0.5]),
                zero: vector(&[3.0]),
            },
            way: Way::Quantize(0.0, 7.0),
        };
        let x = vector(&[-9.0, -1.5, 0.25, 0.3, 9.0]);
        let y = forward(&quantize, &[&x]);
        assert_eq!(y, vector(&[0.0, 0.0, 3.0, 4.0, 7.0]));
        let grads = backward(&quantize, &[&x], vector(&[1.0; 5]), &[true]);
        assert_eq!(grads[0].as_ref(), Some(&vector(&[0.0, 2.0, 2.0, 2.0, 0.0])));
        let back = Linear {
            way: Way::Dequantize,
            ..quantize
        };
        assert_eq!(forward(&back, &[&y]), vector(&[-1.5, -1.5, 0.0, 0.5, 2.0]));
        let grads = backward(&back, &[&y], vector(&[1.0; 5]), &[true]);
        assert_eq!(grads[0].as_ref(), Some(&vector(&[0.5; 5])));
    }
}
