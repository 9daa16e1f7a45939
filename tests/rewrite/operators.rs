//! Every operator with a channel rule, between a convolution that loses filters and a layer that
//! reads what is left: masked and pruned model give the same in ONNX Runtime, and the filters are
//! gone.

use crate::graphs::around::{
    Attributes, around, declined, goes, goes_at, goes_nearly, ints, left, one, values,
};
use crate::graphs::{Attr, Builder};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};

#[test]
fn activations() {
    for (op, opset) in [
        ("Selu", 17),
        ("Elu", 17),
        ("Celu", 17),
        ("Softsign", 17),
        ("Erf", 17),
        ("ThresholdedRelu", 17),
        ("HardSwish", 17),
        ("Mish", 18),
        ("Gelu", 20),
        ("Swish", 24),
    ] {
        goes_nearly(op, opset, vec![]);
    }
    let settings = vec![("lambd", Attr::Float(0.25)), ("bias", Attr::Float(0.125))];
    goes_nearly("Shrink", 17, settings);
    goes_nearly("Gelu", 20, vec![("approximate", Attr::Text("tanh"))]);
    goes_nearly("Softmax", 17, vec![("axis", Attr::Int(2))]);
    goes_nearly("LogSoftmax", 17, vec![("axis", Attr::Int(-1))]);
    goes_nearly("LpPool", 17, vec![("kernel_shape", ints(&[1, 1]))]);
}

#[test]
fn operands_of_any_number_and_shape() {
    goes(128, |b, x| {
        let c = b.weight(&[8, 1, 1], values(8, 9));
        let sum = b.node("Sum", &[x, &c, x], vec![]);
        let mean = b.node("Mean", &[&sum, x], vec![]);
        let two = b.weight(&[], vec![2.0]);
        b.node("Pow", &[&mean, &two], vec![])
    });
    goes(128, |b, x| {
        let zero = b.weight(&[], vec![0.0]);
        let one = b.weight(&[8, 1, 1], vec![1.0; 8]);
        let p = b.node("Greater", &[x, &zero], vec![]);
        let q = b.node("Less", &[x, &one], vec![]);
        let and = b.node("And", &[&p, &q], vec![]);
        let xor = b.node("Xor", &[&and, &q], vec![]);
        let or = b.node("Or", &[&xor, &p], vec![]);
        let f = b.node("Cast", &[&or], vec![("to", Attr::Int(1))]);
        b.node("Sub", &[&f, x], vec![])
    });
}

/// `x + bias.expand_as(x)`, `x + map.expand_as(x)`, `where(x >= 0, ones_like(x), -ones_like(x))`: what was repeated is
/// written, once.
#[test]
fn constants_that_are_repeated_to_the_shape_of_data() {
    for shape in [vec![8, 1, 1], vec![1, 4, 4], vec![1, 8, 1, 4]] {
        let count = shape.iter().product();
        let (model, layer) = around(17, 128, |b, x| {
            let sizes = b.node("Shape", &[x], vec![]);
            let bias = b.weight(&shape, values(count, 9));
            let whole = b.node("Expand", &[&bias, &sizes], vec![]);
            b.node("Add", &[x, &whole], vec![])
        });
        let [drop, fold] = left(&model, &layer, &[1, 2, 6], 0.0);
        assert_eq!(drop, [0, 3, 4, 5, 7]);
        // What differs over space is no constant that a bias could hold.
        let uniform = shape == [8, 1, 1];
        assert_eq!(fold.len(), if uniform { 5 } else { 8 }, "{shape:?}");
    }
    let signs = |b: &mut Builder, x: &str| {
        let sizes = b.node("Shape", &[x], vec![]);
        let (zero, one) = (b.weight(&[], vec![0.0]), b.weight(&[], vec![1.0]));
        let zeros = b.node("ConstantOfShape", &[&sizes], vec![]);
        let ones = b.node("Expand", &[&one, &sizes], vec![]);
        let minus = b.node("Sub", &[&zeros, &ones], vec![]);
        let above = b.node("GreaterOrEqual", &[x, &zero], vec![]);
        b.node("Where", &[&above, &ones, &minus], vec![])
    };
    goes(128, signs);
    let (model, layer) = around(17, 128, signs);
    let mut masks = FilterMasks::default();
    masks.prune(&layer, 8, [1, 2, 6]);
    let masked = apply_masks(&model, &masks, Removal::Drop).unwrap().model;
    let cut = eliminate(&masked).unwrap().model;
    let nodes = &cut.graph.as_ref().unwrap().node;
    assert!(nodes.iter().all(|n| n.op_type() != "Expand"), "{nodes:?}");
}

#[test]
fn gates_over_space_and_over_channels() {
    // A map for all channels, made by a convolution with one filter, and one from the input.
    goes(128, |b, x| {
        let w = b.weight(&[1, 2, 1, 1], values(2, 4));
        let gate = b.node("Conv", &["x", &w], vec![]);
        b.node("Mul", &[x, &gate], vec![])
    });
    goes(128, |b, x| {
        let gate = b.node("ReduceMax", &["x"], vec![("axes", ints(&[1]))]);
        b.node("Mul", &[&gate, x], vec![])
    });
    // Squeeze and excitation.
    goes(128, |b, x| {
        let pooled = b.node("GlobalMaxPool", &[x], vec![]);
        let w = b.weight(&[8, 8, 1, 1], values(64, 4));
        let gate = b.node("Conv", &[&pooled, &w], vec![]);
        let gate = b.node("Relu", &[&gate], vec![]);
        b.node("Mul", &[x, &gate], vec![])
    });
}

#[test]
fn parts_of_the_channels() {
    for opset in [11, 17, 18] {
        let attributes = move || -> Attributes {
            let mut list = vec![("axis", Attr::Int(1))];
            if opset >= 18 {
                list.push(("num_outputs", Attr::Int(2)));
            }
            list
        };
        goes_at(opset, 128, |b, x| {
            let parts = b.split("Split", &[x], 2, attributes());
            let first = b.node("Relu", &[&parts[0]], vec![]);
            b.node("Concat", &[&parts[1], &first], vec![("axis", Attr::Int(1))])
        });
    }
    goes(128, |b, x| {
        let sizes = b.ints(&[1, 5, 2]);
        let parts = b.split("Split", &[x, &sizes], 3, vec![("axis", Attr::Int(1))]);
        let names = [&parts[2], &parts[0], &parts[1]].map(String::as_str);
        b.node("Concat", &names, vec![("axis", Attr::Int(1))])
    });
    let slice = |b: &mut Builder, x: &str, v: [i64; 4]| {
        let [start, end, axis, step] = v.map(|v| b.ints(&[v]));
        b.node("Slice", &[x, &start, &end, &axis, &step], vec![])
    };
    goes(128, move |b, x| {
        let (head, tail) = (slice(b, x, [0, 3, 1, 1]), slice(b, x, [3, 99, 1, 1]));
        b.node("Concat", &[&tail, &head], vec![("axis", Attr::Int(1))])
    });
    goes(128, move |b, x| slice(b, x, [-1, -99, 1, -1]));
    goes(64, move |b, x| slice(b, x, [1, 3, 2, 1]));
    goes(160, |b, x| {
        let i = b.ints(&[7, 6, 5, 4, 3, 2, 1, 0, 0, -1]);
        b.node("Gather", &[x, &i], vec![("axis", Attr::Int(1))])
    });
    goes(32, |b, x| {
        let i = b.constant(&Tensor::I64(ndarray::arr0(2).into_dyn()));
        b.node("Gather", &[x, &i], vec![("axis", Attr::Int(3))])
    });
    goes(64, |b, x| {
        let parts = b.split("Split", &[x], 2, vec![("axis", Attr::Int(2))]);
        b.node("Add", &[&parts[0], &parts[1]], vec![])
    });
}

#[test]
fn a_part_without_any_needed_channel_keeps_one() {
    let (model, a) = around(17, 128, |b, x| {
        let parts = b.split("Split", &[x], 2, vec![("axis", Attr::Int(1))]);
        b.node(
            "Concat",
            &[&parts[0], &parts[1]],
            vec![("axis", Attr::Int(1))],
        )
    });
    let [drop, fold] = left(&model, &a, &[4, 5, 6, 7], 0.0);
    assert_eq!((drop, fold), (vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4]));
}

#[test]
fn joined_with_what_is_not_tracked() {
    goes(160, |b, x| {
        b.node("Concat", &["x", x], vec![("axis", Attr::Int(1))])
    });
    // A constant of as many images as the batch: one, behind a reduction over it. Of it what is
    // read stays.
    goes(176, |b, x| {
        let p = b.node("ReduceMax", &[x], vec![("axes", ints(&[0]))]);
        let c = b.weight(&[1, 3, 4, 4], values(48, 6));
        b.node("Concat", &[&p, &c], vec![("axis", Attr::Int(1))])
    });
    // On another axis, a zero beside other values is no single value: in `fold` it stays.
    let (model, a) = around(17, 160, |b, x| {
        let p = b.node("ReduceMax", &[x], vec![("axes", ints(&[0]))]);
        let c = b.weight(&[1, 8, 1, 4], values(32, 6));
        b.node("Concat", &[&c, &p], vec![("axis", Attr::Int(2))])
    });
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 0.0);
    assert_eq!((drop.len(), fold.len()), (5, 8));
    goes(256, |b, x| {
        let r = b.node("Relu", &[x], vec![]);
        b.node("Concat", &[&r, x], vec![("axis", Attr::Int(2))])
    });
}

#[test]
fn blocks_of_depth_and_space() {
    // Channels 0, 2, 4, 6 make the first one (DCR), or 0 to 3 (CRD): a whole block goes.
    for (mode, block) in [("DCR", [0usize, 2, 4, 6]), ("CRD", [0, 1, 2, 3])] {
        let attributes = vec![("blocksize", Attr::Int(2)), ("mode", Attr::Text(mode))];
        let (model, a) = around(17, 128, one("DepthToSpace", attributes));
        let [drop, fold] = left(&model, &a, &block, 0.0);
        let others: Vec<usize> = (0..8).filter(|f| !block.contains(f)).collect();
        assert_eq!((&drop, &fold), (&others, &others), "{mode}");
    }
    goes(128, one("SpaceToDepth", vec![("blocksize", Attr::Int(2))]));
}

#[test]
fn padding_and_repeating() {
    goes(192, |b, x| {
        let pads = b.ints(&[0, 1, 0, 0, 0, 3, 0, 0]);
        let value = b.weight(&[], vec![0.5]);
        b.node("Pad", &[x, &pads, &value], vec![])
    });
    goes_at(18, 200, |b, x| {
        let (pads, axes) = (b.ints(&[1, 1, 0, 0]), b.ints(&[-1, 2]));
        let value = b.weight(&[], vec![0.0]);
        b.node("Pad", &[x, &pads, &value, &axes], vec![])
    });
    goes(256, |b, x| {
        let repeats = b.ints(&[1, 2, 1, 1]);
        b.node("Tile", &[x, &repeats], vec![])
    });
    goes(128, |b, x| {
        let p = b.node("GlobalMaxPool", &[x], vec![]);
        let shape = b.ints(&[1, 8, 4, 4]);
        b.node("Expand", &[&p, &shape], vec![])
    });
}

#[test]
fn resizing() {
    for mode in ["nearest", "linear"] {
        goes(512, move |b, x| {
            let scales = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
            b.node(
                "Resize",
                &[x, "", &scales],
                vec![("mode", Attr::Text(mode))],
            )
        });
    }
    goes_at(9, 512, |b, x| {
        let scales = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
        b.node("Upsample", &[x, &scales], vec![])
    });
    // Sizes name the number of channels; a batch of one, which they name too, is made first.
    goes(512, |b, x| {
        let p = b.node("ReduceMax", &[x], vec![("axes", ints(&[0]))]);
        let sizes = b.ints(&[1, 8, 8, 8]);
        b.node("Resize", &[&p, "", "", &sizes], vec![])
    });
}

#[test]
fn reductions_over_space() {
    for op in [
        "ReduceMax",
        "ReduceMin",
        "ReduceMean",
        "ReduceL1",
        "ReduceSumSquare",
    ] {
        goes(8, one(op, vec![("axes", ints(&[2, 3]))]));
        goes(
            8,
            one(
                op,
                vec![("axes", ints(&[-1, 2])), ("keepdims", Attr::Int(0))],
            ),
        );
    }
    goes(8, |b, x| {
        let axes = b.ints(&[2, 3]);
        b.node("ReduceSum", &[x, &axes], vec![])
    });
}

#[test]
fn pooling_as_the_runtime_does_it() {
    let pool = |ceil: i64, counted: i64| -> Attributes {
        vec![
            ("kernel_shape", ints(&[2, 2])),
            ("strides", ints(&[2, 2])),
            ("pads", ints(&[1, 1, 0, 0])),
            ("ceil_mode", Attr::Int(ceil)),
            ("count_include_pad", Attr::Int(counted)),
        ]
    };
    // A constant that padding does not count into stays one: sigmoid(0) is 0.5.
    let body = |ceil, counted| {
        move |b: &mut Builder, x: &str| {
            let half = b.weight(&[8, 1, 1], vec![0.5; 8]);
            let shifted = b.node("Add", &[x, &half], vec![]);
            b.node("AveragePool", &[&shifted], pool(ceil, counted))
        }
    };
    goes(32, body(0, 0));
    goes(72, body(1, 0));
    let (model, a) = around(17, 32, body(0, 1));
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 0.0);
    assert_eq!((drop.len(), fold.len()), (5, 8));
}

/// With dilations a window may lie in padding altogether: what runtimes make of it is no constant of the channel.
#[test]
fn a_maximum_of_nothing_but_padding_is_none_of_the_channel() {
    let pool = |dilation: i64| -> Attributes {
        vec![
            ("kernel_shape", ints(&[2, 2])),
            ("dilations", ints(&[dilation, dilation])),
            ("pads", ints(&[1, 1, 1, 1])),
        ]
    };
    // Of windows at -1 and 0 each meets the image.
    goes(32, one("MaxPool", pool(4)));
    // That at -1 reads -1 and 4, of a row of 4.
    let why = declined(8, one("MaxPool", pool(5)));
    assert!(why.contains("nothing but padding"), "{why}");
}

/// A 0 takes the size of the axis at its own place over, which need not be that of the channels.
#[test]
fn a_size_taken_over_from_another_axis_is_no_count_of_channels() {
    let twice = |b: &mut Builder, x: &str| {
        let wide = b.node("Concat", &[x, x], vec![("axis", Attr::Int(3))]);
        b.node("Transpose", &[&wide], vec![("perm", ints(&[0, 2, 3, 1]))])
    };
    let why = declined(256, |b, x| {
        let last = twice(b, x);
        let target = b.ints(&[0, 32, 0, 1]);
        b.node("Reshape", &[&last, &target], vec![])
    });
    assert!(why.contains("another axis"), "{why}");
    goes(256, |b, x| {
        let last = twice(b, x);
        let target = b.ints(&[0, 32, -1, 1]);
        b.node("Reshape", &[&last, &target], vec![])
    });
}

#[test]
fn instances_are_normalised_channel_by_channel() {
    let (model, a) = around(17, 128, |b, x| {
        let scale = b.weight(&[8], values(8, 1));
        let bias = b.weight(&[8], values(8, 2));
        b.node("InstanceNormalization", &[x, &scale, &bias], vec![])
    });
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 1e-5);
    assert_eq!((drop, fold), (vec![0, 3, 4, 5, 7], vec![0, 3, 4, 5, 7]));
}

#[test]
fn running_sums_along_rows_and_columns() {
    for (axis, exclusive) in [(2, 0), (3, 1), (-1, 0)] {
        let (model, a) = around(17, 128, |b, x| {
            let axis = b.ints(&[axis]);
            let how = vec![
                ("exclusive", Attr::Int(exclusive)),
                ("reverse", Attr::Int(1)),
            ];
            b.node("CumSum", &[x, &axis], how)
        });
        let [drop, fold] = left(&model, &a, &[1, 2, 6], 0.0);
        assert_eq!((drop.len(), fold.len()), (5, 5));
    }
    let why = declined(128, |b, x| {
        let axis = b.ints(&[0]);
        b.node("CumSum", &[x, &axis], vec![])
    });
    assert!(why.contains("adds up the samples of a batch"), "{why}");
}

#[test]
fn quantised_and_back() {
    goes(128, |b, x| {
        let scale = b.weight(&[], vec![0.25]);
        let q = b.node("QuantizeLinear", &[x, &scale], vec![]);
        b.node("DequantizeLinear", &[&q, &scale], vec![])
    });
    goes(128, |b, x| {
        let scale = b.weight(&[8], vec![0.25, 0.5, 1.0, 2.0, 0.5, 0.25, 1.0, 0.5]);
        let axis = || vec![("axis", Attr::Int(1))];
        let q = b.node("QuantizeLinear", &[x, &scale], axis());
        b.node("DequantizeLinear", &[&q, &scale], axis())
    });
}
