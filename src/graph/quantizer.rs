//! The quantisers of QONNX: what `BipolarQuant`, `Quant` and `Trunc` compute.
//!
//! As in qonnx's own executor, `Quant` of one signed bit is `BipolarQuant` (with the scale inside).

use super::Node;

/// How a quotient becomes an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, halves to even (`ROUND`).
    Nearest,
    /// Up.
    Ceil,
    /// Down.
    Floor,
}

impl Rounding {
    /// The ONNX operator that rounds so.
    pub fn op(self) -> &'static str {
        match self {
            Self::Nearest => "Round",
            Self::Ceil => "Ceil",
            Self::Floor => "Floor",
        }
    }

    /// Of a node; `None` for a mode that is not supported.
    fn of(node: &Node<'_>, default: &str) -> Option<Self> {
        match node
            .string("rounding_mode")
            .unwrap_or(default)
            .to_uppercase()
            .as_str()
        {
            "ROUND" | "HALF_EVEN" => Some(Self::Nearest),
            "CEIL" => Some(Self::Ceil),
            "FLOOR" => Some(Self::Floor),
            _ => None,
        }
    }

    fn apply(self, x: f32) -> f32 {
        match self {
            Self::Nearest => x.round_ties_even(),
            Self::Ceil => x.ceil(),
            Self::Floor => x.floor(),
        }
    }
}

/// What a QONNX node does with x, its scale and its zero point (which broadcast to x).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quantizer {
    /// `scale` where x ≥ 0, else `-scale` (`BipolarQuant`).
    Bipolar,
    /// The same of `x / scale + zero`, and back (`Quant` of one signed bit).
    SignedBit,
    /// `(round(clip(x / scale + zero, low, high)) - zero) · scale`.
    Integers {
        /// The least integer.
        low: f32,
        /// The greatest.
        high: f32,
        /// How it rounds.
        rounding: Rounding,
    },
    /// `(round(round-to-nearest(x / scale + zero) / step) - zero) · scale` (`Trunc` of five inputs,
    /// version 1).
    Truncated {
        /// 2 to the number of bits dropped.
        step: f32,
        /// How it rounds.
        rounding: Rounding,
    },
    /// `(round(clip(round-to-nearest(x / scale + zero) / step, low, high)) - zero / step) · coarse`
    /// (`Trunc` of six inputs, version 2, with one scale).
    Rescaled {
        /// `coarse / scale`, a power of two.
        step: f32,
        /// The least integer.
        low: f32,
        /// The greatest.
        high: f32,
        /// How it rounds.
        rounding: Rounding,
        /// The scale of what it gives.
        coarse: f32,
        /// `zero / step`.
        zero: f32,
    },
}

/// Most bits of a quantiser: f32 holds no more integers.
const MOST_BITS: f32 = 24.0;

impl Quantizer {
    /// Of a node whose bit widths are given by `bits` (the number that input `k` holds); `None` if
    /// it is no QONNX quantiser, or not in a supported form.
    pub fn of(node: &Node<'_>, bits: impl Fn(usize) -> Option<f32>) -> Option<Self> {
        let width = |k| bits(k).filter(|b| (1.0..=MOST_BITS).contains(b) && b.fract() == 0.0);
        match node.op() {
            "qonnx.BipolarQuant" => Some(Self::Bipolar),
            "qonnx.Quant" => {
                let bits = width(3)?;
                if node.int("signed", 1) != 0 && bits == 1.0 {
                    return Some(Self::SignedBit);
                }
                let (low, high) = limits(node, bits);
                let rounding = Rounding::of(node, "ROUND")?;
                Some(Self::Integers {
                    low,
                    high,
                    rounding,
                })
            }
            "qonnx.Trunc" if node.proto().input.len() == 5 => Some(Self::Truncated {
                step: (width(3)? - width(4)?).exp2(),
                rounding: Rounding::of(node, "FLOOR")?,
            }),
            "qonnx.Trunc" if node.proto().input.len() == 6 => {
                let (scale, coarse) = (bits(1)?, bits(4)?);
                let step = (coarse / scale).log2().round_ties_even().exp2();
                let (low, high) = limits(node, width(5)?);
                (step.is_finite() && step > 0.0).then_some(Self::Rescaled {
                    step,
                    low,
                    high,
                    rounding: Rounding::of(node, "FLOOR")?,
                    coarse,
                    zero: bits(2)? / step,
                })
            }
            _ => None,
        }
    }

    /// Its value.
    pub fn apply(self, x: f32, scale: f32, zero: f32) -> f32 {
        let sign = |x: f32| if x >= 0.0 { 1.0 } else { -1.0 };
        let back = |y: f32| (y - zero) * scale;
        match self {
            Self::Bipolar => sign(x) * scale,
            Self::SignedBit => back(sign(x / scale + zero)),
            Self::Integers {
                low,
                high,
                rounding,
            } => back(rounding.apply((x / scale + zero).min(high).max(low))),
            Self::Truncated { step, rounding } => {
                back(rounding.apply((x / scale + zero).round_ties_even() / step))
            }
            Self::Rescaled {
                step,
                low,
                high,
                rounding,
                coarse,
                zero: offset,
            } => {
                let y = (x / scale + zero).round_ties_even() / step;
                (rounding.apply(y.min(high).max(low)) - offset) * coarse
            }
        }
    }
}

/// The least and the greatest integer of so many bits, by a node's `signed` and `narrow`.
fn limits(node: &Node<'_>, bits: f32) -> (f32, f32) {
    let narrow = f32::from(u8::from(node.int("narrow", 0) != 0));
    match node.int("signed", 1) != 0 {
        true => (narrow - (bits - 1.0).exp2(), (bits - 1.0).exp2() - 1.0),
        false => (0.0, bits.exp2() - 1.0 - narrow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of qonnx's own executor.
    #[test]
    fn values() {
        let all = |q: Quantizer, scale, zero, x: &[f32]| -> Vec<f32> {
            x.iter().map(|&x| q.apply(x, scale, zero)).collect()
        };
        let x = [-3.0, -0.5, -0.0, 0.25, 0.75, 3.0];
        let bipolar = all(Quantizer::Bipolar, 0.5, 0.0, &x);
        assert_eq!(bipolar, [-0.5, -0.5, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(all(Quantizer::SignedBit, 0.5, 0.0, &x), bipolar);
        let integers = |rounding| Quantizer::Integers {
            low: -2.0,
            high: 1.0,
            rounding,
        };
        let nearest = all(integers(Rounding::Nearest), 0.5, 0.0, &x);
        assert_eq!(nearest, [-1.0, -0.5, 0.0, 0.0, 0.5, 0.5]);
        let up = all(integers(Rounding::Ceil), 0.5, 0.0, &x);
        assert_eq!(up, [-1.0, -0.5, 0.0, 0.5, 0.5, 0.5]);
        let truncated = Quantizer::Truncated {
            step: 4.0,
            rounding: Rounding::Floor,
        };
        assert_eq!(
            all(truncated, 0.25, 0.0, &x),
            [-0.75, -0.25, 0.0, 0.0, 0.0, 0.75]
        );
        let rescaled = Quantizer::Rescaled {
            step: 4.0,
            low: -2.0,
            high: 1.0,
            rounding: Rounding::Floor,
            coarse: 1.0,
            zero: 0.0,
        };
        assert_eq!(
            all(rescaled, 0.25, 0.0, &x),
            [-2.0, -1.0, 0.0, 0.0, 0.0, 1.0]
        );
    }
}
