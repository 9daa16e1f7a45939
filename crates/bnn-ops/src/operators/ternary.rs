//! Activations of -1, 0 and +1: a sum that is equal to its threshold becomes 0.

use bnn_kernels::binary::bits::{BitGeometry, bytes_of};

/// Thresholds of sums whose double may be equal to them, which makes 0 of it.
pub(super) struct Ternary {
    /// The least sum that is above.
    pub above: Vec<i32>,
    /// The least sum that is not below.
    pub not_below: Vec<i32>,
    /// Whether one may be equal where all activations are ±1.
    pub ties: bool,
}

impl Ternary {
    /// Of thresholds on doubled sums, one a filter.
    pub fn new(g: &BitGeometry, doubled: &[i32]) -> Self {
        let half = |t: &i32| t.div_euclid(2);
        let products = g.kernel[0] * g.kernel[1] * g.channels;
        // Sums of so many ±1 are all even, or all odd; those at a padded border are not of so many.
        let padded = g.pads.iter().any(|&p| p > 0);
        let reached = |t: &i32| {
            let parity = (half(t).rem_euclid(2) == 0) == products.is_multiple_of(2);
            t.rem_euclid(2) == 0 && (padded || parity)
        };
        Self {
            above: doubled.iter().map(|t| half(t) + 1).collect(),
            not_below: doubled.iter().map(|t| half(t) + t.rem_euclid(2)).collect(),
            ties: doubled.iter().any(reached),
        }
    }
}

/// Of which sums are above their thresholds, and which are not below: which are not equal, in place of the latter.
/// Returns whether any is equal, and so 0.
pub(super) fn not_zero(above: &[u8], not_below: &mut [u8], channels: usize) -> bool {
    let bytes = bytes_of(channels);
    let mut zeros = false;
    let pixels = above
        .chunks_exact(bytes)
        .zip(not_below.chunks_exact_mut(bytes));
    for (above, not_below) in pixels {
        for (k, (above, to)) in above.iter().zip(not_below).enumerate() {
            let channels = (channels - 8 * k).min(8);
            let all = u8::MAX >> (8 - channels);
            *to = (above | !*to) & all;
            zeros |= *to != all;
        }
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(channels: usize, side: usize, pad: usize) -> BitGeometry {
        BitGeometry {
            channels,
            filters: 1,
            kernel: [side; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [pad; 4],
        }
    }

    /// The sums that so many products of ±1 can have.
    fn sums(products: i32) -> impl Iterator<Item = i32> {
        (-products..=products).step_by(2)
    }

    #[test]
    fn thresholds_say_of_each_sum_what_its_double_is() {
        let g = geometry(5, 1, 0);
        for doubled in -14..=14 {
            let t = Ternary::new(&g, &[doubled]);
            for sum in -6..=6 {
                assert_eq!(sum >= t.above[0], 2 * sum > doubled, "{sum} {doubled}");
                assert_eq!(sum >= t.not_below[0], 2 * sum >= doubled, "{sum} {doubled}");
            }
        }
    }

    #[test]
    fn a_tie_is_looked_for_where_a_sum_can_be_equal() {
        // Sums of an even number of products are even, of an odd number odd.
        for products in [4, 5] {
            let g = geometry(products, 1, 0);
            for doubled in -6..=6 {
                let can = sums(products as i32).any(|sum| 2 * sum == doubled);
                let found = Ternary::new(&g, &[doubled]).ties;
                assert_eq!(found, can, "{products} {doubled}");
            }
        }
        // At a padded border there are fewer products: of a 3x3 window 4, 6 or 9.
        let g = geometry(1, 3, 1);
        for doubled in -6..=6 {
            let can = [4, 6, 9]
                .into_iter()
                .flat_map(sums)
                .any(|s| 2 * s == doubled);
            assert_eq!(Ternary::new(&g, &[doubled]).ties, can, "{doubled}");
        }
    }

    #[test]
    fn one_filter_that_ties_is_enough() {
        let g = geometry(4, 1, 0);
        assert!(!Ternary::new(&g, &[1, 2, 3]).ties);
        assert!(Ternary::new(&g, &[1, 2, 4]).ties);
    }

    #[test]
    fn what_is_neither_above_nor_below_is_zero() {
        // Ten channels in two bytes: the first above, the second equal, others below; then none equal.
        let above = [0b0000_0001, 0b00];
        let mut not_below = [0b0000_0011, 0b00];
        assert!(not_zero(&above, &mut not_below, 10));
        assert_eq!(not_below, [0b1111_1101, 0b11]);
        let mut not_below = above;
        assert!(!not_zero(&above, &mut not_below, 10));
        assert_eq!(not_below, [0xff, 0b11]);
    }
}
