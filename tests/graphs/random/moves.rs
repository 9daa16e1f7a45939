//! Steps that move, join, repeat and pool.

use super::{Attr, Random, T, scaled};

impl Random {
    pub(super) fn concat(&mut self, t: &T) -> Option<T> {
        let o = self.other(|o| o.side == t.side && o.channels + t.channels < 16)?;
        let name = self
            .b
            .node("Concat", &[&t.name, &o.name], vec![("axis", Attr::Int(1))]);
        let bits = t.bits.max(o.bits);
        let units = |v: &T| v.size * 2f64.powi(bits - v.bits);
        Some(T {
            name,
            channels: t.channels + o.channels,
            size: units(t).max(units(&o)),
            bits,
            read: false,
            ..t.clone()
        })
    }

    pub(super) fn pool(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let window = |k: i64, s: i64, p: i64| {
            vec![
                ("kernel_shape", Attr::Ints(vec![k; 2])),
                ("strides", Attr::Ints(vec![s; 2])),
                ("pads", Attr::Ints(vec![p; 4])),
            ]
        };
        let (op, attributes, side) = match self.roll(4) {
            0 => ("MaxPool", window(3, 1, 1), t.side),
            1 => (
                "MaxPool",
                window(2, 1, 0),
                t.side.checked_sub(1).filter(|&s| s > 0)?,
            ),
            2 => (
                "AveragePool",
                window(2, 1, 0),
                t.side.checked_sub(1).filter(|&s| s > 0)?,
            ),
            _ => {
                let mut w = window(2, 1, 1);
                w.push(("count_include_pad", Attr::Int(1)));
                ("AveragePool", w, t.side + 1)
            }
        };
        (side < 9).then_some(())?;
        let name = self.b.node(op, &[&t.name], attributes);
        Some(T {
            side,
            ..scaled(&t, name, 0.0, 2)
        })
    }

    pub(super) fn pad(&mut self, t: &T) -> Option<T> {
        (t.side < 8).then_some(())?;
        let pads = self.b.ints(&[0, 0, 0, 1, 0, 0, 1, 0]);
        let value = self.numbers(1, &[0.0, 1.0, -1.0]);
        let value = self.b.weight(&[], value);
        let name = self.b.node("Pad", &[&t.name, &pads, &value], vec![]);
        let one = 2f64.powi(t.bits);
        Some(T {
            side: t.side + 1,
            ..scaled(t, name, one, 0)
        })
    }

    /// Both parts of a Split along the channels; the larger one goes on, the other stays for others.
    pub(super) fn split(&mut self, t: &T) -> Option<T> {
        let first = 1 + self.roll(t.channels.checked_sub(1).filter(|&n| n > 0)?);
        let parts = [first, t.channels - first];
        let sizes = self.b.ints(&parts.map(|n| n as i64));
        let axis = vec![("axis", Attr::Int(1))];
        let names = self.b.split("Split", &[&t.name, &sizes], 2, axis);
        let [a, b] = <[String; 2]>::try_from(names).ok()?;
        let part = |name: String, channels: usize| T {
            name,
            channels,
            read: false,
            ..t.clone()
        };
        self.tensors.push(part(a, parts[0]));
        Some(part(b, parts[1]))
    }

    /// Some channels in a row, perhaps every second or backwards.
    pub(super) fn slice(&mut self, t: &T) -> Option<T> {
        let c = t.channels as i64;
        let (start, end, step) = [
            (0, c - 1, 1),
            (-2, i64::MAX, 1),
            (0, c, 2),
            (-1, i64::MIN, -1),
        ][self.roll(4)];
        let channels = match step {
            2 => t.channels.div_ceil(2),
            -1 => t.channels,
            _ if start == 0 => t.channels.checked_sub(1).filter(|&n| n > 0)?,
            _ => t.channels.min(2),
        };
        let [start, end, axes, step] = [start, end, 1, step].map(|v| self.b.ints(&[v]));
        let name = self
            .b
            .node("Slice", &[&t.name, &start, &end, &axes, &step], vec![]);
        Some(T {
            channels,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// Any channels in any order.
    pub(super) fn gather(&mut self, t: &T) -> Option<T> {
        let channels = 1 + self.roll(t.channels + 1);
        let indices: Vec<i64> = (0..channels)
            .map(|_| self.roll(t.channels) as i64)
            .collect();
        let indices = self.b.ints(&indices);
        let name = self
            .b
            .node("Gather", &[&t.name, &indices], vec![("axis", Attr::Int(1))]);
        Some(T {
            channels,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// Twice the size.
    pub(super) fn resize(&mut self, t: &T) -> Option<T> {
        (t.side <= 4).then_some(())?;
        let scales = self.b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
        let mode = match self.smooth() {
            true => ["nearest", "linear"][self.roll(2)],
            false => "nearest",
        };
        let mode = vec![("mode", Attr::Text(mode))];
        let name = self.b.node("Resize", &[&t.name, "", &scales], mode);
        Some(T {
            side: t.side * 2,
            ..scaled(t, name, 0.0, 0)
        })
    }

    pub(super) fn depth_to_space(&mut self, t: &T) -> Option<T> {
        (t.channels.is_multiple_of(4) && t.side <= 4).then_some(())?;
        let name = self.b.node(
            "DepthToSpace",
            &[&t.name],
            vec![("blocksize", Attr::Int(2))],
        );
        Some(T {
            channels: t.channels / 4,
            side: t.side * 2,
            ..scaled(t, name, 0.0, 0)
        })
    }

    pub(super) fn space_to_depth(&mut self, t: &T) -> Option<T> {
        (t.channels <= 4 && t.side.is_multiple_of(2)).then_some(())?;
        let name = self.b.node(
            "SpaceToDepth",
            &[&t.name],
            vec![("blocksize", Attr::Int(2))],
        );
        Some(T {
            channels: t.channels * 4,
            side: t.side / 2,
            ..scaled(t, name, 0.0, 0)
        })
    }

    /// New channels of a constant.
    pub(super) fn pad_channels(&mut self, t: &T) -> Option<T> {
        (t.channels < 8).then_some(())?;
        let pads = self.b.ints(&[0, 1, 0, 0, 0, 2, 0, 0]);
        let value = self.numbers(1, &[0.0, 1.0, -1.0]);
        let value = self.b.weight(&[], value);
        let name = self.b.node("Pad", &[&t.name, &pads, &value], vec![]);
        Some(T {
            channels: t.channels + 3,
            ..scaled(t, name, 2f64.powi(t.bits), 0)
        })
    }

    /// An island of channels last, with a constant for each channel on it.
    pub(super) fn channels_last(&mut self, t: &T) -> Option<T> {
        let last = vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))];
        let first = vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))];
        let island = self.b.node("Transpose", &[&t.name], last);
        let values = self.numbers(t.channels, &[0.5, -1.0, 1.0]);
        let c = self.b.weight(&[t.channels], values);
        let moved = self.b.node("Add", &[&island, &c], vec![]);
        let name = self.b.node("Transpose", &[&moved], first);
        Some(scaled(t, name, 2f64.powi(t.bits + 1), 1))
    }

    pub(super) fn shuffle(&mut self, t: &T) -> Option<T> {
        let groups = [2, 3][self.roll(2)];
        (t.channels.is_multiple_of(groups) && t.channels > groups).then_some(())?;
        let (c, s) = (t.channels as i64, t.side as i64);
        let split = self.b.ints(&[0, groups as i64, c / groups as i64, s, s]);
        let split = self.b.node("Reshape", &[&t.name, &split], vec![]);
        let perm = vec![("perm", Attr::Ints(vec![0, 2, 1, 3, 4]))];
        let moved = self.b.node("Transpose", &[&split], perm);
        let merged = self.b.ints(&[0, c, s, s]);
        let name = self.b.node("Reshape", &[&moved, &merged], vec![]);
        Some(scaled(t, name, 0.0, 0))
    }
}
