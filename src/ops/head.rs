//! What a classifier may end in, and a loss on logits does without: `Softmax`, `LogSoftmax`, and `Sigmoid` or
//! `HardSigmoid` of one logit.

use ndarray::ArrayD;

use super::log_softmax;
use crate::arrays::slice_mut;
use crate::graph::Node;

/// What stands between the logits and the graph's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head {
    /// `Softmax`.
    Softmax,
    /// `LogSoftmax`.
    LogSoftmax,
    /// `Sigmoid` of one logit a sample.
    Sigmoid,
    /// `HardSigmoid` of one logit a sample.
    HardSigmoid {
        /// Its slope.
        slope: f32,
        /// Its value at 0.
        centre: f32,
    },
}

impl Head {
    /// The head that a node is: over classes, or over one logit.
    pub fn of(node: &Node<'_>) -> Option<Self> {
        match node.op() {
            "Softmax" => Some(Self::Softmax),
            "LogSoftmax" => Some(Self::LogSoftmax),
            "Sigmoid" => Some(Self::Sigmoid),
            "HardSigmoid" => {
                let slope = node.float("alpha", 0.2);
                (slope > 0.0).then(|| Self::HardSigmoid {
                    slope,
                    centre: node.float("beta", 0.5),
                })
            }
            _ => None,
        }
    }

    /// Whether a half of it, above which the second of two classes is said, is at a logit of 0.
    pub fn is_centred(self) -> bool {
        !matches!(self, Self::HardSigmoid { centre, .. } if centre != 0.5)
    }

    /// Whether it is one of a single logit.
    pub fn is_of_one(self) -> bool {
        matches!(self, Self::Sigmoid | Self::HardSigmoid { .. })
    }

    /// Applies it over all axes but the batch, `[N, …]`.
    pub fn apply(self, mut logits: ArrayD<f32>) -> ArrayD<f32> {
        let classes: usize = logits.shape().iter().skip(1).product();
        if classes == 0 {
            return logits;
        }
        let rows = slice_mut(&mut logits).chunks_exact_mut(classes);
        match self {
            Self::Softmax => rows.for_each(|row| {
                log_softmax(row);
                row.iter_mut().for_each(|x| *x = x.exp());
            }),
            Self::LogSoftmax => rows.for_each(log_softmax),
            Self::Sigmoid => logits.mapv_inplace(|z| 1.0 / (1.0 + (-z).exp())),
            Self::HardSigmoid { slope, centre } => {
                logits.mapv_inplace(|z| (slope * z + centre).clamp(0.0, 1.0));
            }
        }
        logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn rows_sum_to_one_and_large_logits_do_not_overflow() {
        let logits = random(&[3, 5], 1).mapv(|x| x * 1000.0);
        let p = Head::Softmax.apply(logits.clone());
        for row in p.rows() {
            assert!((row.sum() - 1.0).abs() < 1e-6);
        }
        let logs = Head::LogSoftmax.apply(logits.clone());
        for (l, p) in logs.iter().zip(&p) {
            assert_eq!(l.exp(), *p);
        }
        let hard = Head::HardSigmoid {
            slope: 0.2,
            centre: 0.5,
        };
        for head in [Head::Sigmoid, hard] {
            let each = head.apply(logits.clone());
            let right = |(z, p): (&f32, &f32)| (0.0..=1.0).contains(p) && (*p > 0.5) == (*z > 0.0);
            assert!(logits.iter().zip(&each).all(right));
        }
    }
}
