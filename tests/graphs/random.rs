//! Random graphs: each step applies one operator to a tensor made so far. Weights, factors and
//! inputs are small dyadic numbers, and tensors that grow are binarised before they are summed up,
//! so that all sums are exact in `f32` in any order.

use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{Analysis, FilterMasks};

use super::{Attr, Builder, Dice};

/// Spatial size of the input, and its channels.
const SIDE: usize = 4;
const CHANNELS: usize = 3;
/// Beyond this many units of its last binary place a tensor is binarised before it is summed up.
const MOST: f64 = (1u32 << 14) as f64;

/// A tensor `[N, channels, side, side]`.
#[derive(Debug, Clone)]
struct T {
    name: String,
    channels: usize,
    side: usize,
    /// Bound of its values, in units of 2^-bits.
    size: f64,
    bits: i32,
    read: bool,
}

/// A graph under construction.
pub struct Random {
    b: Builder,
    tensors: Vec<T>,
    dice: Dice,
}

type Step = fn(&mut Random, &T) -> Option<T>;

/// What a step may do, and how often relative to others.
const STEPS: &[(usize, Step)] = &[
    (6, Random::conv),
    (2, Random::grouped),
    (2, Random::depthwise),
    (1, Random::transposed),
    (6, Random::unary),
    (4, Random::constant),
    (1, Random::prelu),
    (3, Random::norm),
    (5, Random::pair),
    (2, Random::concat),
    (2, Random::pool),
    (2, Random::select),
    (1, Random::pad),
    (1, Random::channels_last),
    (2, Random::shuffle),
    (2, Random::gate),
    (3, Random::split),
    (2, Random::slice),
    (2, Random::gather),
    (1, Random::resize),
    (1, Random::depth_to_space),
    (1, Random::space_to_depth),
    (1, Random::pad_channels),
    (1, Random::spatial_gate),
    (1, Random::sum),
];

impl Random {
    /// The model that these choices make: one step each.
    pub fn model(choices: &[u64]) -> ModelProto {
        let mut r = Self {
            b: Builder::new(&[CHANNELS as i64, SIDE as i64, SIDE as i64]),
            tensors: Vec::new(),
            dice: Dice(7),
        };
        let x = T {
            name: "x".to_owned(),
            channels: CHANNELS,
            side: SIDE,
            size: 8.0,
            bits: 2,
            read: true,
        };
        let stem = r.conv(&x).expect("the input is small");
        r.tensors.push(stem);
        for &choice in choices {
            r.dice = Dice(choice);
            r.step();
        }
        r.finish()
    }

    fn roll(&mut self, n: usize) -> usize {
        self.dice.roll(n.max(1) as u64) as usize
    }

    fn step(&mut self) {
        // Mostly the last tensor, so that graphs get deep.
        let last = self.tensors.len() - 1;
        let which = match self.roll(3) {
            0 => self.roll(self.tensors.len()),
            _ => last,
        };
        let total: usize = STEPS.iter().map(|(n, _)| n).sum();
        let mut place = self.roll(total);
        let step = STEPS.iter().find(|(n, _)| {
            let hit = place < *n;
            place = place.wrapping_sub(*n);
            hit
        });
        let t = self.tensors[which].clone();
        if let Some(new) = step.and_then(|(_, f)| f(self, &t)) {
            self.tensors[which].read = true;
            self.tensors.push(new);
        }
    }

    /// Every tensor that nothing reads goes through a last convolution into an output.
    fn finish(mut self) -> ModelProto {
        let mut outputs = Vec::new();
        for t in self.tensors.clone().iter().filter(|t| !t.read) {
            let t = self.small(t);
            let w = self.weights(&[2, t.channels, 1, 1], 0);
            outputs.push(self.b.node("Conv", &[&t.name, &w], vec![]));
        }
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        self.b.model(&names)
    }

    /// The tensor, binarised if sums of it could lose bits.
    fn small(&mut self, t: &T) -> T {
        if t.size <= MOST {
            return t.clone();
        }
        let name = self.b.node("Sign", &[&t.name], vec![]);
        T {
            name,
            size: 1.0,
            bits: 0,
            ..t.clone()
        }
    }

    fn numbers(&mut self, n: usize, from: &[f32]) -> Vec<f32> {
        self.dice.many(n, from)
    }

    /// Weights ±1 or ±1/2, some filters (slices along `axis`) all zero.
    fn weights(&mut self, shape: &[usize], axis: usize) -> String {
        let n = shape.iter().product();
        let data = self.numbers(n, &[1.0, -1.0, 1.0, -1.0, 0.5, 0.0]);
        let mut w = ArrayD::from_shape_vec(IxDyn(shape), data).unwrap();
        for mut slice in w.axis_iter_mut(ndarray::Axis(axis)) {
            if self.dice.roll(6) == 0 {
                slice.fill(0.0);
            }
        }
        self.b.weight(shape, w.into_iter().collect())
    }

    fn bias(&mut self, n: usize) -> Option<String> {
        let values = self.numbers(n, &[0.0, 0.5, -1.0, 1.5]);
        (self.roll(2) == 0).then(|| self.b.weight(&[n], values))
    }

    fn layer(
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

    fn conv(&mut self, t: &T) -> Option<T> {
        let filters = 2 + self.roll(5);
        let (kernel, pad) = [(1, 0), (3, 1), (3, 0), (1, 1)][self.roll(4)];
        let side = (t.side + 2 * pad + 1)
            .checked_sub(kernel)
            .filter(|&s| s > 0 && s < 9)?;
        let attributes = vec![("pads", Attr::Ints(vec![pad as i64; 4]))];
        let shape = [filters, t.channels, kernel, kernel];
        self.layer("Conv", t, (&shape, 0, filters), (side, attributes))
    }

    fn grouped(&mut self, t: &T) -> Option<T> {
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

    fn depthwise(&mut self, t: &T) -> Option<T> {
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

    fn transposed(&mut self, t: &T) -> Option<T> {
        (t.side <= 4).then_some(())?;
        let filters = 2 + self.roll(3);
        let (kernel, stride) = [(2, 2), (3, 1), (1, 1)][self.roll(3)];
        let side = (t.side - 1) * stride + kernel;
        let attributes = vec![("strides", Attr::Ints(vec![stride as i64; 2]))];
        let shape = [t.channels, filters, kernel, kernel];
        self.layer("ConvTranspose", t, (&shape, 1, filters), (side, attributes))
    }

    fn unary(&mut self, t: &T) -> Option<T> {
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

    /// Arithmetic with a constant: of each channel, of all, or of each position.
    fn constant(&mut self, t: &T) -> Option<T> {
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

    fn prelu(&mut self, t: &T) -> Option<T> {
        let slopes = self.numbers(t.channels, &[0.5, -1.0, 0.0, 1.0]);
        let c = self.b.weight(&[t.channels, 1, 1], slopes);
        let name = self.b.node("PRelu", &[&t.name, &c], vec![]);
        Some(scaled(t, name, 0.0, 1))
    }

    fn norm(&mut self, t: &T) -> Option<T> {
        let c = t.channels;
        let scale = self.numbers(c, &[0.5, -1.0, 0.0, 1.0, 2.0]);
        let shift = self.numbers(c, &[0.5, -1.0, 0.0, 1.0]);
        let mean = self.numbers(c, &[0.5, -1.0, 0.0]);
        let parameters = [scale, shift, mean, vec![1.0; c]].map(|v| self.b.weight(&[c], v));
        let inputs = [
            &t.name,
            &parameters[0],
            &parameters[1],
            &parameters[2],
            &parameters[3],
        ];
        // Variance 1 and no epsilon: no rounding.
        let attributes = vec![("epsilon", Attr::Float(0.0))];
        let name = self.b.node(
            "BatchNormalization",
            &inputs.map(String::as_str),
            attributes,
        );
        Some(scaled(t, name, t.size + 3.0 * 2f64.powi(t.bits), 1))
    }

    /// Another tensor for which `fits` holds.
    fn other(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let found: Vec<usize> = (0..self.tensors.len())
            .filter(|&i| fits(&self.tensors[i]))
            .collect();
        let which = *found.get(self.roll(found.len()))?;
        self.tensors[which].read = true;
        Some(self.tensors[which].clone())
    }

    fn pair(&mut self, t: &T) -> Option<T> {
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

    fn concat(&mut self, t: &T) -> Option<T> {
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

    fn pool(&mut self, t: &T) -> Option<T> {
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

    fn select(&mut self, t: &T) -> Option<T> {
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

    fn pad(&mut self, t: &T) -> Option<T> {
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
    fn split(&mut self, t: &T) -> Option<T> {
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
    fn slice(&mut self, t: &T) -> Option<T> {
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
    fn gather(&mut self, t: &T) -> Option<T> {
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

    /// Twice the size, by repetition.
    fn resize(&mut self, t: &T) -> Option<T> {
        (t.side <= 4).then_some(())?;
        let scales = self.b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
        let name = self.b.node("Resize", &[&t.name, "", &scales], vec![]);
        Some(T {
            side: t.side * 2,
            ..scaled(t, name, 0.0, 0)
        })
    }

    fn depth_to_space(&mut self, t: &T) -> Option<T> {
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

    fn space_to_depth(&mut self, t: &T) -> Option<T> {
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
    fn pad_channels(&mut self, t: &T) -> Option<T> {
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

    /// One channel for all: the sum over channels, binarised, times the tensor.
    fn spatial_gate(&mut self, t: &T) -> Option<T> {
        let t = self.small(t);
        let w = self.weights(&[1, t.channels, 1, 1], 1);
        let sum = self.b.node("Conv", &[&t.name, &w], vec![]);
        let gate = self.b.node("Sign", &[&sum], vec![]);
        let name = self.b.node("Mul", &[&t.name, &gate], vec![]);
        Some(scaled(&t, name, 0.0, 0))
    }

    /// `Sum` of the tensor, another one and itself.
    fn sum(&mut self, t: &T) -> Option<T> {
        let o = self.other(|o| o.channels == t.channels && o.side == t.side)?;
        let (t, o) = (self.small(t), self.small(&o));
        let name = self.b.node("Sum", &[&t.name, &o.name, &t.name], vec![]);
        let bits = t.bits.max(o.bits);
        let units = |v: &T| v.size * 2f64.powi(bits - v.bits);
        Some(T {
            name,
            size: 2.0 * units(&t) + units(&o),
            bits,
            read: false,
            ..t.clone()
        })
    }

    /// An island of channels last, with a constant for each channel on it.
    fn channels_last(&mut self, t: &T) -> Option<T> {
        let last = vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))];
        let first = vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))];
        let island = self.b.node("Transpose", &[&t.name], last);
        let values = self.numbers(t.channels, &[0.5, -1.0, 1.0]);
        let c = self.b.weight(&[t.channels], values);
        let moved = self.b.node("Add", &[&island, &c], vec![]);
        let name = self.b.node("Transpose", &[&moved], first);
        Some(scaled(t, name, 2f64.powi(t.bits + 1), 1))
    }

    fn shuffle(&mut self, t: &T) -> Option<T> {
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

    /// Squeeze and excitation, its gate cut to [0, 1].
    fn gate(&mut self, t: &T) -> Option<T> {
        let pooled = self.b.node("GlobalMaxPool", &[&t.name], vec![]);
        let pooled = T {
            name: pooled,
            side: 1,
            ..t.clone()
        };
        let pooled = self.small(&pooled);
        let shape = [t.channels, t.channels, 1, 1];
        let gate = self.layer("Conv", &pooled, (&shape, 0, t.channels), (1, vec![]))?;
        let (low, high) = (self.b.weight(&[], vec![0.0]), self.b.weight(&[], vec![1.0]));
        let gate_name = self.b.node("Clip", &[&gate.name, &low, &high], vec![]);
        let t = self.small(t);
        let name = self.b.node("Mul", &[&t.name, &gate_name], vec![]);
        Some(scaled(&t, name, 0.0, gate.bits))
    }
}

/// `t` with a new name, larger by `more` units, and some bits finer.
fn scaled(t: &T, name: String, more: f64, bits: i32) -> T {
    T {
        name,
        size: (t.size + more) * 2f64.powi(bits),
        bits: t.bits + bits,
        read: false,
        ..t.clone()
    }
}

/// Masks of `percent` of the filters of each layer, never all of one.
pub fn masks(model: &ModelProto, percent: u64, seed: u64) -> FilterMasks {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let analysis = Analysis::new(&graph, &facts);
    let mut dice = Dice(seed);
    let mut masks = FilterMasks::default();
    for layer in analysis.layers() {
        let filters = analysis.filters(layer).unwrap();
        let stays = dice.roll(filters as u64) as usize;
        let pruned = (0..filters).filter(|&f| f != stays && dice.roll(100) < percent);
        masks.prune(layer, filters, pruned.collect::<Vec<_>>());
    }
    masks
}

/// An input for such a model: two samples.
pub fn input(seed: u64) -> ArrayD<f32> {
    let shape = [2, CHANNELS, SIDE, SIDE];
    let values = Dice(seed).many(
        shape.iter().product(),
        &[-2.0, -0.5, 0.25, 1.0, 0.0, 1.5, -1.25],
    );
    ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
}
