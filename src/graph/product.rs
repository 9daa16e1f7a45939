//! Where nodes that multiply data by weights keep filters and channels.

use super::{Facts, Graph, Node, NodeId};

/// The operand of a product that holds its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsAt {
    /// Behind the data, where layers have them.
    Right,
    /// In front of the data: of a `Gemm` or `MatMul`.
    Left,
}

impl WeightsAt {
    /// Of a product that reads data.
    pub fn of(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> Option<Self> {
        let data = |k: usize| graph.input_of(id, k).is_some_and(|t| facts.is_data(t));
        match (data(0), data(1)) {
            (true, _) => Some(Self::Right),
            (false, true) => Some(Self::Left),
            (false, false) => None,
        }
    }

    /// The node's input that holds the weights.
    pub fn weight_input(self) -> usize {
        match self {
            Self::Right => 1,
            Self::Left => 0,
        }
    }

    /// The node's input that is data.
    pub fn data_input(self) -> usize {
        1 - self.weight_input()
    }
}

/// Axes of a layer's data, weights and output: `Conv` and `ConvTranspose`, `Gemm` and `MatMul` with weights of
/// two axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductAxes {
    /// The data's axis of channels, which are mixed.
    pub data: usize,
    /// The weights' axis that meets it. On axis 1 a convolution has the channels of one group.
    pub inputs: usize,
    /// The weights' axis of filters. On axis 1 a convolution has the filters of one group.
    pub filters: usize,
    /// The output's axis of filters.
    pub output: usize,
}

impl Node<'_> {
    /// The axes of a product whose data have `rank` axes; `None` of other nodes.
    pub fn product_axes(&self, weights: WeightsAt, rank: usize) -> Option<ProductAxes> {
        let turned = |name| usize::from(self.int(name, 0) != 0);
        let axes = |data, [inputs, filters]: [usize; 2], output| ProductAxes {
            data,
            inputs,
            filters,
            output,
        };
        Some(match (self.op(), weights) {
            ("Conv", WeightsAt::Right) => axes(1, [1, 0], 1),
            ("ConvTranspose", WeightsAt::Right) => axes(1, [0, 1], 1),
            ("Gemm", WeightsAt::Right) => {
                let inputs = turned("transB");
                axes(1 - turned("transA"), [inputs, 1 - inputs], 1)
            }
            ("Gemm", WeightsAt::Left) => {
                let filters = turned("transA");
                axes(turned("transB"), [1 - filters, filters], 0)
            }
            ("MatMul", WeightsAt::Right) => {
                let last = rank.checked_sub(1)?;
                axes(last, [0, 1], last)
            }
            ("MatMul", WeightsAt::Left) => {
                let row = rank.checked_sub(2)?;
                axes(row, [1, 0], row)
            }
            _ => return None,
        })
    }

    /// How many groups a convolution has; `None` if the attribute is negative.
    pub fn groups(&self) -> Option<usize> {
        usize::try_from(self.int("group", 1)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{AttributeProto, NodeProto};

    fn axes(op: &str, turned: &[&str], weights: WeightsAt, rank: usize) -> Option<[usize; 4]> {
        let attributes = turned.iter().map(|name| AttributeProto::int(name, 1));
        let node = NodeProto {
            op_type: Some(op.to_owned()),
            attribute: attributes.collect(),
            ..NodeProto::default()
        };
        let found = Node::new(&node, 17).product_axes(weights, rank)?;
        Some([found.data, found.inputs, found.filters, found.output])
    }

    #[test]
    fn axes_are_those_of_the_standard() {
        use WeightsAt::{Left, Right};
        assert_eq!(axes("Conv", &[], Right, 4), Some([1, 1, 0, 1]));
        assert_eq!(axes("ConvTranspose", &[], Right, 4), Some([1, 0, 1, 1]));
        // A [M, K] · B [K, N]; turned ones are [K, M] and [N, K].
        assert_eq!(axes("Gemm", &[], Right, 2), Some([1, 0, 1, 1]));
        assert_eq!(axes("Gemm", &["transB"], Right, 2), Some([1, 1, 0, 1]));
        assert_eq!(axes("Gemm", &["transA"], Right, 2), Some([0, 0, 1, 1]));
        assert_eq!(axes("Gemm", &[], Left, 2), Some([0, 1, 0, 0]));
        assert_eq!(axes("Gemm", &["transA"], Left, 2), Some([0, 0, 1, 0]));
        assert_eq!(axes("Gemm", &["transB"], Left, 2), Some([1, 1, 0, 0]));
        assert_eq!(axes("MatMul", &[], Right, 3), Some([2, 0, 1, 2]));
        assert_eq!(axes("MatMul", &[], Left, 3), Some([1, 1, 0, 1]));
        assert_eq!(axes("MatMul", &[], Left, 1), None);
        assert_eq!(axes("Conv", &[], Left, 4), None);
        assert_eq!(axes("Relu", &[], Right, 4), None);
    }
}
