//! BatchNormalizations that a form hides: put back without changing the function, and written in that
//! form again.

use super::*;

/// Filters of the layer whose form is looked at.
const FILTERS: usize = 5;

fn signs(shape: &[usize], seed: u64) -> ArrayD<f32> {
    random(shape, seed).mapv(f32::signum)
}

/// A value for each filter, for data of four axes.
fn vector(seed: u64, f: impl Fn(f32) -> f32) -> ArrayD<f32> {
    random(&[1, FILTERS, 1, 1], seed).mapv(f)
}

/// A model whose first layer is a binary convolution `c` of two channels, with weights `weight` and what
/// `form` puts behind it up to the tensor `b`; then a binary layer and a classifier.
fn formed(weight: ArrayD<f32>, form: impl Fn(ModelBuilder) -> ModelBuilder) -> ModelProto {
    let start = ModelBuilder::new(&[0, 2, 6, 6])
        .node("s", "Sign", &["x"], &[])
        .constant("w", weight);
    form(start)
        .node("gap", "GlobalAveragePool", &["b"], &[])
        .node("flat", "Flatten", &["gap"], &[])
        .constant("fc.w", random(&[FILTERS, 3], 3))
        .node("out", "MatMul", &["flat", "fc.w"], &[])
        .build()
}

fn unit() -> ArrayD<f32> {
    signs(&[FILTERS, 2, 3, 3], 41)
}

/// With one weight of zero in each filter: no sum is 0, which `Sign` would tell from ±1.
fn odd() -> ArrayD<f32> {
    let mut w = unit();
    w.outer_iter_mut().for_each(|mut f| f[[0, 0, 0]] = 0.0);
    w
}

fn scaled() -> ArrayD<f32> {
    let scale = random(&[FILTERS, 1, 1, 1], 42).mapv(|v| 0.2 + v.abs());
    unit() * scale
}

fn one_dead() -> ArrayD<f32> {
    let mut w = scaled();
    w.index_axis_mut(ndarray::Axis(0), 2).fill(0.0);
    w
}

const PADS: &[(&str, &[i64])] = &[("pads", &[1, 1, 1, 1])];
const POOL: &[(&str, &[i64])] = &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])];

/// Name, model, and how many nodes writing what was learned may add.
fn forms() -> Vec<(&'static str, ModelProto, usize)> {
    let conv = |m: ModelBuilder| m.node("c", "Conv", &["s", "w"], PADS);
    let whole = |v: f32| (6.0 * v).round();
    vec![
        (
            "integer",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(1, |v| whole(v) + 0.5))
                    .node("d", "Sub", &["c", "t"], &[])
                    .node("b", "Sign", &["d"], &[])
            }),
            0,
        ),
        (
            "one threshold for all channels",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", random(&[1], 1).mapv(|v| whole(v) + 0.5))
                    .node("d", "Add", &["c", "t"], &[])
                    .node("b", "Sign", &["d"], &[])
            }),
            0,
        ),
        (
            "pooled",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(2, |v| 5.0 * v))
                    .node("d", "Add", &["c", "t"], &[])
                    .node("p", "MaxPool", &["d"], POOL)
                    .node("b", "Sign", &["p"], &[])
            }),
            0,
        ),
        (
            "pooled before, and turned around",
            formed(unit(), |m| {
                conv(m)
                    .constant("f", vector(3, |v| if v < 0.0 { -0.5 } else { 0.5 }))
                    .constant("t", vector(4, |v| 2.0 * v))
                    .node("p", "MaxPool", &["c"], POOL)
                    .node("e", "Mul", &["p", "f"], &[])
                    .node("d", "Add", &["e", "t"], &[])
                    .node("b", "Sign", &["d"], &[])
            }),
            0,
        ),
        (
            "subtracted from",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(5, |v| 5.0 * v))
                    .node("d", "Sub", &["t", "c"], &[])
                    .node("b", "Sign", &["d"], &[])
            }),
            0,
        ),
        (
            "folded",
            formed(scaled(), |m| {
                m.constant("bias", random(&[FILTERS], 43))
                    .node("c", "Conv", &["s", "w", "bias"], PADS)
                    .node("b", "Sign", &["c"], &[])
            }),
            0,
        ),
        (
            "scale and shift",
            formed(unit(), |m| {
                conv(m)
                    .constant("f", vector(6, |v| 0.1 + v.abs()))
                    .constant("t", vector(7, |v| v))
                    .node("e", "Mul", &["c", "f"], &[])
                    .node("d", "Add", &["e", "t"], &[])
                    .node("b", "Sign", &["d"], &[])
            }),
            0,
        ),
        (
            "scale and shift, open",
            formed(unit(), |m| {
                conv(m)
                    .constant("f", vector(6, |v| 2.0 + v))
                    .constant("t", vector(7, |v| v))
                    .node("e", "Div", &["c", "f"], &[])
                    .node("b", "Add", &["e", "t"], &[])
            }),
            0,
        ),
        (
            "folded, open",
            formed(scaled(), |m| {
                m.constant("bias", random(&[FILTERS], 43)).node(
                    "b",
                    "Conv",
                    &["s", "w", "bias"],
                    PADS,
                )
            }),
            0,
        ),
        (
            "comparison",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(8, |v| 5.0 * v))
                    .constant("yes", ArrayD::from_elem(vec![], 1.0))
                    .constant("no", ArrayD::from_elem(vec![], -1.0))
                    .node("d", "GreaterOrEqual", &["c", "t"], &[])
                    .node("b", "Where", &["d", "yes", "no"], &[])
            }),
            0,
        ),
        (
            "comparison with whole numbers, which sums meet",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(8, |v| 2.0 * (2.0 * v).round()))
                    .constant("yes", ArrayD::from_elem(vec![], 1.0))
                    .constant("no", ArrayD::from_elem(vec![], -1.0))
                    .node("d", "GreaterOrEqual", &["c", "t"], &[])
                    .node("b", "Where", &["d", "yes", "no"], &[])
            }),
            0,
        ),
        (
            "folded, one filter dead",
            formed(one_dead(), |m| {
                m.constant("bias", random(&[FILTERS], 43))
                    .node("c", "Conv", &["s", "w", "bias"], PADS)
                    .node("b", "Sign", &["c"], &[])
            }),
            0,
        ),
        (
            "nothing at all",
            formed(odd(), |m| {
                m.node("c", "Conv", &["s", "w"], &[])
                    .node("b", "Sign", &["c"], &[])
            }),
            1,
        ),
        (
            "rounded",
            formed(unit(), |m| {
                conv(m)
                    .constant("t", vector(9, |v| 5.0 * v))
                    .constant("one", ArrayD::from_elem(vec![], 1.0))
                    .constant("two", ArrayD::from_elem(vec![], 2.0))
                    .constant("zero", ArrayD::from_elem(vec![], 0.0))
                    .node("d", "Add", &["c", "t"], &[])
                    .node("e", "Add", &["d", "one"], &[])
                    .node("g", "Div", &["e", "two"], &[])
                    .node("h", "Clip", &["g", "zero", "one"], &[])
                    .node("i", "Round", &["h"], &[])
                    .node("j", "Mul", &["i", "two"], &[])
                    .node("b", "Sub", &["j", "one"], &[])
            }),
            0,
        ),
    ]
}

/// Share of outputs that differ: one sign that a rounding turns moves them all of its image.
fn differing(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f64 {
    let pairs = a.outer_iter().zip(b.outer_iter());
    let far = |(a, b): (ndarray::ArrayViewD<'_, f32>, ndarray::ArrayViewD<'_, f32>)| {
        a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-4)
    };
    pairs.filter(|(a, b)| far((a.view(), b.view()))).count() as f64 / a.shape()[0] as f64
}

#[test]
fn every_form_hides_one_and_gets_it_back_in_that_form() {
    for (form, original, added) in forms() {
        let mut n = import(&original);
        let before = infer(&n, x(32)).unwrap();
        let batch = start(&n, x(32));
        let layers = restore_norms(&mut n, [batch]).unwrap();
        assert_eq!(layers.len(), 1, "{form}");
        assert!(n.hidden_norms().is_empty(), "{form}");
        let after = infer(&n, x(32)).unwrap();
        assert_eq!(differing(&after, &before), 0.0, "{form}");
        let mut out = original.clone();
        write_back(&n, &mut out).unwrap();
        assert_eq!(out, original, "{form}: untrained, the file's numbers stay");
        // Half of what can turn a filter around does.
        for p in (0..n.params().len()).map(ParamId) {
            let turns = n.param(p).kind == ParamKind::Gamma;
            let moves = n.param(p).kind.is_main() || n.param(p).kind == ParamKind::RunningMean;
            for (i, v) in n.values_mut(p).iter_mut().enumerate() {
                let sign = if turns && i % 2 == 1 { -1.0 } else { 1.0 };
                *v = if moves { sign * (0.8 * *v - 0.05) } else { *v };
            }
        }
        write_back(&n, &mut out).unwrap();
        let nodes = |m: &ModelProto| m.graph.as_ref().unwrap().node.len();
        assert_eq!(nodes(&out), nodes(&original) + added, "{form}");
        let (learned, again) = (
            infer(&n, x(64)).unwrap(),
            infer(&import(&out), x(64)).unwrap(),
        );
        assert!(
            differing(&learned, &infer(&import(&original), x(64)).unwrap()) > 0.5,
            "{form}"
        );
        assert!(differing(&learned, &again) < 0.05, "{form}");
    }
}

#[test]
fn whole_sums_are_compared_with_half_numbers() {
    let (_, original, _) = forms().swap_remove(0);
    let mut n = import(&original);
    let batch = start(&n, x(32));
    restore_norms(&mut n, [batch]).unwrap();
    for p in (0..n.params().len()).map(ParamId) {
        if n.param(p).kind == ParamKind::Beta {
            n.values_mut(p).mapv_inplace(|v| v + 0.7);
        }
    }
    let mut out = original.clone();
    write_back(&n, &mut out).unwrap();
    let graph = out.graph.as_ref().unwrap();
    let value = |name: &str| {
        let found = graph.initializer.iter().find(|t| t.name() == name);
        crate::onnx::Tensor::from_proto(found.unwrap()).unwrap()
    };
    let (t, w) = (value("t"), value("w"));
    assert!(t.as_f32().unwrap().iter().all(|t| (t - 0.5).fract() == 0.0));
    assert!(w.as_f32().unwrap().iter().all(|w| w.abs() == 1.0));
}

#[test]
fn what_another_layer_reads_as_well_stays_its_own() {
    // Two layers with one bias, as optimisers write equal ones.
    let weight = random(&[FILTERS, FILTERS, 3, 3], 51).mapv(|v| 0.3 * v.signum());
    let original = ModelBuilder::new(&[0, 2, 6, 6])
        .node("s", "Sign", &["x"], &[])
        .constant("w", scaled())
        .constant("w2", weight)
        .constant("bias", random(&[FILTERS], 43))
        .node("c", "Conv", &["s", "w", "bias"], PADS)
        .node("b", "Sign", &["c"], &[])
        .node("c2", "Conv", &["b", "w2", "bias"], PADS)
        .node("b2", "Sign", &["c2"], &[])
        .node("gap", "GlobalAveragePool", &["b2"], &[])
        .node("out", "Flatten", &["gap"], &[])
        .build();
    let mut n = import(&original);
    let batch = start(&n, x(32));
    assert_eq!(restore_norms(&mut n, [batch]).unwrap().len(), 2);
    let betas = (0..n.params().len()).map(ParamId);
    let betas: Vec<ParamId> = betas
        .filter(|p| n.param(*p).kind == ParamKind::Beta)
        .collect();
    n.values_mut(betas[0]).mapv_inplace(|v| v + 0.6);
    n.values_mut(betas[1]).mapv_inplace(|v| v - 0.6);
    let mut out = original.clone();
    write_back(&n, &mut out).unwrap();
    let (learned, again) = (
        infer(&n, x(64)).unwrap(),
        infer(&import(&out), x(64)).unwrap(),
    );
    assert!(differing(&learned, &again) < 0.05);
}

#[test]
fn layers_with_a_batch_normalization_hide_none() {
    let original = model();
    let n = import(&original);
    assert!(n.hidden_norms().is_empty());
}
