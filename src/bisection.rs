//! Where monotone functions of an integer reach a value.

/// Functions of an integer in `-most ..= most`, one a channel and each monotone, turned such that none falls:
/// of `direction · u` for `u`.
pub(crate) struct Rising<F> {
    /// 1, or -1 where the function falls.
    pub(crate) direction: Vec<i64>,
    most: i64,
    eval: F,
}

impl<F: Fn(&[i64]) -> Option<Vec<f32>>> Rising<F> {
    /// `eval` gives the value of every one of `channels` functions, each at its own integer. `None` if it gives
    /// that.
    pub(crate) fn of(channels: usize, most: i64, eval: F) -> Option<Self> {
        let falls = falling(&eval, channels, most)?;
        let direction = falls.into_iter().map(|f| if f { -1 } else { 1 });
        Some(Self {
            direction: direction.collect(),
            most,
            eval,
        })
    }

    /// For each of the turned functions the least u from which on `holds` of its value; `most + 1` if there is
    /// none. `None` as soon as `eval` gives that.
    pub(crate) fn first(&self, holds: impl Fn(f32) -> bool) -> Option<Vec<i64>> {
        let turned = |u: &[i64]| {
            let at: Vec<i64> = u.iter().zip(&self.direction).map(|(u, d)| u * d).collect();
            (self.eval)(&at)
        };
        first(self.direction.len(), self.most, turned, holds)
    }
}

/// Which of `channels` functions are less at `most` than at `-most`.
pub(crate) fn falling(
    eval: impl Fn(&[i64]) -> Option<Vec<f32>>,
    channels: usize,
    most: i64,
) -> Option<Vec<bool>> {
    let (low, high) = (eval(&vec![-most; channels])?, eval(&vec![most; channels])?);
    Some(low.iter().zip(&high).map(|(a, b)| b < a).collect())
}

/// [`Rising::first`] of functions that do not fall, as far as `holds` can tell.
fn first(
    channels: usize,
    most: i64,
    eval: impl Fn(&[i64]) -> Option<Vec<f32>>,
    holds: impl Fn(f32) -> bool,
) -> Option<Vec<i64>> {
    let (mut below, mut from) = (vec![-most - 1; channels], vec![most + 1; channels]);
    while below.iter().zip(&from).any(|(b, f)| f - b > 1) {
        let at: Vec<i64> = below
            .iter()
            .zip(&from)
            .map(|(b, f)| (b + f).div_euclid(2).clamp(-most, most))
            .collect();
        let values = eval(&at)?;
        for (((below, from), &at), value) in below.iter_mut().zip(&mut from).zip(&at).zip(values) {
            if *from - *below > 1 {
                match holds(value) {
                    true => *from = at,
                    false => *below = at,
                }
            }
        }
    }
    Some(from)
}

/// The least integer in `from ..= to` of which something holds that holds of `to` and, from the least one on, of all.
/// `None` as soon as `holds` gives that.
pub(crate) fn least(
    mut from: i64,
    mut to: i64,
    holds: impl Fn(i64) -> Option<bool>,
) -> Option<i64> {
    while from < to {
        let middle = from + (to - from).div_euclid(2);
        match holds(middle)? {
            true => to = middle,
            false => from = middle + 1,
        }
    }
    Some(to)
}

/// An integer for each finite float, in the same order; that of -x is the negative of that of x.
pub(crate) fn key_of_float(x: f32) -> i64 {
    let magnitude = i64::from(x.abs().to_bits());
    if x.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// The float of an integer that [`key_of_float`] gives; 0 is that of 0.
pub(crate) fn float_of_key(key: i64) -> f32 {
    let magnitude = f32::from_bits(u32::try_from(key.unsigned_abs()).unwrap_or(0));
    if key < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::{Rising, falling, first, float_of_key, key_of_float, least};

    #[test]
    fn finds_the_least_integer() {
        let at = [-5.5f32, 0.0, 2.0, 9.5, -100.0];
        let eval = |u: &[i64]| Some(u.iter().zip(at).map(|(&u, t)| u as f32 - t).collect());
        assert_eq!(first(5, 9, eval, |v| v >= 0.0).unwrap(), [-5, 0, 2, 10, -9]);
        assert_eq!(first(5, 9, eval, |v| v > 0.0).unwrap(), [-5, 1, 3, 10, -9]);
        assert_eq!(first(5, 9, |_| None, |_| true), None);
    }

    #[test]
    fn functions_that_fall_are_turned() {
        let eval = |u: &[i64]| Some(vec![u[0] as f32 - 2.5, 2.5 - u[1] as f32, 7.0]);
        assert_eq!(falling(eval, 3, 9).unwrap(), [false, true, false]);
        let rising = Rising::of(3, 9, eval).unwrap();
        assert_eq!(rising.direction, [1, -1, 1]);
        assert_eq!(rising.first(|v| v > 0.0).unwrap(), [3, -2, -9]);
        assert!(Rising::of(3, 9, |_| None).is_none());
    }

    #[test]
    fn the_least_is_found() {
        assert_eq!(least(-5, 9, |u| Some(u >= 3)), Some(3));
        assert_eq!(least(-5, 9, |_| Some(true)), Some(-5));
        assert_eq!(least(-5, 9, |_| None), None);
    }

    #[test]
    fn keys_are_in_the_order_of_floats() {
        let floats = [
            -f32::MAX,
            -2.5,
            -f32::MIN_POSITIVE,
            -1e-44,
            0.0,
            1e-44,
            1.0,
            f32::MAX,
        ];
        assert!(
            floats
                .windows(2)
                .all(|w| key_of_float(w[0]) < key_of_float(w[1]))
        );
        assert!(floats.iter().all(|&x| float_of_key(key_of_float(x)) == x));
        assert!(floats.iter().all(|&x| key_of_float(-x) == -key_of_float(x)));
        assert_eq!(key_of_float(0.0), 0);
    }
}
