//! Networks of signals `[N, C, L]`: whatever the tool does with them, it does as with images of one row.

use std::fs::File;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use ndarray::{Array3, Axis, arr0};
use ndarray_npy::NpzWriter;
use onnx_bnnprune::onnx::proto::tensor_shape_proto::dimension::Value;
use onnx_bnnprune::onnx::proto::{ModelProto, type_proto};
use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{self, json, refused, tool};
use crate::graphs::{Attr, Builder, declare};

/// Channels and length of a signal.
const SIGNAL: [usize; 2] = [6, 24];

/// A stream of small numbers, the same for all networks.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = (self.0.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn signs(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next().signum()).collect()
    }
}

/// A network of three binary convolutions on signals; `lead` is what stands in front of each size of a
/// window and of the signal itself: nothing, or a 1 for images of one row.
fn network(lead: &[usize]) -> ModelProto {
    let mut n = Numbers(7);
    let sizes = |v: &[usize], last: usize| [v, &[last]].concat();
    let ints = |v: Vec<usize>| Attr::Ints(v.into_iter().map(|d| d as i64).collect());
    let pads =
        |by: usize| ints([vec![0; lead.len()], vec![by], vec![0; lead.len()], vec![by]].concat());
    let [channels, length] = SIGNAL;
    let shape = [
        &[channels as i64][..],
        &vec![1; lead.len()],
        &[length as i64],
    ]
    .concat();
    let mut b = Builder::new(&shape);
    let convolution =
        |b: &mut Builder, x: &str, [i, o]: [usize; 2], dilation: usize, values: Vec<f32>| {
            let shape = [&[o, i][..], lead, &[3]].concat();
            let w = b.weight(&shape, values);
            let dilations = ints(sizes(lead, dilation));
            b.node(
                "Conv",
                &[x, &w],
                vec![("pads", pads(dilation)), ("dilations", dilations)],
            )
        };
    let normalised = |b: &mut Builder, n: &mut Numbers, x: &str, c: usize, spread: f32| {
        let scale = n.many(c).into_iter().map(|v| 1.0 + v / 2.0).collect();
        let scale = b.weight(&[c], scale);
        let shift = n.many(c);
        let shift = b.weight(&[c], shift);
        let mean = b.weight(&[c], vec![0.0; c]);
        let variance = b.weight(&[c], vec![spread; c]);
        let y = b.node(
            "BatchNormalization",
            &[x, &scale, &shift, &mean, &variance],
            vec![],
        );
        b.node("Sign", &[&y], vec![])
    };
    let values = n.many(16 * channels * 3);
    let x = convolution(&mut b, "x", [channels, 16], 1, values);
    let mut x = normalised(&mut b, &mut n, &x, 16, 1.0);
    for (k, [i, o]) in [[16, 24], [24, 24], [24, 32]].into_iter().enumerate() {
        let values = n.signs(3 * i * o);
        x = convolution(&mut b, &x, [i, o], 1 + k / 2, values);
        if k == 1 {
            let kernel = ints(sizes(lead, 2));
            let strides = ints(sizes(lead, 2));
            x = b.node(
                "MaxPool",
                &[&x],
                vec![("kernel_shape", kernel), ("strides", strides)],
            );
        }
        x = normalised(&mut b, &mut n, &x, o, 3.0 * i as f32);
    }
    let x = b.node("GlobalAveragePool", &[&x], vec![]);
    let x = b.node("Flatten", &[&x], vec![]);
    let values = n.many(32 * 10);
    let w = b.weight(&[32, 10], values);
    let y = b.node("MatMul", &[&x, &w], vec![]);
    b.graph.output.push(declare(&y, &[10]));
    b.model(&[])
}

/// Signals without labels, `rank` axes in all.
fn signals(path: &Path, count: usize, seed: u64, rank: usize) {
    let mut n = Numbers(seed);
    let shape = (count, SIGNAL[0], SIGNAL[1]);
    let x = Array3::from_shape_fn(shape, |_| n.next()).into_dyn();
    let mut npz = NpzWriter::new(File::create(path).unwrap());
    let x = if rank == 4 { x.insert_axis(Axis(2)) } else { x };
    npz.add_array("x", &x).unwrap();
    npz.finish().unwrap();
}

struct Files {
    _folder: tempfile::TempDir,
    model: PathBuf,
    data: PathBuf,
    out: PathBuf,
    report: PathBuf,
    masks: PathBuf,
}

/// A network, of signals or of images of one row, with signals of as many axes.
fn files(lead: &[usize]) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    save(&network(lead), &at("in.onnx")).unwrap();
    signals(&at("x.npz"), 400, 3, 3 + lead.len());
    Files {
        model: at("in.onnx"),
        data: at("x.npz"),
        out: at("out.onnx"),
        report: at("r.json"),
        masks: at("m.json"),
        _folder: folder,
    }
}

/// The main job on a network and its signals, with options in one line.
fn job(f: &Files, options: &str) -> Command {
    let mut c = tool();
    c.arg(&f.model).arg(&f.out).arg("--data").arg(&f.data);
    c.arg("--report")
        .arg(&f.report)
        .arg("--save-masks")
        .arg(&f.masks);
    c.args(["--max-drop", "none"])
        .args(options.split_whitespace());
    c
}

#[test]
fn a_signal_is_an_image_of_one_row() {
    let [signal, row] = [files(&[]), files(&[1])];
    for options in [
        "--ratio 0.4 --mask-epochs 2 --main-epochs 1 --final-epochs 2",
        "--ratio 0.4 --crop-padding 3 --flip --mask-epochs 1 --main-epochs 1 --final-epochs 1",
        "--method reconstruction --ratio 0.4 --main-epochs 1 --final-epochs 1",
    ] {
        let mut found = Vec::new();
        for f in [&signal, &row] {
            job(f, options).assert().success();
            let report = json(&f.report);
            let masks = json(&f.masks)["layers"].to_string();
            found.push((
                masks,
                report["agreement"].clone(),
                report["totals"]["macs_after"].clone(),
            ));
            let gone = report["totals"]["pruned_ratio"].as_f64().unwrap();
            assert!(gone > 0.35, "{options:?}: {gone}");
        }
        assert_eq!(found[0], found[1], "{options:?}");
    }
}

#[test]
fn signals_go_into_every_form() {
    let f = files(&[]);
    let rule = "--ratio 0.3 --method magnitude --main-epochs 0 --final-epochs 0";
    for form in ["qonnx", "integer", "packed"] {
        let mut c = job(&f, rule);
        c.args(["--to", form]);
        c.assert().success();
        let report = json(&f.report);
        assert_eq!(report["verification"]["passed"], true, "{form}");
        assert!(
            report["totals"]["pruned_ratio"].as_f64().unwrap() > 0.25,
            "{form}"
        );
    }
}

#[test]
fn what_is_no_signal_for_the_network_is_refused() {
    let f = files(&[]);
    let mut c = tool();
    c.arg(&f.model)
        .arg(&f.out)
        .args(["--data", "fixtures/digits_png"]);
    refused(&mut c, 2, &["[1, 6, 24]", "signals", ".npz"]);
    let mut c = tool();
    c.arg(&f.model)
        .arg(&f.out)
        .args(["--data", "fixtures/digits_train.npz"]);
    refused(&mut c, 2, &["6 channel(s)"]);
    refused(
        &mut job(&f, "--crop-padding 24"),
        2,
        &["--crop-padding 24", "less than 24"],
    );
}

/// A model that reads its input through another node first, and takes that shape.
fn behind(model: &mut ModelProto, shape: &[i64], op: &str, parameter: (&str, &[i64])) {
    let graph = model.graph.as_mut().unwrap();
    let name = graph.input[0].name().to_owned();
    for node in &mut graph.node {
        for input in node.input.iter_mut().filter(|i| **i == name) {
            *input = "turned".to_owned();
        }
    }
    let made = match parameter {
        ("perm", perm) => common::node(op, &[&name], &["turned"], &[("perm", perm)]),
        (input, values) => {
            let values = Tensor::I64(ndarray::Array1::from(values.to_vec()).into_dyn());
            graph.initializer.push(values.to_proto(input));
            common::node(op, &[&name, input], &["turned"], &[])
        }
    };
    graph.node.insert(0, made);
    graph.input[0] = declare(&name, shape);
}

#[test]
fn channels_may_be_last() {
    let [first, last] = [files(&[]), files(&[])];
    let mut model = network(&[]);
    let [c, l] = SIGNAL.map(|d| d as i64);
    behind(&mut model, &[l, c], "Transpose", ("perm", &[0, 2, 1]));
    save(&model, &last.model).unwrap();
    let rule = "--method taylor --ratio 0.3 --flip --main-epochs 1 --final-epochs 1";
    let [mut a, mut b] = [job(&first, rule), job(&last, rule)];
    a.assert().success();
    // Of an archive whose channels come first: the model says which axis is which.
    b.assert().success();
    assert_eq!(json(&first.masks)["layers"], json(&last.masks)["layers"]);
    assert_eq!(
        json(&first.report)["agreement"],
        json(&last.report)["agreement"]
    );
}

/// As TensorFlow's exporters write a convolution of signals: an axis put in, then turned around.
#[test]
fn an_axis_that_is_put_in_makes_no_image_of_a_signal() {
    let options =
        "--method taylor --ratio 0.3 --flip --crop-padding 2 --main-epochs 1 --final-epochs 1";
    let [c, l] = SIGNAL.map(|d| d as i64);
    let row = files(&[1]);
    job(&row, options).assert().success();
    // [N, C, L] to [N, C, 1, L].
    let first = files(&[]);
    let mut model = network(&[1]);
    behind(&mut model, &[c, l], "Unsqueeze", ("axes", &[2]));
    save(&model, &first.model).unwrap();
    // [N, L, C] to [N, 1, L, C], then to [N, C, 1, L].
    let last = files(&[]);
    let mut model = network(&[1]);
    behind(&mut model, &[1, l, c], "Transpose", ("perm", &[0, 3, 1, 2]));
    let graph = model.graph.as_mut().unwrap();
    let axes = Tensor::I64(ndarray::arr1(&[1]).into_dyn());
    graph.initializer.push(axes.to_proto("axes"));
    graph.node[0].input[0] = "wide".to_owned();
    let wide = common::node("Unsqueeze", &["x", "axes"], &["wide"], &[]);
    graph.node.insert(0, wide);
    graph.input[0] = declare("x", &[l, c]);
    save(&model, &last.model).unwrap();
    for f in [&first, &last] {
        job(f, options).assert().success();
        assert_eq!(json(&f.masks)["layers"], json(&row.masks)["layers"]);
    }
}

#[test]
fn a_free_length_is_that_of_the_signals() {
    let f = files(&[]);
    let mut model = network(&[]);
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let kind = input.r#type.as_mut().unwrap().value.as_mut();
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        panic!("not a tensor")
    };
    let length = Value::DimParam("L".to_owned());
    tensor.shape.as_mut().unwrap().dim[2].value = Some(length);
    save(&model, &f.model).unwrap();
    let options = "--method magnitude --ratio 0.3 --main-epochs 0 --final-epochs 0";
    job(&f, options).assert().success();
    let masks = json(&f.masks)["layers"].clone();
    let notes = std::fs::read_to_string(&f.report).unwrap();
    assert!(notes.contains("stay free: verified at 7 sizes"), "{notes}");
    // Also where the signals' channels come last.
    let mut n = Numbers(3);
    let shape = (400, SIGNAL[0], SIGNAL[1]);
    let x = Array3::from_shape_fn(shape, |_| n.next());
    let x = x.permuted_axes([0, 2, 1]).as_standard_layout().into_owned();
    let mut npz = NpzWriter::new(File::create(&f.data).unwrap());
    npz.add_array("x", &x).unwrap();
    npz.finish().unwrap();
    job(&f, options).assert().success();
    assert_eq!(json(&f.masks)["layers"], masks);
}

#[test]
fn gray_images_without_an_axis_of_channels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gray.onnx");
    let mut model = Model::load(&common::network("vgg")).unwrap().proto;
    behind(&mut model, &[8, 8], "Unsqueeze", ("axes", &[1]));
    save(&model, &path).unwrap();
    // What treats each pixel alike says nothing of what the axes are.
    let normalised = dir.path().join("normalised.onnx");
    let graph = model.graph.as_mut().unwrap();
    let name = graph.input[0].name().to_owned();
    graph.node[0].input[0] = "whole".to_owned();
    let (half, two) = (
        Tensor::F32(arr0(0.5).into_dyn()),
        Tensor::F32(arr0(2.0).into_dyn()),
    );
    graph
        .initializer
        .extend([half.to_proto("half"), two.to_proto("two")]);
    graph
        .node
        .insert(0, common::node("Mul", &[&name, "half"], &["halved"], &[]));
    graph
        .node
        .insert(1, common::node("Mul", &["halved", "two"], &["whole"], &[]));
    save(&model, &normalised).unwrap();
    for data in ["digits_png", "digits_test.npz"] {
        let accuracy = |model: &Path| {
            let mut c = tool();
            c.arg("eval")
                .arg(model)
                .arg("--data")
                .arg(common::fixture(data));
            let found = c.arg("--json").assert().success();
            let found = serde_json::from_slice::<serde_json::Value>(&found.get_output().stdout);
            found.unwrap()["accuracy"].clone()
        };
        let plain = accuracy(&common::network("vgg"));
        assert!(plain.as_f64().unwrap() > 0.95, "{plain}");
        assert_eq!(accuracy(&path), plain, "{data}");
        assert_eq!(accuracy(&normalised), plain, "{data}");
    }
}
