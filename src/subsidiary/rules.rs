//! Masks of a given size: by chance, and by scores.

use ndarray_rand::rand::SeedableRng as _;
use ndarray_rand::rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;

/// `keep` of `filters` filters, at random.
pub fn random(filters: usize, keep: usize, seed: u64) -> Vec<bool> {
    let places = shuffled(filters, seed);
    places.into_iter().map(|place| place < keep).collect()
}

/// The numbers below `count` in random order.
pub(super) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.shuffle(&mut ChaCha12Rng::seed_from_u64(seed));
    places
}

/// The `keep` filters with the largest score; ties go to the lower index.
pub fn largest(scores: &[f64], keep: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut mask = vec![false; scores.len()];
    order.iter().take(keep).for_each(|&i| mask[i] = true);
    mask
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

    #[test]
    fn a_seed_gives_the_filters_that_it_always_gave() {
        let mut mask: Vec<bool> = (0..48).map(|i| i < 20).collect();
        mask.shuffle(&mut ChaCha12Rng::seed_from_u64(7));
        assert_eq!(random(48, 20, 7), mask);
        let kept: Vec<usize> = (0..12).filter(|&f| random(12, 5, 3)[f]).collect();
        assert_eq!(kept, [1, 2, 3, 9, 10]);
    }
}
