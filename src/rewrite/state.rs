//! What is known of one channel before the model runs: the lattice of the forward analysis.

use crate::operators::Smoothness;

/// Unit roundoff of `f32`, doubled: one operation, in whatever order a runtime does it.
pub(crate) const ULP: f64 = f32::EPSILON as f64;

/// A channel as the forward analysis sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// Depends on the model's input, or is not known to be independent of it.
    Live,
    /// Does not depend on the input, but has no single known value: it differs at a zero-padded
    /// border, or lies within rounding of a discontinuity.
    Fixed,
    /// The same value everywhere, up to rounding.
    Constant(Known),
}

/// A value and how far another runtime's rounding may be from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// The value.
    pub value: f32,
    /// Absolute bound of the deviation; 0 where every runtime computes exactly this value.
    pub slack: f32,
}

impl State {
    /// A value that every runtime computes exactly.
    pub fn exact(value: f32) -> Self {
        Self::known(f64::from(value), 0.0)
    }

    /// A value with a bound; [`State::Live`] if either is not finite (0 times infinity is not 0, so
    /// nothing may be concluded from it).
    pub(crate) fn known(value: f64, slack: f64) -> Self {
        // Some runtimes flush what is smaller to 0.
        let flushed = value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE);
        let flush = if flushed { f32::MIN_POSITIVE } else { 0.0 };
        let known = Known {
            value: value as f32,
            slack: slack as f32 + flush,
        };
        if known.value.is_finite() && known.slack.is_finite() {
            Self::Constant(known)
        } else {
            Self::Live
        }
    }

    /// The known value.
    pub fn constant(self) -> Option<Known> {
        match self {
            Self::Constant(k) => Some(k),
            _ => None,
        }
    }

    /// Whether it may depend on the model's input.
    pub fn is_live(self) -> bool {
        self == Self::Live
    }

    /// Exactly 0 in every runtime.
    pub(crate) fn is_exact_zero(self) -> bool {
        self == Self::exact(0.0) || self == Self::exact(-0.0)
    }

    /// The less informative of two: what a combination of them is at best without computing it.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Live, _) | (_, Self::Live) => Self::Live,
            _ => Self::Fixed,
        }
    }

    /// `f` of it.
    pub(crate) fn map(self, f: impl Fn(f32) -> f32, smoothness: Smoothness) -> Self {
        let Self::Constant(Known { value, slack }) = self else {
            return self;
        };
        let y = f(value);
        let spread = if slack == 0.0 {
            0.0
        } else {
            let d = |x: f32| (f64::from(f(x)) - f64::from(y)).abs();
            2.0 * d(value - slack).max(d(value + slack))
        };
        let size = f64::from(y.abs()).max(f64::from(value.abs()) + 1.0);
        let rounding = match smoothness {
            Smoothness::Exact => 0.0,
            Smoothness::Jumps if spread > 0.0 || !spread.is_finite() => return Self::Fixed,
            Smoothness::Jumps => 0.0,
            _ if value == 0.0 && slack == 0.0 && y == 0.0 => 0.0,
            Smoothness::Rounded => 8.0 * ULP * size,
            Smoothness::Scaled(on_the_way) => 8.0 * ULP * size.max(f64::from(on_the_way.abs())),
        };
        Self::known(f64::from(y), spread + rounding)
    }

    /// Sum or difference (`sign` = ±1).
    pub(crate) fn plus(self, other: Self, sign: f64) -> Self {
        let (Self::Constant(a), Self::Constant(b)) = (self, other) else {
            return self.join(other);
        };
        let v = f64::from(a.value) + sign * f64::from(b.value);
        Self::known(v, f64::from(a.slack) + f64::from(b.slack) + ULP * v.abs())
    }

    /// Product; exactly 0 times anything is 0 (for finite inputs).
    pub(crate) fn times(self, other: Self) -> Self {
        if self.is_exact_zero() || other.is_exact_zero() {
            return Self::exact(0.0);
        }
        let (Self::Constant(a), Self::Constant(b)) = (self, other) else {
            return self.join(other);
        };
        let [av, asl, bv, bsl] = [a.value, a.slack, b.value, b.slack].map(f64::from);
        let v = av * bv;
        let slack = av.abs() * bsl + bv.abs() * asl + asl * bsl;
        Self::known(v, slack + ULP * v.abs())
    }

    /// Quotient; [`State::Live`] where the divisor may be 0.
    pub(crate) fn over(self, other: Self) -> Self {
        let (Self::Constant(a), Self::Constant(b)) = (self, other) else {
            return self.join(other);
        };
        let [av, asl, bv, bsl] = [a.value, a.slack, b.value, b.slack].map(f64::from);
        if bv.abs() <= bsl {
            return Self::Live;
        }
        let v = av / bv;
        Self::known(v, (asl + v.abs() * bsl) / (bv.abs() - bsl) + ULP * v.abs())
    }

    /// The truth of a comparison as 0 or 1; [`State::Fixed`] where rounding decides it.
    pub(crate) fn compare(self, other: Self, predicate: fn(f64, f64) -> bool) -> Self {
        let (Self::Constant(a), Self::Constant(b)) = (self, other) else {
            return self.join(other);
        };
        let (x, y) = (f64::from(a.value), f64::from(b.value));
        let slack = f64::from(a.slack) + f64::from(b.slack);
        if slack > 0.0 && (x - y).abs() <= slack {
            return Self::Fixed;
        }
        Self::exact(f32::from(u8::from(predicate(x, y))))
    }

    /// The sum of `count` copies of it, in any order.
    pub(crate) fn sum(self, count: usize) -> Self {
        match self {
            Self::Constant(k) if k.value == 0.0 && k.slack == 0.0 => self,
            Self::Constant(k) => {
                let n = count as f64;
                let v = f64::from(k.value) * n;
                Self::known(v, f64::from(k.slack) * n + (n + 2.0) * ULP * v.abs())
            }
            s => s,
        }
    }

    /// Several channels taken together: their common value, if they have one.
    pub(crate) fn merge(states: impl IntoIterator<Item = Self>) -> Self {
        let same = |a: Self, b: Self| match (a, b) {
            (Self::Constant(x), Self::Constant(y)) if x.value == y.value => {
                Self::known(f64::from(x.value), f64::from(x.slack.max(y.slack)))
            }
            _ => a.join(b),
        };
        states.into_iter().reduce(same).unwrap_or(Self::Live)
    }

    /// What it is where some elements are replaced by `fill`.
    pub(crate) fn beside(self, fill: f32) -> Self {
        match self {
            Self::Constant(k) if k.value != fill || k.slack != 0.0 => Self::Fixed,
            s => s,
        }
    }

    /// The mean of `count` copies of it, as a runtime sums them.
    pub(crate) fn mean(self, count: usize) -> Self {
        match self {
            Self::Constant(k) if k.value == 0.0 && k.slack == 0.0 => self,
            Self::Constant(k) => {
                let v = f64::from(k.value);
                Self::known(v, f64::from(k.slack) + (count as f64 + 2.0) * ULP * v.abs())
            }
            s => s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::scalar::sign;

    #[test]
    fn a_sign_within_rounding_of_zero_is_not_decided() {
        let s = |v, slack| State::known(v, slack).map(sign, Smoothness::Jumps);
        assert_eq!(s(0.5, 1e-6), State::exact(1.0));
        assert_eq!(s(-1e-3, 1e-6), State::exact(-1.0));
        assert_eq!(s(1e-8, 1e-7), State::Fixed);
        assert_eq!(s(0.0, 0.0), State::exact(0.0));
        assert_eq!(s(0.0, 1e-9), State::Fixed);
    }

    #[test]
    fn zero_times_live_is_zero_and_nothing_else_is() {
        assert_eq!(State::exact(0.0).times(State::Live), State::exact(0.0));
        assert_eq!(State::exact(2.0).times(State::Live), State::Live);
        assert_eq!(State::known(0.0, 1e-9).times(State::Live), State::Live);
        assert_eq!(State::Fixed.plus(State::exact(1.0), 1.0), State::Fixed);
    }

    #[test]
    fn what_is_not_finite_is_live() {
        assert_eq!(State::exact(1.0).over(State::exact(0.0)), State::Live);
        assert_eq!(State::exact(f32::NAN), State::Live);
        let log = State::exact(0.0).map(f32::ln, Smoothness::Rounded);
        assert_eq!(log, State::Live);
    }

    #[test]
    fn comparisons_are_decided_outside_rounding() {
        let ge = |a: State| a.compare(State::exact(0.0), |a, b| a >= b);
        assert_eq!(ge(State::exact(0.0)), State::exact(1.0));
        assert_eq!(ge(State::known(0.0, 1e-9)), State::Fixed);
        assert_eq!(ge(State::known(-1.0, 1e-9)), State::exact(0.0));
    }
}
