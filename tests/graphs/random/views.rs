//! Steps that repeat, reduce and look at shapes.

use super::{Attr, Random, T, scaled};
use onnx_bnnprune::onnx::Tensor;

impl Random {
    /// Twice the channels, or twice the rows and columns.
    pub(super) fn tile(&mut self, t: &T) -> Option<T> {
        let (repeats, channels, side) = match self.roll(2) {
            0 => ([1, 2, 1, 1], t.channels * 2, t.side),
            _ => ([1, 1, 2, 2], t.channels, t.side * 2),
        };
        (channels < 16 && side < 9).then_some(())?;
        let repeats = self.b.ints(&repeats);
        let name = self.b.node("Tile", &[&t.name, &repeats], vec![]);
        Some(T {
            channels,
            side,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// One value a channel.
    pub(super) fn reduce(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let area = (t.side * t.side) as f64;
        let (op, size) = match (self.roll(5), self.smooth()) {
            (0, _) => ("ReduceMax", t.size),
            (1, _) => ("ReduceMin", t.size),
            (2, _) => ("ReduceSum", t.size * area),
            (3, true) => ("ReduceMean", t.size),
            (4, true) => ("ReduceL2", t.size * area),
            _ => ("ReduceL1", t.size * area),
        };
        let name = match op {
            "ReduceSum" => {
                let axes = self.b.ints(&[2, 3]);
                self.b.node(op, &[&t.name, &axes], vec![])
            }
            _ => {
                let axes = vec![("axes", Attr::Ints(vec![-2, -1]))];
                self.b.node(op, &[&t.name], axes)
            }
        };
        Some(T {
            side: 1,
            size,
            ..scaled(&t, name, 0.0, 0)
        })
    }

    /// Along rows or columns, from either end.
    pub(super) fn running_sum(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let axis = self.roll(2) as i64 - 2;
        let axis = self.b.ints(&[axis]);
        let how = ["exclusive", "reverse"].map(|how| (how, Attr::Int(self.roll(2) as i64)));
        let name = self.b.node("CumSum", &[&t.name, &axis], how.into());
        Some(T {
            size: t.size * t.side as f64,
            ..scaled(&t, name, 0.0, 0)
        })
    }

    /// One position becomes many.
    pub(super) fn expand(&mut self, t: &T) -> Option<T> {
        (t.side == 1).then_some(())?;
        let side = 2 + self.roll(3);
        let named = [1, t.channels as i64][self.roll(2)];
        let target = self.b.ints(&[1, named, side as i64, side as i64]);
        let name = self.b.node("Expand", &[&t.name, &target], vec![]);
        Some(T {
            side,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// The first half of the channels, a bound that follows from how many there are.
    pub(super) fn chunk(&mut self, t: &T) -> Option<T> {
        let shape = self.b.node("Shape", &[&t.name], vec![]);
        let [zero, one, two] = [0, 1, 2].map(|i| self.b.ints(&[i]));
        let count = self.b.node("Gather", &[&shape, &one], vec![]);
        let more = self.b.node("Add", &[&count, &one], vec![]);
        let half = self.b.node("Div", &[&more, &two], vec![]);
        let name = self.b.node("Slice", &[&t.name, &zero, &half, &one], vec![]);
        Some(T {
            channels: t.channels.div_ceil(2),
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// The greater of the tensor and a constant of its shape.
    pub(super) fn filled(&mut self, t: &T) -> Option<T> {
        let shape = self.b.node("Shape", &[&t.name], vec![]);
        let half = self.b.weight(&[], vec![0.5]);
        let halves = self.b.node("Expand", &[&half, &shape], vec![]);
        let op = ["Max", "Add"][self.roll(2)];
        let name = self.b.node(op, &[&t.name, &halves], vec![]);
        Some(scaled(t, name, 2f64.powi(t.bits), 1))
    }

    /// To three axes and back, by sizes read from the tensor.
    pub(super) fn view(&mut self, t: &T) -> Option<T> {
        let shape = self.b.node("Shape", &[&t.name], vec![]);
        let mut size = |i: i64| {
            let i = self
                .b
                .constant(&Tensor::I64(ndarray::arr1(&[i]).into_dyn()));
            self.b.node("Gather", &[&shape, &i], vec![])
        };
        let (n, c) = (size(0), size(1));
        let rest = self.b.ints(&[-1]);
        let axis = || vec![("axis", Attr::Int(0))];
        let target = self.b.node("Concat", &[&n, &c, &rest], axis());
        let flat = self.b.node("Reshape", &[&t.name, &target], vec![]);
        let name = self.b.node("Reshape", &[&flat, &shape], vec![]);
        Some(scaled(t, name, 0.0, 0))
    }
}
