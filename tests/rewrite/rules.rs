//! The channel rule of each operator: what it makes of a constant 0.5, a constant 0 and a live
//! channel, where the channel axis goes, and what it declines.

use crate::graphs::{Attr, Builder};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::rewrite::{Analysis, State};

/// What is known of the channels behind some nodes, as text: `0.5`, `fixed`, `live`; and the axis.
/// An error is why the layer in front cannot be pruned.
fn behind(
    nodes: impl FnOnce(&mut Builder, &str) -> String,
) -> Result<(Vec<String>, usize), String> {
    let mut b = Builder::new(&[1, 4, 4]);
    let w = b.weight(&[3, 1, 1, 1], vec![0.0, 0.0, 1.0]);
    let bias = b.weight(&[3], vec![0.5, 0.0, 0.0]);
    let x = b.node("Conv", &["x", &w, &bias], vec![]);
    let y = nodes(&mut b, &x);
    let model = b.model(&[]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let analysis = Analysis::new(&graph, &facts);
    analysis.prunable(&x)?;
    let t = graph.find(&y).unwrap();
    let states = analysis.states(t).ok_or("not tracked")?;
    let text = states.iter().map(|s| match s {
        State::Live => "live".to_owned(),
        State::Fixed => "fixed".to_owned(),
        // Bounds are small; the values in these tests have few digits.
        State::Constant(k) => {
            assert!(k.slack <= 1e-4, "{k:?}");
            format!("{}", (k.value * 1e3).round() / 1e3)
        }
    });
    Ok((text.collect(), analysis.channel_axis(t).unwrap()))
}

/// One node with attributes on the data alone.
fn one(op: &str, attributes: Vec<(&str, Attr)>) -> Result<(Vec<String>, usize), String> {
    behind(|b, x| b.node(op, &[x], attributes))
}

fn states(r: Result<(Vec<String>, usize), String>) -> String {
    r.unwrap().0.join(" ")
}

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

#[test]
fn elementwise_operators_map_constants() {
    for (op, expected) in [
        ("Identity", "0.5 0 live"),
        ("Relu", "0.5 0 live"),
        ("Sign", "1 0 live"),
        ("Neg", "-0.5 -0 live"),
        ("Abs", "0.5 0 live"),
        ("Floor", "0 0 live"),
        ("Ceil", "1 0 live"),
        ("Round", "0 0 live"),
        ("Tanh", "0.462 0 live"),
        ("Sigmoid", "0.622 0.5 live"),
        ("Exp", "1.649 1 live"),
        ("Sqrt", "0.707 0 live"),
        // Not finite: nothing may be concluded.
        ("Log", "-0.693 live live"),
        ("Reciprocal", "2 live live"),
        ("Dropout", "0.5 0 live"),
    ] {
        assert_eq!(states(one(op, vec![])), expected, "{op}");
    }
    let clip = behind(|b, x| {
        let lo = b.weight(&[], vec![0.25]);
        b.node("Clip", &[x, &lo], vec![])
    });
    assert_eq!(states(clip), "0.5 0.25 live");
    let leaky = behind(|b, x| {
        let n = b.node("Neg", &[x], vec![]);
        b.node("LeakyRelu", &[&n], vec![("alpha", Attr::Float(0.5))])
    });
    assert_eq!(states(leaky), "-0.25 -0 live");
}

#[test]
fn constants_broadcast_over_channels_or_follow_them() {
    let with = |op: &str, shape: &[usize], data: Vec<f32>| {
        behind(|b, x| {
            let c = b.weight(shape, data);
            b.node(op, &[x, &c], vec![])
        })
    };
    assert_eq!(states(with("Add", &[], vec![1.0])), "1.5 1 live");
    assert_eq!(
        states(with("Sub", &[1, 3, 1, 1], vec![1.0, 2.0, 3.0])),
        "-0.5 -2 live"
    );
    assert_eq!(
        states(with("Mul", &[3, 1, 1], vec![2.0, 5.0, 0.0])),
        "1 0 0"
    );
    assert_eq!(states(with("Div", &[1], vec![0.25])), "2 0 live");
    assert_eq!(states(with("Div", &[], vec![0.0])), "live live live");
    assert_eq!(states(with("Min", &[], vec![0.25])), "0.25 0 live");
    assert_eq!(states(with("Max", &[], vec![0.25])), "0.5 0.25 live");
    assert_eq!(
        states(with("PRelu", &[3, 1, 1], vec![2.0; 3])),
        "0.5 0 live"
    );
    // A map over space has no single value.
    let map = (0..16).map(|v| v as f32).collect();
    assert_eq!(states(with("Add", &[4, 4], map)), "fixed fixed live");
    // One of higher rank moves the channel axis.
    let (states, axis) = with("Add", &[2, 1, 1, 1, 1], vec![1.0; 2]).unwrap();
    assert_eq!((states.join(" "), axis), ("1.5 1 live".to_owned(), 2));
}

#[test]
fn comparisons_and_selections() {
    let bits = behind(|b, x| {
        let c = b.weight(&[], vec![0.25]);
        let bit = b.node("GreaterOrEqual", &[x, &c], vec![]);
        let not = b.node("Not", &[&bit], vec![]);
        b.node("Cast", &[&not], vec![("to", Attr::Int(1))])
    });
    assert_eq!(states(bits), "0 1 live");
    let select = behind(|b, x| {
        let zero = b.weight(&[], vec![0.0]);
        let [plus, minus] = [1.0, -1.0].map(|v| b.weight(&[1, 3, 4, 4], vec![v; 48]));
        let c = b.node("Greater", &[x, &zero], vec![]);
        b.node("Where", &[&c, &plus, &minus], vec![])
    });
    assert_eq!(states(select), "1 -1 live");
    // Integers divide otherwise: no value but 0 is followed through them.
    assert_eq!(
        states(one("Cast", vec![("to", Attr::Int(7))])),
        "fixed 0 live"
    );
}

#[test]
fn normalisation_maps_constants_and_a_zero_scale_makes_one() {
    let norm = behind(|b, x| {
        let p = [[2.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0; 3], [1.0; 3]];
        let p = p.map(|v| b.weight(&[3], v.to_vec()));
        let inputs = [x, &p[0], &p[1], &p[2], &p[3]];
        b.node(
            "BatchNormalization",
            &inputs,
            vec![("epsilon", Attr::Float(0.0))],
        )
    });
    assert_eq!(states(norm), "2 2 3");
    let training = behind(|b, x| {
        let p = b.weight(&[3], vec![1.0; 3]);
        b.node(
            "BatchNormalization",
            &[x, &p, &p, &p, &p],
            vec![("training_mode", Attr::Int(1))],
        )
    });
    assert!(training.unwrap_err().contains("training mode"));
}

#[test]
fn pooling_keeps_constants_where_its_padding_allows() {
    let window = |pads: i64| vec![("kernel_shape", ints(&[3, 3])), ("pads", ints(&[pads; 4]))];
    assert_eq!(states(one("MaxPool", window(1))), "0.5 0 live");
    assert_eq!(states(one("AveragePool", window(0))), "0.5 0 live");
    assert_eq!(states(one("AveragePool", window(1))), "0.5 0 live");
    let mut counted = window(1);
    counted.push(("count_include_pad", Attr::Int(1)));
    assert_eq!(states(one("AveragePool", counted)), "fixed 0 live");
    assert_eq!(states(one("GlobalAveragePool", vec![])), "0.5 0 live");
    assert_eq!(states(one("GlobalMaxPool", vec![])), "0.5 0 live");
    let axes = |a: &[i64]| vec![("axes", ints(a)), ("keepdims", Attr::Int(0))];
    assert_eq!(states(one("ReduceMean", axes(&[2, -1]))), "0.5 0 live");
    let why = one("ReduceMean", axes(&[1])).unwrap_err();
    assert!(why.contains("averages over channels"), "{why}");
}

#[test]
fn padding_keeps_constants_that_equal_its_value() {
    let pad = |pads: &[i64], value: f32| {
        behind(|b, x| {
            let p = b.ints(pads);
            let v = b.weight(&[], vec![value]);
            b.node("Pad", &[x, &p, &v], vec![])
        })
    };
    assert_eq!(
        states(pad(&[0, 0, 1, 1, 0, 0, 1, 1], 0.5)),
        "0.5 fixed live"
    );
    assert_eq!(states(pad(&[0; 8], 7.0)), "0.5 0 live");
    assert_eq!(
        states(pad(&[0, 1, 0, 0, 0, 2, 0, 0], 7.0)),
        "7 0.5 0 live 7 7"
    );
    let why = pad(&[0, -1, 0, 0, 0, 0, 0, 0], 0.0).unwrap_err();
    assert!(why.contains("crops the channel axis"), "{why}");
}

#[test]
fn views_carry_channels_along() {
    let axis = |r: Result<(Vec<String>, usize), String>| r.unwrap().1;
    let flat = one("Flatten", vec![]).unwrap();
    assert_eq!((flat.0.len(), flat.1), (48, 1));
    assert_eq!((&flat.0[15][..], &flat.0[16][..]), ("0.5", "0"));
    assert_eq!(
        axis(one("Transpose", vec![("perm", ints(&[0, 2, 3, 1]))])),
        3
    );
    let nhwc = behind(|b, x| {
        let t = b.node("Transpose", &[x], vec![("perm", ints(&[0, 2, 3, 1]))]);
        b.node("Flatten", &[&t], vec![])
    });
    assert_eq!(nhwc.unwrap().0[..4], ["0.5", "0", "live", "0.5"]);
    let reshape = |target: &[i64]| {
        behind(|b, x| {
            let t = b.ints(target);
            b.node("Reshape", &[x, &t], vec![])
        })
    };
    assert_eq!(axis(reshape(&[0, 3, -1])), 1);
    assert_eq!(axis(reshape(&[-1, 48])), 1);
    let why = reshape(&[48]).unwrap_err();
    assert!(why.starts_with("Reshape 'reshape5'"), "{why}");
    let squeeze = behind(|b, x| {
        let p = b.node("GlobalAveragePool", &[x], vec![]);
        let axes = b.ints(&[2, 3]);
        b.node("Squeeze", &[&p, &axes], vec![])
    });
    assert_eq!(states(squeeze), "0.5 0 live");
}

#[test]
fn a_target_may_be_computed_but_not_merge_the_batch() {
    let view = |dimension: i64| {
        behind(|b, x| {
            let s = b.node("Shape", &[x], vec![]);
            let i = b.constant(&Tensor::I64(ndarray::arr0(dimension).into_dyn()));
            let n = b.node("Gather", &[&s, &i], vec![]);
            let axes = b.ints(&[0]);
            let n = b.node("Unsqueeze", &[&n, &axes], vec![]);
            let rest = b.ints(&[-1]);
            let target = b.node("Concat", &[&n, &rest], vec![("axis", Attr::Int(0))]);
            b.node("Reshape", &[x, &target], vec![])
        })
    };
    assert_eq!(view(0).unwrap().0.len(), 48);
    let why = view(1).unwrap_err();
    assert!(why.contains("merges the batch into it"), "{why}");
}

#[test]
fn concat_joins_channels_or_lays_them_side_by_side() {
    let concat = |axis: i64| {
        behind(|b, x| {
            let s = b.node("Sign", &[x], vec![]);
            b.node("Concat", &[x, &s], vec![("axis", Attr::Int(axis))])
        })
    };
    assert_eq!(states(concat(1)), "0.5 0 live 1 0 live");
    // Along another axis, what differs between the parts has no single value.
    assert_eq!(states(concat(2)), "fixed 0 live");
}

#[test]
fn layers_compute_constants_from_constants() {
    let conv = |pad: i64| {
        behind(|b, x| {
            // Reads the constant 0.5; the 0; both; the live one.
            let w = [1., 0., 0., 0., 1., 0., 2., 1., 0., 0., 0., 1.];
            let w = b.weight(&[4, 3, 1, 1], w.to_vec());
            let bias = b.weight(&[4], vec![1.0; 4]);
            b.node("Conv", &[x, &w, &bias], vec![("pads", ints(&[pad; 4]))])
        })
    };
    assert_eq!(states(conv(0)), "1.5 1 2 live");
    // Around a zero-padded border the constant is missing.
    assert_eq!(states(conv(1)), "fixed 1 fixed live");
}

#[test]
fn a_sign_within_rounding_is_left_alone() {
    let sign = behind(|b, x| {
        // 0.5 · 0.3 - 0.15: a few ulp of 0, one way or the other.
        let p = [0.3, -0.15, 0.0, 1.0].map(|v| b.weight(&[3], vec![v; 3]));
        let n = b.node(
            "BatchNormalization",
            &[x, &p[0], &p[1], &p[2], &p[3]],
            vec![("epsilon", Attr::Float(0.0))],
        );
        b.node("Sign", &[&n], vec![])
    });
    assert_eq!(states(sign), "fixed -1 live");
}

/// Shapes are those of a batch of one; a sum over the batch is not known from them.
#[test]
fn sums_over_the_batch_have_no_known_value() {
    let sum = |axis: i64| {
        behind(|b, x| {
            let axes = b.ints(&[axis]);
            b.node("ReduceSum", &[x, &axes], vec![])
        })
    };
    assert_eq!(states(sum(2)), "2 0 live");
    assert_eq!(states(sum(0)), "fixed 0 live");
    let softmax = one("Softmax", vec![("axis", Attr::Int(0))]);
    assert_eq!(states(softmax), "fixed fixed live");
}
