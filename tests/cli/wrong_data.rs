//! Data that are not what they should be are refused, with the likely cause, before learning.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{digit_bytes, fixture, network, refused, tool, write_npz};
use assert_cmd::Command;
use ndarray::{Array1, Axis};
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::{NodeProto, TensorProto, tensor_proto::DataType};

fn job(model: &Path, data: &Path, out: &Path) -> Command {
    let mut c = tool();
    c.arg(model).arg(out).arg("--data").arg(data);
    c.arg("-q").timeout(Duration::from_secs(90));
    c
}

/// The digits of the places for which `keep` holds.
fn select(path: &Path, keep: impl Fn(usize, usize) -> bool, labelled: bool) {
    let (images, labels) = digit_bytes();
    let chosen: Vec<usize> = (0..labels.len()).filter(|&i| keep(i, labels[i])).collect();
    let some: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
    let images = images.select(Axis(0), &chosen);
    write_npz(path, &images, labelled.then_some(some.as_slice()));
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn one_classs_folder_is_not_the_data() {
    let dir = Dir::new();
    let class = fixture("digits_png").join("0");
    let mut c = job(&network("vgg"), &class, &dir.at("o.onnx"));
    refused(&mut c, 2, &["one class's folder"]);
    // The same in an archive without labels.
    let data = dir.at("zeros.npz");
    select(&data, |_, label| label == 3, false);
    let mut c = job(&network("vgg"), &data, &dir.at("o.onnx"));
    refused(c.args(["--distill", "0.3"]), 2, &["--distill", "no labels"]);
    let mut c = job(&network("vgg"), &data, &dir.at("o.onnx"));
    refused(
        &mut c,
        2,
        &["zeros.npz", "of class 3", "--scale", "--max-drop none"],
    );
    let short = [
        "--max-drop=none",
        "--ratio=0.2",
        "--mask-epochs=1",
        "--main-epochs=1",
    ];
    let mut c = job(&network("vgg"), &data, &dir.at("known.onnx"));
    let done = c.args(short).arg("--final-epochs=1").assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(said.contains("of class 3"), "{said}");
    // With labels.
    select(&data, |_, label| label == 3, true);
    let mut c = job(&network("vgg"), &data, &dir.at("o.onnx"));
    refused(&mut c, 2, &["zeros.npz", "one class (3)"]);
    assert!(!dir.at("o.onnx").exists());
}

#[test]
fn validation_images_are_other_images() {
    let dir = Dir::new();
    let out = dir.at("o.onnx");
    let (data, copy) = (dir.at("d.npz"), dir.at("copy.npz"));
    select(&data, |_, _| true, true);
    std::fs::copy(&data, &copy).unwrap();
    for val in [&data, &copy] {
        let mut c = job(&network("vgg"), &data, &out);
        refused(c.arg("--val").arg(val), 2, &["learned from"]);
        let mut c = tool();
        c.arg("train")
            .arg(network("vgg"))
            .arg(&out)
            .arg("--data")
            .arg(&data);
        refused(c.arg("--val").arg(val), 2, &["learned from"]);
    }
    let few = dir.at("few.npz");
    select(&few, |i, _| i < 10, true);
    let mut c = job(&network("vgg"), &fixture("digits_train.npz"), &out);
    refused(
        c.arg("--val").arg(&few),
        2,
        &["10 validation images", "95 % interval", "--val"],
    );
}

/// Copies of images fall on both sides of a split.
#[test]
fn copies_on_both_sides_of_a_split_are_said() {
    let dir = Dir::new();
    let (images, labels) = digit_bytes();
    let twice = ndarray::concatenate![Axis(0), images, images];
    let data = dir.at("twice.npz");
    write_npz(&data, &twice, Some(&[&labels[..], &labels].concat()));
    for (data, copies) in [(data, true), (fixture("digits_test.npz"), false)] {
        let mut c = tool();
        c.arg(network("vgg")).arg(dir.at("o.onnx"));
        c.arg("--data").arg(&data).arg("--dry-run");
        let done = c.assert().success();
        let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert_eq!(
            said.contains("split off to judge by are among"),
            copies,
            "{said}"
        );
    }
}

/// The file whose labels are wrong is the one that is named.
#[test]
fn wrong_labels_are_those_of_their_file() {
    let dir = Dir::new();
    let (images, labels) = digit_bytes();
    let wrong: Vec<usize> = labels.iter().map(|&k| (k * 7 + 3) % 10).collect();
    let (good, bad) = (fixture("digits_train.npz"), dir.at("bad.npz"));
    write_npz(&bad, &images, Some(&wrong));
    let out = dir.at("o.onnx");
    let mut c = job(&network("vgg"), &good, &out);
    refused(c.arg("--val").arg(&bad), 2, &["bad.npz: "]);
    let mut c = job(&network("vgg"), &bad, &out);
    refused(c.arg("--val").arg(&good), 2, &["bad.npz: to learn from"]);
}

/// The NIN with `x · std + mean` in front: trained, as it were, on normalised pixels.
fn normalised(path: &Path, mean: f32, std: f32) {
    let mut model = Model::load(&network("nin")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let old = graph.input[0].name().to_owned();
    graph.input[0].name = Some("normal".to_owned());
    let mut at = "normal".to_owned();
    for (op, value, to) in [("Mul", std, "scaled"), ("Add", mean, old.as_str())] {
        graph.initializer.push(TensorProto {
            name: Some(format!("c{op}")),
            data_type: Some(DataType::Float as i32),
            raw_data: Some(value.to_le_bytes().to_vec().into()),
            ..TensorProto::default()
        });
        let node = NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(format!("front{op}")),
            input: vec![at, format!("c{op}")],
            output: vec![to.to_owned()],
            ..NodeProto::default()
        };
        graph.node.insert(usize::from(op == "Add"), node);
        at = to.to_owned();
    }
    onnx_bnnprune::onnx::save(&model, path).unwrap();
}

#[test]
fn forgotten_statistics_are_named() {
    let dir = Dir::new();
    let model = dir.at("in.onnx");
    let data = fixture("digits_train.npz");
    for (mean, std, words) in [
        (0.1307, 0.3081, ["--mean 0.1307 --std 0.3081", "MNIST"]),
        (0.5, 0.5, ["--mean 0.5 --std 0.5", "right on"]),
    ] {
        normalised(&model, mean, std);
        refused(&mut job(&model, &data, &dir.at("o.onnx")), 2, &words);
    }
}

#[test]
fn labels_from_one_on_are_explained() {
    let dir = Dir::new();
    let data = dir.at("d.npz");
    let (images, labels) = digit_bytes();
    let shifted: Vec<usize> = labels.iter().map(|l| l + 1).collect();
    write_npz(&data, &images, Some(&shifted));
    let words = ["d.npz", "1 to 10", "save y - 1"];
    refused(
        &mut job(&network("vgg"), &data, &dir.at("o.onnx")),
        2,
        &words,
    );
    let mut c = tool();
    c.arg("eval").arg(network("vgg")).arg("--data").arg(&data);
    refused(&mut c, 2, &words);
    // Flat images have only one shape here.
    let (n, flat) = (images.len_of(Axis(0)), dir.at("flat.npz"));
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&flat).unwrap());
    npz.add_array("x", &images.into_shape_with_order((n, 64)).unwrap())
        .unwrap();
    let labels: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
    npz.add_array("y", &Array1::from(labels)).unwrap();
    npz.finish().unwrap();
    let mut c = tool();
    c.arg("eval").arg(network("vgg")).arg("--data").arg(&flat);
    c.args(["--runs", "1"]).assert().success();
}

/// Good validation images say nothing of those that are learned from.
#[test]
fn training_images_of_other_labels_are_named() {
    let dir = Dir::new();
    let (images, labels) = digit_bytes();
    for (name, other, word) in [
        (
            "turned.npz",
            labels.iter().map(|l| (l + 1) % 10).collect::<Vec<_>>(),
            "in another order",
        ),
        (
            "mixed.npz",
            (0..labels.len()).map(|i| i * 7 % 10).collect(),
            "chance is 10.0 %",
        ),
    ] {
        let data = dir.at(name);
        write_npz(&data, &images, Some(&other));
        let mut c = tool();
        c.arg(network("vgg")).arg(dir.at("o.onnx"));
        c.arg("--data")
            .arg(&data)
            .arg("--val")
            .arg(fixture("digits_train.npz"));
        refused(&mut c, 2, &[name, "to learn from", word]);
    }
}

#[test]
fn images_that_are_cut_short_are_named() {
    let dir = Dir::new();
    let folder = dir.at("images");
    for class in 0..10 {
        let sub = folder.join(class.to_string());
        std::fs::create_dir_all(&sub).unwrap();
        let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y * 4) as u8]));
        image.save(sub.join("a.jpg")).unwrap();
        image.save(sub.join("b.png")).unwrap();
    }
    for name in ["4/a.jpg", "4/b.png"] {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).unwrap();
        for percent in [20, 55, 90, 99] {
            std::fs::write(&path, &bytes[..bytes.len() * percent / 100]).unwrap();
            let mut c = tool();
            c.arg("eval").arg(network("vgg")).arg("--data").arg(&folder);
            refused(&mut c, 2, &[name, "cut short"]);
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn what_has_an_effect_on_one_of_two_sets_is_no_mistake() {
    let dir = Dir::new();
    let (val, masks) = (dir.at("floats.npz"), dir.at("m.json"));
    let (images, labels) = digit_bytes();
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&val).unwrap());
    npz.add_array("x", &images.mapv(|v| f32::from(v) / 255.0))
        .unwrap();
    let labels: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
    npz.add_array("y", &Array1::from(labels)).unwrap();
    npz.finish().unwrap();
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[0])]);
    let run = |data: &Path| {
        let mut c = job(&network("vgg"), data, &dir.at("o.onnx"));
        c.arg("--val").arg(&val).arg("--masks").arg(&masks);
        c
    };
    for option in [
        ["--mean", "0"],
        ["--scale", "1/255"],
        ["--resize", "8"],
        ["--crop", "8"],
    ] {
        run(&fixture("digits_png")).args(option).assert().success();
        refused(run(&val).args(option), 2, &[option[0], "floats.npz"]);
    }
    // Pixels of an archive are scaled, but not resized.
    let pixels = fixture("digits_train.npz");
    run(&pixels).args(["--mean", "0"]).assert().success();
    refused(run(&pixels).args(["--resize", "8"]), 2, &["--resize"]);
}
