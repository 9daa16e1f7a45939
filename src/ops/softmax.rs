//! `Softmax` and `LogSoftmax` over the last axis: the head that a loss on logits does without.

use ndarray::ArrayD;

use crate::arrays::slice_mut;

/// What stands between the logits and the graph's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `Softmax`.
    Softmax,
    /// `LogSoftmax`.
    LogSoftmax,
}

impl Head {
    /// Applies it over all axes but the batch, `[N, …]`.
    pub fn apply(self, mut logits: ArrayD<f32>) -> ArrayD<f32> {
        let classes: usize = logits.shape().iter().skip(1).product();
        if classes == 0 {
            return logits;
        }
        for row in slice_mut(&mut logits).chunks_exact_mut(classes) {
            log_softmax(row);
            if self == Self::Softmax {
                row.iter_mut().for_each(|x| *x = x.exp());
            }
        }
        logits
    }
}

/// Replaces logits by the logarithm of their softmax.
pub(crate) fn log_softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    let shift = f64::from(max) + sum.ln();
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) - shift) as f32);
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
        let logs = Head::LogSoftmax.apply(logits);
        for (l, p) in logs.iter().zip(&p) {
            assert_eq!(l.exp(), *p);
        }
    }
}
