//! Height and width that a file leaves free: given by options, taken from the images, and free again
//! in what is written.

use std::path::{Path, PathBuf};

use crate::common::{fixture, refused, tool, write_masks};
use crate::graphs::{Attr, Builder};
use onnx_bnnprune::onnx::proto::{ModelProto, tensor_shape_proto::dimension::Value, type_proto};
use onnx_bnnprune::onnx::{Model, to_bytes};

fn signs(count: usize) -> Vec<f32> {
    let of = |i: usize| {
        if (i * 7 + i / 5).is_multiple_of(3) {
            -0.5
        } else {
            0.5
        }
    };
    (0..count).map(of).collect()
}

/// Ten classes of grey images of any size: the second convolution is binary and padded.
fn network(names: [&str; 2]) -> ModelProto {
    let mut b = Builder::new(&[1, 8, 8]);
    let stem = b.weight(
        &[4, 1, 3, 3],
        (0..36).map(|i| (i % 7) as f32 - 3.1).collect(),
    );
    let t = b.node("Conv", &["x", &stem], vec![]);
    let t = b.node("Sign", &[&t], vec![]);
    let w = b.weight(&[6, 4, 3, 3], signs(216));
    let t = b.node("Conv", &[&t, &w], vec![("pads", Attr::Ints(vec![1; 4]))]);
    b.graph.node.last_mut().unwrap().name = Some("binary".to_owned());
    let t = b.node("Sign", &[&t], vec![]);
    let t = b.node("GlobalAveragePool", &[&t], vec![]);
    let t = b.node("Flatten", &[&t], vec![]);
    let head = b.weight(&[6, 10], (0..60).map(|i| i as f32 * 0.1).collect());
    let y = b.node("MatMul", &[&t, &head], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(crate::graphs::declare(&y, &[10]));
    let shape = &mut dims(graph.input.first_mut().unwrap());
    for (axis, name) in [2, 3].into_iter().zip(names) {
        shape[axis].value = match name {
            "" => None,
            name => Some(Value::DimParam(name.to_owned())),
        };
    }
    model
}

fn dims(
    value: &mut onnx_bnnprune::onnx::proto::ValueInfoProto,
) -> &mut Vec<onnx_bnnprune::onnx::proto::tensor_shape_proto::Dimension> {
    match value.r#type.as_mut().unwrap().value.as_mut() {
        Some(type_proto::Value::TensorType(t)) => &mut t.shape.as_mut().unwrap().dim,
        _ => panic!("no tensor"),
    }
}

fn write(model: &ModelProto, dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let (path, masks) = (dir.join("in.onnx"), dir.join("m.json"));
    std::fs::write(&path, to_bytes(model)).unwrap();
    write_masks(&masks, &[("binary", 6, &[0, 4])]);
    (path, masks, dir.join("out.onnx"))
}

#[test]
fn sizes_are_given_and_the_written_model_keeps_them_free() {
    let dir = tempfile::tempdir().unwrap();
    for (names, options) in [
        (["", ""], vec!["--input-shape", "x=1,1,12,12"]),
        (["h", "w"], vec!["--dim", "h=12", "--dim", "w=16"]),
    ] {
        let mut model = network(names);
        let (path, masks, out) = write(&model, dir.path());
        let words = ["in.onnx", "'x'", "--input-shape"];
        refused(tool().arg("inspect").arg(&path), 2, &words);
        tool()
            .arg("inspect")
            .arg(&path)
            .args(&options)
            .assert()
            .success();
        let mut main = tool();
        main.arg(&path)
            .arg(&out)
            .arg("--masks")
            .arg(&masks)
            .args(&options);
        let text = main.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("stay free: verified at 7 sizes"), "{text}");
        let mut written = Model::load(&out).unwrap().proto;
        let (old, new) = (
            model.graph.as_mut().unwrap(),
            written.graph.as_mut().unwrap(),
        );
        assert_eq!(dims(&mut old.input[0]), dims(&mut new.input[0]));
        let cut = new.initializer.iter().any(|t| t.dims == [4, 4, 3, 3]);
        assert!(cut, "the filters are gone");
        let mut verify = tool();
        verify
            .arg("verify")
            .arg(&out)
            .arg(&out)
            .args(&options)
            .assert()
            .success();
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = write(&network(["h", "w"]), dir.path());
    for (option, value, word) in [
        ("--dim", "height=8", "h, w"),
        ("--input-shape", "image=1,1,8,8", "x"),
        ("--input-shape", "x=1,3,8,8", "[N, 1, h, w]"),
        ("--input-shape", "x=1,1,8", "[N, 1, h, w]"),
    ] {
        refused(
            tool().arg("inspect").arg(&path).args([option, value]),
            2,
            &[option, word],
        );
    }
}

#[test]
fn images_give_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let (path, masks, out) = write(&network(["", "w"]), dir.path());
    for data in ["digits_test.npz", "digits_png"] {
        let mut main = tool();
        main.arg(&path).arg(&out).arg("--masks").arg(&masks);
        main.arg("--data").arg(fixture(data)).assert().success();
        let mut eval = tool();
        eval.arg("eval")
            .arg(&out)
            .arg("--data")
            .arg(fixture(data))
            .args(["--runs", "1"]);
        eval.assert().success();
    }
}

#[test]
fn what_would_hold_for_one_size_only_is_not_written() {
    // Filters that are constant behind a padded convolution: their border is a map of one size.
    let dir = tempfile::tempdir().unwrap();
    let (path, masks, out) = write(&network(["h", "w"]), dir.path());
    let mut main = tool();
    main.arg(&path).arg(&out).arg("--masks").arg(&masks);
    main.args(["--removal", "fold", "--dim", "h=12", "--dim", "w=12"]);
    let text = main.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("stay free: verified at 7 sizes"), "{text}");
}

/// Grey images of any size, of which the second layer, whose third filter is one value everywhere, is read in a way
/// that depends on the size: by what is padded at odd ones alone, or by a sum over the plane.
fn read_by(kind: &str) -> ModelProto {
    let mut b = Builder::new(&[1, 8, 8]);
    let pads = || vec![("pads", Attr::Ints(vec![1; 4]))];
    let stem: Vec<f32> = (0..36).map(|i| (i % 7) as f32 - 3.1).collect();
    let stem = b.weight(&[4, 1, 3, 3], stem);
    let t = b.node("Conv", &["x", &stem], pads());
    let t = b.node("Sign", &[&t], vec![]);
    let w = b.weight(&[6, 4, 3, 3], signs(216));
    let t = b.node("Conv", &[&t, &w], pads());
    let scale = b.weight(&[6], vec![1.0, 0.5, 0.0, 1.5, -1.0, 1.0]);
    let shift = b.weight(&[6], vec![0.1, -0.4, 0.7, 0.3, 0.2, -0.6]);
    let mean = b.weight(&[6], vec![0.5; 6]);
    let variance = b.weight(&[6], vec![2.0; 6]);
    let norm = [&t[..], &scale, &shift, &mean, &variance];
    let t = b.node("BatchNormalization", &norm, vec![]);
    let t = b.node("Sign", &[&t], vec![]);
    let same = || {
        vec![
            ("strides", Attr::Ints(vec![2, 2])),
            ("auto_pad", Attr::Text("SAME_UPPER")),
        ]
    };
    let sums = |b: &mut Builder, t: &str| {
        let w = b.weight(&[5, 6, 1, 1], signs(30));
        b.node("Conv", &[t, &w], vec![])
    };
    let t = match kind {
        "padded" => {
            let w = b.weight(&[5, 6, 2, 2], signs(120));
            b.node("Conv", &[&t, &w], same())
        }
        "mean" => {
            let mut window = same();
            window.push(("kernel_shape", Attr::Ints(vec![2, 2])));
            window.push(("count_include_pad", Attr::Int(1)));
            let t = b.node("AveragePool", &[&t], window);
            sums(&mut b, &t)
        }
        _ => {
            let axes = b.ints(&[2, 3]);
            let t = b.node("ReduceSum", &[&t, &axes], vec![]);
            sums(&mut b, &t)
        }
    };
    let t = b.node("GlobalAveragePool", &[&t], vec![]);
    let t = b.node("Flatten", &[&t], vec![]);
    let head = b.weight(&[5, 10], (0..50).map(|i| (i % 9) as f32 * 0.1).collect());
    let y = b.node("MatMul", &[&t, &head], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(crate::graphs::declare(&y, &[10]));
    let shape = dims(graph.input.first_mut().unwrap());
    (2..4).for_each(|axis| shape[axis].value = None);
    model
}

#[test]
fn no_channel_goes_that_matters_at_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    for kind in ["padded", "mean", "sum"] {
        std::fs::write(&path, to_bytes(&read_by(kind))).unwrap();
        let mut main = tool();
        main.args([&path, &out])
            .args(["--input-shape", "x=1,1,16,16"]);
        main.assert().success();
        for size in ["15,15", "9,13", "16,13", "8,8"] {
            let mut verify = tool();
            verify.arg("verify").args([&path, &out]);
            verify.args(["--input-shape", &format!("x=1,1,{size}")]);
            let done = verify.output().unwrap();
            let text = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success(), "{kind}, {size}: {text}");
        }
    }
}

/// Of images whose channels come last, both axes are free, too.
#[test]
fn no_channel_goes_that_matters_at_another_height() {
    for channels in [3, 4] {
        holds_at_other_heights(channels);
    }
}

fn holds_at_other_heights(channels: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    let mut b = Builder::new(&[8, 8, channels as i64]);
    let turned = vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))];
    let t = b.node("Transpose", &["x"], turned);
    let stem = (0..4 * channels).map(|i| (i % 7) as f32 - 3.1).collect();
    let stem = b.weight(&[4, channels, 1, 1], stem);
    let t = b.node("Conv", &[&t, &stem], vec![]);
    let scale = b.weight(&[4, 1, 1], vec![1.0, 0.0, 1.0, -1.0]);
    let shift = b.weight(&[4, 1, 1], vec![0.5, 1.0, 0.25, 0.5]);
    let t = b.node("Mul", &[&t, &scale], vec![]);
    let t = b.node("Add", &[&t, &shift], vec![]);
    let t = b.node("Sign", &[&t], vec![]);
    let w = b.weight(&[5, 4, 2, 1], signs(40));
    let same = vec![
        ("strides", Attr::Ints(vec![2, 1])),
        ("auto_pad", Attr::Text("SAME_UPPER")),
    ];
    let t = b.node("Conv", &[&t, &w], same);
    let t = b.node("GlobalAveragePool", &[&t], vec![]);
    let y = b.node("Flatten", &[&t], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(crate::graphs::declare(&y, &[5]));
    let shape = dims(graph.input.first_mut().unwrap());
    (1..3).for_each(|axis| shape[axis].value = None);
    std::fs::write(&path, to_bytes(&model)).unwrap();
    let mut main = tool();
    main.args([&path, &out])
        .args(["--input-shape", &format!("x=1,16,16,{channels}")]);
    main.assert().success();
    for size in ["15,16", "17,16", "16,15"] {
        let mut verify = tool();
        verify.arg("verify").args([&path, &out]);
        verify.args(["--input-shape", &format!("x=1,{size},{channels}")]);
        verify.assert().success();
    }
}

#[test]
fn an_input_without_a_shape_is_given_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = network(["", ""]);
    let input = &mut model.graph.as_mut().unwrap().input[0];
    match input.r#type.as_mut().unwrap().value.as_mut() {
        Some(type_proto::Value::TensorType(t)) => t.shape = None,
        _ => panic!("no tensor"),
    }
    let (path, masks, out) = write(&model, dir.path());
    let mut c = tool();
    c.arg("eval")
        .arg(&path)
        .arg("--data")
        .arg(fixture("digits_test.npz"));
    refused(&mut c, 2, &["'x'", "no shape", "--input-shape x="]);
    let mut c = tool();
    c.args([&path, &out]).arg("--masks").arg(&masks);
    c.args(["--input-shape", "x=1,1,8,8"])
        .arg("--data")
        .arg(fixture("digits_test.npz"));
    let done = c.assert().success();
    let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(text.contains("stay free: verified at 7 sizes"), "{text}");
    let written = Model::load(&out).unwrap().proto;
    let (old, new) = (
        &model.graph.unwrap().input[0],
        &written.graph.unwrap().input[0],
    );
    assert_eq!(old, new);
}

#[test]
fn images_of_the_listed_classes_give_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let (path, masks, out) = write(&network(["", ""]), dir.path());
    let (data, list) = (dir.path().join("data"), dir.path().join("classes.txt"));
    for class in 0..10 {
        let class = class.to_string();
        std::fs::create_dir_all(data.join(&class)).unwrap();
        let images = std::fs::read_dir(fixture("digits_png").join(&class)).unwrap();
        for image in images.take(4).map(Result::unwrap) {
            let to = data.join(&class).join(image.file_name());
            std::fs::copy(image.path(), to).unwrap();
        }
    }
    std::fs::create_dir(data.join("unlabelled")).unwrap();
    std::fs::write(&list, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").unwrap();
    let mut c = tool();
    c.arg(&path).arg(&out).arg("--masks").arg(&masks);
    c.arg("--data").arg(&data);
    refused(&mut c, 2, &["unlabelled"]);
    c.arg("--classes").arg(&list).assert().success();
}

/// There is no other size of the images that anything could be verified at.
#[test]
fn a_free_batch_alone_says_nothing_of_other_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = tool();
    c.arg("convert").arg(fixture("digits_vgg.onnx"));
    c.arg(dir.path().join("packed.onnx"))
        .args(["--to", "packed", "--dim", "N=3"]);
    let text = c.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("free dimensions"), "{text}");
}
