//! Functions of one element and their derivatives: what chains are made of.

use crate::simd::wide;

/// A function of one element, and its derivative. Both want `#[inline(always)]`: they run within loops of
/// vector instructions.
pub trait Element: Copy + Send + Sync {
    /// The output for the input `x`.
    fn forward(self, x: f32) -> f32;

    /// The gradient with respect to the input `x`, from that of the output.
    fn backward(self, x: f32, grad: f32) -> f32;
}

/// The element itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity;

impl Element for Identity {
    #[inline(always)]
    fn forward(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn backward(self, _: f32, grad: f32) -> f32 {
        grad
    }
}

/// 0, whatever comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zero;

impl Element for Zero {
    #[inline(always)]
    fn forward(self, _: f32) -> f32 {
        0.0
    }

    #[inline(always)]
    fn backward(self, _: f32, _: f32) -> f32 {
        0.0
    }
}

/// A normalisation on one channel: `(x - mean) · factor + shift`.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// What is subtracted first.
    pub mean: f32,
    /// One by the standard deviation: the normalised input is `(x - mean) · inverse`.
    pub inverse: f32,
    /// What is multiplied with then.
    pub factor: f32,
    /// What is added at last.
    pub shift: f32,
}

impl Affine {
    /// The function that gives every number as it is, -0 too.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        inverse: 1.0,
        factor: 1.0,
        shift: -0.0,
    };

    pub(super) fn apply(self, x: &mut [f32]) {
        wide(|| x.iter_mut().for_each(|x| *x = self.forward(*x)));
    }
}

impl Element for Affine {
    #[inline(always)]
    fn forward(self, x: f32) -> f32 {
        (x - self.mean) * self.factor + self.shift
    }

    #[inline(always)]
    fn backward(self, _: f32, grad: f32) -> f32 {
        self.factor * grad
    }
}

/// The larger of x and 0.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Element for Relu {
    #[inline(always)]
    fn forward(self, x: f32) -> f32 {
        relu(x)
    }

    #[inline(always)]
    fn backward(self, x: f32, grad: f32) -> f32 {
        grad * leaky_relu_slope(x, 0.0)
    }
}

/// The larger of x and 0. By comparison, not by product: 0 · infinity is not 0.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `x` where that is not negative, else `slope · x`.
#[inline(always)]
pub fn leaky_relu(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}

/// The derivative of [`leaky_relu`] with respect to x; a factor, as signs are not predictable for a branch.
#[inline(always)]
pub fn leaky_relu_slope(x: f32, slope: f32) -> f32 {
    if x > 0.0 { 1.0 } else { slope }
}

/// A step: three values, below, at and above a threshold; a NaN stays one. The gradient is the straight-through estimator:
/// (above - below) / 2 times that of the output where |x - threshold| ≤ 1, else 0.
#[derive(Debug, Clone, Copy)]
pub struct SignStep {
    /// The values below the threshold, at it, and above it.
    pub values: [f32; 3],
    /// What x is compared with.
    pub threshold: f32,
}

impl SignStep {
    /// The straight-through estimator of the derivative at `x`.
    #[inline(always)]
    pub fn slope(self, x: f32) -> f32 {
        let slope = (self.values[2] - self.values[0]) / 2.0;
        if (x - self.threshold).abs() <= 1.0 {
            slope
        } else {
            0.0
        }
    }
}

impl Element for SignStep {
    /// By masks instead of branches: signs are not predictable.
    #[inline(always)]
    fn forward(self, x: f32) -> f32 {
        let mask = |holds: bool| u32::from(holds).wrapping_neg();
        let [below, at, above] = self.values.map(f32::to_bits);
        let (less, same, more) = (
            mask(x < self.threshold),
            mask(x == self.threshold),
            mask(x > self.threshold),
        );
        // NaN stays, so that it is seen.
        let rest = x.to_bits() & !(less | same | more);
        f32::from_bits(below & less | at & same | above & more | rest)
    }

    #[inline(always)]
    fn backward(self, x: f32, grad: f32) -> f32 {
        grad * self.slope(x)
    }
}

/// One function behind another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Then<A, B>(pub A, pub B);

impl<A: Element, B: Element> Element for Then<A, B> {
    #[inline(always)]
    fn forward(self, x: f32) -> f32 {
        self.1.forward(self.0.forward(x))
    }

    #[inline(always)]
    fn backward(self, x: f32, grad: f32) -> f32 {
        let y = self.0.forward(x);
        self.0.backward(x, self.1.backward(y, grad))
    }
}
