//! Single changes of a model, from a seeded generator.

use ndarray_rand::rand::Rng as _;
use ndarray_rand::rand::rngs::StdRng;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto,
    attribute_proto::AttributeType, tensor_proto::DataLocation as TensorLocation,
    tensor_shape_proto, type_proto,
};

/// Numbers that sit at the edges of what code expects.
const EDGES: [i64; 14] = [
    0,
    1,
    -1,
    2,
    3,
    7,
    64,
    1 << 20,
    1 << 31,
    1 << 40,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    -(1 << 31),
];

/// Operators that a node may become.
const OPERATORS: [&str; 40] = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Reshape",
    "Flatten",
    "Transpose",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Pad",
    "Expand",
    "Tile",
    "Resize",
    "MaxPool",
    "AveragePool",
    "BatchNormalization",
    "Where",
    "Sign",
    "BipolarQuant",
    "Quant",
    "Trunc",
    "ConstantOfShape",
    "Constant",
    "Range",
    "ReduceMean",
    "Softmax",
    "Unsqueeze",
    "Squeeze",
    "DepthToSpace",
    "Dropout",
    "Clip",
    "PRelu",
    "InstanceNormalization",
    "GlobalAveragePool",
];

/// Values of string attributes, right ones among them.
const TEXTS: [&str; 6] = ["SAME_UPPER", "VALID", "", "ROUND", "CEIL", "reflect"];

/// Changes some bytes.
pub fn bytes(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    if bytes.is_empty() {
        return bytes.push(rng.random());
    }
    let at = rng.random_range(0..bytes.len());
    let end = bytes.len().min(at + rng.random_range(1..64));
    match rng.random_range(0..6) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        _ => bytes.truncate(at),
    }
}

fn edge(rng: &mut StdRng) -> i64 {
    EDGES[rng.random_range(0..EDGES.len())]
}

/// Changes one thing of a model, which it stays only in form.
pub fn model(model: &mut ModelProto, rng: &mut StdRng) {
    let choice = rng.random_range(0..16);
    if choice == 0 {
        for opset in &mut model.opset_import {
            opset.version = Some(rng.random_range(7..27));
        }
    }
    let Some(g) = &mut model.graph else {
        return;
    };
    match choice {
        0 => {}
        1 => change_input(g, rng),
        2..=4 => change_initializer(g, rng),
        5 => change_names(g, rng),
        6 => nest(g, rng),
        7 => change_interface(g, rng),
        8 => change_storage(g, rng),
        _ => change_node(g, rng),
    }
}

/// Adds another model's nodes and tensors; names that both have collide.
pub fn splice(model: &mut ModelProto, other: &ModelProto) {
    if let (Some(g), Some(o)) = (&mut model.graph, &other.graph) {
        let half = o.node.len() / 2;
        g.node.extend(o.node[half..].iter().cloned());
        g.initializer.extend(o.initializer.iter().cloned());
    }
}

/// Gives two tensors one name, or a node an unusual one.
fn change_names(g: &mut GraphProto, rng: &mut StdRng) {
    if g.node.is_empty() {
        return;
    }
    let (a, b) = (
        rng.random_range(0..g.node.len()),
        rng.random_range(0..g.node.len()),
    );
    match rng.random_range(0..4) {
        0 => g.node[a].output = g.node[b].output.clone(),
        1 => g.node[a].name = g.node[b].name.clone(),
        2 => g.node[a].name = Some("\u{0}\n\u{202e}é".repeat(rng.random_range(0..100))),
        _ => {
            if let Some(t) = g.initializer.first_mut() {
                t.name = g.node[a].output.first().cloned();
            }
        }
    }
}

/// Wraps a node as the body of an If or Loop, in a few levels.
fn nest(g: &mut GraphProto, rng: &mut StdRng) {
    if g.node.is_empty() {
        return;
    }
    let at = rng.random_range(0..g.node.len());
    for _ in 0..rng.random_range(1..5) {
        let inner = g.node[at].clone();
        let body = GraphProto {
            name: Some("body".to_owned()),
            node: vec![inner.clone()],
            output: g.output.clone(),
            ..GraphProto::default()
        };
        let graph = |name: &str| AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(body.clone()),
            ..AttributeProto::default()
        };
        let (op, attribute) = match rng.random_range(0..2) {
            0 => ("If", vec![graph("then_branch"), graph("else_branch")]),
            _ => ("Loop", vec![graph("body")]),
        };
        g.node[at] = NodeProto {
            op_type: Some(op.to_owned()),
            name: inner.name.clone(),
            input: inner.input.iter().take(2).cloned().collect(),
            output: inner.output.clone(),
            attribute,
            ..NodeProto::default()
        };
    }
}

/// Outputs that are inputs, given twice, or not there; inputs with initializers.
fn change_interface(g: &mut GraphProto, rng: &mut StdRng) {
    match rng.random_range(0..4) {
        0 => g.output = g.input.clone(),
        1 => g.output.extend(g.output.clone()),
        2 => g.output.clear(),
        _ => {
            if let (Some(t), Some(value)) = (g.initializer.first(), g.input.first()) {
                let mut value = value.clone();
                value.name.clone_from(&t.name);
                g.input.push(value);
            }
        }
    }
}

/// Stores a tensor's data in another field, partly or twice; or claims that it lies elsewhere.
fn change_storage(g: &mut GraphProto, rng: &mut StdRng) {
    if g.initializer.is_empty() {
        return;
    }
    let at = rng.random_range(0..g.initializer.len());
    let t = &mut g.initializer[at];
    let count = rng.random_range(0..32);
    match rng.random_range(0..5) {
        0 => t.float_data = vec![edge(rng) as f32; count],
        1 => (t.raw_data, t.int64_data) = (None, vec![edge(rng); count]),
        2 => (t.raw_data, t.int32_data) = (None, vec![edge(rng) as i32; count]),
        3 => (t.raw_data, t.string_data) = (None, vec!["a".into(); count]),
        _ => {
            t.data_location = Some(TensorLocation::External as i32);
            let places = ["mutant.onnx", "../mutant.onnx", "/dev/zero", "", "."];
            let entries = [
                ("location", places[rng.random_range(0..5)].to_owned()),
                ("offset", edge(rng).to_string()),
                ("length", edge(rng).to_string()),
            ];
            let entry = |(key, value): (&str, String)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value),
            };
            t.external_data = entries.map(entry).to_vec();
        }
    }
}

fn change_input(g: &mut GraphProto, rng: &mut StdRng) {
    let value = g.input.first_mut().and_then(|v| v.r#type.as_mut());
    let Some(type_proto::Value::TensorType(t)) = value.and_then(|t| t.value.as_mut()) else {
        return;
    };
    let Some(shape) = &mut t.shape else {
        return;
    };
    let count = shape.dim.len();
    match rng.random_range(0..4) {
        0 => drop(shape.dim.pop()),
        _ if count > 0 => {
            let dim = &mut shape.dim[rng.random_range(0..count)];
            dim.value = Some(tensor_shape_proto::dimension::Value::DimValue(edge(rng)));
        }
        _ => {}
    }
}

fn change_initializer(g: &mut GraphProto, rng: &mut StdRng) {
    if g.initializer.is_empty() {
        return;
    }
    let at = rng.random_range(0..g.initializer.len());
    let t = &mut g.initializer[at];
    match rng.random_range(0..6) {
        0 if !t.dims.is_empty() => {
            let axis = rng.random_range(0..t.dims.len());
            t.dims[axis] = edge(rng);
        }
        1 => t.dims.reverse(),
        2 => t.dims.insert(0, edge(rng)),
        3 => {
            // Another shape that fits the data.
            let count: i64 = t.dims.iter().product();
            t.dims = [
                vec![count],
                vec![1, count],
                vec![count, 1, 1, 1],
                vec![1, count, 1, 1],
            ][rng.random_range(0..4)]
            .clone();
        }
        4 => {
            if let Some(raw) = t.raw_data.as_mut().filter(|r| !r.is_empty()) {
                let mut data = raw.to_vec();
                let value: f32 =
                    [0.0, -0.0, f32::NAN, f32::INFINITY, 1e38, 1e-45][rng.random_range(0..6)];
                let count = data.len() / 4;
                for _ in 0..rng.random_range(1..8) {
                    if let Some(place) = data
                        .chunks_exact_mut(4)
                        .nth(rng.random_range(0..count.max(1)))
                    {
                        place.copy_from_slice(&value.to_le_bytes());
                    }
                }
                *raw = data.into();
            }
        }
        _ => t.data_type = Some(rng.random_range(0..14)),
    }
}

fn change_node(g: &mut GraphProto, rng: &mut StdRng) {
    if g.node.is_empty() {
        return;
    }
    let tensors: Vec<String> = g
        .node
        .iter()
        .flat_map(|n| n.output.iter().chain(&n.input).cloned())
        .collect();
    let any = |rng: &mut StdRng| tensors[rng.random_range(0..tensors.len())].clone();
    let at = rng.random_range(0..g.node.len());
    let n = &mut g.node[at];
    let (inputs, attributes) = (n.input.len(), n.attribute.len());
    match rng.random_range(0..10) {
        0 if inputs > 0 => drop(n.input.remove(rng.random_range(0..inputs))),
        1 => n.input.push(any(rng)),
        2 | 3 if inputs > 0 => n.input[rng.random_range(0..inputs)] = any(rng),
        4 => n.op_type = Some(OPERATORS[rng.random_range(0..OPERATORS.len())].to_owned()),
        5 | 6 if attributes > 0 => {
            let a = &mut n.attribute[rng.random_range(0..attributes)];
            a.i = a.i.map(|_| edge(rng));
            a.f = a.f.map(|_| edge(rng) as f32);
            let ints = a.ints.len();
            match rng.random_range(0..3) {
                0 => a.ints.push(edge(rng)),
                _ if ints > 0 => a.ints[rng.random_range(0..ints)] = edge(rng),
                _ => {
                    a.s =
                        a.s.as_ref()
                            .map(|_| TEXTS[rng.random_range(0..TEXTS.len())].into())
                }
            }
        }
        7 if attributes > 0 => drop(n.attribute.remove(rng.random_range(0..attributes))),
        8 => drop(g.node.remove(at)),
        _ => {
            let mut copy = g.node[at].clone();
            copy.output = copy.output.iter().map(|o| format!("{o}.copy")).collect();
            if let Some(output) = copy.output.first().filter(|_| rng.random()) {
                // Something reads it.
                let reader = rng.random_range(0..g.node.len());
                if let Some(input) = g.node[reader].input.first_mut() {
                    input.clone_from(output);
                }
            }
            g.node.push(copy);
        }
    }
}
