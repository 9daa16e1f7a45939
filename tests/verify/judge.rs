//! Pairs made up against the judge: faults dressed as ties all fail.

use crate::graphs::{Attr, Builder};
use crate::pairs::*;
use ndarray::Axis;

#[test]
fn constants_in_front_of_a_sign_are_faults() {
    let exact = Net::new(1.0);
    let shifts: [(&str, Part); 6] = [
        ("1e-6 added", |b, x| with(b, "Add", &x, 1e-6)),
        ("1e-6 taken away", |b, x| with(b, "Sub", &x, 1e-6)),
        ("1e-30 added", |b, x| with(b, "Add", &x, 1e-30)),
        ("1e-3 added", |b, x| with(b, "Add", &x, 1e-3)),
        ("a scale, then 1e-6", |b, x| {
            let x = with(b, "Div", &x, 10.0);
            with(b, "Add", &x, 1e-6)
        }),
        ("1e6 added and taken away", |b, x| {
            let x = with(b, "Add", &x, 1.5e6 + 0.125);
            with(b, "Sub", &x, 1.5e6)
        }),
    ];
    for (what, middle) in shifts {
        let candidate = exact.model(Parts { middle, ..PLAIN });
        let found = fails(what, &exact.model(PLAIN), &candidate);
        assert_eq!(found["ties"], 0, "{what}: {found}");
    }
    // Where rounding decides the sign of 0, but by far less than this.
    let rounded = Net::new(0.1);
    for (what, middle) in &shifts[..2] {
        let candidate = rounded.model(Parts {
            middle: *middle,
            ..PLAIN
        });
        fails(what, &rounded.model(PLAIN), &candidate);
    }
    let one: Part = |b, x| {
        let shift: Vec<f32> = (0..WIDE).map(|c| if c == 7 { 1e-6 } else { 0.0 }).collect();
        let shift = b.weight(&[WIDE, 1, 1], shift);
        b.node("Add", &[&x, &shift], vec![])
    };
    let candidate = rounded.model(Parts {
        middle: one,
        ..PLAIN
    });
    fails("1e-6 in one channel", &rounded.model(PLAIN), &candidate);
}

#[test]
fn other_binarisers_are_faults() {
    let net = Net::new(1.0);
    let compare = |op: &'static str| -> Part {
        match op {
            "Greater" => |b, x| compared(b, "Greater", &x),
            _ => |b, x| compared(b, "GreaterOrEqual", &x),
        }
    };
    fn compared(b: &mut Builder, op: &str, x: &str) -> String {
        let zero = b.weight(&[], vec![0.0]);
        let (one, minus) = (b.weight(&[], vec![1.0]), b.weight(&[], vec![-1.0]));
        let c = b.node(op, &[x, &zero], vec![]);
        b.node("Where", &[&c, &one, &minus], vec![])
    }
    let model = |sign: Part| net.model(Parts { sign, ..PLAIN });
    let found = fails(
        "x ≥ 0, x > 0",
        &model(compare("GreaterOrEqual")),
        &model(compare("Greater")),
    );
    assert_eq!(found["ties"], 0, "{found}");
    fails(
        "Sign, x ≥ 0",
        &model(sign),
        &model(compare("GreaterOrEqual")),
    );
    // Halves, which Round takes to even numbers.
    let rounded: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        b.node("Round", &[&x], vec![])
    };
    let floored: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        let x = with(b, "Add", &x, 0.5);
        b.node("Floor", &[&x], vec![])
    };
    let nudged: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        let x = with(b, "Mul", &x, 1.000_001);
        b.node("Round", &[&x], vec![])
    };
    fails("Round, Floor", &model(rounded), &model(floored));
    fails(
        "a scale of 1 + 1e-6 in front of Round",
        &model(rounded),
        &model(nudged),
    );
}

#[test]
fn what_counts_nothing_hides_nothing() {
    let mut net = Net::new(1.0);
    net.factors[2] = 1e4;
    let mut bad = net.clone();
    bad.stem *= 1.01;
    bad.stem[[0, 0, 1, 1]] += 0.003;
    let ways: [(&str, Part); 4] = [
        ("as it is", nothing),
        ("behind Relu and its like", |b, x| {
            let x = b.node("HardSwish", &[&x], vec![]);
            b.node("LeakyRelu", &[&x], vec![])
        }),
        ("behind a detour over another layout", |b, x| {
            let x = b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))],
            );
            let x = b.node("Identity", &[&x], vec![]);
            b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))],
            )
        }),
        ("behind pooling and concatenation", |b, x| {
            let parts = b.split("Split", &[&x], 3, vec![("axis", Attr::Int(1))]);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let x = b.node("Concat", &parts, vec![("axis", Attr::Int(1))]);
            let kernel = ("kernel_shape", Attr::Ints(vec![3, 3]));
            b.node(
                "AveragePool",
                &[&x],
                vec![kernel, ("pads", Attr::Ints(vec![1; 4]))],
            )
        }),
    ];
    for (what, before) in ways {
        let parts = Parts { before, ..PLAIN };
        fails(what, &net.model(parts), &bad.model(parts));
    }
}

#[test]
fn channels_that_cancel_hide_nothing() {
    // Two channels of 1e4·x whose weights cancel: rounding counts, but not as much as that.
    let doubled: Part = |b, x| {
        let parts = b.split("Split", &[&x], 3, vec![("axis", Attr::Int(1))]);
        let large = with(b, "Mul", &parts[2], 1e4);
        let inputs = [parts[0].as_str(), &large, &large];
        b.node("Concat", &inputs, vec![("axis", Attr::Int(1))])
    };
    let mut net = Net::new(1.0);
    for mut filter in net.stem.outer_iter_mut() {
        let one = filter.index_axis(Axis(0), 1).to_owned();
        filter.index_axis_mut(Axis(0), 2).assign(&-one);
    }
    let mut bad = net.clone();
    let mut read = bad.stem.index_axis_mut(Axis(1), 0);
    read *= 1.05;
    read += 0.02;
    let parts = Parts {
        before: doubled,
        ..PLAIN
    };
    fails("a scale of 1.05", &net.model(parts), &bad.model(parts));
    // A detour over large numbers in the reference alone. Among numbers of 1e6 rounding moves a sum of ±0.1 as far as a
    // weight that turns; how often the runtime's own orders of adding up differ by it depends on the processor.
    let detour: Part = |b, x| {
        let x = with(b, "Add", &x, 1e6);
        with(b, "Sub", &x, 1e6)
    };
    let net = Net::new(0.1);
    let mut bad = net.clone();
    let mut filter = bad.w1.index_axis_mut(Axis(0), 3);
    let mut kernel = filter.index_axis_mut(Axis(0), 2);
    kernel *= -1.0;
    let reference = net.model(Parts {
        middle: detour,
        ..PLAIN
    });
    fails("a kernel behind a detour", &reference, &bad.model(PLAIN));
}

#[test]
fn what_is_infinite_or_no_number_explains_nothing() {
    let net = Net::new(1.0);
    let mut negated = net.clone();
    negated.w1.index_axis_mut(Axis(0), 5).mapv_inplace(|w| -w);
    let by_zero: Part = |b, x| {
        let mut by = vec![1.0; WIDE];
        by[5] = 0.0;
        let by = b.weight(&[WIDE, 1, 1], by);
        b.node("Div", &[&x, &by], vec![])
    };
    let infinite: Part = |b, x| {
        let mut by = vec![1.0; WIDE];
        by[5] = f32::INFINITY;
        let by = b.weight(&[WIDE, 1, 1], by);
        let x = b.node("Mul", &[&x, &by], vec![]);
        // 0·∞ is no number; a comparison takes it for small.
        b.node("Relu", &[&x], vec![])
    };
    let half: Part = |b, x| with(b, "Sub", &x, 0.5);
    for (what, middle) in [
        ("divided by zero", by_zero),
        ("times infinity", infinite),
        ("finite", half),
    ] {
        let parts = Parts { middle, ..PLAIN };
        fails(what, &net.model(parts), &negated.model(parts));
    }
    let mut other = net.clone();
    other.last *= 1.5;
    let no_number: Part = |b, x| {
        let zero = with(b, "Mul", &x, 0.0);
        b.node("Div", &[&zero, &zero], vec![])
    };
    let parts = Parts {
        after: no_number,
        ..PLAIN
    };
    let found = fails("NaN everywhere", &net.model(parts), &other.model(parts));
    assert_eq!(found["not_compared"], found["samples"], "{found}");
    let why = found["failures"][0].as_str().unwrap();
    assert!(why.contains("no finite output"), "{why}");
    let infinity: Part = |b, x| {
        let x = b.node("Abs", &[&x], vec![]);
        with(b, "Div", &x, 0.0)
    };
    let parts = Parts {
        after: infinity,
        ..PLAIN
    };
    fails("∞ everywhere", &net.model(parts), &other.model(parts));
    let some: Part = |b, x| {
        let mut by = vec![1.0; CLASSES];
        by[0] = f32::NAN;
        let by = b.weight(&[CLASSES], by);
        b.node("Mul", &[&x, &by], vec![])
    };
    let parts = Parts {
        after: some,
        ..PLAIN
    };
    fails("NaN in one class", &net.model(parts), &other.model(parts));
    fails("NaN in the candidate", &net.model(PLAIN), &net.model(parts));
}

#[test]
fn small_changes_of_weights_are_faults() {
    type Change = fn(&mut Net);
    let changes: [(&str, Change); 8] = [
        ("filters of equal norm swapped", |n| {
            let mut filters: Vec<usize> = (0..WIDE).collect();
            filters.swap(3, 4);
            n.w1 = n.w1.select(Axis(0), &filters);
        }),
        ("channels that one filter reads swapped", |n| {
            let mut filter = n.w2.index_axis_mut(Axis(0), 2);
            let (a, b) = (
                filter.index_axis(Axis(0), 1).to_owned(),
                filter.index_axis(Axis(0), 2).to_owned(),
            );
            filter.index_axis_mut(Axis(0), 1).assign(&b);
            filter.index_axis_mut(Axis(0), 2).assign(&a);
        }),
        ("one sign", |n| n.w2[[7, 3, 0, 2]] *= -1.0),
        ("one weight missing", |n| n.w1[[7, 3, 0, 2]] = 0.0),
        ("one weight of the stem", |n| n.stem[[2, 1, 1, 1]] += 0.05),
        ("a scale of 1 + 1e-3 behind", |n| n.last *= 1.001),
        ("a bias", |n| n.bias[[4]] += 0.01),
        ("classes swapped", |n| n.last.invert_axis(Axis(1))),
    ];
    for scale in [1.0, 0.1] {
        let net = Net::new(scale);
        for (what, change) in changes {
            let mut bad = net.clone();
            change(&mut bad);
            fails(what, &net.model(PLAIN), &bad.model(PLAIN));
        }
    }
}

#[test]
fn names_that_lie_hide_nothing() {
    let net = Net::new(0.1);
    let mut bad = net.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    bad.prefix = "other_";
    fails("renamed and wrong", &net.model(PLAIN), &bad.model(PLAIN));
    // The names of two binarisers exchanged, and a fault.
    let mut model = bad.model(PLAIN);
    let signs: Vec<String> = (model.graph.as_ref().unwrap().node.iter())
        .filter(|n| n.op_type() == "Sign")
        .map(|n| n.output[0].clone())
        .collect();
    for node in &mut model.graph.as_mut().unwrap().node {
        for name in node.input.iter_mut().chain(&mut node.output) {
            if *name == signs[1] {
                *name = signs[2].clone();
            } else if *name == signs[2] {
                *name = signs[1].clone();
            }
        }
    }
    fails("names exchanged", &net.model(PLAIN), &model);
}

/// Images on which both models agree, and one on which they do not.
#[test]
fn one_fault_in_a_thousand_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data.npz");
    let mut x = random_samples(1000);
    x[[777, 1, 2, 3]] = 5.0;
    save_samples(&data, &x);
    let net = Net::new(1.0);
    let clipped: Part = |b, x| {
        let (low, high) = (b.weight(&[], vec![-1.0]), b.weight(&[], vec![1.0]));
        b.node("Clip", &[&x, &low, &high], vec![])
    };
    let candidate = net.model(Parts {
        before: clipped,
        ..PLAIN
    });
    let (code, found) = verify(&net.model(PLAIN), &candidate, On::File(&data));
    assert_eq!(code, 1, "{found}");
    assert_eq!(found["samples"], 1000);
    assert_eq!(found["outputs"][0]["beyond"], 1, "{found}");
    let (code, _) = verify(&net.model(PLAIN), &net.model(PLAIN), On::File(&data));
    assert_eq!(code, 0);
}

#[test]
fn what_goes_wrong_only_between_samples_of_a_batch_is_a_fault() {
    // Full of decisions that lie within rounding of their jump: each sample by itself is a tie.
    let net = Net::new(0.1);
    let mixes: Part = |b, x| {
        let axes = vec![("axes", Attr::Ints(vec![0])), ("keepdims", Attr::Int(1))];
        let mean = b.node("ReduceMean", &[&x], axes);
        let apart = b.node("Sub", &[&x, &mean], vec![]);
        b.node("Add", &[&x, &apart], vec![])
    };
    let candidate = net.model(Parts {
        after: mixes,
        ..PLAIN
    });
    let found = fails("a mean over the batch", &net.model(PLAIN), &candidate);
    assert_eq!(found["ties"], 0, "{found}");
}
