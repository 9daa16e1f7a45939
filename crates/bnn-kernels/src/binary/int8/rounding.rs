//! Rounding to 8 bits.

use super::MOST;
use crate::simd::wide;

/// The largest absolute value; not finite if one of them is not.
pub(super) fn largest(x: &[f32]) -> f32 {
    // As integers, so that a NaN counts as larger than anything else.
    let bits = |x: &f32| x.to_bits() & 0x7fff_ffff;
    f32::from_bits(wide(|| x.iter().map(bits).fold(0, u32::max)))
}

/// What to multiply with before rounding, and what rounded values stand for.
pub(super) fn scales(largest: f32) -> (f32, f32) {
    let (factor, unit) = (MOST / largest, largest / MOST);
    match factor.is_finite() {
        true => (factor, unit),
        // Nothing but zeros, or as good as that.
        false => (0.0, 0.0),
    }
}

/// The nearest integer, of small numbers: what adding a large one leaves in the low bits.
#[inline(always)]
fn integer(x: f32) -> i32 {
    const LARGE: f32 = 12_582_912.0;
    (x + LARGE).to_bits().wrapping_sub(LARGE.to_bits()) as i32
}

/// Some gradients to be rounded: `factor · x`, to one of the two integers beside it, the nearer the
/// likelier, so that sums are right on average. Which one depends on `seed` and the position alone:
/// by multiples of the golden ratio, the most even sequence there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane<'a> {
    pub x: &'a [f32],
    pub factor: f32,
    pub seed: u32,
}

#[inline(always)]
fn rounded(x: f32, factor: f32, seed: u32, i: u32) -> i32 {
    const GOLDEN: u32 = 0x9e37_79b9;
    let dither = i.wrapping_mul(GOLDEN).wrapping_add(seed) >> 9;
    let dither = f32::from_bits(0x3f80_0000 | dither) - 1.5;
    integer((x * factor + dither).clamp(-MOST, MOST))
}

/// The rounded gradients of four planes as the bytes of words, the first one lowest; those of a plane
/// that is missing are 0.
pub(super) fn round_four(planes: [Option<Plane<'_>>; 4], words: &mut [u32]) {
    let known = planes.iter().flatten().next();
    let nothing = Plane {
        x: known.map_or(&[][..], |p| p.x),
        factor: 0.0,
        seed: 1 << 31,
    };
    let [a, b, c, d] = planes.map(|p| p.unwrap_or(nothing));
    let (factors, seeds) = (
        [a.factor, b.factor, c.factor, d.factor],
        [a.seed, b.seed, c.seed, d.seed],
    );
    let four = a.x.iter().zip(b.x).zip(c.x.iter().zip(d.x));
    wide(move || {
        for ((word, ((&a, &b), (&c, &d))), i) in words.iter_mut().zip(four).zip(0u32..) {
            let x = [a, b, c, d];
            *word = 0;
            for k in 0..4 {
                let q = rounded(x[k], factors[k], seeds[k], i);
                *word |= (q as u32 & 0xff) << (8 * k);
            }
        }
    });
}

/// [`Plane`] alone, as numbers.
#[cfg(test)]
pub(super) fn round(x: &[f32], factor: f32, seed: u32, out: &mut [i32]) {
    for (i, (x, out)) in x.iter().zip(out).enumerate() {
        *out = rounded(*x, factor, seed, i as u32);
    }
}

/// A seed for image `n`, filter `o`.
pub(super) fn seed(n: usize, o: usize) -> u32 {
    (n as u32)
        .wrapping_mul(0x85eb_ca6b)
        .wrapping_add((o as u32).wrapping_mul(0xc2b2_ae35))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_a_neighbour_and_right_on_average() {
        for value in [-3.3f32, -0.02, 0.0, 0.49, 77.75] {
            let mut out = vec![0; 4096];
            round(&vec![value / 8.0; 4096], 8.0, 12_345, &mut out);
            let neighbours = [value.floor() as i32, value.ceil() as i32];
            assert!(out.iter().all(|q| neighbours.contains(q)), "{value}");
            let mean = out.iter().sum::<i32>() as f32 / 4096.0;
            assert!((mean - value).abs() < 2e-3, "{value}: {mean}");
        }
        let mut out = [0; 3];
        round(&[1.0, -1.0, 0.0], MOST, 0xffff_ffff, &mut out);
        assert_eq!(out, [127, -127, 0]);
    }

    #[test]
    fn what_is_not_finite_is_the_largest() {
        assert_eq!(largest(&[-3.0, 2.0]), 3.0);
        assert!(largest(&[1.0, f32::NAN]).is_nan());
        assert_eq!(largest(&[1.0, f32::NEG_INFINITY]), f32::INFINITY);
        assert_eq!(largest(&[]), 0.0);
        assert_eq!(scales(0.0), (0.0, 0.0));
        assert_eq!(scales(1e-40).0, 0.0);
    }
}
