//! Models that are equal but for rounding pass, whatever their tensors are called, wherever their
//! channels are, and whatever stands around the ties; and faults among them do not.

use crate::common::tool;
use crate::pairs::*;
use ndarray::Axis;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::save;

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
    crate::common::write_masks(&at("masks.json"), &[(layer, WIDE, &pruned)]);
    let mut c = tool();
    c.arg(at("in.onnx")).arg(at("out.onnx"));
    c.arg("--masks").arg(at("masks.json"));
    c.arg("--save-masked").arg(at("masked.onnx"));
    c.arg("--report").arg(at("report.json"));
    let done = c.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{text}");
    let report = crate::common::json(&at("report.json"));
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
