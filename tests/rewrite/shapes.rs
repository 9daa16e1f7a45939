//! Shapes that mention how many channels there are: what is computed from them stays as it was.

use std::collections::BTreeMap;

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn, arr0};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{Analysis, FilterMasks, Removal, apply_masks, eliminate};
use onnx_bnnprune::verify::Optimization;

fn values(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0)
        .collect()
}

fn conv(b: &mut Builder) -> String {
    let w = b.weight(&[4, 2, 3, 3], values(72, 1));
    b.node("Conv", &["x", &w], vec![])
}

fn head(b: &mut Builder, x: &str, inputs: usize) -> String {
    let w = b.weight(&[inputs, 3], values(inputs * 3, 2));
    b.node("MatMul", &[x, &w], vec![])
}

fn scalar(b: &mut Builder, v: i64) -> String {
    b.constant(&Tensor::I64(arr0(v).into_dyn()))
}

/// Filters left of `layer`, in `drop` and in `fold`, once 1 and 2 of its four are masked; both models
/// agree at two batch sizes.
fn left(model: &ModelProto, layer: &str) -> [usize; 2] {
    let mut kept = Vec::new();
    for removal in [Removal::Drop, Removal::Fold] {
        let mut masks = FilterMasks::default();
        masks.prune(layer, 4, [1, 2]);
        let masked = apply_masks(model, &masks, removal).unwrap().model;
        let e = eliminate(&masked).unwrap();
        for batch in [1, 3] {
            let x = values(batch * 50, 3);
            let x = ArrayD::from_shape_vec(IxDyn(&[batch, 2, 5, 5]), x).unwrap();
            let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
            assert_ne!(run(model), run(&masked), "the masks move nothing");
            assert_eq!(run(&masked), run(&e.model));
        }
        let layers: BTreeMap<_, _> = e.layers.into_iter().map(|l| (l.name, l.kept)).collect();
        kept.push(layers[layer].len());
    }
    [kept[0], kept[1]]
}

#[test]
fn a_target_computed_from_the_tensors_own_shape() {
    // x.view(x.size(0), x.size(1) * x.size(2) * x.size(3))
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let mut sizes = Vec::new();
    for i in 0..4 {
        let i = b.ints(&[i]);
        sizes.push(b.node("Gather", &[&shape, &i], vec![]));
    }
    let chw = b.node("Mul", &[&sizes[1], &sizes[2]], vec![]);
    let chw = b.node("Mul", &[&chw, &sizes[3]], vec![]);
    let target = b.node("Concat", &[&sizes[0], &chw], vec![("axis", Attr::Int(0))]);
    let flat = b.node("Reshape", &[&a, &target], vec![]);
    let last = head(&mut b, &flat, 36);
    assert_eq!(left(&b.model(&[&last]), &a), [2, 2]);
}

#[test]
fn a_shape_read_of_one_tensor_that_shapes_another() {
    // The channel count of the cut tensor as the rows of a fixed reshape further down.
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let attributes = vec![("start", Attr::Int(1)), ("end", Attr::Int(2))];
    let count = b.node("Shape", &[&a], attributes);
    let pooled = b.node("GlobalAveragePool", &[&a], vec![]);
    let flat = b.node("Flatten", &[&pooled], vec![]);
    let last = head(&mut b, &flat, 4);
    // [N, 3] as it is, times 4.
    let number = b.node("Cast", &[&count], vec![("to", Attr::Int(1))]);
    let y = b.node("Mul", &[&last, &number], vec![]);
    assert_eq!(left(&b.model(&[&y]), &a), [2, 2]);
}

#[test]
fn a_mean_written_as_a_sum_over_the_number_of_channels() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let one = scalar(&mut b, 1);
    let count = b.node("Gather", &[&shape, &one], vec![]);
    let count = b.node("Cast", &[&count], vec![("to", Attr::Int(1))]);
    let halved = b.node("Div", &[&a, &count], vec![]);
    let flat = b.node("Flatten", &[&halved], vec![]);
    let last = head(&mut b, &flat, 36);
    // 0 over a number that is not known before the model runs need not be 0.
    assert_eq!(left(&b.model(&[&last]), &a), [2, 4]);
}

#[test]
fn the_size_of_a_cut_tensor() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let size = b.node("Size", &[&a], vec![]);
    let size = b.node("Cast", &[&size], vec![("to", Attr::Int(1))]);
    let scaled = b.node("Div", &[&a, &size], vec![]);
    let flat = b.node("Flatten", &[&scaled], vec![]);
    let last = head(&mut b, &flat, 36);
    // 0 over a number that is not known before the model runs need not be 0.
    assert_eq!(left(&b.model(&[&last]), &a), [2, 4]);
}

/// torch's `chunk`, as its older exporter writes it: the bounds follow from the number of channels.
#[test]
fn slices_whose_bounds_are_computed() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let one = b.ints(&[1]);
    let count = b.node("Gather", &[&shape, &one], vec![]);
    let (two, zero) = (b.ints(&[2]), b.ints(&[0]));
    let more = b.node("Add", &[&count, &one], vec![]);
    let half = b.node("Div", &[&more, &two], vec![]);
    let end = b.node("Mul", &[&half, &two], vec![]);
    let first = b.node("Slice", &[&a, &zero, &half, &one], vec![]);
    let second = b.node("Slice", &[&a, &half, &end, &one], vec![]);
    let joined = b.node("Concat", &[&second, &first], vec![("axis", Attr::Int(1))]);
    let flat = b.node("Flatten", &[&joined], vec![]);
    let y = head(&mut b, &flat, 36);
    assert_eq!(left(&b.model(&[&y]), &a), [2, 2]);
}

#[test]
fn a_split_whose_sizes_are_computed() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let (one, two) = (b.ints(&[1]), b.ints(&[2]));
    let count = b.node("Gather", &[&shape, &one], vec![]);
    let half = b.node("Div", &[&count, &two], vec![]);
    let rest = b.node("Sub", &[&count, &half], vec![]);
    let sizes = b.node("Concat", &[&half, &rest], vec![("axis", Attr::Int(0))]);
    let parts = b.split("Split", &[&a, &sizes], 2, vec![("axis", Attr::Int(1))]);
    let sum = b.node(
        "Concat",
        &[&parts[1], &parts[0]],
        vec![("axis", Attr::Int(1))],
    );
    let flat = b.node("Flatten", &[&sum], vec![]);
    let y = head(&mut b, &flat, 36);
    assert_eq!(left(&b.model(&[&y]), &a), [2, 2]);
}

/// A bound that follows from the batch is no bound that is known.
#[test]
fn slices_by_the_batch_are_declined() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let (zero, one) = (b.ints(&[0]), b.ints(&[1]));
    let n = b.node("Gather", &[&shape, &zero], vec![]);
    let part = b.node("Slice", &[&a, &zero, &n, &one], vec![]);
    let pooled = b.node("ReduceMax", &[&part], vec![("axes", Attr::Ints(vec![1]))]);
    let flat = b.node("Flatten", &[&pooled], vec![]);
    let y = head(&mut b, &flat, 9);
    let model = b.model(&[&y]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
    assert!(why.contains("has ends that are not constant"), "{why}");
}

/// `torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))`: constants of the data's shape.
#[test]
fn constants_in_the_shape_of_data() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b);
    let shape = b.node("Shape", &[&a], vec![]);
    let ones = b.node("ConstantOfShape", &[&shape], vec![]);
    let one = b.weight(&[], vec![1.0]);
    let zero = b.weight(&[], vec![0.0]);
    let expanded = b.node("Expand", &[&one, &shape], vec![]);
    let minus = b.node("Neg", &[&expanded], vec![]);
    let plus = b.node("Add", &[&ones, &one], vec![]);
    let condition = b.node("GreaterOrEqual", &[&a, &zero], vec![]);
    let signs = b.node("Where", &[&condition, &plus, &minus], vec![]);
    let flat = b.node("Flatten", &[&signs], vec![]);
    let y = head(&mut b, &flat, 36);
    assert_eq!(left(&b.model(&[&y]), &a), [2, 2]);
}
