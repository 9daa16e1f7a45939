//! Rules that choose filters without learning, for comparison with the method.

use ndarray::{ArrayD, Axis};
use ndarray_rand::rand::SeedableRng as _;
use ndarray_rand::rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;

/// `keep` of `filters` filters, at random.
pub fn random(filters: usize, keep: usize, seed: u64) -> Vec<bool> {
    let mut mask: Vec<bool> = (0..filters).map(|i| i < keep).collect();
    mask.shuffle(&mut ChaCha12Rng::seed_from_u64(seed));
    mask
}

/// The `keep` filters with the largest score; ties go to the lower index.
pub fn largest(scores: &[f32], keep: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut mask = vec![false; scores.len()];
    order.iter().take(keep).for_each(|&i| mask[i] = true);
    mask
}

/// Mean |w| of each filter of a weight whose filters lie along `axis`. For a binary layer this is
/// its scale.
pub fn mean_abs(weight: &ArrayD<f32>, axis: usize) -> Vec<f32> {
    weight
        .axis_iter(Axis(axis))
        .map(|f| f.iter().map(|w| w.abs()).sum::<f32>() / f.len().max(1) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_as_many_as_asked() {
        let a = random(50, 20, 1);
        assert_eq!(a.iter().filter(|&&k| k).count(), 20);
        assert_eq!(a, random(50, 20, 1));
        assert_ne!(a, random(50, 20, 2));
        assert_eq!(
            largest(&[0.1, 0.9, 0.9, 0.5], 2),
            [false, true, true, false]
        );
    }
}
