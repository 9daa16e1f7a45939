//! Steps that act on each element, and on several tensors element by element.

use super::{Attr, Random, T, scaled};

impl Random {
    pub(super) fn unary(&mut self, t: &T) -> Option<T> {
        if self.smooth() {
            return self.smooth_unary(t);
        }
        let (op, attributes, halves) = match self.roll(10) {
            0 => ("Abs", vec![], 0),
            1 => ("Neg", vec![], 0),
            2 => ("Floor", vec![], 0),
            3 => ("Round", vec![], 0),
            4 => ("LeakyRelu", vec![("alpha", Attr::Float(0.5))], 1),
            5 => ("Identity", vec![], 0),
            6 | 7 => ("Sign", vec![], 0),
            _ => ("Relu", vec![], 0),
        };
        let name = self.b.node(op, &[&t.name], attributes);
        let mut new = scaled(t, name, 0.0, halves);
        if op == "Sign" {
            (new.size, new.bits) = (1.0, 0);
        }
        Some(new)
    }

    fn smooth_unary(&mut self, t: &T) -> Option<T> {
        let op = [
            "Relu",
            "LeakyRelu",
            "Elu",
            "Selu",
            "Celu",
            "Sigmoid",
            "HardSigmoid",
            "HardSwish",
            "Softplus",
            "Softsign",
            "Tanh",
            "Erf",
            "Abs",
            "Neg",
            "Identity",
        ][self.roll(15)];
        let name = self.b.node(op, &[&t.name], vec![]);
        let one = 2f64.powi(t.bits);
        Some(scaled(t, name, t.size + 2.0 * one, 0))
    }

    /// What is defined for positive numbers only, of the absolute value and a half.
    pub(super) fn positive(&mut self, t: &T) -> Option<T> {
        self.smooth().then_some(())?;
        let t = self.small(t);
        let abs = self.b.node("Abs", &[&t.name], vec![]);
        let half = self.b.weight(&[], vec![0.5]);
        let x = self.b.node("Add", &[&abs, &half], vec![]);
        let name = match self.roll(5) {
            0 => self.b.node("Log", &[&x], vec![]),
            1 => self.b.node("Sqrt", &[&x], vec![]),
            2 => self.b.node("Reciprocal", &[&x], vec![]),
            3 => {
                let tanh = self.b.node("Tanh", &[&x], vec![]);
                self.b.node("Exp", &[&tanh], vec![])
            }
            _ => {
                let power = self.b.weight(&[], vec![1.5]);
                self.b.node("Pow", &[&x, &power], vec![])
            }
        };
        let one = 2f64.powi(t.bits);
        Some(scaled(&t, name, 4.0 * (t.size + one), 0))
    }

    /// Cut to [-1, 1.5], or to one side.
    pub(super) fn clip(&mut self, t: &T) -> Option<T> {
        let (low, high) = (
            self.b.weight(&[], vec![-1.0]),
            self.b.weight(&[], vec![1.5]),
        );
        let inputs: &[&str] = match self.roll(3) {
            0 => &[&t.name, &low],
            1 => &[&t.name, "", &high],
            _ => &[&t.name, &low, &high],
        };
        let name = self.b.node("Clip", inputs, vec![]);
        Some(scaled(t, name, 2.0 * 2f64.powi(t.bits), 1))
    }

    /// To bytes in steps of 1/4 and back.
    pub(super) fn quantised(&mut self, t: &T) -> Option<T> {
        (!self.smooth()).then_some(())?;
        let scale = self.b.weight(&[], vec![0.25]);
        let bytes = self.b.node("QuantizeLinear", &[&t.name, &scale], vec![]);
        let name = self.b.node("DequantizeLinear", &[&bytes, &scale], vec![]);
        Some(T {
            size: 255.0,
            bits: 2,
            ..scaled(t, name, 0.0, 0)
        })
    }

    pub(super) fn instance_norm(&mut self, t: &T) -> Option<T> {
        self.smooth().then_some(())?;
        let scale = self.numbers(t.channels, &[0.5, -1.0, 0.0, 1.0]);
        let shift = self.numbers(t.channels, &[0.5, -1.0, 0.0]);
        let [scale, shift] = [scale, shift].map(|v| self.b.weight(&[t.channels], v));
        // A channel of one value is its own mean: of the rounding no more than this is made.
        let epsilon = vec![("epsilon", Attr::Float(0.1))];
        let name = self
            .b
            .node("InstanceNormalization", &[&t.name, &scale, &shift], epsilon);
        Some(T {
            size: 16.0,
            bits: 0,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// Over an axis other than the channels.
    pub(super) fn softmax(&mut self, t: &T) -> Option<T> {
        self.smooth().then_some(())?;
        let op = ["Softmax", "LogSoftmax"][self.roll(2)];
        let t = self.small(t);
        let axis = vec![("axis", Attr::Int(2 + self.roll(2) as i64))];
        let name = self.b.node(op, &[&t.name], axis);
        let one = 2f64.powi(t.bits);
        Some(scaled(&t, name, t.size + 2.0 * one, 0))
    }

    /// Arithmetic with a constant: of each channel, of all, or of each position.
    pub(super) fn constant(&mut self, t: &T) -> Option<T> {
        let op = ["Add", "Sub", "Mul", "Max", "Min"][self.roll(5)];
        let shape = match self.roll(4) {
            0 => vec![],
            1 => vec![t.side, t.side],
            2 => vec![t.channels, t.side, t.side],
            _ => vec![1, t.channels, 1, 1],
        };
        let n = shape.iter().product();
        let values = self.numbers(n, &[0.0, 0.5, -1.0, 1.0, 2.0]);
        let c = self.b.weight(&shape, values);
        let name = self.b.node(op, &[&t.name, &c], vec![]);
        Some(match op {
            "Mul" => scaled(t, name, t.size, 1),
            _ => scaled(t, name, 2f64.powi(t.bits + 1), 1),
        })
    }

    pub(super) fn prelu(&mut self, t: &T) -> Option<T> {
        let slopes = self.numbers(t.channels, &[0.5, -1.0, 0.0, 1.0]);
        let c = self.b.weight(&[t.channels, 1, 1], slopes);
        let name = self.b.node("PRelu", &[&t.name, &c], vec![]);
        Some(scaled(t, name, 0.0, 1))
    }

    pub(super) fn norm(&mut self, t: &T) -> Option<T> {
        let c = t.channels;
        let scale = self.numbers(c, &[0.5, -1.0, 0.0, 1.0, 2.0]);
        let shift = self.numbers(c, &[0.5, -1.0, 0.0, 1.0]);
        let mean = self.numbers(c, &[0.5, -1.0, 0.0]);
        // Variance 1 and no epsilon: no rounding.
        let (variance, epsilon) = match self.smooth() {
            true => (self.numbers(c, &[0.5, 1.0, 2.0]), 1e-3),
            false => (vec![1.0; c], 0.0),
        };
        let parameters = [scale, shift, mean, variance].map(|v| self.b.weight(&[c], v));
        let inputs = [
            &t.name,
            &parameters[0],
            &parameters[1],
            &parameters[2],
            &parameters[3],
        ];
        let attributes = vec![("epsilon", Attr::Float(epsilon))];
        let name = self.b.node(
            "BatchNormalization",
            &inputs.map(String::as_str),
            attributes,
        );
        Some(scaled(t, name, t.size + 3.0 * 2f64.powi(t.bits), 1))
    }

    pub(super) fn pair(&mut self, t: &T) -> Option<T> {
        let op = ["Add", "Add", "Add", "Sub", "Mul", "Max", "Min"][self.roll(7)];
        let o = self.other(|o| o.channels == t.channels && o.side == t.side)?;
        let (t, o) = (self.small(t), self.small(&o));
        let name = self.b.node(op, &[&t.name, &o.name], vec![]);
        let bits = t.bits.max(o.bits);
        let units = |v: &T| v.size * 2f64.powi(bits - v.bits);
        Some(match op {
            "Mul" => T {
                name,
                size: t.size * o.size,
                bits: t.bits + o.bits,
                read: false,
                ..t
            },
            _ => T {
                name,
                size: units(&t) + units(&o),
                bits,
                read: false,
                ..t
            },
        })
    }

    pub(super) fn select(&mut self, t: &T) -> Option<T> {
        (!self.smooth()).then_some(())?;
        let threshold = self.numbers(t.channels, &[0.5, -1.0, 0.0, 2.0]);
        let threshold = self.b.weight(&[t.channels, 1, 1], threshold);
        let op = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual"][self.roll(4)];
        let condition = self.b.node(op, &[&t.name, &threshold], vec![]);
        let name = if self.roll(2) == 0 {
            let (a, b) = (
                self.b.weight(&[], vec![1.0]),
                self.b.weight(&[], vec![-1.0]),
            );
            self.b.node("Where", &[&condition, &a, &b], vec![])
        } else {
            self.b
                .node("Cast", &[&condition], vec![("to", Attr::Int(1))])
        };
        Some(T {
            name,
            size: 1.0,
            bits: 0,
            read: false,
            ..t.clone()
        })
    }

    /// `Sum` of the tensor, another one and itself.
    pub(super) fn sum(&mut self, t: &T) -> Option<T> {
        let o = self.other(|o| o.channels == t.channels && o.side == t.side)?;
        let (t, o) = (self.small(t), self.small(&o));
        let name = self.b.node("Sum", &[&t.name, &o.name, &t.name], vec![]);
        let name = match self.roll(3) {
            // Of two: exact halves.
            0 => self.b.node("Mean", &[&name, &o.name], vec![]),
            _ => name,
        };
        let bits = t.bits.max(o.bits);
        let units = |v: &T| v.size * 2f64.powi(bits - v.bits);
        Some(T {
            name,
            size: 4.0 * (units(&t) + units(&o)),
            bits: bits + 1,
            read: false,
            ..t.clone()
        })
    }
}
