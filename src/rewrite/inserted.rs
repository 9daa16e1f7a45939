//! Nodes that elimination adds or replaces: what they are for, and how they are written.

use ndarray::{Array1, ArrayD, IxDyn};

use crate::graph::edit::Editor;
use crate::graph::{Graph, NodeId, TensorId};
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::{DataType, Tensor};

/// A node `Add` behind a layer, for what the layer absorbed and cannot hold itself.
#[derive(Debug)]
pub(super) struct AddBehind {
    pub node: NodeId,
    pub value: Added,
}

/// What is added behind a layer.
#[derive(Debug)]
pub(super) enum Added {
    Constant(Tensor),
    /// What the layer makes of a plane of ones of these sizes, with a kernel for one input channel:
    /// a runtime computes it once, when it loads the model.
    Convolved {
        kernel: Tensor,
        sizes: Vec<usize>,
    },
}

/// A node that becomes `Gather(tensor, indices)` along an axis.
#[derive(Debug)]
pub(super) struct GatherOf {
    pub node: NodeId,
    pub tensor: TensorId,
    pub axis: usize,
    pub indices: Vec<usize>,
}

/// An operand that is spread over the channels of a stream.
#[derive(Debug)]
pub(super) struct Scatter {
    pub node: NodeId,
    pub label: String,
    pub input: usize,
    pub axis: usize,
    pub rank: usize,
    pub operand: TensorId,
    /// The type of its elements.
    pub kind: DataType,
    /// How many channels the operand has left.
    pub channels: usize,
    /// What each channel of the stream receives.
    pub places: Vec<Place>,
}

/// What a channel of a stream receives from an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// One of its channels.
    Channel(usize),
    /// A constant.
    Constant(f32),
}

/// Integers that are computed from shapes and would change with the channels.
#[derive(Debug)]
pub(super) struct Correction {
    pub node: NodeId,
    pub at: At,
    pub by: By,
}

/// Where a correction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// In front of this input (a target shape that names how many channels there are).
    Input(usize),
    /// Behind the node (a `Shape` or `Size`, whose readers go on as before).
    Behind,
}

/// What a correction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// Adds to each entry.
    Adding(Vec<i64>),
    /// Multiplies with `old / new`, exactly.
    Ratio { old: i64, new: i64 },
}

/// A node becomes a `Gather` of a tensor further up; its name and output stay.
pub(super) fn to_gather(graph: &Graph<'_>, editor: &mut Editor<'_>, gather: &GatherOf) {
    let indices: Array1<i64> = gather.indices.iter().map(|&i| i as i64).collect();
    let wish = format!("{}.channels", graph.label(gather.node));
    let indices = editor.add_initializer(&wish, &Tensor::I64(indices.into_dyn()));
    if let Some(node) = editor.node_mut(gather.node.0) {
        node.op_type = Some("Gather".to_owned());
        node.input = vec![graph.name(gather.tensor).to_owned(), indices];
        node.attribute = vec![AttributeProto::int("axis", gather.axis as i64)];
    }
}

/// `Pad` (a channel of zeros) → `Gather` → `Add` (constants) in front of an `Add` or `Mul`.
pub(super) fn scatter(graph: &Graph<'_>, editor: &mut Editor<'_>, s: &Scatter) -> Vec<NodeProto> {
    let operand = graph.name(s.operand).to_owned();
    let mut nodes = Vec::new();
    let mut add = |editor: &mut Editor<'_>, op: &str, inputs: Vec<String>, attributes| {
        let output = editor.fresh_name(&format!("{operand}.{}", op.to_lowercase()));
        let mut node = NodeProto::of(op, inputs, output.clone()).named_as_output();
        node.attribute = attributes;
        nodes.push(node);
        output
    };
    let mut pads = vec![0i64; 2 * s.rank];
    pads[s.rank + s.axis] = 1;
    let indices = s.places.iter().map(|p| match p {
        Place::Channel(i) => *i as i64,
        Place::Constant(_) => s.channels as i64,
    });
    let indices: Array1<i64> = indices.collect();
    let values: Array1<f32> = s
        .places
        .iter()
        .map(|p| match p {
            Place::Channel(_) => 0.0,
            Place::Constant(v) => *v,
        })
        .collect();
    let ints = |editor: &mut Editor<'_>, kind: &str, v: Array1<i64>| {
        editor.add_initializer(&format!("{operand}.{kind}"), &Tensor::I64(v.into_dyn()))
    };
    // The amounts were an attribute once.
    let (inputs, attributes) = match graph.opset() {
        ..11 => (
            vec![operand.clone()],
            vec![AttributeProto::ints("pads", pads)],
        ),
        _ => {
            let pads = ints(editor, "pads", Array1::from(pads));
            (vec![operand.clone(), pads], Vec::new())
        }
    };
    let padded = add(editor, "Pad", inputs, attributes);
    let indices = ints(editor, "channels", indices);
    let axis = vec![AttributeProto::int("axis", s.axis as i64)];
    let mut last = add(editor, "Gather", vec![padded, indices], axis);
    if values.iter().any(|&v| v != 0.0) {
        let mut shape = vec![1; s.rank];
        shape[s.axis] = values.len();
        if let Ok(values) = values.into_shape_with_order(shape) {
            let wish = format!("{operand}.constants");
            let values = Tensor::of(s.kind, &values.mapv(f64::from).into_dyn());
            let values = editor.add_initializer(&wish, &values);
            last = add(editor, "Add", vec![last, values], Vec::new());
        }
    }
    editor.set_input(s.node.0, s.input, &last);
    nodes
}

/// `Add` behind a layer, and the nodes that make what is added; its output takes the layer's name,
/// so that readers (and the graph's outputs) stay as they are.
pub(super) fn add_behind(
    graph: &Graph<'_>,
    editor: &mut Editor<'_>,
    add: &AddBehind,
) -> Option<Vec<NodeProto>> {
    let label = graph.label(add.node);
    let mut nodes = Vec::new();
    let constant = match &add.value {
        Added::Constant(value) => editor.add_initializer(&format!("{label}.absorbed"), value),
        Added::Convolved { kernel, sizes } => {
            nodes = convolved(graph, editor, add.node, kernel, sizes);
            nodes.last()?.output.first()?.clone()
        }
    };
    let name = editor.fresh_name(&format!("{label}.absorb"));
    let output = graph.name(graph.output_of(add.node, 0)?);
    let inner = editor.fresh_name(&format!("{output}.before"));
    if let Some(first) = editor
        .node_mut(add.node.0)
        .and_then(|n| n.output.first_mut())
    {
        inner.clone_into(first);
    }
    nodes.push(NodeProto::of("Add", [inner, constant], output).named(name));
    Some(nodes)
}

/// A plane of ones → a copy of the convolution with `kernel`.
fn convolved(
    graph: &Graph<'_>,
    editor: &mut Editor<'_>,
    node: NodeId,
    kernel: &Tensor,
    sizes: &[usize],
) -> Vec<NodeProto> {
    let label = graph.label(node);
    let kind = kernel.data_type();
    let kernel = editor.add_initializer(&format!("{label}.border"), kernel);
    let mut nodes = Vec::new();
    let plane = match graph.opset() {
        // There is no ConstantOfShape yet.
        ..9 => {
            let shape = [&[1, 1], sizes].concat();
            let ones = Tensor::of(kind, &ArrayD::ones(IxDyn(&shape)));
            editor.add_initializer(&format!("{label}.ones"), &ones)
        }
        _ => {
            let shape: Array1<i64> = [1, 1].iter().chain(sizes).map(|&d| d as i64).collect();
            let shape = Tensor::I64(shape.into_dyn());
            let shape = editor.add_initializer(&format!("{label}.plane"), &shape);
            let ones = editor.fresh_name(&format!("{label}.ones"));
            let one = Tensor::of(kind, &ArrayD::ones(IxDyn(&[1])));
            let plane = NodeProto::of("ConstantOfShape", [shape], ones.clone());
            let value = AttributeProto::tensor("value", &one);
            nodes.push(plane.named_as_output().with(value));
            ones
        }
    };
    let map = editor.fresh_name(&format!("{label}.absorbed"));
    let mut layer = NodeProto {
        name: Some(map.clone()),
        input: vec![plane, kernel],
        output: vec![map],
        ..graph.node(node).proto().clone()
    };
    layer.attribute.retain(|a| a.name() != "group");
    nodes.push(layer);
    nodes
}

/// The nodes of a correction, and before which node they stand.
pub(super) fn correct(
    graph: &Graph<'_>,
    editor: &mut Editor<'_>,
    c: &Correction,
) -> Option<(usize, Vec<NodeProto>)> {
    let tensor = match c.at {
        At::Input(k) => graph.input_of(c.node, k),
        At::Behind => graph.output_of(c.node, 0),
    };
    let name = graph.name(tensor?);
    let steps: Vec<(&str, Tensor)> = match &c.by {
        By::Adding(v) => vec![("Add", Tensor::I64(Array1::from(v.clone()).into_dyn()))],
        By::Ratio { old, new } => {
            let scalar = |v: i64| Tensor::I64(ndarray::arr0(v).into_dyn());
            vec![("Mul", scalar(*old)), ("Div", scalar(*new))]
        }
    };
    let mut last = match c.at {
        At::Input(_) => name.to_owned(),
        At::Behind => editor.fresh_name(&format!("{name}.cut")),
    };
    if c.at == At::Behind {
        last.clone_into(editor.node_mut(c.node.0)?.output.first_mut()?);
    }
    let count = steps.len();
    let mut nodes = Vec::new();
    for (i, (op, value)) in steps.into_iter().enumerate() {
        let value = editor.add_initializer(&format!("{name}.difference"), &value);
        let output = match c.at {
            At::Behind if i + 1 == count => name.to_owned(),
            _ => editor.fresh_name(&format!("{name}.corrected")),
        };
        let node = NodeProto::of(op, [last, value], output.clone());
        nodes.push(node.named(editor.fresh_name(&format!("{name}.correct"))));
        last = output;
    }
    Some(match c.at {
        At::Behind => (c.node.0 + 1, nodes),
        At::Input(k) => {
            editor.set_input(c.node.0, k, &last);
            (c.node.0, nodes)
        }
    })
}
