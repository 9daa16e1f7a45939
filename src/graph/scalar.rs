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
        "Softplus" => Box::new(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "HardSigmoid" => {
            let (a, b) = (node.float("alpha", 0.2), node.float("beta", 0.5));
            Box::new(move |x| (a * x + b).clamp(0.0, 1.0))
        }
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        _ => return None,
    };
    Some(f)
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
