//! Functions of one number. A row here is all that elimination needs to pass channels through one.

use super::functions::{erf, sigmoid, sign, sign_of_double, softplus};
use super::{
    Attributes, Function, Jump, Kind, Operator, Range, Shape, Slope, Smoothness, Trend, Unary,
};

/// A function of one number; its slope has to be said, or why there is none.
const fn unary(name: &'static str, single: fn(&dyn Attributes) -> Function) -> Operator {
    let function = Unary {
        single,
        double: None,
        // What an approximation of a transcendental function is worth.
        roundings: 8.0,
        slope: |_| Slope::Unbounded,
        jumps: |_| Vec::new(),
        derivative: None,
    };
    Operator::new(name, Kind::Unary(function), Shape::First)
}

impl Operator {
    const fn double(mut self, f: fn(f64) -> f64) -> Self {
        if let Kind::Unary(function) = &mut self.kind {
            function.double = Some(f);
        }
        self
    }

    const fn roundings(mut self, roundings: f32) -> Self {
        if let Kind::Unary(function) = &mut self.kind {
            function.roundings = roundings;
        }
        self
    }

    const fn slope(mut self, slope: fn(&dyn Attributes) -> Slope) -> Self {
        if let Kind::Unary(function) = &mut self.kind {
            function.slope = slope;
        }
        self
    }

    const fn derivative(mut self, derivative: fn(&dyn Attributes) -> Function) -> Self {
        if let Kind::Unary(function) = &mut self.kind {
            function.derivative = Some(derivative);
        }
        self
    }

    const fn jumping(mut self, jumps: fn(&dyn Attributes) -> Vec<Jump>) -> Self {
        if let Kind::Unary(function) = &mut self.kind {
            function.jumps = jumps;
        }
        self.smooth(|_| Smoothness::Jumps)
    }
}

/// The attribute `alpha`.
fn alpha(of: &dyn Attributes, default: f32) -> f32 {
    of.float("alpha", default)
}

/// `alpha` and `gamma` of a Selu.
fn selu(of: &dyn Attributes) -> (f32, f32) {
    (alpha(of, 1.673_263_2), of.float("gamma", 1.050_701))
}

/// `lambd` and `bias` of a Shrink.
fn shrink(of: &dyn Attributes) -> (f32, f32) {
    (of.float("lambd", 0.5), of.float("bias", 0.0))
}

pub(super) static ROWS: &[Operator] = &[
    unary("Identity", |_| Box::new(|x| x))
        .slope(|_| Slope::AtMost(1.0))
        .exact()
        .rising()
        .moving(),
    unary("Relu", |_| Box::new(|x| if x < 0.0 { 0.0 } else { x }))
        .double(|x| if x < 0.0 { 0.0 } else { x })
        .slope(|_| Slope::AtMost(1.0))
        .exact()
        .rising()
        .not_negative(),
    unary("Abs", |_| Box::new(f32::abs))
        .double(f64::abs)
        .slope(|_| Slope::AtMost(1.0))
        .exact()
        .not_negative()
        .derivative(|_| Box::new(sign)),
    unary("Neg", |_| Box::new(|x| -x))
        .double(|x| -x)
        .slope(|_| Slope::AtMost(1.0))
        .exact()
        .trend(|_| Trend::Falls)
        .derivative(|_| Box::new(|_| -1.0)),
    unary("Sign", |_| Box::new(sign))
        .double(sign_of_double)
        .deciding()
        .rising()
        .like_input(),
    unary("Floor", |_| Box::new(f32::floor))
        .double(f64::floor)
        .deciding()
        .rising()
        .like_input()
        .derivative(|_| Box::new(|_| 1.0)),
    unary("Ceil", |_| Box::new(f32::ceil))
        .double(f64::ceil)
        .deciding()
        .rising()
        .like_input()
        .derivative(|_| Box::new(|_| 1.0)),
    unary("Round", |_| Box::new(f32::round_ties_even))
        .double(f64::round_ties_even)
        .deciding()
        .rising()
        .like_input()
        .derivative(|_| Box::new(|_| 1.0)),
    unary("LeakyRelu", |a| {
        let alpha = alpha(a, 0.01);
        Box::new(move |x| if x < 0.0 { alpha * x } else { x })
    })
    .slope(|a| Slope::AtMost(alpha(a, 0.01).abs().max(1.0)))
    .roundings(1.0)
    .trend(|a| Trend::rises_if(alpha(a, 0.01) >= 0.0))
    .like_input(),
    unary("Elu", |a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
    })
    .slope(|a| Slope::AtMost(alpha(a, 1.0).abs().max(1.0)))
    .smooth(|a| Smoothness::Scaled(alpha(a, 1.0)))
    .trend(|a| Trend::rises_if(alpha(a, 1.0) >= 0.0))
    .like_input()
    .derivative(|a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| if x < 0.0 { alpha * x.exp() } else { 1.0 })
    }),
    unary("Celu", |a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0))
    })
    // e^(x/α) with a negative α grows without end.
    .slope(|a| match alpha(a, 1.0) > 0.0 {
        true => Slope::AtMost(1.0),
        false => Slope::Unbounded,
    })
    .smooth(|a| Smoothness::Scaled(alpha(a, 1.0)))
    .trend(|a| Trend::rises_if(alpha(a, 1.0) >= 0.0))
    .derivative(|a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| if x > 0.0 { 1.0 } else { (x / alpha).exp() })
    }),
    unary("Selu", |a| {
        let (alpha, gamma) = selu(a);
        Box::new(move |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
    })
    .slope(|a| {
        let (alpha, gamma) = selu(a);
        Slope::AtMost(gamma.abs() * alpha.abs().max(1.0))
    })
    .smooth(|a| {
        let (alpha, gamma) = selu(a);
        Smoothness::Scaled(alpha * gamma)
    })
    .trend(|a| {
        let (alpha, gamma) = selu(a);
        Trend::rises_if(alpha >= 0.0 && gamma >= 0.0)
    })
    .derivative(|a| {
        let (alpha, gamma) = selu(a);
        Box::new(move |x| gamma * if x > 0.0 { 1.0 } else { alpha * x.exp() })
    }),
    unary("ThresholdedRelu", |a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| if x > alpha { x } else { 0.0 })
    })
    .slope(|_| Slope::AtMost(1.0))
    .roundings(0.0)
    .jumping(|a| {
        let at = alpha(a, 1.0);
        let height = at.abs();
        vec![Jump { at, height }]
    })
    .trend(|a| Trend::rises_if(alpha(a, 1.0) >= 0.0))
    .range(|a| match alpha(a, 1.0) >= 0.0 {
        true => Range::NotNegative,
        false => Range::Any,
    })
    .derivative(|a| {
        let alpha = alpha(a, 1.0);
        Box::new(move |x| if x > alpha { 1.0 } else { 0.0 })
    }),
    unary("Shrink", |a| {
        let (limit, bias) = shrink(a);
        Box::new(move |x| match x {
            x if x < -limit => x + bias,
            x if x > limit => x - bias,
            _ => 0.0,
        })
    })
    .slope(|_| Slope::AtMost(1.0))
    .roundings(1.0)
    .jumping(|a| {
        let (limit, bias) = shrink(a);
        match limit >= 0.0 {
            true => [limit, -limit]
                .map(|at| Jump {
                    at,
                    height: (limit - bias).abs(),
                })
                .to_vec(),
            // What lies below −λ comes first.
            false => vec![Jump {
                at: -limit,
                height: 2.0 * bias.abs(),
            }],
        }
    })
    .trend(|a| {
        let (limit, bias) = shrink(a);
        Trend::rises_if(limit >= 0.0 && bias <= limit)
    })
    .derivative(|a| {
        let (limit, _) = shrink(a);
        Box::new(move |x| if x < -limit || x > limit { 1.0 } else { 0.0 })
    }),
    unary("HardSigmoid", |a| {
        let (alpha, beta) = (alpha(a, 0.2), a.float("beta", 0.5));
        Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
    })
    .slope(|a| Slope::AtMost(alpha(a, 0.2).abs()))
    .smooth(|a| Smoothness::Scaled(a.float("beta", 0.5)))
    .roundings(2.0)
    .trend(|a| Trend::rises_if(alpha(a, 0.2) >= 0.0))
    .not_negative(),
    unary("HardSwish", |_| {
        Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
    })
    .slope(|_| Slope::AtMost(1.5))
    .roundings(3.0)
    .like_input()
    .derivative(|_| {
        Box::new(|x| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => 1.0,
            x => x / 3.0 + 0.5,
        })
    }),
    unary("Sigmoid", |_| Box::new(sigmoid))
        .double(|x| 1.0 / (1.0 + (-x).exp()))
        .slope(|_| Slope::AtMost(0.25))
        .smooth(|_| Smoothness::Scaled(0.5))
        .rising()
        .not_negative()
        .derivative(|_| Box::new(|x| sigmoid(x) * (1.0 - sigmoid(x)))),
    unary("Tanh", |_| Box::new(f32::tanh))
        .double(f64::tanh)
        .slope(|_| Slope::AtMost(1.0))
        .rising()
        .like_input()
        .derivative(|_| Box::new(|x| 1.0 - x.tanh() * x.tanh())),
    unary("Softplus", |_| Box::new(softplus))
        .slope(|_| Slope::AtMost(1.0))
        .smooth(|_| Smoothness::Scaled(1.0))
        .rising()
        .not_negative()
        .derivative(|_| Box::new(sigmoid)),
    unary("Softsign", |_| Box::new(|x| x / (1.0 + x.abs())))
        .slope(|_| Slope::AtMost(1.0))
        .rising()
        .like_input()
        .derivative(|_| {
            Box::new(|x| {
                let root = 1.0 / (1.0 + x.abs());
                root * root
            })
        }),
    unary("Swish", |a| {
        let alpha = a.float("alpha", 1.0);
        Box::new(move |x| x * sigmoid(alpha * x))
    })
    .slope(|_| Slope::AtMost(1.1))
    .smooth(|_| Smoothness::Scaled(1.0))
    .like_input()
    .derivative(|a| {
        let alpha = a.float("alpha", 1.0);
        Box::new(move |x| {
            let s = sigmoid(alpha * x);
            s + alpha * x * s * (1.0 - s)
        })
    }),
    unary("Mish", |_| Box::new(|x| x * softplus(x).tanh()))
        .slope(|_| Slope::AtMost(1.1))
        .smooth(|_| Smoothness::Scaled(1.0))
        .derivative(|_| {
            Box::new(|x| {
                let t = softplus(x).tanh();
                t + x * (1.0 - t * t) * sigmoid(x)
            })
        }),
    unary("Gelu", gelu)
        .slope(|_| Slope::AtMost(1.14))
        .smooth(|_| Smoothness::Scaled(1.0))
        .derivative(slope_of_gelu),
    unary("Erf", |_| Box::new(|x| erf(f64::from(x)) as f32))
        .double(erf)
        // 2/√π
        .slope(|_| Slope::AtMost(1.13))
        .rising()
        .like_input()
        .derivative(|_| Box::new(|x| std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp())),
    // Twice the slope at x: within rounding it is not much steeper.
    unary("Exp", |_| Box::new(f32::exp))
        .double(f64::exp)
        .slope(|_| Slope::At(|_, y| 2.0 * y.abs()))
        .rising()
        .not_negative()
        .derivative(|_| Box::new(f32::exp)),
    unary("Log", |_| Box::new(f32::ln))
        .double(f64::ln)
        .slope(|_| Slope::At(|x, _| 2.0 / x.abs()))
        .rising()
        .derivative(|_| Box::new(|x| 1.0 / x)),
    unary("Sqrt", |_| Box::new(f32::sqrt))
        .double(f64::sqrt)
        .slope(|_| Slope::At(|_, y| 1.0 / y.abs()))
        .rising()
        .not_negative()
        .derivative(|_| Box::new(|x| 0.5 / x.sqrt())),
    unary("Reciprocal", |_| Box::new(|x| 1.0 / x))
        .double(|x| 1.0 / x)
        .slope(|_| Slope::At(|_, y| 2.0 * y * y))
        .derivative(|_| Box::new(|x| -1.0 / (x * x))),
];

fn gelu(of: &dyn Attributes) -> Function {
    match of.string("approximate") {
        Some("tanh") => Box::new(|x| {
            let x = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            (0.5 * x * (1.0 + inner.tanh())) as f32
        }),
        _ => Box::new(|x| {
            let x = f64::from(x);
            (0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))) as f32
        }),
    }
}

fn slope_of_gelu(of: &dyn Attributes) -> Function {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};
    match of.string("approximate") {
        Some("tanh") => Box::new(|x| {
            let x = f64::from(x);
            let factor = (2.0 / PI).sqrt();
            let t = (factor * (x + 0.044715 * x.powi(3))).tanh();
            let inner = factor * (1.0 + 3.0 * 0.044715 * x * x);
            (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner) as f32
        }),
        _ => Box::new(|x| {
            let x = f64::from(x);
            let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
            (0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density) as f32
        }),
    }
}
