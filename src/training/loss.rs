//! Losses on logits `[N, K]`, with their gradients.

use ndarray::ArrayD;

use crate::arrays::{array, slice};
use crate::engine::Loss;
use crate::ops::log_softmax;

impl Loss {
    /// `(1 - share)` of this loss and `share` of another one on the same logits.
    ///
    /// # Panics
    /// If the gradients have different shapes.
    pub fn mix(mut self, other: Self, share: f32) -> Self {
        self.value = (1.0 - share) * self.value + share * other.value;
        self.grad.zip_mut_with(&other.grad, |a, &b| {
            *a = (1.0 - share) * *a + share * b;
        });
        self
    }
}

/// Logits `[N, K]` (further axes of size 1 allowed) as rows of log-probabilities.
fn log_probabilities(logits: &ArrayD<f32>, temperature: f32) -> (usize, Vec<f32>) {
    let samples = logits.shape().first().copied().unwrap_or(0);
    let classes = logits.len().checked_div(samples).unwrap_or(0);
    let mut rows: Vec<f32> = slice(logits).iter().map(|x| x / temperature).collect();
    if classes > 0 {
        rows.chunks_exact_mut(classes).for_each(log_softmax);
    }
    (classes, rows)
}

/// Mean cross-entropy of logits `[N, K]` with labels `0..K`.
///
/// # Panics
/// If there are not as many labels as samples, or a label is not below K.
pub fn cross_entropy(logits: &ArrayD<f32>, labels: &[usize]) -> Loss {
    assert_eq!(
        logits.shape().first(),
        Some(&labels.len()),
        "one label per sample"
    );
    let (classes, mut rows) = log_probabilities(logits, 1.0);
    let share = 1.0 / labels.len().max(1) as f32;
    let mut sum = 0f64;
    if classes > 0 {
        for (row, &label) in rows.chunks_exact_mut(classes).zip(labels) {
            sum -= f64::from(row[label]);
            row.iter_mut().for_each(|x| *x = x.exp() * share);
            row[label] -= share;
        }
    }
    Loss {
        value: (sum * f64::from(share)) as f32,
        grad: array(logits.shape(), rows),
    }
}

/// Distillation: mean over the batch of the Kullback-Leibler divergence from the teacher's to the
/// student's class distribution, both softened by `temperature`, times its square so that the
/// gradient's size does not depend on it.
///
/// # Panics
/// If the two have different shapes.
pub fn distillation(logits: &ArrayD<f32>, teacher: &ArrayD<f32>, temperature: f32) -> Loss {
    assert_eq!(
        logits.shape(),
        teacher.shape(),
        "logits of student and teacher"
    );
    let (_, mut rows) = log_probabilities(logits, temperature);
    let (_, targets) = log_probabilities(teacher, temperature);
    let samples = logits.shape().first().copied().unwrap_or(0).max(1);
    let mut sum = 0f64;
    for (student, target) in rows.iter_mut().zip(targets) {
        let p = target.exp();
        if p > 0.0 {
            sum += f64::from(p) * f64::from(target - *student);
        }
        *student = (student.exp() - p) * temperature / samples as f32;
    }
    let square = f64::from(temperature) * f64::from(temperature);
    Loss {
        value: (sum * square / samples as f64) as f32,
        grad: array(logits.shape(), rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    fn check(loss: impl Fn(&ArrayD<f32>) -> Loss, logits: &ArrayD<f32>) {
        let grad = loss(logits).grad;
        for i in 0..logits.len() {
            let shifted = |h: f32| {
                let mut l = logits.clone();
                l.as_slice_mut().unwrap()[i] += h;
                loss(&l).value
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((numeric - slice(&grad)[i]).abs() < 1e-3);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let logits = random(&[4, 5], 1).mapv(|x| 2.0 * x);
        let teacher = random(&[4, 5], 2).mapv(|x| 2.0 * x);
        check(|l| cross_entropy(l, &[0, 4, 2, 2]), &logits);
        check(|l| distillation(l, &teacher, 1.0), &logits);
        check(|l| distillation(l, &teacher, 3.0), &logits);
    }

    #[test]
    fn known_values() {
        let even = ArrayD::zeros(vec![3, 4]);
        assert!((cross_entropy(&even, &[0, 1, 2]).value - 4f32.ln()).abs() < 1e-6);
        let logits = random(&[2, 3], 3);
        let same = distillation(&logits, &logits, 2.0);
        assert!(same.value.abs() < 1e-6 && same.grad.iter().all(|g| g.abs() < 1e-7));
    }
}
