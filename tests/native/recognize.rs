//! What `inspect` says of the input of a layer with ±1 weights: ±1, {0, 1}, or neither.

use crate::common::tool;
use crate::graphs::{Attr, Builder};
use onnx_bnnprune::onnx::{Tensor, save};

/// A Conv with ±1 weights behind what `chain` makes of `x` `[N, 2, 4, 4]`, as `inspect` lists it.
fn inspected(chain: impl Fn(&mut Builder) -> String) -> serde_json::Value {
    let mut b = Builder::new(&[2, 4, 4]);
    let data = chain(&mut b);
    let weight = b.weight(&[2, 2, 1, 1], vec![1.0, -1.0, -1.0, 1.0]);
    let y = b.node("Conv", &[&data, &weight], vec![]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    save(&b.model(&[&y]), &path).unwrap();
    let out = tool().arg("inspect").arg(&path).arg("--json").output();
    let out = out.unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    found["layers"][0].clone()
}

/// `Sign` behind a chain of operators without attributes.
fn sign_behind(ops: &[&str]) -> serde_json::Value {
    inspected(|b| {
        let end = ops
            .iter()
            .fold("x".to_owned(), |t, op| b.node(op, &[&t], vec![]));
        b.node("Sign", &[&end], vec![])
    })
}

/// `Clip → Sign` with those bounds.
fn sign_of_clip(min: f32, max: f32) -> serde_json::Value {
    inspected(|b| {
        let (min, max) = (b.weight(&[], vec![min]), b.weight(&[], vec![max]));
        let clip = b.node("Clip", &["x", &min, &max], vec![]);
        b.node("Sign", &[&clip], vec![])
    })
}

fn assert_zero_one(layer: &serde_json::Value, what: &str) {
    assert_eq!(layer["binary"], false, "{what}: {layer}");
    assert_eq!(layer["binarizer"], "01", "{what}");
    assert!(
        layer["reason"].as_str().unwrap().contains("{0, 1}"),
        "{what}: {layer}"
    );
}

fn assert_signed(layer: &serde_json::Value, kind: &str) {
    assert_eq!(layer["binary"], true, "{layer}");
    assert_eq!(layer["binarizer"], kind, "{layer}");
}

#[test]
fn sign_of_what_is_never_negative_gives_zero_and_one() {
    for op in [
        "Relu",
        "Sigmoid",
        "HardSigmoid",
        "Softmax",
        "Abs",
        "Exp",
        "Sqrt",
        "Softplus",
    ] {
        assert_zero_one(&sign_behind(&[op]), op);
        assert_zero_one(&sign_behind(&[op, "Identity", "Dropout"]), op);
        // What changes the sign again gives ±1 again, as far as we know.
        assert_signed(&sign_behind(&[op, "Neg"]), "sign");
    }
    assert_signed(&sign_behind(&[]), "sign");
    assert_signed(&sign_behind(&["Tanh"]), "sign");
    assert_signed(&sign_behind(&["Dropout", "Identity"]), "sign");
}

#[test]
fn the_bounds_of_a_clip_decide() {
    assert_zero_one(&sign_of_clip(0.0, 1.0), "0..1");
    assert_zero_one(&sign_of_clip(0.5, 1.0), "0.5..1");
    assert_signed(&sign_of_clip(-1.0, 1.0), "clip-sign");
    // Crossed bounds: all is the upper one.
    assert_signed(&sign_of_clip(0.0, -1.0), "clip-sign");
}

#[test]
fn pooling_reshaping_and_sums_keep_it() {
    let layer = inspected(|b| {
        let relu = b.node("Relu", &["x"], vec![]);
        let window = vec![
            ("kernel_shape", Attr::Ints(vec![2, 2])),
            ("strides", Attr::Ints(vec![2, 2])),
        ];
        let pool = b.node("MaxPool", &[&relu], window);
        let shape = b.ints(&[-1, 2, 2, 2]);
        let reshaped = b.node("Reshape", &[&pool, &shape], vec![]);
        let sum = b.node("Add", &[&reshaped, &pool], vec![]);
        let sign = b.node("Sign", &[&sum], vec![]);
        // And behind the Sign.
        b.node("Identity", &[&sign], vec![])
    });
    assert_zero_one(&layer, "Relu, MaxPool, Reshape, Add");
    let shifted = inspected(|b| {
        let relu = b.node("Relu", &["x"], vec![]);
        let shift = b.weight(&[1], vec![-0.5]);
        let sum = b.node("Add", &[&relu, &shift], vec![]);
        b.node("Sign", &[&sum], vec![])
    });
    assert_signed(&shifted, "threshold-sign");
}

/// A binariser's tensor, then what stands between it and the layer.
fn after_sign(chain: impl Fn(&mut Builder, &str) -> String) -> serde_json::Value {
    inspected(|b| {
        let sign = b.node("Sign", &["x"], vec![]);
        chain(b, &sign)
    })
}

#[test]
fn constants_are_read_by_value() {
    let where_of = |yes: f32, no: f32| {
        inspected(move |b| {
            let zero = b.weight(&[], vec![0.0]);
            let (yes, no) = (b.weight(&[], vec![yes]), b.weight(&[], vec![no]));
            let c = b.node("GreaterOrEqual", &["x", &zero], vec![]);
            b.node("Where", &[&c, &yes, &no], vec![])
        })
    };
    assert_signed(&where_of(1.0, -1.0), "where-ge");
    assert_signed(&where_of(0.5, -0.5), "where-ge");
    let swapped = where_of(-1.0, 1.0);
    assert_signed(&swapped, "where-ge");
    assert_eq!(swapped["zero"], -1);
    assert_zero_one(&where_of(1.0, 0.0), "1 or 0");
    let uneven = where_of(1.0, -0.5);
    assert_eq!(uneven["binary"], false, "{uneven}");
}

#[test]
fn a_second_sign_needs_a_shift_below_one() {
    let twice = |shift: f32| {
        after_sign(move |b, sign| {
            let c = b.weight(&[], vec![shift]);
            let sum = b.node("Add", &[sign, &c], vec![]);
            b.node("Sign", &[&sum], vec![])
        })
    };
    for (shift, zero) in [(0.1, 1), (-0.1, -1)] {
        let layer = twice(shift);
        assert_signed(&layer, "sign-add-sign");
        assert_eq!(layer["zero"], zero);
    }
    assert_eq!(twice(1.5)["binary"], false);
}

/// Whatever is computed from decisions about the same data is computed here too.
#[test]
fn what_follows_from_one_decision_is_read_by_value() {
    let number = |b: &mut Builder, x: f32| b.weight(&[], vec![x]);
    let abs_added = |after: f32| {
        after_sign(move |b, sign| {
            let abs = b.node("Abs", &[sign], vec![]);
            let one = number(b, after);
            let rest = b.node("Sub", &[&one, &abs], vec![]);
            b.node("Add", &[sign, &rest], vec![])
        })
    };
    assert_signed(&abs_added(1.0), "decided");
    assert_eq!(abs_added(1.0)["zero"], 1);
    // 1.5, 0.5 and -0.5 are three values.
    assert_eq!(abs_added(1.5)["binary"], false);
    let equal_added = |x: &'static str| {
        after_sign(move |b, sign| {
            let zero = number(b, 0.0);
            let other = match x {
                "x" => x.to_owned(),
                op => b.node(op, &["x"], vec![]),
            };
            let is_zero = b.node("Equal", &[&other, &zero], vec![]);
            let as_number = b.node("Cast", &[&is_zero], vec![("to", Attr::Int(1))]);
            b.node("Sub", &[sign, &as_number], vec![])
        })
    };
    assert_signed(&equal_added("x"), "decided");
    assert_eq!(equal_added("x")["zero"], -1);
    // Of other data.
    assert_eq!(equal_added("Tanh")["binary"], false);
    let clipped = |at: f32| {
        after_sign(move |b, sign| {
            let (two, shift) = (number(b, 2.0), number(b, at));
            let (low, high) = (number(b, -1.0), number(b, 1.0));
            let double = b.node("Mul", &[sign, &two], vec![]);
            let sum = b.node("Add", &[&double, &shift], vec![]);
            b.node("Clip", &[&sum, &low, &high], vec![])
        })
    };
    for (at, zero) in [(1.0, 1), (-1.0, -1), (0.0, 0)] {
        assert_signed(&clipped(at), "decided");
        assert_eq!(clipped(at)["zero"], zero);
    }
    assert_eq!(clipped(0.5)["binary"], false);
    // One that makes its input larger is more than a binariser.
    let grown = inspected(|b| {
        let one = b.weight(&[1, 2, 4, 4], vec![1.0; 32]);
        let mean = b.node("GlobalAveragePool", &["x"], vec![]);
        let sign = b.node("Sign", &[&mean], vec![]);
        let abs = b.node("Abs", &[&sign], vec![]);
        let rest = b.node("Sub", &[&one, &abs], vec![]);
        b.node("Add", &[&sign, &rest], vec![])
    });
    assert_eq!(grown["binary"], false, "{grown}");
    let threshold = inspected(|b| {
        let c = number(b, 0.25);
        let (low, high) = (number(b, -1.0), number(b, 1.0));
        let above = b.node("Greater", &["x", &c], vec![]);
        let below = b.node("Less", &["x", &c], vec![]);
        let high = b.node("Where", &[&above, &high, &low], vec![]);
        b.node("Where", &[&below, &low, &high], vec![])
    });
    assert_signed(&threshold, "decided");
    assert_eq!(threshold["zero"], -1);
}

/// `(Sign(x) - s) + s'`: where s and s' are the same, computed twice.
#[test]
fn what_is_written_twice_is_one_value() {
    let detached = |bounds: [f32; 2]| {
        after_sign(move |b, sign| {
            let clips = bounds.map(|high| {
                let limits = [b.weight(&[], vec![-1.0]), b.weight(&[], vec![high])];
                b.node("Clip", &["x", &limits[0], &limits[1]], vec![])
            });
            let difference = b.node("Sub", &[sign, &clips[0]], vec![]);
            b.node("Add", &[&difference, &clips[1]], vec![])
        })
    };
    assert_signed(&detached([1.0, 1.0]), "detach-sign");
    assert_eq!(detached([1.0, 1.5])["binary"], false);
}

/// Monotone functions one behind the other that take two values, ±s.
#[test]
fn what_jumps_once_is_a_binariser() {
    // Nodes on x, then times 2, minus `minus`.
    let doubled = |nodes: &'static [&'static str], minus: f32| {
        inspected(move |b| {
            let mut at = "x".to_owned();
            for op in nodes {
                at = match *op {
                    "Clip" => {
                        let bounds = [b.weight(&[], vec![0.0]), b.weight(&[], vec![1.0])];
                        b.node("Clip", &[&at, &bounds[0], &bounds[1]], vec![])
                    }
                    "to int" => b.node("Cast", &[&at], vec![("to", Attr::Int(7))]),
                    "to float" => b.node("Cast", &[&at], vec![("to", Attr::Int(1))]),
                    "to byte" => b.node("Cast", &[&at], vec![("to", Attr::Int(2))]),
                    op => b.node(op, &[&at], vec![]),
                };
            }
            let (two, one) = (b.weight(&[], vec![2.0]), b.weight(&[], vec![minus]));
            let double = b.node("Mul", &[&at, &two], vec![]);
            b.node("Sub", &[&double, &one], vec![])
        })
    };
    for (nodes, zero) in [
        (&["Relu", "Sign"][..], -1),
        (&["Sigmoid", "Round"], -1),
        (&["Clip", "Ceil"], -1),
        (&["Clip", "Floor"], -1),
        (&["Clip", "to int", "to float"], -1),
        (&["Neg", "Clip", "Ceil"], -1),
        (&["Clip", "to byte", "to float"], -1),
        (&["Relu", "GlobalMaxPool", "Sign"], -1),
    ] {
        let layer = doubled(nodes, 1.0);
        assert_signed(&layer, "stepped");
        assert_eq!(layer["zero"], zero, "{nodes:?}");
    }
    // One that falls: +1 below 1.
    let falling = doubled(&["Clip", "Neg", "Ceil"], -1.0);
    assert_signed(&falling, "stepped");
    assert_eq!(falling["zero"], 1, "{falling}");
    // Three values; two that are not ±s; a function that turns.
    for (nodes, minus) in [
        (&["Sign"][..], 1.0),
        (&["Sigmoid", "Round"], 1.5),
        (&["Tanh", "Abs", "Round"], 1.0),
        (&["Sigmoid"], 1.0),
        // Where it wraps around, and where is the runtime's choice.
        (&["to byte", "to float", "Sign"], 1.0),
        (&["to int", "to byte", "to float", "Sign"], 1.0),
    ] {
        let layer = doubled(nodes, minus);
        assert_eq!(layer["binary"], false, "{nodes:?}: {layer}");
    }
}

#[test]
fn what_may_stand_between_binariser_and_layer() {
    let padded = |value: f32| {
        after_sign(move |b, sign| {
            let pads = b.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
            let value = b.weight(&[], vec![value]);
            b.node("Pad", &[sign, &pads, &value], vec![])
        })
    };
    for value in [0.0, 1.0, -1.0] {
        assert_signed(&padded(value), "sign");
        assert_eq!(padded(value)["padding"], value);
    }
    assert_eq!(padded(0.5)["binary"], false);
    let scaled = after_sign(|b, sign| {
        let c = b.weight(&[1], vec![0.7]);
        b.node("Mul", &[sign, &c], vec![])
    });
    assert_signed(&scaled, "sign");
    let padded_and_scaled = |value: f32, by: f32| {
        after_sign(move |b, sign| {
            let pads = b.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
            let (value, by) = (b.weight(&[], vec![value]), b.weight(&[1], vec![by]));
            let scaled = b.node("Mul", &[sign, &by], vec![]);
            let pad = b.node("Pad", &[&scaled, &pads, &value], vec![]);
            b.node("Div", &[&pad, &by], vec![])
        })
    };
    assert_signed(&padded_and_scaled(-0.5, 0.5), "sign");
    assert_eq!(padded_and_scaled(1.0, 0.5)["binary"], false);
    let shifted = after_sign(|b, sign| {
        let c = b.weight(&[1], vec![1.0]);
        b.node("Add", &[sign, &c], vec![])
    });
    assert_eq!(shifted["binarizer"], "01", "{shifted}");
}

/// Sign(x) + 1 is {0, 2} but for x = 0; with a range of data at 0 in front of the Sign, 1 is a value like others.
#[test]
fn a_sign_behind_a_dead_zone_takes_three_values() {
    let shifted = |zone: &'static str| {
        inspected(move |b| {
            let zero = b.weight(&[], vec![0.0]);
            let held = match zone {
                "Where" => {
                    let size = b.node("Abs", &["x"], vec![]);
                    let limit = b.weight(&[], vec![0.5]);
                    let far = b.node("Greater", &[&size, &limit], vec![]);
                    b.node("Where", &[&far, "x", &zero], vec![])
                }
                "Mul" => {
                    let near = b.node("Less", &["x", &zero], vec![]);
                    let near = b.node("Cast", &[&near], vec![("to", Attr::Int(1))]);
                    b.node("Mul", &["x", &near], vec![])
                }
                op => b.node(op, &["x"], vec![]),
            };
            let (sign, one) = (b.node("Sign", &[&held], vec![]), b.weight(&[], vec![1.0]));
            b.node("Add", &[&sign, &one], vec![])
        })
    };
    for zone in ["Shrink", "Round", "Where", "Mul"] {
        assert_eq!(shifted(zone)["binarizer"], "k-bit", "{zone}");
    }
    assert_eq!(shifted("Tanh")["binarizer"], "01");
}

/// As ONNX Runtime's static quantisation puts them around every operator.
#[test]
fn signs_in_eight_bits_are_signs_where_both_are_met() {
    let quantised = |scale: f32, zero: i8, pooled: bool| {
        after_sign(move |b, sign| {
            let scale = b.weight(&[], vec![scale]);
            let zero = b.constant(&Tensor::I8(ndarray::arr0(zero).into_dyn()));
            let pair = |b: &mut Builder, t: &str| {
                let q = b.node("QuantizeLinear", &[t, &scale, &zero], vec![]);
                b.node("DequantizeLinear", &[&q, &scale, &zero], vec![])
            };
            let mut at = pair(b, sign);
            if pooled {
                let window = vec![("kernel_shape", Attr::Ints(vec![1, 1]))];
                let pool = b.node("MaxPool", &[&at], window);
                at = pair(b, &pool);
            }
            at
        })
    };
    for pooled in [false, true] {
        assert_signed(&quantised(1.0, 0, pooled), "sign");
        assert_signed(&quantised(1.0 / 127.0, 0, pooled), "sign");
        // 1 is cut off, and -1 is not; both are 0.
        assert_eq!(quantised(1.0 / 127.0, 3, pooled)["binary"], false);
        assert_eq!(quantised(4.0, 0, pooled)["binary"], false);
    }
}

/// Half of the channels ±1, half of them ±0.5 would be two levels, not one.
#[test]
fn a_concat_of_different_sizes_is_not_binary() {
    let joined = |by: f32| {
        after_sign(move |b, sign| {
            let by = b.weight(&[1], vec![by]);
            let scaled = b.node("Mul", &[sign, &by], vec![]);
            let axis = vec![("axis", Attr::Int(2))];
            b.node("Concat", &[sign, &scaled], axis)
        })
    };
    assert_signed(&joined(1.0), "sign");
    assert_eq!(joined(0.5)["binary"], false);
    assert_eq!(joined(-1.0)["binary"], false);
}

#[test]
fn detaching_anything_changes_nothing() {
    let detached = |op: &str| {
        let op = op.to_owned();
        after_sign(move |b, sign| {
            let soft = b.node(&op, &["x"], vec![]);
            let difference = b.node("Sub", &[sign, &soft], vec![]);
            b.node("Add", &[&soft, &difference], vec![])
        })
    };
    for op in ["Tanh", "Identity", "Abs"] {
        assert_signed(&detached(op), "detach-sign");
    }
    // Not the tensor that was subtracted.
    let other = after_sign(|b, sign| {
        let (soft, hard) = (
            b.node("Tanh", &["x"], vec![]),
            b.node("Abs", &["x"], vec![]),
        );
        let difference = b.node("Sub", &[sign, &soft], vec![]);
        b.node("Add", &[&difference, &hard], vec![])
    });
    assert_eq!(other["binary"], false);
}

/// `Sign(W) · (|W| > t)`: the zeros are not those of latents at 0, so the weights are ternary, and
/// retraining must not make ±1 of them.
#[test]
fn ternary_weights_with_live_latents_are_not_binary() {
    let binary = |threshold: f32| {
        let mut b = Builder::new(&[8, 4, 4]);
        let data = b.node("Sign", &["x"], vec![]);
        let latents: Vec<f32> = (0..64)
            .map(|i| (i * 37 % 64) as f32 / 32.0 - 0.99)
            .collect();
        let w = b.weight(&[8, 8, 1, 1], latents);
        let (sign, size) = (b.node("Sign", &[&w], vec![]), b.node("Abs", &[&w], vec![]));
        let t = b.weight(&[], vec![threshold]);
        let large = b.node("Greater", &[&size, &t], vec![]);
        let large = b.node("Cast", &[&large], vec![("to", Attr::Int(1))]);
        let weight = b.node("Mul", &[&sign, &large], vec![]);
        let y = b.node("Conv", &[&data, &weight], vec![]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        save(&b.model(&[&y]), &path).unwrap();
        let out = tool().arg("inspect").arg(&path).arg("--json").output();
        let found: serde_json::Value = serde_json::from_slice(&out.unwrap().stdout).unwrap();
        found["layers"][0]["binary"].as_bool().unwrap()
    };
    assert!(binary(0.0));
    assert!(!binary(0.5));
}

/// Chains that no exporter writes end the search, not the process.
#[test]
fn endless_chains_are_given_up() {
    let layer = inspected(|b| {
        let c = b.weight(&[], vec![0.1]);
        let mut at = "x".to_owned();
        for _ in 0..20_000 {
            let sign = b.node("Sign", &[&at], vec![]);
            at = b.node("Add", &[&sign, &c], vec![]);
        }
        b.node("Sign", &[&at], vec![])
    });
    assert!(layer["binary"].is_boolean(), "{layer}");
}

/// What masks files count, and what one filter reads.
#[test]
fn a_transposed_convolution_has_its_filters_on_the_second_axis() {
    let mut b = Builder::new(&[8, 4, 4]);
    let weight = b.weight(&[8, 3, 2, 2], vec![0.5; 96]);
    let y = b.node(
        "ConvTranspose",
        &["x", &weight],
        vec![("group", Attr::Int(2))],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    save(&b.model(&[&y]), &path).unwrap();
    let out = tool().arg("inspect").arg(&path).arg("--json").output();
    let found: serde_json::Value = serde_json::from_slice(&out.unwrap().stdout).unwrap();
    let layer = &found["layers"][0];
    assert_eq!(
        (&layer["filters"], &layer["inputs"]),
        (&6.into(), &4.into()),
        "{layer}"
    );
}
