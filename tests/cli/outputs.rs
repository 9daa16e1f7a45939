//! Where outputs go: devices, pipes and links stay what they are, and nothing that is read is
//! overwritten.
#![cfg(unix)]

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command as Plain;

use crate::common::{fixture, network, refused, tool};
use assert_cmd::Command;
use onnx_bnnprune::onnx::{
    Model,
    proto::{ModelProto, StringStringEntryProto, tensor_proto},
};

/// A folder with a copy of the VGG.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(network("vgg"), dir.path().join("in.onnx")).unwrap();
    dir
}

/// The main job without data, in `dir`: dead filters alone.
fn job(dir: &Path, args: &[&str]) -> Command {
    let mut c = tool();
    c.current_dir(dir).args(["in.onnx", "-q"]).args(args);
    c
}

fn make_pipe(path: &Path) {
    let made = Plain::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Runs with a reader at the other end of a named pipe; what it read.
fn through_pipe(dir: &Path, args: &[&str]) -> Vec<u8> {
    let pipe = dir.join("pipe");
    make_pipe(&pipe);
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::fs::File::open(pipe)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        })
    };
    job(dir, args).assert().success();
    let bytes = reader.join().unwrap();
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    bytes
}

#[test]
fn a_named_pipe_is_written_into() {
    for args in [
        ["pipe", "--seed", "0"],
        ["o.onnx", "--save-masked", "pipe"],
        ["o.onnx", "--report", "pipe"],
    ] {
        let dir = copy();
        let bytes = through_pipe(dir.path(), &args);
        match args[1] {
            "--report" => {
                let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(report["verification"]["passed"], true);
            }
            _ => assert!(bytes == std::fs::read(network("vgg")).unwrap()),
        }
    }
}

#[test]
fn standard_output_holds_the_file_alone() {
    let dir = copy();
    for (name, to) in [("--report", "-"), ("--report", "/dev/stdout")] {
        let done = job(dir.path(), &["o.onnx", name, to]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["tool"], "onnx-bnnprune");
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(text.contains("written"), "{text}");
        assert!(!dir.path().join("-").exists());
    }
    // Redirected to a file, it is still that file, and nothing is lost of it.
    let redirected = dir.path().join("redirected");
    let file = std::fs::File::create(&redirected).unwrap();
    let status = Plain::new(env!("CARGO_BIN_EXE_onnx-bnnprune"))
        .current_dir(dir.path())
        .args(["in.onnx", "o.onnx", "-q", "--report", "/dev/stdout"])
        .stdout(file)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(crate::common::json(&redirected)["tool"], "onnx-bnnprune");
    let done = job(dir.path(), &["-"]).output().unwrap();
    assert!(done.stdout == std::fs::read(network("vgg")).unwrap());
    let both = ["o.onnx", "--report", "-", "--save-masked", "-"];
    let words = ["--report", "--save-masked", "standard output"];
    refused(&mut job(dir.path(), &both), 2, &words);
}

#[test]
fn links_are_followed_and_stay() {
    let dir = copy();
    std::fs::create_dir(dir.path().join("there")).unwrap();
    symlink("there/model.onnx", dir.path().join("o.onnx")).unwrap();
    for _ in 0..2 {
        job(dir.path(), &["o.onnx"]).assert().success();
        let link = std::fs::symlink_metadata(dir.path().join("o.onnx")).unwrap();
        assert!(link.is_symlink());
        let written = std::fs::read(dir.path().join("there/model.onnx")).unwrap();
        assert!(written == std::fs::read(network("vgg")).unwrap());
    }
    symlink("no/where", dir.path().join("lost")).unwrap();
    let mut c = job(dir.path(), &["o.onnx", "--report", "lost"]);
    refused(&mut c, 2, &["lost", "no folder"]);
}

#[test]
fn permissions_follow_the_umask() {
    let dir = copy();
    let tool = env!("CARGO_BIN_EXE_onnx-bnnprune");
    for (umask, mode) in [("077", 0o600), ("022", 0o644), ("002", 0o664)] {
        let script = format!(
            "umask {umask}; exec '{tool}' in.onnx o{umask} -q --report r{umask} --save-masked m{umask}"
        );
        let status = Plain::new("sh")
            .current_dir(dir.path())
            .args(["-c", &script])
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        for file in ["o", "r", "m"] {
            let written = std::fs::metadata(dir.path().join(format!("{file}{umask}"))).unwrap();
            assert_eq!(written.permissions().mode() & 0o777, mode, "{file} {umask}");
        }
    }
}

/// `in.onnx` with its larger weights in `in.data`.
fn with_external_data(dir: &Path) -> Vec<u8> {
    let mut model: ModelProto = Model::load(&network("vgg")).unwrap().proto;
    let mut data = Vec::new();
    for t in &mut model.graph.as_mut().unwrap().initializer {
        let Some(raw) = t.raw_data.as_ref().filter(|r| r.len() > 64).cloned() else {
            continue;
        };
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value),
        };
        t.external_data = vec![
            entry("location", "in.data".into()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        data.extend_from_slice(&raw);
        t.raw_data = None;
        t.data_location = Some(tensor_proto::DataLocation::External as i32);
    }
    onnx_bnnprune::onnx::save(&model, &dir.join("in.onnx")).unwrap();
    std::fs::write(dir.join("in.data"), &data).unwrap();
    data
}

#[test]
fn external_weights_are_no_output() {
    let dir = tempfile::tempdir().unwrap();
    let data = with_external_data(dir.path());
    symlink("in.data", dir.path().join("soft")).unwrap();
    std::fs::hard_link(dir.path().join("in.data"), dir.path().join("hard")).unwrap();
    for name in ["in.data", "soft", "hard"] {
        for args in [
            vec![name],
            vec![name, "--in-place"],
            vec!["o.onnx", "--report", name],
            vec!["o.onnx", "--save-masked", name],
        ] {
            refused(&mut job(dir.path(), &args), 2, &[name, "the weights of IN"]);
        }
        let mut c = tool();
        c.current_dir(dir.path())
            .args(["check", "in.onnx", "--junit", name]);
        refused(&mut c, 2, &["--junit", "the weights of a model"]);
    }
    assert!(std::fs::read(dir.path().join("in.data")).unwrap() == data);
    assert!(!dir.path().join("o.onnx").exists());
}

#[test]
fn nothing_that_is_read_is_an_output() {
    let dir = copy();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    std::fs::create_dir_all(at("images/a")).unwrap();
    image::GrayImage::new(8, 8)
        .save(at("images/a/1.png"))
        .unwrap();
    std::fs::hard_link(at("images/a/1.png"), at("image")).unwrap();
    std::fs::hard_link(at("in.onnx"), at("again.onnx")).unwrap();
    std::fs::copy(fixture("digits_test.npz"), at("d.npz")).unwrap();
    symlink("d.npz", at("data")).unwrap();
    std::fs::write(at("classes"), "a\n").unwrap();
    let cases: [(&[&str], &str); 9] = [
        (
            &["made", "--data", "d.npz", "--checkpoint", "made"],
            "--checkpoint",
        ),
        (&["o.onnx", "--report", "again.onnx"], "IN"),
        (&["again.onnx"], "input and output"),
        (&["o.onnx", "--data", "d.npz", "--report", "data"], "--data"),
        (
            &["o.onnx", "--data", "images", "--report", "image"],
            "an image",
        ),
        (
            &[
                "o.onnx",
                "--data",
                "d.npz",
                "--val",
                "images",
                "--save-masks",
                "images/a/1.png",
            ],
            "an image of --val",
        ),
        (
            &[
                "o.onnx",
                "--data",
                "images",
                "--classes",
                "classes",
                "--report",
                "classes",
            ],
            "--classes",
        ),
        (
            &[
                "o.onnx",
                "--data",
                "d.npz",
                "--checkpoint",
                "run",
                "--report",
                "run/checkpoint.bin",
            ],
            "--checkpoint",
        ),
        (
            &["o.onnx", "--ort-lib", "image", "--report", "image"],
            "--ort-lib",
        ),
    ];
    std::fs::create_dir(at("run")).unwrap();
    for (args, word) in cases {
        refused(&mut job(dir.path(), args), 2, &[word]);
    }
    let mut c = tool();
    c.current_dir(dir.path()).args([
        "train", "in.onnx", "o.onnx", "--data", "images", "--report", "image",
    ]);
    refused(&mut c, 2, &["an image"]);
    for args in [["--junit", "in.onnx"], ["--write-baseline", "again.onnx"]] {
        let mut c = tool();
        c.current_dir(dir.path())
            .args(["check", "in.onnx"])
            .args(args);
        refused(&mut c, 2, &[args[0], "a model"]);
    }
    let mut c = tool();
    c.current_dir(dir.path()).args([
        "check",
        "in.onnx",
        "--baseline",
        "classes",
        "--junit",
        "classes",
    ]);
    refused(&mut c, 2, &["--junit"]);
    assert!(std::fs::read(at("in.onnx")).unwrap() == std::fs::read(network("vgg")).unwrap());
}

/// A shell in `dir` that runs the tool as `"$0"`.
fn shell(dir: &Path, script: &str) -> (Option<i32>, String) {
    let done = Plain::new("sh")
        .current_dir(dir)
        .args(["-c", script, env!("CARGO_BIN_EXE_onnx-bnnprune")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), said)
}

/// A model that nobody takes is not written; a report of which the first lines were read is.
#[test]
fn standard_output_that_nobody_reads_is_an_error() {
    let dir = copy();
    let gone = "{ sleep 1; \"$0\" in.onnx - -q; echo $? >&2; } | true";
    let (_, said) = shell(dir.path(), gone);
    assert!(
        said.trim().ends_with('2') && said.contains("cannot be written"),
        "{said}"
    );
    let (code, said) = shell(dir.path(), "exec \"$0\" in.onnx - -q >&-");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("standard output is closed"), "{said}");
    let report = "{ sleep 1; \"$0\" in.onnx o.onnx -q --report -; echo $? >&2; } | true";
    let (_, said) = shell(dir.path(), report);
    assert!(
        said.trim().ends_with('0') && !said.contains("cannot be written"),
        "{said}"
    );
    let (code, said) = shell(dir.path(), "exec \"$0\" in.onnx - -q > /dev/null");
    assert_eq!(code, Some(0), "{said}");
}

/// `ulimit -f` is a disk that is full.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let dir = copy();
    let (code, said) = shell(dir.path(), "ulimit -f 60; exec \"$0\" in.onnx o.onnx -q");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("o.onnx: cannot be written"), "{said}");
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "only the input");
}

#[test]
fn a_log_that_cannot_take_all_lines_is_said() {
    let dir = copy();
    let mut command = job(dir.path(), &["o.onnx", "--log-file", "/dev/full"]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(
        said.contains("/dev/full: lines of the log are missing"),
        "{said}"
    );
}
