//! Models that take all memory, all time or the whole process: each is an error that names it, and
//! the others are judged all the same.

use std::path::Path;

use crate::common::{network, tool};
use crate::graphs::endless::{endless, slow_when_wide};
use crate::graphs::{Builder, sized};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::save;

/// x `[1, 3]` plus what `body` adds to it.
fn model(body: impl FnOnce(&mut Builder) -> String) -> ModelProto {
    let mut b = Builder::new(&[3]);
    let term = body(&mut b);
    let y = b.node("Add", &["x", &term], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(sized(&y, &[1, 3]));
    model
}

/// A tensor of 4 GiB within the graph.
fn greedy() -> ModelProto {
    model(|b| {
        let side = b.ints(&[1 << 30]);
        let large = b.node("ConstantOfShape", &[&side], vec![]);
        b.node(
            "ReduceMax",
            &[&large],
            vec![("keepdims", crate::graphs::Attr::Int(0))],
        )
    })
}

/// An input of 1 GiB.
fn huge() -> ModelProto {
    let mut b = Builder::new(&[1 << 28]);
    let y = b.node("ReduceMax", &["x"], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(sized(&y, &[1, 1]));
    model
}

#[cfg(target_os = "linux")]
#[test]
fn check_judges_the_others_when_a_model_takes_all_memory_or_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    save(&endless(), &at("endless.onnx")).unwrap();
    save(&greedy(), &at("greedy.onnx")).unwrap();
    save(&huge(), &at("huge.onnx")).unwrap();
    std::fs::copy(network("vgg"), at("vgg.onnx")).unwrap();
    let mut c = tool();
    c.arg("check").arg(dir.path()).args(["-q", "--json"]);
    let done = c
        .args(["--timeout", "15", "--memory", "768"])
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["checked"], &json["passed"]),
        (&4.into(), &1.into()),
        "{text}"
    );
    let of = |name: &str| -> (bool, String) {
        let models = json["models"].as_array().unwrap();
        let ends = |m: &&serde_json::Value| m["path"].as_str().unwrap().ends_with(name);
        let report = models.iter().find(ends).unwrap();
        (report["passed"] == true, report["problems"].to_string())
    };
    let failed = |name: &str, words: &[&str]| {
        let (passed, problems) = of(name);
        assert!(!passed);
        for w in words {
            assert!(problems.contains(w), "'{w}' is not in {problems}");
        }
    };
    failed("endless.onnx", &["ONNX Runtime did not finish within 15 s"]);
    failed("greedy.onnx", &["ONNX Runtime", "memory"]);
    // This one takes its process along.
    failed("huge.onnx", &["signal 6", "768 MiB"]);
    assert_eq!(of("vgg.onnx"), (true, "[]".to_owned()));
}

#[cfg(target_os = "linux")]
#[test]
fn the_main_job_tries_a_model_before_it_trusts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("endless.onnx"), dir.path().join("out.onnx"));
    save(&endless(), &path).unwrap();
    let mut c = tool();
    c.arg(&path).arg(&out).args(["-q", "--timeout", "2"]);
    crate::common::refused(&mut c, 2, &["endless.onnx", "did not finish within 2 s"]);
    assert!(!out.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_main_job_tries_a_model_at_the_size_that_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("wide.onnx"), dir.path().join("out.onnx"));
    save(&slow_when_wide(), &path).unwrap();
    let run = |size: &str| {
        let mut c = tool();
        c.arg(&path)
            .arg(&out)
            .args(["-q", "--timeout", "3", "--dim", size]);
        c
    };
    run("w=4").assert().success();
    crate::common::refused(
        &mut run("w=99"),
        2,
        &["wide.onnx", "did not finish within 3 s"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn verify_ends_within_its_limits_and_names_the_models() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("endless.onnx");
    save(&endless(), &path).unwrap();
    let verify = |path: &Path, more: [&str; 2]| {
        let mut c = tool();
        c.arg("verify").arg(path).arg(path).args(more);
        c
    };
    let words = ["endless.onnx", "did not finish within 2 s"];
    crate::common::refused(&mut verify(&path, ["--timeout", "2"]), 2, &words);
    let path = dir.path().join("greedy.onnx");
    save(&greedy(), &path).unwrap();
    crate::common::refused(
        &mut verify(&path, ["--memory", "768"]),
        2,
        &["greedy.onnx", "memory"],
    );
}

/// In one process the same models are judged the same.
#[test]
fn a_process_of_its_own_changes_no_verdict() {
    let verdict = |more: &[&str]| {
        let mut c = tool();
        c.arg("check").arg(network("vgg")).arg(network("folded"));
        let done = c.args(["-q", "--json"]).args(more).output().unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        for m in json["models"].as_array_mut().unwrap() {
            m["seconds"] = 0.into();
        }
        (done.status.code(), json)
    };
    assert_eq!(verdict(&[]), verdict(&["--in-process"]));
}

/// A worker that nobody waits for, or that is asked nonsense, ends.
#[test]
fn a_worker_ends_with_its_input() {
    let ended = |input: &str| {
        let mut c = tool();
        c.args(["worker", "--ort-lib"]);
        c.arg(std::env::var_os("ORT_DYLIB_PATH").expect("scripts/test.sh sets it"));
        c.write_stdin(input).output().unwrap().status.code()
    };
    assert_eq!(ended(""), Some(1));
    assert_eq!(ended("nonsense\n{}"), Some(1));
}
