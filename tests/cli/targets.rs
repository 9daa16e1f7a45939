//! Files that the main job would write: refused before any work where they clash or cannot be.

use std::path::Path;

use crate::common::{network, refused, tool};

/// The main job on a copy of the VGG in `dir`. Its images do not exist: an error about them would
/// mean that the targets were not looked at first.
fn job(dir: &Path, args: &[&str]) -> assert_cmd::Command {
    let mut c = tool();
    c.current_dir(dir)
        .args(["in.onnx", "out.onnx", "--data", "no/such/folder"])
        .args(args);
    c
}

fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(network("vgg"), dir.path().join("in.onnx")).unwrap();
    dir
}

#[test]
fn no_target_is_another_target_or_an_input() {
    let dir = copy();
    let absolute = dir.path().join("r.json").display().to_string();
    let cases: [(&[&str], [&str; 2]); 13] = [
        (&["--report", "in.onnx"], ["--report", "IN"]),
        (&["--html", "in.onnx"], ["--html", "IN"]),
        (&["--html", "out.onnx"], ["--html", "OUT"]),
        (&["--report", "r", "--html", "./r"], ["--html", "--report"]),
        (
            &["--masks", "m.json", "--html", "m.json"],
            ["--html", "--masks"],
        ),
        (&["--save-masks", "./in.onnx"], ["--save-masks", "IN"]),
        (
            &["--save-masked", "in.onnx", "--in-place"],
            ["--save-masked", "IN"],
        ),
        (&["--report", "out.onnx"], ["--report", "OUT"]),
        (&["--save-masked", "./out.onnx"], ["--save-masked", "OUT"]),
        (
            &["--report", "r.json", "--save-masks", "./r.json"],
            ["--save-masks", "--report"],
        ),
        (
            &["--save-masks", "r.json", "--report", &absolute],
            ["--save-masks", "--report"],
        ),
        (
            &["--save-masks", "m", "--save-masked", "m"],
            ["--save-masked", "--save-masks"],
        ),
        (
            &["--masks", "m.json", "--report", "m.json"],
            ["--report", "--masks"],
        ),
    ];
    for (args, words) in cases {
        refused(&mut job(dir.path(), args), 2, &words);
    }
    let original = std::fs::read(network("vgg")).unwrap();
    assert!(std::fs::read(dir.path().join("in.onnx")).unwrap() == original);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_input_is_the_input() {
    let dir = copy();
    std::os::unix::fs::symlink("in.onnx", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("here")).unwrap();
    refused(
        &mut job(dir.path(), &["--report", "link"]),
        2,
        &["--report", "IN"],
    );
    // A file that is yet to come, in a folder by another name.
    let args = ["--report", "here/out.onnx"];
    refused(&mut job(dir.path(), &args), 2, &["--report", "OUT"]);
}

#[test]
fn a_target_must_be_a_file_in_a_folder_that_exists() {
    let dir = copy();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    for option in ["--report", "--html", "--save-masks", "--save-masked"] {
        let mut c = job(dir.path(), &[option, "folder"]);
        refused(&mut c, 2, &["folder", "is a folder"]);
        let mut c = job(dir.path(), &[option, "absent/file"]);
        refused(&mut c, 2, &["absent/file", "no folder absent"]);
    }
    for (out, words) in [
        ("folder", ["folder", "is a folder"]),
        ("absent/o.onnx", ["absent/o.onnx", "no folder absent"]),
    ] {
        let mut c = tool();
        c.current_dir(dir.path())
            .args(["in.onnx", out, "--data", "no/such/folder"]);
        refused(&mut c, 2, &words);
    }
}

#[test]
fn settings_of_images_are_not_overwritten() {
    let dir = copy();
    let settings = r#"{"do_rescale": true, "rescale_factor": 0.5}"#;
    std::fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
    for read in ["preprocessor_config.json", "."] {
        let args = [
            "--preprocessor",
            read,
            "--report",
            "preprocessor_config.json",
        ];
        refused(
            &mut job(dir.path(), &args),
            2,
            &["--report", "--preprocessor"],
        );
    }
}
