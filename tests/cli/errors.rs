//! Bad input: one clear line that names the file, the exit code of the design, nothing written.

use std::path::Path;

use crate::common::{fixture, network, quick, tool};
use predicates::prelude::*;

/// Runs, and checks exit code, the words in a one-line error, and that no output appeared.
fn refused(command: &mut assert_cmd::Command, out: &Path, code: i32, words: &[&str]) {
    crate::common::refused(command, code, words);
    assert!(!out.exists());
}

/// A folder with one image of 8 by 8 pixels for each class.
fn class_folders(folder: &Path, classes: &[&str]) {
    for class in classes {
        let sub = folder.join(class);
        std::fs::create_dir_all(&sub).unwrap();
        image::GrayImage::new(8, 8).save(sub.join("a.png")).unwrap();
    }
}

#[test]
fn a_missing_file() {
    let out = Path::new("no-such-out.onnx");
    refused(
        quick(Path::new("no/such.onnx"), out).arg("-q"),
        out,
        2,
        &["no/such.onnx"],
    );
}

#[test]
fn a_truncated_model() {
    let dir = tempfile::tempdir().unwrap();
    let (cut, out) = (dir.path().join("cut.onnx"), dir.path().join("o.onnx"));
    let bytes = std::fs::read(network("vgg")).unwrap();
    for n in [0, 10, 1000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&cut, &bytes[..n]).unwrap();
        refused(&mut quick(&cut, &out), &out, 2, &["cut.onnx"]);
    }
}

#[test]
fn a_model_that_is_not_binary() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let float = fixture("digits_float.onnx");
    refused(
        &mut quick(&float, &out),
        &out,
        2,
        &["digits_float.onnx", "no binary layer", "inspect"],
    );
}

#[test]
fn images_of_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, out) = (dir.path().join("data"), dir.path().join("o.onnx"));
    for class in 0..10 {
        let sub = folder.join(class.to_string());
        std::fs::create_dir_all(&sub).unwrap();
        image::GrayImage::new(9, 8).save(sub.join("a.png")).unwrap();
    }
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--data")
        .arg(&folder);
    refused(&mut c, &out, 2, &["a.png", "--resize"]);
}

#[test]
fn another_number_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, out) = (dir.path().join("data"), dir.path().join("o.onnx"));
    class_folders(&folder, &["cat", "dog", "owl"]);
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--data")
        .arg(&folder);
    refused(
        &mut c,
        &out,
        2,
        &["3 classes", "tells 10 apart", "--classes"],
    );
}

#[test]
fn validation_images_of_other_classes() {
    let dir = tempfile::tempdir().unwrap();
    let (data, val, out) = (
        dir.path().join("data"),
        dir.path().join("val"),
        dir.path().join("o.onnx"),
    );
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    class_folders(&data, &names);
    // The fourth class has another name, and so all classes from there on another index.
    class_folders(&val, &["a", "b", "c", "e", "f", "g", "h", "i", "j", "k"]);
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--data")
        .arg(&data)
        .arg("--val")
        .arg(&val);
    let words = ["val: class 3 is 'e'", "it is 'd'", "--classes"];
    refused(&mut c, &out, 2, &words);
}

#[test]
fn a_folder_that_does_not_exist_or_holds_no_images() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--data", "no/such/folder"]);
    refused(&mut c, &out, 2, &["no/such/folder"]);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--data")
        .arg(&empty);
    refused(&mut c, &out, 2, &["empty"]);
}

#[test]
fn a_missing_onnx_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut c = quick(&network("vgg"), &out);
    c.args(["--ort-lib", "no/such/libonnxruntime.so"]);
    refused(&mut c, &out, 3, &["no/such/libonnxruntime.so"]);
    // A library that is no library must not take the process down.
    let fake = dir.path().join("libonnxruntime.so");
    std::fs::write(&fake, vec![0u8; 4096]).unwrap();
    let mut c = quick(&network("vgg"), &out);
    c.arg("--ort-lib").arg(&fake);
    refused(&mut c, &out, 3, &["libonnxruntime.so"]);
}

#[test]
fn masks_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    let cases = [
        ("not json", "m.json"),
        (r#"{"format": "other/1", "layers": {}}"#, "other/1"),
        (
            r#"{"format": "onnx-bnnprune-masks/1", "layers": {"/nope": {"filters": 4, "pruned": [1]}}}"#,
            "/nope",
        ),
        (
            r#"{"format": "onnx-bnnprune-masks/1", "layers": {"/conv1/Conv": {"filters": 41, "pruned": [1]}}}"#,
            "41",
        ),
        (
            r#"{"format": "onnx-bnnprune-masks/1", "layers": {"/conv1/Conv": {"filters": 40, "pruned": [40]}}}"#,
            "/conv1/Conv",
        ),
    ];
    for (text, word) in cases {
        std::fs::write(&masks, text).unwrap();
        let mut c = tool();
        c.args([network("vgg"), out.clone()])
            .arg("--masks")
            .arg(&masks);
        refused(&mut c, &out, 2, &[word]);
    }
    let all: Vec<usize> = (0..40).collect();
    let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
        "layers": {"/conv1/Conv": {"filters": 40, "pruned": all}}});
    std::fs::write(&masks, text.to_string()).unwrap();
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--masks")
        .arg(&masks);
    refused(&mut c, &out, 2, &["/conv1/Conv", "keep at least one"]);
}

#[test]
fn a_masks_file_is_named_and_checked_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    crate::common::write_masks(&masks, &[("/conv1/Conv", 41, &[1])]);
    let words = ["m.json", "/conv1/Conv", "41 filters", "the model has 40"];
    // The images would be an error too, but only later.
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--data", "no/such/folder", "--masks"])
        .arg(&masks);
    refused(&mut c, &out, 2, &words);
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--data", "no/such/folder", "--method", "random", "--like"])
        .arg(&masks);
    refused(&mut c, &out, 2, &words);
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[1])]);
    tool()
        .args([network("vgg"), out.clone()])
        .arg("--masks")
        .arg(&masks)
        .arg("--like")
        .arg(&masks)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("cannot be used with"));
}

#[test]
fn kept_layers_that_do_not_exist_or_that_the_masks_prune() {
    let dir = tempfile::tempdir().unwrap();
    let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--keep", "/nope"]);
    refused(&mut c, &out, 2, &["--keep /nope", "inspect"]);
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[1])]);
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--keep", "/conv1/Conv", "--masks"])
        .arg(&masks);
    refused(&mut c, &out, 2, &["m.json", "'/conv1/Conv'", "--keep"]);
}

#[test]
fn a_model_that_the_runtime_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("strange.onnx"), dir.path().join("o.onnx"));
    crate::common::write_refused(&model);
    let words = ["strange.onnx: ONNX Runtime cannot load", "nonsense"];
    let mut c = tool();
    refused(c.args([&model, &out]), &out, 2, &words);
    let mut c = tool();
    c.arg("eval")
        .arg(&model)
        .arg("--data")
        .arg(fixture("digits_test.npz"));
    refused(&mut c, &out, 2, &words);
    // The reference of a comparison is input as well.
    let mut c = tool();
    c.arg("verify").arg(&model).arg(network("vgg"));
    refused(&mut c, &out, 2, &words);
}

#[test]
fn preprocessing_that_the_model_was_not_trained_with() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut c = quick(&network("vgg"), &out);
    c.args(["--mean", "3"]);
    refused(
        &mut c,
        &out,
        2,
        &["% of the images", "neither --mean nor --std"],
    );
    let classes = dir.path().join("classes.txt");
    std::fs::write(&classes, "1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n").unwrap();
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .arg("--data")
        .arg(fixture("digits_png"))
        .arg("--classes")
        .arg(&classes);
    refused(&mut c, &out, 2, &["--classes"]);
}

#[test]
fn the_input_is_not_overwritten_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.onnx");
    std::fs::copy(network("vgg"), &model).unwrap();
    let before = std::fs::read(&model).unwrap();
    quick(&model, &model)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--in-place"));
    assert!(std::fs::read(&model).unwrap() == before);
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    use onnx_bnnprune::onnx::proto::{StringStringEntryProto, tensor_proto::DataLocation};
    use prost::Message as _;
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("m.onnx"), dir.path().join("o.onnx"));
    let mut model = onnx_bnnprune::onnx::Model::load(&network("vgg"))
        .unwrap()
        .proto;
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![StringStringEntryProto {
        key: Some("location".into()),
        value: Some("../../etc/passwd".into()),
    }];
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    refused(&mut quick(&path, &out), &out, 2, &["m.onnx", "outside"]);
}
