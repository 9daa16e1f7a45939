//! Where a layer keeps its filters and their weights.

use std::borrow::Cow;

use ndarray::{ArrayD, Axis};

use crate::graph::{Facts, Graph, Node, NodeId, TensorId, WeightsAt};
use crate::onnx::{Tensor, map_each};

/// Where a layer keeps its filters: what masks need to know of any layer with constant `f32`
/// weights, whether or not its channels can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerShape {
    pub weight: TensorId,
    pub weights_at: WeightsAt,
    pub filters: usize,
    pub inputs: usize,
    /// Of a convolution; else 1.
    pub groups: usize,
    pub filter_axis: usize,
    pub input_axis: usize,
    pub shift: Shift,
}

/// Where a layer adds a constant for each filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Conv: input 2, one value a filter.
    Bias,
    /// Gemm: input 2 times `beta`.
    Scaled,
    /// Only a node behind it can; its constant has this many axes of size 1 after that of the
    /// filters.
    Behind(usize),
}

impl LayerShape {
    /// The axis of its data, which have that many, that is mixed.
    pub fn data_axis(&self, node: &Node<'_>, rank: usize) -> usize {
        let axes = node.product_axes(self.weights_at, rank);
        axes.map_or(1, |axes| axes.data)
    }

    /// Of a node, if it is such a layer and reads data.
    pub fn of(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        let weights_at = WeightsAt::of(graph, facts, id)?;
        let axes = node.product_axes(weights_at, 2)?;
        let shift = match (node.op(), weights_at) {
            ("Conv" | "ConvTranspose", _) => Shift::Bias,
            ("Gemm", WeightsAt::Right) => Shift::Scaled,
            (_, WeightsAt::Right) => Shift::Behind(0),
            (_, WeightsAt::Left) => Shift::Behind(1),
        };
        let (filter_axis, input_axis) = (axes.filters, axes.inputs);
        let weight = graph.input_of(id, weights_at.weight_input())?;
        let shape = facts.weights_shape(weight)?;
        let fits = match shift {
            Shift::Bias => shape.len() >= 3,
            _ => shape.len() == 2,
        };
        if !fits {
            return None;
        }
        let groups = match shift {
            Shift::Bias => node.groups()?,
            _ => 1,
        };
        // Axis 0 of a convolution's weights is whole, axis 1 that of one group.
        let whole = |axis: usize| shape[axis].checked_mul(if axis == 0 { 1 } else { groups });
        let (filters, inputs) = (whole(filter_axis)?, whole(input_axis)?);
        if groups == 0 || filters % groups != 0 || inputs % groups != 0 {
            return None;
        }
        Some(Self {
            weight,
            weights_at,
            filters,
            inputs,
            groups,
            filter_axis,
            input_axis,
            shift,
        })
    }

    /// Input channels of one group.
    pub fn group_inputs(&self) -> usize {
        self.inputs / self.groups.max(1)
    }

    /// Filters of one group.
    pub fn group_filters(&self) -> usize {
        self.filters / self.groups.max(1)
    }

    /// Whether filter `o` and input channel `i` are in the same group.
    pub fn connected(&self, o: usize, i: usize) -> bool {
        o / self.group_filters().max(1) == i / self.group_inputs().max(1)
    }

    /// Indices on the weight's filter and input axes for filter `o` and input `i`, which must be
    /// in the same group.
    fn place(&self, o: usize, i: usize) -> (usize, usize) {
        (
            match self.filter_axis {
                0 => o,
                _ => o % self.group_filters().max(1),
            },
            match self.input_axis {
                0 => i,
                _ => i % self.group_inputs().max(1),
            },
        )
    }

    /// The weights of each filter for each input channel.
    pub fn kernels<'w>(&self, weight: &'w ArrayD<f32>) -> Kernels<'w> {
        let values = match weight.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(weight.iter().copied().collect()),
        };
        Kernels {
            values,
            columns: weight.shape().get(1).copied().unwrap_or(1),
            size: weight.shape().iter().skip(2).product(),
            layer: *self,
        }
    }

    /// Sets to 0 what filter `o` has for input channel `i`.
    pub fn clear<T: Copy + Default>(&self, weight: &mut ArrayD<T>, o: usize, i: usize) {
        if self.connected(o, i) && o < self.filters && i < self.inputs {
            let (f, c) = self.place(o, i);
            let mut row = weight.index_axis_mut(Axis(self.filter_axis), f);
            row.index_axis_mut(Axis(0), c).fill(T::default());
        }
    }

    /// The weights with only some filters and input channels (ascending), and how many groups
    /// that leaves. `None` unless each group that stays keeps as many of both as the others.
    pub fn cut(
        &self,
        weight: &Tensor,
        filters: &[usize],
        inputs: &[usize],
    ) -> Option<(Tensor, usize)> {
        let groups;
        let cut = map_each!(weight, w => {
            let (cut, count) = self.cut_array(w, filters, inputs)?;
            groups = count;
            cut
        });
        Some((cut, groups))
    }

    fn cut_array<T: Clone>(
        &self,
        weight: &ArrayD<T>,
        filters: &[usize],
        inputs: &[usize],
    ) -> Option<(ArrayD<T>, usize)> {
        let of_group = |list: &[usize], size: usize, g: usize| -> Vec<usize> {
            list.iter()
                .copied()
                .filter(|i| i / size.max(1) == g)
                .collect()
        };
        let mut parts = Vec::new();
        let mut counts = None;
        for g in 0..self.groups {
            let rows = of_group(filters, self.group_filters(), g);
            let columns = of_group(inputs, self.group_inputs(), g);
            if rows.is_empty() && columns.is_empty() {
                continue;
            }
            if *counts.get_or_insert((rows.len(), columns.len())) != (rows.len(), columns.len()) {
                return None;
            }
            let (f, c): (Vec<usize>, Vec<usize>) = (
                rows.iter().map(|&o| self.place(o, 0).0).collect(),
                columns.iter().map(|&i| self.place(0, i).1).collect(),
            );
            let part = weight.select(Axis(self.filter_axis), &f);
            parts.push(part.select(Axis(self.input_axis), &c));
        }
        if counts.is_none_or(|(rows, columns)| rows == 0 || columns == 0) {
            return None;
        }
        let views: Vec<_> = parts.iter().map(|p| p.view()).collect();
        let joined = ndarray::concatenate(Axis(0), &views).ok()?;
        Some((joined, parts.len()))
    }
}

/// The weights of a layer, filter by filter and input channel by input channel.
#[derive(Debug)]
pub(crate) struct Kernels<'w> {
    values: Cow<'w, [f32]>,
    /// Size of the weight's second axis.
    columns: usize,
    /// Weights of a filter for one input channel.
    size: usize,
    layer: LayerShape,
}

impl Kernels<'_> {
    /// The weights of filter `o` for input channel `i`; none where they are not connected.
    pub fn taps(&self, o: usize, i: usize) -> &[f32] {
        if !self.layer.connected(o, i) || o >= self.layer.filters || i >= self.layer.inputs {
            return &[];
        }
        let (f, c) = self.layer.place(o, i);
        let (row, column) = match self.layer.filter_axis {
            0 => (f, c),
            _ => (c, f),
        };
        let start = (row * self.columns + column) * self.size;
        self.values.get(start..start + self.size).unwrap_or(&[])
    }
}
