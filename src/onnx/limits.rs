//! What decoding a file would take in memory, found without decoding it.

use std::mem::size_of;

use crate::onnx::proto::{
    AttributeProto, DeviceConfigurationProto, FunctionProto, GraphProto, IntIntListEntryProto,
    ModelProto, NodeDeviceConfigurationProto, NodeProto, OperatorSetIdProto, ShardedDimProto,
    ShardingSpecProto, SimpleShardedDimProto, SparseTensorProto, StringStringEntryProto,
    TensorAnnotation, TensorProto, TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};

/// Most that the decoded messages of a model may take, weights aside. A node with its attributes
/// and names takes about 3 KB: this is some 150,000 nodes.
pub(super) const MAX_DECODED: usize = 512 << 20;
/// prost decodes no deeper.
const MAX_DEPTH: usize = 100;

/// A message of the schema, as far as repeated fields lie in or under it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Model,
    Function,
    Training,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Annotation,
    Value,
    Type,
    /// A tensor type; sparse ones have the same fields.
    TensorType,
    /// Sequence, map, optional: a type within a type, in this field.
    Wrapper(u64),
    Shape,
    NodeDevices,
    Sharding,
    ShardedDim,
    Device,
    /// A message without repeated fields.
    Leaf,
}

/// Bytes and strings own memory of their own.
const TEXT: usize = size_of::<bytes::Bytes>() + 16;

/// What a length-delimited field of a message is.
enum Field {
    Message(Kind, usize),
    Text,
    /// Numbers, or nothing the schema knows.
    Other,
}

impl Kind {
    fn field(self, number: u64) -> Field {
        use Field::{Message, Other, Text};
        let entry = || {
            let size = size_of::<StringStringEntryProto>();
            Message(Kind::Leaf, size)
        };
        let opset = || {
            let size = size_of::<OperatorSetIdProto>();
            Message(Kind::Leaf, size)
        };
        let graph = || Message(Kind::Graph, size_of::<GraphProto>());
        let tensor = || Message(Kind::Tensor, size_of::<TensorProto>());
        let sparse = || Message(Kind::Sparse, size_of::<SparseTensorProto>());
        let value = || Message(Kind::Value, size_of::<ValueInfoProto>());
        let kind = || Message(Kind::Type, size_of::<TypeProto>());
        let node = || Message(Kind::Node, size_of::<NodeProto>());
        let attribute = || Message(Kind::Attribute, size_of::<AttributeProto>());
        match (self, number) {
            (Self::Model, 7) => graph(),
            (Self::Model, 8) | (Self::Function, 9) => opset(),
            (Self::Model, 14)
            | (Self::Graph, 16)
            | (Self::Node, 9)
            | (Self::Value, 4)
            | (Self::Tensor, 13 | 16)
            | (Self::Function, 14)
            | (Self::Annotation, 2)
            | (Self::Training, 3 | 4) => entry(),
            (Self::Model, 20) => Message(Kind::Training, size_of::<TrainingInfoProto>()),
            (Self::Model, 25) => Message(Kind::Function, size_of::<FunctionProto>()),
            (Self::Model, 26) => Message(Kind::Device, size_of::<DeviceConfigurationProto>()),
            (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => graph(),
            (Self::Graph, 1) | (Self::Function, 7) => node(),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => tensor(),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => sparse(),
            (Self::Graph, 11..=13) | (Self::Function, 12) => value(),
            (Self::Graph, 14) => Message(Kind::Annotation, size_of::<TensorAnnotation>()),
            (Self::Node, 5) | (Self::Function, 11) => attribute(),
            (Self::Node, 10) => {
                Message(Kind::NodeDevices, size_of::<NodeDeviceConfigurationProto>())
            }
            (Self::NodeDevices, 2) => Message(Kind::Sharding, size_of::<ShardingSpecProto>()),
            (Self::Sharding, 3) => {
                let size = size_of::<IntIntListEntryProto>();
                Message(Kind::Leaf, size)
            }
            (Self::Sharding, 4) => Message(Kind::ShardedDim, size_of::<ShardedDimProto>()),
            (Self::ShardedDim, 2) => {
                let size = size_of::<SimpleShardedDimProto>();
                Message(Kind::Leaf, size)
            }
            (Self::Attribute, 14 | 15) | (Self::Value, 2) => kind(),
            (Self::Type, 1 | 8) => Message(Kind::TensorType, size_of::<type_proto::Tensor>()),
            (Self::Type, 4 | 9) => Message(Kind::Wrapper(1), size_of::<type_proto::Sequence>()),
            (Self::Type, 5) => Message(Kind::Wrapper(2), size_of::<type_proto::Map>()),
            (Self::Wrapper(inner), n) if n == inner => kind(),
            (Self::TensorType, 2) => Message(Kind::Shape, size_of::<TensorShapeProto>()),
            (Self::Shape, 1) => {
                let size = size_of::<tensor_shape_proto::Dimension>();
                Message(Kind::Leaf, size)
            }
            (Self::Node, 1 | 2)
            | (Self::Function, 4..=6)
            | (Self::Attribute, 9)
            | (Self::Tensor, 6)
            | (Self::Device, 3) => Text,
            _ => Other,
        }
    }
}

/// Bytes that the messages in `bytes`, a model, take when decoded: at least what prost allocates up
/// to where it stops, not counting numbers and weights, which are in proportion to the file. Stops
/// counting at [`MAX_DECODED`].
pub(super) fn decoded_size(bytes: &[u8]) -> usize {
    let mut total = size_of::<ModelProto>();
    count(bytes, Kind::Model, 0, &mut total);
    total
}

fn count(bytes: &[u8], kind: Kind, depth: usize, total: &mut usize) {
    // Fields of a group are skipped, whatever they are.
    let mut groups = 0usize;
    let mut rest = bytes;
    while *total <= MAX_DECODED {
        let Some((key, after)) = varint(rest) else {
            return;
        };
        rest = after;
        let skipped = match key & 7 {
            0 => varint(rest).map(|(_, after)| after),
            1 => rest.get(8..),
            5 => rest.get(4..),
            3 => {
                groups += 1;
                Some(rest)
            }
            4 => {
                groups = groups.saturating_sub(1);
                Some(rest)
            }
            2 => {
                let split = varint(rest)
                    .and_then(|(len, after)| after.split_at_checked(usize::try_from(len).ok()?));
                // Cut short: the rest of the message is all that prost sees of this field.
                let (inner, after) = split.unwrap_or((rest, &[]));
                if groups == 0 {
                    field(inner, kind.field(key >> 3), depth, total);
                }
                split.map(|_| after)
            }
            _ => None,
        };
        match skipped {
            Some(after) => rest = after,
            None => return,
        }
    }
}

fn field(inner: &[u8], field: Field, depth: usize, total: &mut usize) {
    match field {
        Field::Message(kind, size) => {
            *total = total.saturating_add(size);
            if depth < MAX_DEPTH && !matches!(kind, Kind::Leaf) {
                count(inner, kind, depth + 1, total);
            }
        }
        Field::Text => *total = total.saturating_add(TEXT),
        Field::Other => {}
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &b) in bytes.iter().enumerate().take(10) {
        value |= u64::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// A length-delimited field.
    fn wrap(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    }

    #[test]
    fn floods_are_seen_wherever_they_hide() {
        let many = 3_000_000;
        let nodes = wrap(7, &[0x0a, 0].repeat(many));
        assert!(decoded_size(&nodes) > MAX_DECODED);
        let attributes = wrap(7, &wrap(1, &[0x2a, 0].repeat(many)));
        assert!(decoded_size(&attributes) > MAX_DECODED);
        // Subgraph in subgraph, far down.
        let mut deep = [0x0a, 0].repeat(many);
        for _ in 0..20 {
            deep = wrap(1, &wrap(5, &wrap(6, &deep)));
        }
        assert!(decoded_size(&wrap(7, &deep)) > MAX_DECODED);
        // Behind a group, which prost skips.
        let mut behind = vec![0x7b, 0x08, 0x01, 0x7c];
        behind.extend(&nodes);
        assert!(decoded_size(&behind) > MAX_DECODED);
        let opsets: Vec<u8> = [0x42, 0].repeat(16_000_000);
        assert!(decoded_size(&opsets) > MAX_DECODED);
        let names = wrap(7, &wrap(1, &[0x0a, 0].repeat(16_000_000)));
        assert!(decoded_size(&names) > MAX_DECODED);
    }

    #[test]
    fn weights_cost_nothing_and_models_little() {
        let data = [0x0a, 0].repeat(40_000_000);
        let tensor = TensorProto {
            raw_data: Some(data.into()),
            ..TensorProto::default()
        };
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: vec![tensor],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        assert!(decoded_size(&model.encode_to_vec()) < 4096);
    }
}
