//! The subsidiary component of one stage: mask parameters M and their regulariser.
//!
//! m = (sign(M) + 1) / 2 with sign(0) = +1 (paper, section 3.2).

use ndarray::{Array, Array1, ArrayD, Dimension, IxDyn};
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use super::EvenParts;

/// A layer keeps at least this share of its filters, and at least one.
const MIN_SHARE: f64 = 0.05;
/// M starts uniform in ±this.
const INITIAL: f32 = 1e-4;

/// M of a stage before training: `[filters]`, uniform in ±1e-4.
pub fn initial(filters: usize, seed: u64) -> ArrayD<f32> {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    ArrayD::from_shape_fn(IxDyn(&[filters]), |_| rng.random_range(-INITIAL..=INITIAL))
}

/// M of a stage before training where it starts at scores: `[filters]`, evenly from -`most` for the lowest to
/// `most` for the highest, which are within ±1; among equals the lower index is higher.
pub fn ranked(scores: &[f64], most: f32) -> ArrayD<f32> {
    let most = most.clamp(INITIAL, 1.0);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
    let last = scores.len().saturating_sub(1).max(1) as f32;
    let mut m = Array1::zeros(scores.len());
    for (place, index) in order.into_iter().enumerate() {
        m[index] = most * (2.0 * place as f32 / last - 1.0);
    }
    m.into_dyn()
}

/// Which filters M keeps: m = 1 where M ≥ 0.
pub fn kept(m: &ArrayD<f32>) -> Vec<bool> {
    m.iter().map(|&v| v >= 0.0).collect()
}

/// M that keeps these filters and prunes the others: ±1.
pub fn hard(keep: &[bool]) -> ArrayD<f32> {
    let m = keep.iter().map(|&k| if k { 1.0 } else { -1.0 }).collect();
    Array1::from_vec(m).into_dyn()
}

/// Filters that a layer keeps at least.
pub fn minimum(filters: usize) -> usize {
    ((filters as f64 * MIN_SHARE).floor() as usize).max(1)
}

/// How many filters of a layer stay.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Keep exactly this many.
    pub keep: Option<usize>,
    /// Never prune more than this share.
    pub most: f64,
    /// Keep a multiple of this many, or all.
    pub round_to: usize,
}

/// `count` filters or somewhat more: a multiple of `round_to`, or all there are.
pub fn rounded(count: usize, filters: usize, round_to: usize) -> usize {
    count.next_multiple_of(round_to.max(1)).min(filters)
}

/// Shifts M so that exactly its `keep` largest elements are kept (more only where they are equal):
/// what the multiplier of a constraint on the share kept does, exactly and in each step.
pub fn centre<D: Dimension>(m: &mut Array<f32, D>, keep: usize) {
    let mut sorted: Vec<f32> = m.iter().copied().collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let Some(&last) = keep.checked_sub(1).and_then(|k| sorted.get(k)) else {
        return;
    };
    let next = sorted.get(keep).copied().unwrap_or(last);
    // Half way, and not beyond the smallest one kept.
    let shift = (0.5 * (last + next)).min(last);
    m.mapv_inplace(|v| (v - shift).clamp(-1.0, 1.0));
}

/// Which filters to keep: those of [`kept`], but as many as `bounds` allow, and never fewer than
/// [`minimum`] (those with the largest M, ties by index); of each part equally many.
pub fn decide(m: &[f64], parts: &EvenParts, bounds: Bounds) -> Vec<bool> {
    let filters = m.len();
    let keep: Vec<bool> = m.iter().map(|&m| m >= 0.0).collect();
    let wanted = bounds.keep.map(|k| k.min(filters)).unwrap_or_else(|| {
        let least = filters - (filters as f64 * bounds.most).floor() as usize;
        let kept = keep.iter().filter(|&&k| k).count().max(least);
        let least = kept.max(minimum(filters));
        rounded(least, filters, parts.multiple(bounds.round_to))
    });
    let stands = bounds.keep.is_none() && wanted == keep.iter().filter(|&&k| k).count();
    if stands && parts.are_even(&keep) {
        return keep;
    }
    parts.largest(m, wanted)
}

/// Share of M at the bounds ±1, where Adam's steps no longer move it outwards.
pub fn share_at_bounds(m: &ArrayD<f32>) -> f64 {
    let at = m.iter().filter(|v| v.abs() >= 1.0).count();
    at as f64 / m.len().max(1) as f64
}

/// The regulariser α · Σ c_o·m_o / Σ c_o on the filters that stay.
#[derive(Debug, Clone)]
pub struct Regularizer {
    alpha: f32,
    share: Array1<f32>,
}

impl Regularizer {
    /// With coefficient `alpha` and a cost c_o for each filter.
    pub fn new(alpha: f32, costs: &[f64]) -> Self {
        let total: f64 = costs.iter().sum();
        let share = costs
            .iter()
            .map(|c| (c / total.max(f64::MIN_POSITIVE)) as f32);
        Self {
            alpha,
            share: share.collect(),
        }
    }

    /// Its value at M.
    pub fn loss(&self, m: &ArrayD<f32>) -> f32 {
        let kept = self.share.iter().zip(m).filter(|(_, m)| **m >= 0.0);
        self.alpha * kept.map(|(s, _)| s).sum::<f32>()
    }

    /// Adds its gradient to dL/dM: through the STE, dm/dM = 1/2 on all of [-1, 1], bounds
    /// included, so that a parameter at a bound can come back.
    pub fn add_gradient(&self, gradient: &mut ArrayD<f32>) {
        for (g, s) in gradient.iter_mut().zip(&self.share) {
            *g += 0.5 * self.alpha * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Bounds = Bounds {
        keep: None,
        most: 1.0,
        round_to: 1,
    };

    fn array(v: &[f32]) -> ArrayD<f32> {
        Array1::from(v.to_vec()).into_dyn()
    }

    #[test]
    fn m_starts_at_ranks() {
        let m = ranked(&[3.0, f64::NEG_INFINITY, 3.0, 7.0, 5.0], 0.1);
        let of: Vec<f32> = m.iter().map(|v| (v * 100.0).round()).collect();
        assert_eq!(of, [0.0, -10.0, -5.0, 10.0, 5.0]);
        assert_eq!(ranked(&[1.0], 9.0).len(), 1);
        assert!(ranked(&[1.0, 2.0], 9.0).iter().all(|v| v.abs() <= 1.0));
    }

    #[test]
    fn m_starts_small_on_both_sides_and_by_seed() {
        let m = initial(200, 7);
        assert!(m.iter().all(|v| v.abs() <= INITIAL));
        let kept = kept(&m).iter().filter(|&&k| k).count();
        assert!((60..140).contains(&kept));
        assert_eq!(m, initial(200, 7));
        assert_ne!(m, initial(200, 8));
    }

    #[test]
    fn zero_counts_as_plus() {
        assert_eq!(kept(&array(&[0.0, -1e-9, 1e-9])), [true, false, true]);
    }

    #[test]
    fn a_layer_is_never_emptied() {
        let keep = decide(&[-0.5, -0.1, -0.3], &EvenParts::one(3), ANY);
        assert_eq!(keep, [false, true, false]);
        let forty = decide(&[-1.0; 40], &EvenParts::one(40), ANY);
        assert_eq!(forty.iter().filter(|&&k| k).count(), 2);
    }

    #[test]
    fn centring_keeps_as_many_as_asked_in_the_same_order() {
        let m = array(&[0.3, -0.2, 0.9, 0.1, 1.0]);
        for keep in 1..=5 {
            let mut shifted = m.clone();
            centre(&mut shifted, keep);
            let count = kept(&shifted).iter().filter(|&&k| k).count();
            assert_eq!(count, keep, "{shifted}");
            let pairs = |a: &ArrayD<f32>| [a[0] > a[1], a[2] > a[0], a[0] > a[3]];
            assert_eq!(pairs(&shifted), [true; 3]);
            assert!(shifted.iter().all(|v| v.abs() <= 1.0));
        }
        let mut equal = array(&[0.5; 3]);
        centre(&mut equal, 2);
        assert_eq!(kept(&equal), [true; 3]);
    }

    #[test]
    fn a_ratio_takes_the_smallest() {
        let keep = decide(
            &[0.1, 0.4, 0.2, 0.3],
            &EvenParts::one(4),
            Bounds {
                keep: Some(2),
                ..ANY
            },
        );
        assert_eq!(keep, [false, true, false, true]);
    }

    #[test]
    fn filters_are_kept_in_multiples() {
        let m = [0.1, -0.4, 0.2, -0.3, 0.3, -0.1];
        let to = |round_to| Bounds { round_to, ..ANY };
        let count = |n| {
            decide(&m, &EvenParts::one(m.len()), to(n))
                .iter()
                .filter(|&&k| k)
                .count()
        };
        assert_eq!((count(1), count(2), count(4)), (3, 4, 4));
        assert_eq!(count(5), 5);
        assert_eq!(count(8), 6);
        // The next best ones stay.
        assert!(decide(&m, &EvenParts::one(m.len()), to(4))[5]);
    }

    #[test]
    fn no_more_than_a_share_of_a_layer_goes() {
        let m = [-0.1, -0.4, -0.2, -0.3, 0.3];
        let keep = decide(&m, &EvenParts::one(m.len()), Bounds { most: 0.6, ..ANY });
        assert_eq!(keep, [true, false, false, false, true]);
    }

    #[test]
    fn the_regulariser_is_the_cost_share_kept_and_its_gradient_reaches_every_m() {
        let r = Regularizer::new(0.2, &[1.0, 3.0]);
        assert!((r.loss(&array(&[1.0, -1.0])) - 0.05).abs() < 1e-7);
        assert!((r.loss(&array(&[0.0, 0.5])) - 0.2).abs() < 1e-7);
        let mut g = array(&[0.0, 1.0]);
        r.add_gradient(&mut g);
        assert!((g[[0]] - 0.025).abs() < 1e-7 && (g[[1]] - 1.075).abs() < 1e-7);
    }
}
