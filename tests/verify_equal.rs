//! Models that are equal but for rounding pass, whatever their tensors are called, wherever their
//! channels are, and whatever stands around the ties; and faults among them do not.

mod common;
mod graphs;
mod pairs;

use common::tool;
use graphs::{Attr, Builder};
use ndarray::Axis;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::save;
use pairs::*;

#[test]
fn equal_but_for_rounding_passes_whatever_it_is_called_and_wherever_channels_are() {
    let net = Net::new(0.1);
    let reference = net.model(PLAIN);
    let tied = |what: &str, candidate: &ModelProto| {
        let found = passes(what, &reference, candidate);
        assert!(found["ties"].as_u64().unwrap() > 0, "{what}: {found}");
    };
    // ±1, then a division: the sums are exact.
    let mut exact = net.clone();
    exact.w1.mapv_inplace(f32::signum);
    let divided: Part = |b, x| with(b, "Div", &x, 10.0);
    let parts = Parts {
        middle: divided,
        ..PLAIN
    };
    tied("in another form", &exact.model(parts));
    exact.prefix = "r_";
    tied("in another form and renamed", &exact.model(parts));
    let order: Vec<usize> = (0..WIDE).map(|f| (f * 7) % WIDE).collect();
    let mut moved = net.select(&order);
    tied("with hidden channels in another order", &moved.model(PLAIN));
    moved.prefix = "r_";
    tied("and renamed", &moved.model(PLAIN));
}

/// What may stand behind a layer of ties, and in front of the next binariser.
#[test]
fn ties_behind_every_kind_of_operator_pass() {
    fn op(b: &mut Builder, op: &str, x: &str) -> String {
        b.node(op, &[x], vec![])
    }
    fn scales(b: &mut Builder, size: usize) -> [String; 2] {
        let values = |k: usize| {
            (0..size)
                .map(|i| 0.5 + ((i * k) % 7) as f32 / 8.0)
                .collect()
        };
        [b.weight(&[size], values(3)), b.weight(&[size], values(5))]
    }
    let kinds: [(&str, Part); 14] = [
        ("Elu", |b, x| op(b, "Elu", &x)),
        ("Selu", |b, x| op(b, "Selu", &x)),
        ("Celu", |b, x| op(b, "Celu", &x)),
        ("HardSigmoid", |b, x| {
            let x = op(b, "HardSigmoid", &x);
            with(b, "Sub", &x, 0.5)
        }),
        ("Softplus", |b, x| {
            let x = op(b, "Softplus", &x);
            with(b, "Sub", &x, 0.75)
        }),
        ("Erf", |b, x| op(b, "Erf", &x)),
        ("Exp", |b, x| {
            let x = op(b, "Exp", &x);
            with(b, "Sub", &x, 1.0)
        }),
        ("Softmax", |b, x| {
            let x = b.node("Softmax", &[&x], vec![("axis", Attr::Int(1))]);
            with(b, "Sub", &x, 0.04)
        }),
        ("Resize", |b, x| {
            let sizes = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
            let x = b.node(
                "Resize",
                &[&x, "", &sizes],
                vec![("mode", Attr::Text("nearest"))],
            );
            let two = || Attr::Ints(vec![2, 2]);
            b.node(
                "MaxPool",
                &[&x],
                vec![("kernel_shape", two()), ("strides", two())],
            )
        }),
        ("InstanceNormalization", |b, x| {
            let [scale, shift] = scales(b, WIDE);
            b.node("InstanceNormalization", &[&x, &scale, &shift], vec![])
        }),
        ("LayerNormalization", |b, x| {
            let to = vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))];
            let x = b.node("Transpose", &[&x], to);
            let [scale, shift] = scales(b, WIDE);
            let x = b.node("LayerNormalization", &[&x, &scale, &shift], vec![]);
            b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))],
            )
        }),
        ("ReduceMean", |b, x| {
            let axes = vec![("axes", Attr::Ints(vec![2, 3]))];
            let mean = b.node("ReduceMean", &[&x], axes);
            b.node("Sub", &[&x, &mean], vec![])
        }),
        ("ReduceL2", |b, x| {
            let norm = b.node("ReduceL2", &[&x], vec![("axes", Attr::Ints(vec![1]))]);
            let norm = with(b, "Div", &norm, 8.0);
            b.node("Sub", &[&x, &norm], vec![])
        }),
        ("QuantizeLinear", |b, x| {
            let scale = b.weight(&[], vec![0.2]);
            let x = with(b, "Add", &x, 3.0);
            let x = b.node("QuantizeLinear", &[&x, &scale], vec![]);
            let x = b.node("DequantizeLinear", &[&x, &scale], vec![]);
            with(b, "Sub", &x, 3.0)
        }),
    ];
    let net = Net::new(0.1);
    // Ties at the third Sign, behind the operator: exact sums, then a division.
    let mut exact = net.clone();
    exact.w2.mapv_inplace(f32::signum);
    let mut bad = exact.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    for (what, middle) in kinds {
        let parts = Parts { middle, ..PLAIN };
        let divided = Parts {
            late: |b, x| with(b, "Div", &x, 10.0),
            ..parts
        };
        let reference = net.model(parts);
        let (code, found) = verify(&reference, &exact.model(divided), On::Own);
        assert_eq!(code, 0, "{what}: {found}");
        assert!(found["ties"].as_u64().unwrap() > 0, "{what}: {found}");
        let (code, found) = verify(&reference, &bad.model(divided), On::Own);
        assert_eq!(code, 1, "{what}: {found}");
    }
}

#[test]
fn channels_that_were_cut_are_found() {
    let net = Net::new(0.1);
    let kept: Vec<usize> = (0..WIDE).filter(|f| f % 3 != 1).collect();
    let mut masked = net.clone();
    for f in (0..WIDE).filter(|f| f % 3 == 1) {
        masked.w2.index_axis_mut(Axis(1), f).fill(0.0);
    }
    let mut pruned = net.select(&kept);
    let found = passes("cut", &masked.model(PLAIN), &pruned.model(PLAIN));
    assert!(found["ties"].as_u64().unwrap() > 0, "{found}");
    pruned.prefix = "p_";
    passes(
        "cut and renamed",
        &masked.model(PLAIN),
        &pruned.model(PLAIN),
    );
    let found = fails("of the original", &net.model(PLAIN), &pruned.model(PLAIN));
    let failures = found["failures"].to_string();
    assert!(
        failures.contains("fewer channels") && failures.contains("(16 of 24)"),
        "{failures}"
    );
    assert!(!failures.contains("cannot"), "{failures}");
    let mut bad = pruned.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    fails("cut and wrong", &masked.model(PLAIN), &bad.model(PLAIN));
    let shifted: Vec<usize> = kept.iter().map(|f| (f + 1).min(WIDE - 1)).collect();
    fails(
        "the wrong ones cut",
        &masked.model(PLAIN),
        &net.select(&shifted).model(PLAIN),
    );
}

/// What the README tells users to do, on a network full of ties.
#[test]
fn a_pair_of_the_main_job_passes_and_its_agreement_is_with_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = Net::new(0.1).model(PLAIN);
    save(&model, &at("in.onnx")).unwrap();
    let nodes = &model.graph.as_ref().unwrap().node;
    let mut convolutions = nodes.iter().filter(|n| n.op_type() == "Conv");
    let layer = convolutions.nth(1).unwrap().name();
    let pruned: Vec<usize> = (0..WIDE).filter(|f| f % 3 == 1).collect();
    common::write_masks(&at("masks.json"), &[(layer, WIDE, &pruned)]);
    let mut c = tool();
    c.arg(at("in.onnx")).arg(at("out.onnx"));
    c.arg("--masks").arg(at("masks.json"));
    c.arg("--save-masked").arg(at("masked.onnx"));
    c.arg("--report").arg(at("report.json"));
    let done = c.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{text}");
    let report = common::json(&at("report.json"));
    assert!(report["verification"]["ties"].as_u64().unwrap() > 0);
    let agreement = report["agreement"].as_f64().unwrap();
    assert!((0.05..0.95).contains(&agreement), "{agreement}");
    assert!(text.contains("masked and pruned agree on "), "{text}");
    assert!(text.contains("like the original   "), "{text}");
    let verify = |reference: &str| {
        let mut c = tool();
        c.arg("verify").arg(at(reference)).arg(at("out.onnx"));
        let done = c.output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, text) = verify("masked.onnx");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("explained by ties"), "{text}");
    let (code, text) = verify("in.onnx");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("fewer channels") && text.contains("(16 of 24)"),
        "{text}"
    );
}
