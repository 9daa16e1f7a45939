//! Learning without any data, from images that the network itself has made.

use std::path::Path;

use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::tensor_shape_proto::dimension::Value as Dimension;
use onnx_bnnprune::onnx::proto::type_proto::Value as Type;

use crate::common::{fixture, json, logits, network, refused, tool, write_masks};

/// A short job without data, with further options.
fn job(dir: &Path, out: &str, options: &[&str]) -> assert_cmd::Command {
    let mut c = tool();
    c.arg(network("vgg"))
        .arg(dir.join(out))
        .args(["--data", "synthetic", "--synthetic-images", "300"])
        .args(["--mask-epochs", "2", "--main-epochs", "2"])
        .args(["--final-epochs", "10", "--ratio", "0.2"])
        .args(["--max-drop", "none", "--report"])
        .arg(dir.join(out).with_extension("json"))
        .args(options);
    c
}

fn classes(path: &Path) -> Vec<usize> {
    let best = |row: ndarray::ArrayViewD<'_, f32>| {
        let scores = row.iter().enumerate();
        scores.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
    };
    logits(path, 200).outer_iter().map(best).collect()
}

#[test]
fn what_is_left_answers_real_images_like_the_original() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), "out.onnx", &[]).assert().success();
    let (before, after) = (
        classes(&network("vgg")),
        classes(&dir.path().join("out.onnx")),
    );
    let same = before.iter().zip(&after).filter(|(a, b)| a == b).count();
    assert!(same >= 180, "{same} of {}", before.len());
    let report = json(&dir.path().join("out.json"));
    let share = &report["totals"]["pruned_ratio"];
    assert!(share.as_f64().unwrap() > 0.15, "{share}");
    // It says on what it was measured.
    assert!(report["accuracy"].is_null());
    let notes = report["notes"].to_string();
    assert!(notes.contains("made from the network itself"), "{notes}");
}

#[test]
fn the_same_seed_makes_the_same_images() {
    let dir = tempfile::tempdir().unwrap();
    let short = ["--synthetic-images", "100", "--final-epochs", "1"];
    let bytes = |out: &str, options: &[&str]| {
        let mut c = tool();
        c.arg(network("vgg"))
            .arg(dir.path().join(out))
            .args(["--data", "synthetic", "--max-drop", "none"])
            .args(["--mask-epochs", "1", "--main-epochs", "1", "--ratio", "0.2"])
            .args(short)
            .args(options);
        c.assert().success();
        std::fs::read(dir.path().join(out)).unwrap()
    };
    let first = bytes("a.onnx", &["--threads", "1"]);
    assert!(first == bytes("b.onnx", &["--threads", "2"]));
    assert!(first != bytes("c.onnx", &["--seed", "1"]));
}

#[test]
fn given_masks_are_judged_on_made_images() {
    let dir = tempfile::tempdir().unwrap();
    let masks = dir.path().join("masks.json");
    write_masks(&masks, &[("/conv2/Conv", 48, &[1, 5])]);
    let mut c = tool();
    c.arg(network("vgg")).arg(dir.path().join("out.onnx"));
    c.args(["--data", "synthetic", "--synthetic-images", "100"]);
    c.arg("--masks").arg(&masks).assert().success();
}

#[test]
fn more_images_than_memory_holds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large.onnx");
    let mut model = Model::load(&network("nin")).unwrap().proto;
    let input = model.graph.as_mut().unwrap().input.first_mut();
    let shape = input.and_then(|i| match i.r#type.as_mut()?.value.as_mut()? {
        Type::TensorType(t) => t.shape.as_mut(),
        _ => None,
    });
    for dim in shape.unwrap().dim.iter_mut().skip(2) {
        dim.value = Some(Dimension::DimValue(256));
    }
    onnx_bnnprune::onnx::save(&model, &large).unwrap();
    let mut c = tool();
    c.arg(&large).arg(dir.path().join("out.onnx"));
    c.args(["--data", "synthetic", "--synthetic-images", "1000000"]);
    c.args(["--method", "none"]);
    refused(&mut c, 2, &["--data synthetic", "memory"]);
}

#[test]
fn what_made_images_cannot_do_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (options, words) in [
        (&["--classes", "c.txt"][..], &["--classes", "no labels"][..]),
        (&["--crop", "8"], &["--crop", "leave it out"]),
        (&["--distill", "0.5"], &["--distill", "no labels"]),
        (&["--mean", "0.1,0.2"], &["mean"]),
        (&["--std", "0"], &["std"]),
    ] {
        let classes = dir.path().join("c.txt");
        std::fs::write(&classes, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").unwrap();
        let mut command = job(dir.path(), "out.onnx", options);
        refused(command.current_dir(dir.path()), 2, words);
    }
    let mut real = tool();
    real.arg(network("vgg")).arg(dir.path().join("out.onnx"));
    real.arg("--data").arg(fixture("digits_train.npz"));
    real.args(["--synthetic-images", "300"]);
    refused(&mut real, 2, &["--synthetic-images", "--data synthetic"]);
    let mut train = tool();
    train.arg("train").arg(network("vgg"));
    train.arg(dir.path().join("out.onnx"));
    train.args(["--data", "synthetic"]);
    refused(&mut train, 2, &["--data synthetic", "labels"]);
    let mut eval = tool();
    eval.arg("eval").arg(network("vgg"));
    eval.args(["--data", "synthetic"]).current_dir(dir.path());
    refused(&mut eval, 2, &["synthetic"]);
}
