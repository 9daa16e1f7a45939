//! Random graphs: each step applies one operator to a tensor made so far, in one of two families
//! ([`Family`]).

mod elementwise;
mod layers;
mod moves;
mod views;

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

/// What numbers and operators graphs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Weights, factors and inputs are small dyadic numbers, and tensors that grow are binarised
    /// before they are summed up: all sums are exact in `f32` in any order.
    Dyadic,
    /// Any numbers, and no operator with a jump: rounding stays small.
    Smooth,
}

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
    family: Family,
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
    (1, Random::clip),
    (1, Random::positive),
    (1, Random::tile),
    (1, Random::reduce),
    (1, Random::running_sum),
    (1, Random::expand),
    (2, Random::dense),
    (1, Random::matmul),
    (1, Random::view),
    (1, Random::chunk),
    (1, Random::filled),
    (1, Random::quantised),
    (1, Random::instance_norm),
    (1, Random::softmax),
];

impl Random {
    /// The model that these choices make: one step each.
    pub fn model(family: Family, choices: &[u64]) -> ModelProto {
        let mut r = Self {
            b: Builder::new(&[CHANNELS as i64, SIDE as i64, SIDE as i64]),
            tensors: Vec::new(),
            dice: Dice(7),
            family,
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

    fn smooth(&self) -> bool {
        self.family == Family::Smooth
    }

    /// The tensor, cut to ±1 if sums of it could lose bits.
    fn small(&mut self, t: &T) -> T {
        let (op, large) = match self.family {
            Family::Dyadic => ("Sign", t.size > MOST),
            Family::Smooth => ("Tanh", t.size > 16.0 * 2f64.powi(t.bits)),
        };
        if !large {
            return t.clone();
        }
        let name = self.b.node(op, &[&t.name], vec![]);
        T {
            name,
            size: 1.0,
            bits: 0,
            ..t.clone()
        }
    }

    /// Numbers from a list; in smooth graphs up to 30 % more or less.
    fn numbers(&mut self, n: usize, from: &[f32]) -> Vec<f32> {
        let mut numbers = self.dice.many(n, from);
        if self.smooth() {
            for v in &mut numbers {
                *v *= 0.7 + self.dice.roll(1000) as f32 * 6e-4;
            }
        }
        numbers
    }

    /// Weights ±1 or ±1/2 (smaller in smooth graphs), some filters (slices along `axis`) all zero.
    fn weights(&mut self, shape: &[usize], axis: usize) -> String {
        let n = shape.iter().product();
        let data = self.numbers(n, &[1.0, -1.0, 1.0, -1.0, 0.5, 0.0]);
        let mut w = ArrayD::from_shape_vec(IxDyn(shape), data).unwrap();
        if self.smooth() {
            w *= (shape[axis] as f32 / n as f32).sqrt();
        }
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

    /// Another tensor for which `fits` holds.
    fn other(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let found: Vec<usize> = (0..self.tensors.len())
            .filter(|&i| fits(&self.tensors[i]))
            .collect();
        let which = *found.get(self.roll(found.len()))?;
        self.tensors[which].read = true;
        Some(self.tensors[which].clone())
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
pub fn input(family: Family, seed: u64) -> ArrayD<f32> {
    let shape = [2, CHANNELS, SIDE, SIDE];
    let mut dice = Dice(seed);
    let mut values = dice.many(
        shape.iter().product(),
        &[-2.0, -0.5, 0.25, 1.0, 0.0, 1.5, -1.25],
    );
    if family == Family::Smooth {
        for v in &mut values {
            *v += dice.roll(1000) as f32 * 3e-4;
        }
    }
    ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
}
