//! What a classifier says of samples: the most probable class, and the five most probable ones.

use ndarray::ArrayViewD;

use super::compare::top1;
use crate::onnx::proto::{ModelProto, NodeProto};

/// With fewer classes than these, that the right one is among five says nothing.
const LEAST_CLASSES: usize = 10;
/// Fewer logits than these may all lie within 0 and 1.
const MANY_SAMPLES: usize = 16;
/// A place of the five that no class takes.
const NONE: u32 = u32::MAX;

/// The classes that a model gives samples, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// The most probable class of each sample; the first of equals.
    pub first: Vec<usize>,
    /// The five most probable classes of each sample, the most probable first.
    five: Vec<[u32; 5]>,
    /// Classes that the model tells apart.
    classes: usize,
    /// Of outputs of one number, above what they say class 1, and how many lie within 0 and 1.
    one_output: Option<(f32, usize)>,
}

impl Predictions {
    /// Adds a batch's output `[N, K]` (or `[N, K, 1, 1]`); whether it is one. Others are left out.
    pub(super) fn add(&mut self, output: ArrayViewD<'_, f32>, samples: usize) -> bool {
        let first = top1(output.view());
        if first.len() != samples {
            return false;
        }
        self.classes = output.shape().get(1).copied().unwrap_or(0);
        self.first.extend(first);
        if self.classes >= LEAST_CLASSES {
            let rows = output.outer_iter();
            self.five.extend(rows.map(|row| five(row.iter().copied())));
        }
        true
    }

    /// Adds a batch's output of one number a sample, `[N]` or `[N, 1]`: of class 1 are those above `threshold`,
    /// of class 0 the others. Whether it is such an output.
    pub(super) fn add_one_output(
        &mut self,
        output: ArrayViewD<'_, f32>,
        samples: usize,
        threshold: f32,
    ) -> bool {
        if output.len() != samples || output.shape().first() != Some(&samples) {
            return false;
        }
        self.classes = 2;
        let classes = output.iter().map(|&z| usize::from(z > threshold));
        self.first.extend(classes);
        let within = output.iter().filter(|z| (0.0..=1.0).contains(*z)).count();
        let (_, before) = self.one_output.unwrap_or_default();
        self.one_output = Some((threshold, before + within));
        true
    }

    /// Whether what was taken for logits is probabilities in all likelihood: many, and all within 0 and 1.
    pub(super) fn look_like_probabilities(&self) -> bool {
        let all = self.len() >= MANY_SAMPLES;
        all && self
            .one_output
            .is_some_and(|(threshold, within)| threshold == 0.0 && within == self.len())
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Share of samples whose label is among the five most probable classes; `None` where the model
    /// tells fewer than ten classes apart, or there is not one label for each sample.
    pub fn top5(&self, labels: &[usize]) -> Option<f64> {
        if self.five.is_empty() || self.five.len() != labels.len() {
            return None;
        }
        let both = self.five.iter().zip(labels);
        let among = both.filter(|(five, label)| five.iter().any(|&c| c as usize == **label));
        Some(among.count() as f64 / labels.len() as f64)
    }
}

/// The node that a model's first output comes from, but for views and casts.
fn last_node(model: &ModelProto) -> Option<&NodeProto> {
    let graph = model.graph.as_ref()?;
    let mut tensor = graph.output.first()?.name();
    // Each node's inputs are written before it.
    for node in graph.node.iter().rev() {
        if !node.output.iter().any(|output| output == tensor) {
            continue;
        }
        match node.op_type() {
            "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Cast" => {
                tensor = node.input.first()?;
            }
            _ => return Some(node),
        }
    }
    None
}

/// Above what a classifier with one output says the second of two classes: 0.5 where it gives a probability, by
/// `Sigmoid` or `HardSigmoid` at its end, and 0 where it gives a logit.
pub fn threshold_of_one_output(model: &ModelProto) -> f32 {
    match last_node(model).map(NodeProto::op_type) {
        Some("Sigmoid" | "HardSigmoid") => 0.5,
        _ => 0.0,
    }
}

/// The places of the five largest values, the first of equals first; NaN counts as smallest.
fn five(values: impl Iterator<Item = f32>) -> [u32; 5] {
    let mut found = [(f32::NEG_INFINITY, NONE); 5];
    for (class, value) in values.enumerate() {
        let value = if value.is_nan() {
            f32::NEG_INFINITY
        } else {
            value
        };
        let place = found
            .iter()
            .position(|&(other, of)| of == NONE || value > other);
        if let Some(place) = place {
            found[place..].rotate_right(1);
            found[place] = (value, u32::try_from(class).unwrap_or(NONE));
        }
    }
    found.map(|(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn the_five_largest_in_their_order() {
        let found = five([0.5, 3.0, f32::NAN, 3.0, -1.0, 9.0, 0.0].into_iter());
        assert_eq!(found, [5, 1, 3, 0, 6]);
        assert_eq!(five([1.0, f32::NAN].into_iter()), [0, 1, NONE, NONE, NONE]);
    }

    #[test]
    fn a_label_among_five_counts_from_ten_classes_on() {
        // Sample s gives class k the value -|k - s|: near classes are probable.
        let near = |classes| {
            let at = |(s, k): (usize, usize)| -(s.abs_diff(k) as f32);
            Array2::from_shape_fn((3, classes), at).into_dyn()
        };
        let mut many = Predictions::default();
        assert!(many.add(near(12).view(), 3));
        // Of 0: 0 to 4; of 1: 0 to 4 (3 is as near as none below); of 2: 0 to 4.
        assert_eq!(many.top5(&[0, 4, 5]), Some(2.0 / 3.0));
        assert_eq!(many.first, [0, 1, 2]);
        assert_eq!(many.top5(&[0]), None);
        let mut few = Predictions::default();
        assert!(few.add(near(9).view(), 3));
        assert_eq!(few.top5(&[0, 0, 0]), None);
        let one = ndarray::arr1(&[1.0f32]).into_dyn();
        assert!(!few.add(one.view(), 1));
        let mut two = Predictions::default();
        assert!(two.add_one_output(one.view(), 1, 0.0));
        assert!(two.add_one_output(one.view(), 1, 1.0));
        assert_eq!(two.first, [1, 0]);
        assert!(!two.add_one_output(near(2).view(), 3, 0.0));
    }
}
