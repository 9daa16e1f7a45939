//! Losses on logits `[N, K]`, with their gradients. One logit z a sample, `[N]` or `[N, 1]`, tells two classes
//! apart: it stands for the two logits 0 and z, with which these are the logistic losses.

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

/// Numbers a sample of logits `[N, K, …]`.
fn width(logits: &ArrayD<f32>) -> usize {
    let samples = logits.shape().first().copied().unwrap_or(0);
    logits.len().checked_div(samples).unwrap_or(0)
}

/// Logits `[N, K]` (further axes of size 1 allowed) as rows of log-probabilities, and the length of a row:
/// K, or 2 for one logit a sample.
fn log_probabilities(logits: &ArrayD<f32>, temperature: f32) -> (usize, Vec<f32>) {
    let scaled = slice(logits).iter().map(|x| x / temperature);
    let (classes, mut rows): (usize, Vec<f32>) = match width(logits) {
        1 => (2, scaled.flat_map(|z| [0.0, z]).collect()),
        classes => (classes, scaled.collect()),
    };
    if classes > 0 {
        rows.chunks_exact_mut(classes).for_each(log_softmax);
    }
    (classes, rows)
}

/// The gradient of the logits of that of the rows that [`log_probabilities`] made of them.
fn of_logits(logits: &ArrayD<f32>, rows: Vec<f32>) -> ArrayD<f32> {
    let own = match width(logits) {
        1 => rows.into_iter().skip(1).step_by(2).collect(),
        _ => rows,
    };
    array(logits.shape(), own)
}

/// Mean cross-entropy of logits `[N, K]` with labels `0..K`, or of `[N, 1]` with labels 0 and 1.
///
/// # Panics
/// If there are not as many labels as samples, or a label is none of these.
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
        grad: of_logits(logits, rows),
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
        grad: of_logits(logits, rows),
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
    fn one_logit_is_two_of_which_the_first_is_none() {
        for shape in [&[4, 1][..], &[4]] {
            let logits = random(shape, 4).mapv(|x| 2.0 * x);
            let teacher = random(shape, 5).mapv(|x| 2.0 * x);
            check(|l| cross_entropy(l, &[0, 1, 1, 0]), &logits);
            check(|l| distillation(l, &teacher, 3.0), &logits);
            let two = |one: &ArrayD<f32>| {
                let both = one.iter().flat_map(|&z| [0.0, z]).collect();
                array(&[4, 2], both)
            };
            let found = cross_entropy(&logits, &[0, 1, 1, 0]).value;
            let expected = cross_entropy(&two(&logits), &[0, 1, 1, 0]).value;
            assert!((found - expected).abs() < 1e-6);
            let found = distillation(&logits, &teacher, 3.0).value;
            let expected = distillation(&two(&logits), &two(&teacher), 3.0).value;
            assert!((found - expected).abs() < 1e-6);
        }
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
