//! Models changed at random, and what becomes of them: for tests and for `examples/mutate.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use ndarray_rand::rand::rngs::StdRng;
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::{GraphProto, ModelProto, tensor_shape_proto, type_proto};
use onnx_bnnprune::onnx::{OPSETS, decode, default_opset};
use onnx_bnnprune::qonnx;
use onnx_bnnprune::recognize;
use onnx_bnnprune::rewrite::eliminate;
use prost::Message as _;

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

const OPERATORS: [&str; 24] = [
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
];

/// How far a mutant came before it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No readable model, or of an opset that is not supported.
    Refused,
    /// A graph that breaks the rules.
    Read,
    /// Too little known of its shapes, or elimination declined.
    Indexed,
    /// All the way.
    Eliminated,
}

/// The models under `folder` up to a size, in the order of their names.
pub fn seeds(folder: &Path, most: u64) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let onnx = entry.path().extension().is_some_and(|e| e == "onnx");
        if onnx && entry.metadata().unwrap().len() <= most {
            paths.push(entry.into_path());
        }
    }
    let read = |p| std::fs::read(p).unwrap();
    paths.iter().map(read).collect()
}

/// One of the models, changed in a few places: the same for the same seed.
pub fn mutant(seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    let changes = rng.random_range(1..6);
    // Changed bytes mostly end in the decoder; changed messages go further.
    if rng.random_range(0..4) == 0 {
        for _ in 0..changes {
            change_bytes(&mut bytes, &mut rng);
        }
        return bytes;
    }
    let mut model = ModelProto::decode(&bytes[..]).unwrap();
    for _ in 0..changes {
        change_model(&mut model, &mut rng);
    }
    model.encode_to_vec()
}

/// Reads, recognises and eliminates; the panic's message if there is one.
pub fn drive(bytes: &[u8]) -> Result<Stage, String> {
    let bytes = Bytes::copy_from_slice(bytes);
    catch_unwind(AssertUnwindSafe(|| run(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        text.unwrap_or_else(|| "a panic without a message".to_owned())
    })
}

fn run(bytes: Bytes) -> Stage {
    let Ok(model) = decode(bytes) else {
        return Stage::Refused;
    };
    if !OPSETS.contains(&default_opset(&model)) {
        return Stage::Refused;
    }
    let Ok(graph) = Graph::new(&model) else {
        return Stage::Read;
    };
    let Ok(facts) = Facts::infer(&graph, 1) else {
        return Stage::Indexed;
    };
    let layers = recognize::layers(&graph, &facts);
    assert!(layers.len() <= graph.node_count());
    let _ = qonnx::lower(&model);
    match eliminate(&model) {
        Ok(done) => {
            if let Err(e) = Graph::new(&done.model) {
                panic!("elimination broke the graph: {e}");
            }
            Stage::Eliminated
        }
        Err(_) => Stage::Indexed,
    }
}

fn change_bytes(bytes: &mut Vec<u8>, rng: &mut StdRng) {
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

fn change_model(model: &mut ModelProto, rng: &mut StdRng) {
    match rng.random_range(0..12) {
        0 => {
            for opset in &mut model.opset_import {
                opset.version = Some(rng.random_range(7..27));
            }
        }
        1 => {
            if let Some(g) = &mut model.graph {
                change_input(g, rng);
            }
        }
        2..=4 => {
            if let Some(g) = &mut model.graph {
                change_initializer(g, rng);
            }
        }
        _ => {
            if let Some(g) = &mut model.graph {
                change_node(g, rng);
            }
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
            if ints > 0 {
                a.ints[rng.random_range(0..ints)] = edge(rng);
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
