//! Models that take all memory or time.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, save};

use super::{library, model};
use crate::common::{network, refused, tool};
use crate::graphs::endless::endless;
use crate::graphs::{Attr, sized};

/// y = x · Σ of a tensor of 4 GiB.
fn greedy() -> ModelProto {
    model(|b| {
        let side = b.ints(&[1 << 30]);
        let large = b.node("ConstantOfShape", &[&side], vec![]);
        let keep = vec![("keepdims", Attr::Int(0))];
        let sum = b.node("ReduceSum", &[&large], keep);
        b.node("Add", &["x", &sum], vec![])
    })
}

/// Concat of x with itself, forty times over.
fn doubling() -> ModelProto {
    model(|b| {
        let mut last = "x".to_owned();
        for _ in 0..40 {
            last = b.node("Concat", &[&last, &last], vec![("axis", Attr::Int(1))]);
        }
        let keep = vec![("keepdims", Attr::Int(0))];
        let sum = b.node("ReduceSum", &[&last], keep);
        b.node("Add", &["x", &sum], vec![])
    })
}

#[test]
fn every_command_holds_a_model_to_memory_by_default_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    for (name, m) in [("greedy.onnx", greedy()), ("doubling.onnx", doubling())] {
        let path = dir.path().join(name);
        save(&m, &path).unwrap();
        let mut main = tool();
        main.arg(&path).arg(&out).args(["-q", "--memory", "512"]);
        refused(&mut main, 2, &[name]);
        let mut verify = tool();
        verify.arg("verify").arg(&path).arg(&path);
        refused(&mut verify, 2, &[name]);
        assert!(!out.exists());
    }
}

/// Processes whose command line holds `mark`.
fn running(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

#[test]
fn a_worker_ends_with_its_parent_while_the_runtime_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("endless.onnx");
    save(&endless(), &path).unwrap();
    // A library of its own name tells this test's workers from others'.
    let marked = dir.path().join("libonnxruntime.so");
    symlink(library(), &marked).unwrap();
    let mark = marked.to_str().unwrap();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("onnx-bnnprune"))
        .arg("verify")
        .args([&path, &path])
        .env("ORT_DYLIB_PATH", &marked)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let within = |wanted: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !wanted() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    within(&|| running(mark) >= 2);
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    within(&|| running(mark) == 0);
}

#[test]
fn many_inputs_and_long_names_take_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let mut many = Model::load(&network("vgg")).unwrap().proto;
    let graph = many.graph.as_mut().unwrap();
    graph
        .input
        .extend((0..50_000).map(|i| sized(&format!("more{i}"), &[1, 3])));
    let mut long = Model::load(&network("vgg")).unwrap().proto;
    let mut nodes = long.graph.as_mut().unwrap().node.iter_mut();
    let conv = nodes.find(|n| n.op_type() == "Conv").unwrap();
    conv.name = Some("n".repeat(4 << 20));
    for m in [many, long] {
        save(&m, &path).unwrap();
        let start = Instant::now();
        tool().arg("inspect").arg(&path).assert().code(0);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
