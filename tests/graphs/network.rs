//! Random networks in the manner of binary ones. Weights, factors and inputs are small dyadic
//! numbers and every layer's input is bounded, so that all sums are exact in `f32` in any order.

use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::FilterMasks;
use proptest::prelude::*;

use super::{Attr, Builder};

/// What bounds a convolution's output.
#[derive(Debug, Clone, Copy)]
pub enum Activation {
    Sign,
    Clip,
    WhereGe,
    CastGe,
}

/// Pooling in front of the activation.
#[derive(Debug, Clone, Copy)]
pub enum Pool {
    None,
    Max,
    MaxPadded,
    Average,
    AveragePadded,
}

/// A stretch of network: convolution, BatchNormalization, Relu and its kin, pooling, activation.
#[derive(Debug, Clone)]
pub struct Block {
    pub filters: usize,
    pub kernel: usize,
    pub padded: bool,
    pub bias: bool,
    /// Weights computed in the graph: `Mul(Sign(W), mean|W|)`, with |W| = 1.
    pub live_weights: bool,
    pub norm: bool,
    /// 0: none, then Relu, LeakyRelu, PRelu, Add of a constant, Mul by one, Pad.
    pub extra: u8,
    pub pool: Pool,
    pub activation: Activation,
    /// 0: chain; 1: residual Add of the block's input (if shapes fit); 2: Concat with it.
    pub join: u8,
}

/// From features to outputs.
#[derive(Debug, Clone, Copy)]
pub enum Head {
    Flatten,
    Reshape,
    GlobalPool,
    ReduceMean,
    MatMul,
}

/// A network and how its numbers are drawn.
#[derive(Debug, Clone)]
pub struct Network {
    pub blocks: Vec<Block>,
    pub head: Head,
    pub seed: u64,
    /// Zero filters, zero columns and zero BatchNormalization factors occur.
    pub sparse: bool,
}

/// A small generator of its own, so that a seed means the same numbers everywhere.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn pick(&mut self, from: &[f32]) -> f32 {
        from[self.roll(from.len() as u64) as usize]
    }

    pub fn many(&mut self, n: usize, from: &[f32]) -> Vec<f32> {
        (0..n).map(|_| self.pick(from)).collect()
    }
}

impl Block {
    /// On small images the block keeps the size.
    fn fitted(&self, side: usize) -> Self {
        let mut block = self.clone();
        if side < 5 {
            block.padded = block.kernel == 3;
            block.pool = Pool::None;
        }
        block
    }
}

impl Network {
    pub fn strategy(sparse: bool, joins: bool) -> impl Strategy<Value = Self> {
        let block = (
            (2usize..6, prop_oneof![Just(1usize), Just(3)], any::<bool>()),
            (any::<bool>(), any::<bool>(), any::<bool>(), 0u8..7),
            prop_oneof![
                3 => Just(Pool::None),
                1 => Just(Pool::Max),
                1 => Just(Pool::MaxPadded),
                1 => Just(Pool::Average),
                1 => Just(Pool::AveragePadded),
            ],
            prop_oneof![
                3 => Just(Activation::Sign),
                1 => Just(Activation::Clip),
                1 => Just(Activation::WhereGe),
                1 => Just(Activation::CastGe),
            ],
            if joins { 0u8..3 } else { 0u8..1 },
        )
            .prop_map(|(a, b, pool, activation, join)| Block {
                filters: a.0,
                kernel: a.1,
                padded: a.2,
                bias: b.0,
                live_weights: b.1,
                norm: b.2,
                extra: b.3,
                pool,
                activation,
                join,
            });
        let head = prop_oneof![
            Just(Head::Flatten),
            Just(Head::Reshape),
            Just(Head::GlobalPool),
            Just(Head::ReduceMean),
            Just(Head::MatMul),
        ];
        (prop::collection::vec(block, 1..5), head, any::<u64>()).prop_map(
            move |(blocks, head, seed)| Self {
                blocks,
                head,
                seed,
                sparse,
            },
        )
    }

    /// An input `[2, 2, 8, 8]` of halves.
    pub fn input(&self) -> ArrayD<f32> {
        let mut dice = Dice(self.seed ^ 0x5eed);
        let values = dice.many(2 * 2 * 64, &[-1.0, -0.5, 0.0, 0.5, 1.0]);
        ArrayD::from_shape_vec(IxDyn(&[2, 2, 8, 8]), values).unwrap()
    }

    /// Masks that prune each filter with `percent`, never all of a layer, never the head.
    pub fn masks(&self, percent: u64) -> FilterMasks {
        let mut dice = Dice(self.seed ^ 0xa5c5);
        let mut masks = FilterMasks::default();
        for (layer, filters) in self.layers() {
            let mut pruned: Vec<usize> =
                (0..filters).filter(|_| dice.roll(100) < percent).collect();
            if pruned.len() == filters {
                pruned.pop();
            }
            masks.prune(&layer, filters, pruned);
        }
        masks
    }

    /// Masks that prune the same filters in all layers of as many filters: whole residual groups.
    pub fn equal_masks(&self, percent: u64) -> FilterMasks {
        let mut masks = FilterMasks::default();
        for (layer, filters) in self.layers() {
            let mut dice = Dice(self.seed ^ filters as u64);
            let mut pruned: Vec<usize> =
                (0..filters).filter(|_| dice.roll(100) < percent).collect();
            if pruned.len() == filters {
                pruned.pop();
            }
            masks.prune(&layer, filters, pruned);
        }
        masks
    }

    fn layers(&self) -> Vec<(String, usize)> {
        let named = |(i, b): (usize, &Block)| (format!("layer{i}"), b.filters);
        self.blocks.iter().enumerate().map(named).collect()
    }

    pub fn model(&self) -> ModelProto {
        self.build(None)
    }

    /// The network with masks multiplied in, where a reader of the design would put them: `after`
    /// the layer (`fold`), or in front of the next layer (`drop`; chains only).
    pub fn reference(&self, masks: &FilterMasks, after: bool) -> ModelProto {
        self.build(Some((masks, after)))
    }

    fn build(&self, masks: Option<(&FilterMasks, bool)>) -> ModelProto {
        let mut dice = Dice(self.seed);
        let mut b = Builder::new(&[2, 8, 8]);
        let mut x = "x".to_owned();
        let (mut channels, mut side) = (2usize, 8usize);
        // What multiplies in front of the next layer.
        let mut pending: Option<Vec<f32>> = None;
        for (i, block) in self.blocks.iter().enumerate() {
            if let Some(mask) = pending.take() {
                x = multiply(&mut b, &x, mask);
            }
            let block = &block.fitted(side);
            let start = (x.clone(), channels, side);
            let name = format!("layer{i}");
            x = self.conv(&mut b, &mut dice, block, &name, &x, channels);
            channels = block.filters;
            if !block.padded {
                side = side + 1 - block.kernel;
            } else if block.kernel == 1 {
                side += 2;
            }
            if let Some((masks, after)) = masks {
                let pruned = masks.layers.get(&name).map_or(&[][..], |m| &m.pruned);
                let mask = (0..channels).map(|f| if pruned.contains(&f) { 0.0 } else { 1.0 });
                if after {
                    x = multiply(&mut b, &x, mask.collect());
                } else {
                    pending = Some(mask.collect());
                }
            }
            x = self.between(&mut b, &mut dice, block, &x, channels, &mut side);
            x = pool(&mut b, block.pool, &x, &mut side);
            if block.join == 1 && start.1 == channels && start.2 == side && i > 0 {
                x = b.node("Add", &[&x, &start.0], vec![]);
            }
            x = activate(&mut b, block.activation, &x);
            if block.join == 2 && start.2 == side && i > 0 {
                x = b.node("Concat", &[&x, &start.0], vec![("axis", Attr::Int(1))]);
                channels += start.1;
            }
        }
        if let Some(mask) = pending {
            x = multiply(&mut b, &x, mask);
        }
        let out = self.finish(&mut b, &mut dice, &x, channels, side);
        b.model(&[&out])
    }

    fn conv(
        &self,
        b: &mut Builder,
        dice: &mut Dice,
        block: &Block,
        name: &str,
        x: &str,
        inputs: usize,
    ) -> String {
        let (o, k) = (block.filters, block.kernel);
        let row = inputs * k * k;
        let mut values = dice.many(o * row, &[-1.0, 1.0]);
        if self.sparse && !block.live_weights {
            let (filter, column) = (dice.roll(o as u64 + 2), dice.roll(inputs as u64 + 2));
            for (at, v) in values.iter_mut().enumerate() {
                let zero = at / row == filter as usize || (at % row) / (k * k) == column as usize;
                if zero {
                    *v = 0.0;
                }
            }
        }
        let mut weight = b.weight(&[o, inputs, k, k], values);
        if block.live_weights {
            let sign = b.node("Sign", &[&weight], vec![]);
            let abs = b.node("Abs", &[&weight], vec![]);
            let axes = ("axes", Attr::Ints(vec![1, 2, 3]));
            let mean = b.node("ReduceMean", &[&abs], vec![axes]);
            weight = b.node("Mul", &[&sign, &mean], vec![]);
        }
        let mut inputs = vec![x.to_owned(), weight];
        if block.bias {
            let bias = dice.many(o, &[-1.0, -0.5, 0.25, 0.5, 2.0]);
            inputs.push(b.weight(&[o], bias));
        }
        let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let pad = i64::from(block.padded);
        let out = b.node("Conv", &names, vec![("pads", Attr::Ints(vec![pad; 4]))]);
        if let Some(node) = b.graph.node.last_mut() {
            node.name = Some(name.to_owned());
        }
        out
    }

    fn between(
        &self,
        b: &mut Builder,
        dice: &mut Dice,
        block: &Block,
        x: &str,
        channels: usize,
        side: &mut usize,
    ) -> String {
        let mut x = x.to_owned();
        if block.norm {
            let factors: &[f32] = match self.sparse {
                true => &[-1.0, 0.0, 0.5, 1.0, 2.0],
                false => &[-1.0, 0.5, 1.0, 2.0],
            };
            let scale = dice.many(channels, factors);
            let shift = dice.many(channels, &[-1.5, -0.25, 0.5, 0.75]);
            let mean = dice.many(channels, &[-1.0, 0.0, 0.5, 2.0]);
            let var = dice.many(channels, &[0.25, 1.0, 4.0]);
            let p = [scale, shift, mean, var].map(|v| b.weight(&[channels], v));
            x = b.node(
                "BatchNormalization",
                &[&x, &p[0], &p[1], &p[2], &p[3]],
                vec![("epsilon", Attr::Float(0.0))],
            );
        }
        match block.extra {
            1 => b.node("Relu", &[&x], vec![]),
            2 => b.node("LeakyRelu", &[&x], vec![("alpha", Attr::Float(0.25))]),
            3 => {
                let slope = dice.many(channels, &[0.0, 0.25, 0.5]);
                let slope = b.weight(&[channels, 1, 1], slope);
                b.node("PRelu", &[&x, &slope], vec![])
            }
            4 => {
                let shift = dice.many(channels, &[-0.5, 0.25, 1.0]);
                let shift = b.weight(&[1, channels, 1, 1], shift);
                b.node("Add", &[&x, &shift], vec![])
            }
            5 => {
                let factor = dice.many(channels, &[-1.0, 0.5, 2.0]);
                let factor = b.weight(&[channels, 1, 1], factor);
                b.node("Mul", &[&factor, &x], vec![])
            }
            6 => {
                let pads = b.ints(&[0, 0, 0, 0, 0, 0, 1, 1]);
                let value = b.weight(&[], vec![1.0]);
                *side += 1;
                b.node("Pad", &[&x, &pads, &value], vec![])
            }
            _ => x,
        }
    }

    fn finish(
        &self,
        b: &mut Builder,
        dice: &mut Dice,
        x: &str,
        channels: usize,
        side: usize,
    ) -> String {
        let flat = channels * side * side;
        let ones: &[f32] = &[-1.0, 1.0];
        let (features, count) = match self.head {
            Head::Flatten | Head::MatMul => (b.node("Flatten", &[x], vec![]), flat),
            Head::Reshape => {
                let target = b.ints(&[-1, flat as i64]);
                (b.node("Reshape", &[x, &target], vec![]), flat)
            }
            Head::GlobalPool => {
                let x = b.node("GlobalMaxPool", &[x], vec![]);
                (b.node("Flatten", &[&x], vec![]), channels)
            }
            Head::ReduceMean => {
                // A sum over a power of two of positions keeps the mean exact.
                let pads = (side.next_power_of_two() - side) as i64;
                let pads = b.ints(&[0, 0, 0, 0, 0, 0, pads, pads]);
                let x = b.node("Pad", &[x, &pads], vec![]);
                let attributes = vec![("axes", Attr::Ints(vec![2, 3])), ("keepdims", Attr::Int(0))];
                (b.node("ReduceMean", &[&x], attributes), channels)
            }
        };
        let bias = b.weight(&[3], vec![0.5, -1.0, 0.0]);
        match self.head {
            Head::MatMul => {
                let w = dice.many(count * 3, ones);
                let w = b.weight(&[count, 3], w);
                let y = b.node("MatMul", &[&features, &w], vec![]);
                b.node("Add", &[&y, &bias], vec![])
            }
            _ => {
                let w = dice.many(count * 3, ones);
                let w = b.weight(&[3, count], w);
                let attributes = vec![("transB", Attr::Int(1)), ("alpha", Attr::Float(0.5))];
                b.node("Gemm", &[&features, &w, &bias], attributes)
            }
        }
    }
}

fn multiply(b: &mut Builder, x: &str, mask: Vec<f32>) -> String {
    let mask = b.weight(&[1, mask.len(), 1, 1], mask);
    b.node("Mul", &[x, &mask], vec![])
}

fn pool(b: &mut Builder, pool: Pool, x: &str, side: &mut usize) -> String {
    let (op, pad, count) = match pool {
        Pool::None => return x.to_owned(),
        Pool::Max => ("MaxPool", 0, false),
        Pool::MaxPadded => ("MaxPool", 1, false),
        Pool::Average => ("AveragePool", 0, false),
        Pool::AveragePadded => ("AveragePool", 1, true),
    };
    let mut attributes = vec![
        ("kernel_shape", Attr::Ints(vec![2, 2])),
        ("strides", Attr::Ints(vec![2, 2])),
        ("pads", Attr::Ints(vec![pad; 4])),
    ];
    if count {
        attributes.push(("count_include_pad", Attr::Int(1)));
    }
    *side = (*side + 2 * pad as usize - 2) / 2 + 1;
    b.node(op, &[x], attributes)
}

fn activate(b: &mut Builder, activation: Activation, x: &str) -> String {
    let zero = b.weight(&[], vec![0.0]);
    let [one, minus, two] = [1.0, -1.0, 2.0].map(|v| b.weight(&[], vec![v]));
    match activation {
        Activation::Sign => b.node("Sign", &[x], vec![]),
        Activation::Clip => b.node("Clip", &[x, &minus, &two], vec![]),
        Activation::WhereGe => {
            let c = b.node("GreaterOrEqual", &[x, &zero], vec![]);
            b.node("Where", &[&c, &one, &minus], vec![])
        }
        Activation::CastGe => {
            let c = b.node("GreaterOrEqual", &[x, &zero], vec![]);
            let c = b.node("Cast", &[&c], vec![("to", Attr::Int(1))]);
            let c = b.node("Mul", &[&c, &two], vec![]);
            b.node("Sub", &[&c, &one], vec![])
        }
    }
}
