//! Elementwise operators as functions of one or two `f32`: one table for constant evaluation and
//! for constants that pass through a channel.

use super::Node;

/// A function of one number.
pub type Unary = Box<dyn Fn(f32) -> f32 + Send + Sync>;
/// A function of two numbers.
pub type Binary = fn(f32, f32) -> f32;

/// The function of a unary elementwise operator, its attributes bound; `None` if it is not one.
pub fn unary(node: &Node<'_>) -> Option<Unary> {
    let f: Unary = match node.op() {
        "Identity" => Box::new(|x| x),
        "Relu" => Box::new(|x| if x < 0.0 { 0.0 } else { x }),
        "LeakyRelu" => {
            let alpha = node.float("alpha", 0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = node.float("alpha", 1.0);
            Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Sign" => Box::new(sign),
        "Abs" => Box::new(f32::abs),
        "Neg" => Box::new(|x| -x),
        "Exp" => Box::new(f32::exp),
        "Log" => Box::new(f32::ln),
        "Sqrt" => Box::new(f32::sqrt),
        "Reciprocal" => Box::new(|x| 1.0 / x),
        "Floor" => Box::new(f32::floor),
        "Ceil" => Box::new(f32::ceil),
        "Round" => Box::new(f32::round_ties_even),
        "Sigmoid" => Box::new(|x| 1.0 / (1.0 + (-x).exp())),
        "Tanh" => Box::new(f32::tanh),
        "Softplus" => Box::new(softplus),
        "HardSigmoid" => {
            let (a, b) = (node.float("alpha", 0.2), node.float("beta", 0.5));
            Box::new(move |x| (a * x + b).clamp(0.0, 1.0))
        }
        "Selu" => {
            let (alpha, gamma) = (
                node.float("alpha", 1.673_263_2),
                node.float("gamma", 1.050_701),
            );
            Box::new(move |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
        }
        "Celu" => {
            let alpha = node.float("alpha", 1.0);
            Box::new(move |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0))
        }
        "ThresholdedRelu" => {
            let alpha = node.float("alpha", 1.0);
            Box::new(move |x| if x > alpha { x } else { 0.0 })
        }
        "Softsign" => Box::new(|x| x / (1.0 + x.abs())),
        "Mish" => Box::new(|x| x * softplus(x).tanh()),
        "Erf" => Box::new(|x| erf(f64::from(x)) as f32),
        "Gelu" if node.string("approximate") == Some("tanh") => Box::new(|x| {
            let x = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            (0.5 * x * (1.0 + inner.tanh())) as f32
        }),
        "Gelu" => Box::new(|x| {
            let x = f64::from(x);
            (0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))) as f32
        }),
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        _ => return None,
    };
    Some(f)
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function: a series without cancellation, and ±1 where `f64` knows nothing closer.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return x.clamp(-1.0, 1.0);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

/// The function of a binary elementwise operator; `None` if it is not one.
pub fn binary(op: &str) -> Option<Binary> {
    Some(match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f32::powf,
        "Min" => f32::min,
        "Max" => f32::max,
        // Of any number of operands.
        "Sum" => |a, b| a + b,
        _ => return None,
    })
}

/// The predicate of a comparison operator; `None` if it is not one.
pub fn comparison(op: &str) -> Option<fn(f64, f64) -> bool> {
    Some(match op {
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        "Equal" => |a, b| a == b,
        _ => return None,
    })
}

/// ONNX `Sign`: 0 at 0 (Rust's `signum` gives 1), NaN stays.
pub fn sign(x: f32) -> f32 {
    match x {
        x if x > 0.0 => 1.0,
        x if x < 0.0 => -1.0,
        x if x.is_nan() => x,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn the_error_function_has_its_known_values() {
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (-2.0, -0.995_322_265_018_952_7),
            (4.0, 0.999_999_984_582_742_1),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - y).abs() < 1e-15, "{x}: {}", erf(x));
        }
        assert!(erf(f64::NAN).is_nan());
    }
}
