//! What attention is made of: class tokens, products of two tensors, heads.

use onnx_bnnprune::onnx::Tensor;

use super::chains::Chain;
use super::{CHANNELS, floats};
use crate::graphs::{Attr, Builder};

/// Both parts of `[2, N, …]`.
fn halves(b: &mut Builder, way: &str, x: &str) -> [String; 2] {
    match way {
        "Gather" => [0, 1].map(|k| {
            let at = b.constant(&Tensor::I64(ndarray::arr0(k).into_dyn()));
            b.node("Gather", &[x, &at], vec![("axis", Attr::Int(0))])
        }),
        "Split" => {
            let first = b.node("Split", &[x], vec![("axis", Attr::Int(0))]);
            let second = format!("{first}.second");
            let node = b.graph.node.last_mut().unwrap();
            node.output.push(second.clone());
            [first, second].map(|half| {
                let axes = b.ints(&[0]);
                b.node("Squeeze", &[&half, &axes], vec![])
            })
        }
        _ => {
            let order = vec![("perm", Attr::Ints(vec![1, 2, 3, 0]))];
            let (x, axis) = match way {
                "Slice" => (x.to_owned(), 0),
                _ => (b.node("Transpose", &[x], order), 3),
            };
            let axes = b.ints(&[axis]);
            [0, 1].map(|k| {
                let (low, high) = (b.ints(&[k]), b.ints(&[k + 1]));
                let half = b.node("Slice", &[&x, &low, &high, &axes], vec![]);
                b.node("Squeeze", &[&half, &axes], vec![])
            })
        }
    }
}

/// As [`super::chains::all`].
pub fn all() -> Vec<(&'static str, (i64, Chain))> {
    let mut all: Vec<(&'static str, (i64, Chain))> = Vec::new();
    // A row that all images have in front of their own, as a class token.
    let token = |b: &mut Builder, x: &str| {
        let row = floats(b, &[1, CHANNELS, 1, 6], 17);
        let shape = b.node("Shape", &[x], vec![]);
        let (first, count) = (b.ints(&[0]), b.ints(&[CHANNELS as i64, 1, 6]));
        let images = b.node("Gather", &[&shape, &first], vec![]);
        let of_all = b.node("Concat", &[&images, &count], vec![("axis", Attr::Int(0))]);
        let row = b.node("Expand", &[&row, &of_all], vec![]);
        let both = b.node("Concat", &[&row, x], vec![("axis", Attr::Int(2))]);
        let (starts, ends) = (b.ints(&[0]), b.ints(&[6]));
        let axes = b.ints(&[2]);
        b.node("Slice", &[&both, &starts, &ends, &axes], vec![])
    };
    all.push(("class token", (17, Box::new(token))));
    // Attention between rows of each channel, and between channels.
    let of_rows = |b: &mut Builder, x: &str| {
        let order = vec![("perm", Attr::Ints(vec![0, 1, 3, 2]))];
        let keys = b.node("Transpose", &[x], order);
        let alike = b.node("MatMul", &[x, &keys], vec![]);
        let shares = b.node("Softmax", &[&alike], vec![]);
        b.node("MatMul", &[&shares, x], vec![])
    };
    all.push(("attention of rows", (17, Box::new(of_rows))));
    let of_channels = |b: &mut Builder, x: &str| {
        let flat = b.ints(&[0, CHANNELS as i64, -1]);
        let flat = b.node("Reshape", &[x, &flat], vec![]);
        let keys = b.node(
            "Transpose",
            &[&flat],
            vec![("perm", Attr::Ints(vec![0, 2, 1]))],
        );
        let alike = b.node("MatMul", &[&flat, &keys], vec![]);
        let shares = b.node("Softmax", &[&alike], vec![]);
        let mixed = b.node("MatMul", &[&shares, &flat], vec![]);
        let whole = b.ints(&[0, CHANNELS as i64, 6, 6]);
        b.node("Reshape", &[&mixed, &whole], vec![])
    };
    all.push(("attention of channels", (17, Box::new(of_channels))));
    // `q, k, v = qkv.permute(…)`: the batch stands behind the axis that is taken apart.
    for way in ["Gather", "Split", "Slice", "Slice behind"] {
        let heads = move |b: &mut Builder, x: &str| {
            let shape = b.ints(&[0, 2, 8, 36]);
            let both = b.node("Reshape", &[x, &shape], vec![]);
            let order = vec![("perm", Attr::Ints(vec![1, 0, 3, 2]))];
            let first = b.node("Transpose", &[&both], order);
            let [q, v] = halves(b, way, &first);
            let order = vec![("perm", Attr::Ints(vec![0, 2, 1]))];
            let k = b.node("Transpose", &[&q], order);
            let alike = b.node("MatMul", &[&k, &q], vec![]);
            let shares = b.node("Softmax", &[&alike], vec![]);
            let y = b.node("MatMul", &[&v, &shares], vec![]);
            let twice = b.node("Concat", &[&y, &y], vec![("axis", Attr::Int(2))]);
            let shape = b.ints(&[0, CHANNELS as i64, 6, 6]);
            b.node("Reshape", &[&twice, &shape], vec![])
        };
        all.push(("heads", (17, Box::new(heads))));
    }
    let constant_first = |b: &mut Builder, x: &str| {
        let w = floats(b, &[6, 6], 11);
        b.node("MatMul", &[&w, x], vec![])
    };
    all.push(("constant matrix first", (17, Box::new(constant_first))));
    all
}
