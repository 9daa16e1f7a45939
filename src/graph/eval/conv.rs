//! `Conv` of constants: the border maps that elimination writes.

use ndarray::{ArrayD, Dimension as _, IxDyn, indices};

use crate::graph::node::Node;
use crate::graph::{Window, shapes};
use crate::onnx::Tensor;

/// Multiply-accumulates of a convolution of constants, at most: beyond that it is left to the runtime.
const MOST_MACS: usize = 1 << 23;

/// Any number of axes of space; sums are of doubles, rounded once.
pub(super) fn evaluate(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let input = |k: usize| inputs.get(k).copied().flatten();
    let (x, w) = (input(0)?, input(1)?);
    if !x.data_type().is_float() || x.data_type() != w.data_type() {
        return None;
    }
    let known: Vec<_> = inputs.iter().map(|t| t.map(Tensor::shape)).collect();
    let declared = shapes::Inputs {
        shapes: &known,
        values: inputs,
    };
    let shape = shapes::infer(node, &declared)?.into_iter().next()?;
    let (read, kernel) = (x.shape(), w.shape());
    let window = Window::of(node, read, kernel.get(2..))?;
    let groups = usize::try_from(node.int("group", 1)).ok()?;
    let [filters, channels] = [*kernel.first()?, *kernel.get(1)?];
    let of_group = filters.checked_div(groups).filter(|&count| count > 0)?;
    if of_group * groups != filters || channels.checked_mul(groups)? != *read.get(1)? {
        return None;
    }
    let each = kernel
        .iter()
        .skip(1)
        .try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let all = shape.iter().try_fold(each, |n, &d| n.checked_mul(d))?;
    if all > MOST_MACS {
        return None;
    }
    let bias = match input(2) {
        Some(bias) if bias.shape() == [filters] => bias.to_f64(),
        Some(_) => return None,
        None => ArrayD::zeros(IxDyn(&[filters])),
    };
    let (x, w) = (x.to_f64(), w.to_f64());
    let sum_at = |at: IxDyn| -> f64 {
        let filter = at[1];
        let first = filter / of_group * channels;
        let mut sum = bias[[filter]];
        for channel in 0..channels {
            let (mut from, mut by) = (vec![at[0], first + channel], vec![filter, channel]);
            for place in indices(&kernel[2..]) {
                from.truncate(2);
                by.truncate(2);
                for (i, &k) in place.slice().iter().enumerate() {
                    let reached = at[i + 2] * window.strides[i] + k * window.dilations[i];
                    // What lies in padding is 0.
                    let inside = reached.checked_sub(window.begin[i]);
                    from.extend(inside.filter(|&p| p < read[i + 2]));
                    by.push(k);
                }
                if from.len() == by.len() {
                    sum += x[&from[..]] * w[&by[..]];
                }
            }
        }
        sum
    };
    let out = ArrayD::from_shape_fn(IxDyn(&shape), sum_at);
    Some(Tensor::of(input(0)?.data_type(), &out))
}
