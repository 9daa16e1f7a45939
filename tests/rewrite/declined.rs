//! What elimination declines keeps its filters and says why, by name; and so do tensors that a
//! subgraph reads.

use crate::graphs::around::{around, declined, goes, ints, left, one, values};
use crate::graphs::{Attr, Builder, run, undeclared};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto::AttributeType,
};
use onnx_bnnprune::rewrite::{Analysis, FilterMasks, Note, Removal, apply_masks, eliminate};
use onnx_bnnprune::verify::Optimization;

type Body = Box<dyn FnOnce(&mut Builder, &str) -> String>;

fn scalar(b: &mut Builder, i: i64) -> String {
    b.constant(&Tensor::I64(ndarray::arr0(i).into_dyn()))
}

fn check(cases: Vec<(usize, Body, &str)>) {
    for (sizes, body, expected) in cases {
        let why = declined(sizes, body);
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn operators_that_mix_channels() {
    let axis = || vec![("axis", Attr::Int(1))];
    check(vec![
        (
            128,
            Box::new(one("Softmax", axis())),
            "Softmax 'softmax4' mixes channels",
        ),
        (
            128,
            Box::new(one("LogSoftmax", axis())),
            "LogSoftmax 'logsoftmax4' mixes channels",
        ),
        (
            128,
            Box::new(one("Hardmax", axis())),
            "Hardmax 'hardmax4' mixes channels",
        ),
        (
            128,
            Box::new(one("LRN", vec![("size", Attr::Int(3))])),
            "LRN 'lrn4' mixes channels",
        ),
        (
            128,
            Box::new(one("LpNormalization", axis())),
            "mixes channels",
        ),
        (
            128,
            Box::new(one("MeanVarianceNormalization", vec![])),
            "mixes channels",
        ),
        (
            128,
            Box::new(|b, x| {
                let axis = scalar(b, 1);
                b.node("CumSum", &[x, &axis], vec![])
            }),
            "CumSum 'cumsum5' mixes channels",
        ),
    ]);
}

#[test]
fn reductions_over_channels() {
    for op in [
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp",
    ] {
        let why = declined(1, move |b, x| {
            let magnitude = b.node("Abs", &[x], vec![]);
            b.node(op, &[&magnitude], vec![("axes", ints(&[1, 2, 3]))])
        });
        assert!(why.starts_with(op), "{why}");
        assert!(
            why.contains("over channels, so it depends on how many"),
            "{why}"
        );
    }
    let why = declined(1, one("ReduceMax", vec![]));
    assert!(
        why.contains("over channels, so it depends on how many"),
        "{why}"
    );
}

/// It takes constants in; but it has no columns for masks to zero.
#[test]
fn sums_over_channels_take_constants_in() {
    let shifted = |b: &mut Builder, x: &str| {
        let c = b.weight(&[8, 1, 1], values(8, 9));
        b.node("Add", &[x, &c], vec![])
    };
    for (sizes, list, keep) in [(16, &[1][..], 1), (16, &[-3], 0), (4, &[1, 2], 1)] {
        let (model, a) = around(17, sizes, |b, x| {
            let x = shifted(b, x);
            let axes = b.ints(list);
            let keep = vec![("keepdims", Attr::Int(keep))];
            b.node("ReduceSum", &[&x, &axes], keep)
        });
        let [drop, fold] = left(&model, &a, &[1, 2, 6], 0.0);
        assert_eq!((drop, fold), (vec![0, 3, 4, 5, 7], vec![0, 3, 4, 5, 7]));
        let graph = Graph::new(&model).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
        assert!(
            why.contains("sums up channels and has no columns to zero"),
            "{why}"
        );
        let mut masks = FilterMasks::default();
        masks.prune(&a, 8, [1]);
        let masked = apply_masks(&model, &masks, Removal::Drop).unwrap();
        assert!(
            matches!(
                masked.notes[..],
                [Note::FoldedShift { .. }, Note::MaskedAsFold { .. }]
                    | [Note::MaskedAsFold { .. }, Note::FoldedShift { .. }]
            ),
            "{:?}",
            masked.notes
        );
    }
    // A gate over space made of it.
    goes(128, |b, x| {
        let axes = b.ints(&[1]);
        let gate = b.node("ReduceSum", &[x, &axes], vec![]);
        let gate = b.node("Sign", &[&gate], vec![]);
        b.node("Mul", &[x, &gate], vec![])
    });
    // Over the batch as well: how often a constant counts is not known, of a zero it does not matter.
    let over_all = |shift: bool| {
        let (model, a) = around(17, 1, |b, x| {
            let x = if shift { shifted(b, x) } else { x.to_owned() };
            let p = b.node("ReduceMax", &[&x], vec![("axes", ints(&[2, 3]))]);
            let axes = b.ints(&[0, 1]);
            b.node("ReduceSum", &[&p, &axes], vec![])
        });
        let mut masks = FilterMasks::default();
        masks.prune(&a, 8, [1, 2, 6]);
        let masked = apply_masks(&model, &masks, Removal::Fold).unwrap().model;
        eliminate(&masked).unwrap().layers.remove(0)
    };
    assert_eq!(over_all(false).kept.len(), 5);
    let whole = over_all(true);
    assert_eq!(whole.kept.len(), 8);
    let why = whole.reason.unwrap_or_default();
    assert!(why.contains("over a batch of unknown size"), "{why}");
}

#[test]
fn group_normalisation() {
    check(vec![(
        128,
        Box::new(|b, x| {
            let (groups, back) = (b.ints(&[0, 2, -1]), b.ints(&[0, 8, 4, 4]));
            let g = b.node("Reshape", &[x, &groups], vec![]);
            let p = b.weight(&[2], vec![1.0, 2.0]);
            let n = b.node("InstanceNormalization", &[&g, &p, &p], vec![]);
            b.node("Reshape", &[&n, &back], vec![])
        }),
        "makes groups of channels for the group normalisation 'instancenormalization8'",
    )]);
    let (mut model, a) = around(21, 128, |b, x| {
        let p = b.weight(&[8], vec![1.0; 8]);
        let groups = vec![("num_groups", Attr::Int(2))];
        b.node("GroupNormalization", &[x, &p, &p], groups)
    });
    model.ir_version = Some(10);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
    assert!(
        why.contains("GroupNormalization 'groupnormalization5' mixes channels"),
        "{why}"
    );
}

#[test]
fn operators_that_cannot_follow_channels() {
    check(vec![
        (
            16,
            Box::new(|b, x| {
                let i = scalar(b, 2);
                b.node("Gather", &[x, &i], vec![("axis", Attr::Int(1))])
            }),
            "picks channels with indices that are no constant list",
        ),
        (
            256,
            Box::new(|b, x| {
                let scales = b.weight(&[4], vec![1.0, 2.0, 1.0, 1.0]);
                b.node("Resize", &[x, "", &scales], vec![])
            }),
            "resizes the channel axis",
        ),
        (
            128,
            Box::new(|b, x| {
                let halves = b.ints(&[0, 2, 4, 4, 4]);
                b.node("Reshape", &[x, &halves], vec![])
            }),
            "splits the channel axis",
        ),
        (
            128,
            Box::new(|b, x| {
                let pads = b.ints(&[0, 1, 0, 0, 0, -1, 0, 0]);
                b.node("Pad", &[x, &pads], vec![])
            }),
            "crops the channel axis",
        ),
        (
            128,
            Box::new(one("Sin", vec![])),
            "Sin 'sin4' has no channel rule",
        ),
    ]);
}

#[test]
fn training_mode() {
    check(vec![(
        128,
        Box::new(|b, x| {
            let ratio = b.weight(&[], vec![0.5]);
            let training = b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn()));
            b.node("Dropout", &[x, &ratio, &training], vec![])
        }),
        "export the model in evaluation mode, or give --inference-mode",
    )]);
    // Nothing is dropped at a ratio of 0.
    goes(128, |b, x| {
        let ratio = b.weight(&[], vec![0.0]);
        let training = b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn()));
        b.node("Dropout", &[x, &ratio, &training], vec![])
    });
    let norm = |outputs: usize, training: i64| {
        move |b: &mut Builder, x: &str| {
            let p = b.weight(&[8], vec![1.0; 8]);
            let inputs = [x, &p, &p, &p, &p];
            let mut names = b.split(
                "BatchNormalization",
                &inputs,
                outputs,
                vec![
                    ("training_mode", Attr::Int(training)),
                    ("epsilon", Attr::Float(0.0)),
                ],
            );
            names.remove(0)
        }
    };
    let why = declined(128, norm(3, 1));
    assert!(why.contains("runs in training mode"), "{why}");
    goes(128, norm(1, 0));
}

/// A subgraph with one node, which reads an outer tensor.
fn subgraph(op: &str, reads: &str, before: &[&str]) -> GraphProto {
    let output = format!("inner.{op}");
    let mut g = GraphProto {
        name: Some(format!("body.{op}")),
        node: vec![NodeProto {
            op_type: Some(op.to_owned()),
            input: vec![reads.to_owned()],
            output: vec![output.clone()],
            ..NodeProto::default()
        }],
        ..GraphProto::default()
    };
    g.output = before.iter().map(|n| undeclared(n)).collect();
    g.output.push(undeclared(&output));
    g
}

fn attach(b: &mut Builder, name: &str, g: GraphProto) {
    let node = b.graph.node.last_mut().unwrap();
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(g),
        ..AttributeProto::default()
    });
}

/// The filters stay because of that subgraph, others go, and both models give the same.
fn blocked(model: &ModelProto, layer: &str, expected: &str) {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let why = Analysis::new(&graph, &facts).prunable(layer).unwrap_err();
    assert_eq!(why, expected);
    let mut masks = FilterMasks::default();
    masks.prune(layer, 8, [1, 2, 6]);
    let masked = apply_masks(model, &masks, Removal::Drop).unwrap().model;
    let e = eliminate(&masked).unwrap();
    assert_eq!(e.layers[0].kept.len(), 8);
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 4, 4]), values(64, 3)).unwrap();
    let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
    assert_ne!(run(model), run(&masked));
    assert_eq!(run(&masked), run(&e.model));
}

#[test]
fn what_a_branch_reads() {
    let (model, a) = around(17, 128, |b, x| {
        let condition = b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn()));
        let y = b.node("If", &[&condition], vec![]);
        attach(b, "then_branch", subgraph("Relu", x, &[]));
        attach(b, "else_branch", subgraph("Neg", x, &[]));
        y
    });
    blocked(&model, &a, "a subgraph of If 'if5' reads it");
}

/// What the branches give has a shape, where they agree on one: what comes behind is cut.
#[test]
fn what_comes_behind_branches() {
    let network = |sides: [&str; 2]| {
        let mut b = Builder::new(&[2, 4, 4]);
        let stem = b.weight(&[8, 2, 1, 1], values(16, 1));
        let t = b.node("Conv", &["x", &stem], vec![]);
        let condition = b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn()));
        let y = b.node("If", &[&condition], vec![]);
        attach(&mut b, "then_branch", subgraph(sides[0], &t, &[]));
        attach(&mut b, "else_branch", subgraph(sides[1], &t, &[]));
        let w = b.weight(&[8, 8, 1, 1], values(64, 2));
        let behind = b.node("Conv", &[&y, &w], vec![]);
        let t = b.node("Relu", &[&behind], vec![]);
        let t = b.node("GlobalAveragePool", &[&t], vec![]);
        let t = b.node("Flatten", &[&t], vec![]);
        let head = b.weight(&[8, 3], values(24, 3));
        let out = b.node("MatMul", &[&t, &head], vec![]);
        (b.model(&[&out]), y, behind)
    };
    let (model, y, behind) = network(["Relu", "Neg"]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 3).unwrap();
    assert_eq!(
        facts.shape(graph.find(&y).unwrap()),
        Some(&[3, 8, 4, 4][..])
    );
    let mut masks = FilterMasks::default();
    masks.prune(&behind, 8, [1, 2, 6]);
    let masked = apply_masks(&model, &masks, Removal::Drop).unwrap().model;
    let e = eliminate(&masked).unwrap();
    let cut = e.layers.iter().find(|l| l.name == behind).unwrap();
    assert_eq!(cut.kept.len(), 5);
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 4, 4]), values(64, 4)).unwrap();
    let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
    assert_ne!(run(&model), run(&masked));
    assert!(difference(&run(&masked)[0], &run(&e.model)[0]) < 1e-5);
    // Branches that differ say nothing.
    let (model, y, _) = network(["Relu", "GlobalAveragePool"]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 3).unwrap();
    assert_eq!(facts.shape(graph.find(&y).unwrap()), None);
}

fn difference(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

#[test]
fn what_a_loop_reads() {
    let (model, a) = around(17, 128, |b, x| {
        let (trips, go) = (
            scalar(b, 1),
            b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn())),
        );
        let y = b.node("Loop", &[&trips, &go], vec![]);
        let mut body = subgraph("Relu", x, &["go"]);
        let typed = |name: &str, kind: i32| {
            let mut v = crate::graphs::sized(name, &[]);
            use onnx_bnnprune::onnx::proto::type_proto::Value;
            if let Some(Value::TensorType(t)) = &mut v.r#type.as_mut().unwrap().value {
                t.elem_type = Some(kind);
            }
            v
        };
        body.input = vec![typed("trip", 7), typed("going", 9)];
        body.output[0] = typed("go", 9);
        body.node.push(NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec!["going".to_owned()],
            output: vec!["go".to_owned()],
            ..NodeProto::default()
        });
        attach(b, "body", body);
        // One trip: an axis of size 1 in front.
        let axes = b.ints(&[0]);
        b.node("Squeeze", &[&y, &axes], vec![])
    });
    blocked(&model, &a, "a subgraph of Loop 'loop6' reads it");
}

#[test]
fn what_a_scan_reads() {
    let (model, a) = around(17, 128, |b, x| {
        let steps = b.weight(&[1, 1], vec![2.0]);
        let y = b.node("Scan", &[&steps], vec![("num_scan_inputs", Attr::Int(1))]);
        let mut body = subgraph("Relu", x, &[]);
        body.input = vec![crate::graphs::sized("step", &[1])];
        attach(b, "body", body);
        let axes = b.ints(&[0]);
        b.node("Squeeze", &[&y, &axes], vec![])
    });
    blocked(&model, &a, "a subgraph of Scan 'scan5' reads it");
}
