//! The unit of a network's logits.
//!
//! A network that was trained by cross-entropy has logits whose softmax are probabilities. One that was
//! trained by another loss, or whose last scale was left out as it changes no prediction (FPGA tools do:
//! sums of ±1 come out as they are), has logits of any size. Their softmax is all but 0 and 1, and
//! cross-entropy learns of a few images near the border alone. So logits are divided by the temperature
//! at which the original's are most likely (Guo et al., *On Calibration of Modern Neural Networks*, 2017).

use ndarray::ArrayD;

use crate::training::loss::cross_entropy;

/// Temperatures below this are those of a network that was trained by cross-entropy.
const USUAL: f32 = 2.0;
/// Temperatures tried are powers of this.
const STEP: f32 = 1.189_207_1;
/// So many of them, up to 2^16.
const STEPS: i32 = 64;

/// What the logits `[N, K, …]` of images with these labels are to be divided by: 1 for a network whose
/// logits are those of probabilities. Without labels, the original's own answers take their place, and
/// are taken to be right nine times out of ten.
pub(super) fn of(logits: &ArrayD<f32>, labels: Option<&[usize]>) -> f32 {
    let own;
    let labels = match labels {
        Some(labels) => labels,
        None => {
            let mut answers = super::sanity::predictions(logits);
            let classes = super::sanity::classes_of(logits).max(2);
            for answer in answers.iter_mut().step_by(10) {
                *answer = (*answer + 1) % classes;
            }
            own = answers;
            &own
        }
    };
    let at = |k: i32| {
        let t = STEP.powi(k);
        (cross_entropy(&logits.mapv(|v| v / t), labels).value, t)
    };
    let best = (0..STEPS).map(at).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(1.0, |(_, t)| if t >= USUAL { t } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn logits_of_any_unit_get_back_that_of_probabilities() {
        // Labels drawn from the softmax of the logits.
        let logits = random(&[4_000, 3], 7).mapv(|v| 2.0 * v);
        let dice = random(&[4_000, 3], 8);
        let noisy = dice.mapv(|v| -(-(0.5 + 0.499 * v.clamp(-1.0, 1.0)).ln()).ln());
        let labels = super::super::sanity::predictions(&(&logits + &noisy));
        assert_eq!(of(&logits, Some(&labels)), 1.0);
        let t = of(&logits.mapv(|v| 40.0 * v), Some(&labels));
        assert!((25.0..65.0).contains(&t), "{t}");
    }
}
