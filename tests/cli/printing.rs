//! What a file holds reaches the terminal, CI and JUnit only as text that does nothing there.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{fixture, network, tool};
use onnx_bnnprune::onnx::{Model, save};

/// Text that acts on a terminal, on GitHub's runner, or is not XML.
const HOSTILE: &str = "a\u{1b}]52;c;aGk=\u{7}\n::error::x\r\u{9b}2J\u{202e}\u{fffe}\u{7f}";

/// The VGG for digits with hostile names of nodes, graph and producer.
fn hostile(dir: &Path) -> PathBuf {
    let path = dir.join("m\u{1b}[31m\n::error::y.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    model.producer_name = Some(HOSTILE.to_owned());
    let graph = model.graph.as_mut().unwrap();
    graph.name = Some(HOSTILE.to_owned());
    for (i, node) in graph.node.iter_mut().enumerate() {
        node.name = Some(format!("{i}{HOSTILE}"));
    }
    save(&model, &path).unwrap();
    path
}

/// Asserts that the streams hold lines of visible characters and no command for a CI system.
fn visible(done: &Output, what: &str) {
    for stream in [&done.stdout, &done.stderr] {
        let text = std::str::from_utf8(stream).unwrap();
        for line in text.lines() {
            let bad = line.chars().find(|c| {
                c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{fffe}' | '\u{2066}'..='\u{2069}')
            });
            assert_eq!(bad, None, "{what}: {line:?}");
            assert!(!line.starts_with("::error::"), "{what}: {line:?}");
        }
    }
}

#[test]
fn names_in_a_file_and_of_it_are_escaped_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let model = hostile(dir.path());
    let digits = fixture("digits_test.npz");
    let (model, digits) = (model.to_str().unwrap(), digits.to_str().unwrap());
    let out = dir.path().join("out.onnx");
    let out = out.to_str().unwrap();
    let bad = dir.path().join("bad\u{1b}[0m.onnx");
    std::fs::write(&bad, b"not a model").unwrap();
    for arguments in [
        vec!["inspect", model],
        vec!["inspect", model, "--json"],
        vec!["check", model],
        vec!["check", model, "--json"],
        vec!["eval", model, "--data", digits, "--runs", "1"],
        vec!["eval", model, "--data", digits, "--runs", "1", "--json"],
        vec!["verify", model, model],
        vec!["verify", model, "fixtures/digits_nin.onnx"],
        vec![model, out, "--method", "none"],
        vec![model, out, "--keep", HOSTILE],
        vec![model, out, "--masks", bad.to_str().unwrap()],
        vec!["inspect", bad.to_str().unwrap()],
        vec!["check", bad.to_str().unwrap()],
        vec!["train", model, out, "--data", bad.to_str().unwrap()],
    ] {
        let done = tool().args(&arguments).output().unwrap();
        assert!(done.stdout.len() + done.stderr.len() > 20, "{arguments:?}");
        visible(&done, arguments[0]);
        if arguments.contains(&"--json") {
            let parsed: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
            // The JSON still means the name as it is.
            if arguments[0] == "inspect" {
                let name = parsed["layers"][1]["name"].as_str().unwrap();
                assert!(name.ends_with(HOSTILE), "{name:?}");
            }
        }
    }
}

#[test]
fn junit_and_annotations_stay_well_formed() {
    let dir = tempfile::tempdir().unwrap();
    let model = hostile(dir.path());
    // An unknown operator, so that there are findings with names of nodes.
    let mut broken = Model::load(&model).unwrap().proto;
    let graph = broken.graph.as_mut().unwrap();
    graph.node[0].op_type = Some(format!("Conf{HOSTILE}"));
    save(&broken, &dir.path().join("broken.onnx")).unwrap();
    let junit = dir.path().join("j.xml");
    let mut c = tool();
    c.env("GITHUB_ACTIONS", "true")
        .arg("check")
        .arg(dir.path())
        .arg("--junit")
        .arg(&junit);
    let done = c.output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    visible(&done, "check");
    let text = String::from_utf8(done.stdout).unwrap();
    let annotations: Vec<&str> = text.lines().filter(|l| l.starts_with("::")).collect();
    assert!(!annotations.is_empty(), "{text}");
    for line in annotations {
        assert!(line.starts_with("::error file="), "{line}");
    }
    let xml = std::fs::read_to_string(&junit).unwrap();
    // XML 1.0, section 2.2: the characters that a document may hold.
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(xml.chars().all(legal), "{xml:?}");
    assert!(xml.contains("Conf") && !xml.contains('\u{1b}'), "{xml}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error_and_a_closed_pipe_is_not() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let run = |stdout: std::process::Stdio| {
        std::process::Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("inspect")
            .arg(network("vgg"))
            .stdout(stdout)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let done = run(full.into()).wait_with_output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("the output cannot be written"), "{stderr}");
    let mut child = run(std::process::Stdio::piped());
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
