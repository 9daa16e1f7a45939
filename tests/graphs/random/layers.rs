//! Steps that mix channels.

use super::{Attr, Random, T, scaled};

impl Random {
    pub(super) fn layer(
        &mut self,
        op: &str,
        t: &T,
        (shape, axis, filters): (&[usize], usize, usize),
        (side, attributes): (usize, Vec<(&str, Attr)>),
    ) -> Option<T> {
        let t = self.small(t);
        let w = self.weights(shape, axis);
        let bias = self.bias(filters);
        let inputs: Vec<&str> = [&t.name, &w]
            .into_iter()
            .chain(&bias)
            .map(String::as_str)
            .collect();
        let name = self.b.node(op, &inputs, attributes);
        let terms = shape.iter().product::<usize>() / shape[axis].max(1);
        Some(T {
            name,
            channels: filters,
            side,
            size: (t.size * terms as f64 + 2.0 * 2f64.powi(t.bits)) * 2.0,
            bits: t.bits + 1,
            read: false,
        })
    }

    pub(super) fn conv(&mut self, t: &T) -> Option<T> {
        let filters = 2 + self.roll(5);
        let (kernel, pad) = [(1, 0), (3, 1), (3, 0), (1, 1)][self.roll(4)];
        let side = (t.side + 2 * pad + 1)
            .checked_sub(kernel)
            .filter(|&s| s > 0 && s < 9)?;
        let attributes = vec![("pads", Attr::Ints(vec![pad as i64; 4]))];
        let shape = [filters, t.channels, kernel, kernel];
        self.layer("Conv", t, (&shape, 0, filters), (side, attributes))
    }

    pub(super) fn grouped(&mut self, t: &T) -> Option<T> {
        let groups = [2, 3][self.roll(2)];
        (t.channels.is_multiple_of(groups) && t.channels > groups).then_some(())?;
        let filters = groups * (1 + self.roll(3));
        let attributes = vec![
            ("pads", Attr::Ints(vec![1; 4])),
            ("group", Attr::Int(groups as i64)),
        ];
        let shape = [filters, t.channels / groups, 3, 3];
        self.layer("Conv", t, (&shape, 0, filters), (t.side, attributes))
    }

    pub(super) fn depthwise(&mut self, t: &T) -> Option<T> {
        let filters = t.channels * (1 + self.roll(2));
        (filters < 20).then_some(())?;
        let (kernel, pad) = [(3, 1), (1, 0)][self.roll(2)];
        let attributes = vec![
            ("pads", Attr::Ints(vec![pad; 4])),
            ("group", Attr::Int(t.channels as i64)),
        ];
        let shape = [filters, 1, kernel, kernel];
        self.layer("Conv", t, (&shape, 0, filters), (t.side, attributes))
    }

    pub(super) fn transposed(&mut self, t: &T) -> Option<T> {
        (t.side <= 4).then_some(())?;
        let filters = 2 + self.roll(3);
        let (kernel, stride) = [(2, 2), (3, 1), (1, 1)][self.roll(3)];
        let side = (t.side - 1) * stride + kernel;
        let attributes = vec![("strides", Attr::Ints(vec![stride as i64; 2]))];
        let shape = [t.channels, filters, kernel, kernel];
        self.layer("ConvTranspose", t, (&shape, 1, filters), (side, attributes))
    }

    /// Squeeze and excitation, its gate in [0, 1].
    pub(super) fn gate(&mut self, t: &T) -> Option<T> {
        let pool = match self.smooth() {
            true => "GlobalAveragePool",
            false => "GlobalMaxPool",
        };
        let pooled = self.b.node(pool, &[&t.name], vec![]);
        let pooled = T {
            name: pooled,
            side: 1,
            ..t.clone()
        };
        let pooled = self.small(&pooled);
        let shape = [t.channels, t.channels, 1, 1];
        let gate = self.layer("Conv", &pooled, (&shape, 0, t.channels), (1, vec![]))?;
        let gate_name = match self.smooth() {
            true => self.b.node("Sigmoid", &[&gate.name], vec![]),
            false => {
                let (low, high) = (self.b.weight(&[], vec![0.0]), self.b.weight(&[], vec![1.0]));
                self.b.node("Clip", &[&gate.name, &low, &high], vec![])
            }
        };
        let t = self.small(t);
        let name = self.b.node("Mul", &[&t.name, &gate_name], vec![]);
        Some(scaled(&t, name, 0.0, gate.bits))
    }

    /// One channel for all: the sum over channels, weighted or not, binarised, times the tensor.
    pub(super) fn spatial_gate(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let sum = match self.roll(3) {
            0 => {
                let axes = self.b.ints(&[1]);
                self.b.node("ReduceSum", &[&t.name, &axes], vec![])
            }
            _ => {
                let w = self.weights(&[1, t.channels, 1, 1], 1);
                self.b.node("Conv", &[&t.name, &w], vec![])
            }
        };
        let gate = if self.smooth() { "Sigmoid" } else { "Sign" };
        let gate = self.b.node(gate, &[&sum], vec![]);
        let name = self.b.node("Mul", &[&t.name, &gate], vec![]);
        Some(scaled(&t, name, 0.0, 0))
    }
    /// A fully connected layer on everything, one position.
    pub(super) fn dense(&mut self, t: &T) -> Option<T> {
        let inputs = t.channels * t.side * t.side;
        (inputs <= 256).then_some(())?;
        let t = self.small(t);
        let flat = self.b.node("Flatten", &[&t.name], vec![]);
        let flat = T {
            name: flat,
            channels: inputs,
            ..t
        };
        let filters = 2 + self.roll(4);
        let gemm = match self.roll(2) {
            0 => self.layer("Gemm", &flat, (&[inputs, filters], 1, filters), (1, vec![]))?,
            _ => {
                let transposed = vec![("transB", Attr::Int(1))];
                self.layer(
                    "Gemm",
                    &flat,
                    (&[filters, inputs], 0, filters),
                    (1, transposed),
                )?
            }
        };
        let axes = self.b.ints(&[2, 3]);
        let name = self.b.node("Unsqueeze", &[&gemm.name, &axes], vec![]);
        Some(T { name, ..gemm })
    }

    /// A product with a matrix, of channels that lie last.
    pub(super) fn matmul(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let filters = 2 + self.roll(4);
        let w = self.weights(&[t.channels, filters], 1);
        let last = vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))];
        let first = vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))];
        let island = self.b.node("Transpose", &[&t.name], last);
        let product = self.b.node("MatMul", &[&island, &w], vec![]);
        let name = self.b.node("Transpose", &[&product], first);
        let terms = t.channels as f64;
        Some(T {
            channels: filters,
            size: 2.0 * t.size * terms,
            bits: t.bits + 1,
            ..scaled(&t, name, 0.0, 0)
        })
    }
}
