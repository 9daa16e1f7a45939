//! Every byte of a model is untrusted: refused in one line, within bounds of memory, without a panic.

use std::path::Path;

use crate::common::{fixture, tool};
use crate::graphs::{Builder, sized};
use onnx_bnnprune::onnx::proto::{
    GraphProto, ModelProto, StringStringEntryProto, tensor_proto::DataLocation,
};
use onnx_bnnprune::onnx::{Model, save};
use prost::Message as _;

/// x·w + b: `[N, 3] -> [N, 2]`.
fn small() -> ModelProto {
    let mut b = Builder::new(&[3]);
    let w = b.weight(&[3, 2], vec![1.0; 6]);
    let bias = b.weight(&[2], vec![0.5; 2]);
    let y = b.node("Gemm", &["x", &w, &bias], vec![]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 2]));
    model
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn external(model: &mut ModelProto, tensor: usize, fields: &[(&str, &str)]) {
    let t = &mut graph(model).initializer[tensor];
    t.raw_data = None;
    t.data_location = Some(DataLocation::External as i32);
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    t.external_data = fields.iter().map(entry).collect();
}

/// `inspect` must refuse the file with one line.
fn refused(path: &Path, words: &[&str]) {
    crate::common::refused(tool().arg("inspect").arg(path), 2, words);
}

/// A length-delimited field of a protobuf message.
fn wrap(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = inner.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(inner);
    bytes
}

/// 32 MB of empty messages: nodes; attributes; nodes twenty subgraphs down; nodes behind a group.
#[cfg(target_os = "linux")]
#[test]
fn floods_of_empty_messages_are_refused_within_a_gibibyte() {
    let dir = tempfile::tempdir().unwrap();
    let flood = |tag: u8| [tag << 3 | 2, 0].repeat(16 << 20);
    let mut deep = flood(1);
    for _ in 0..20 {
        deep = wrap(1, &wrap(5, &wrap(6, &deep)));
    }
    let mut behind = vec![0x7b, 0x08, 0x01, 0x7c];
    behind.extend(wrap(7, &flood(1)));
    let cases = [
        ("nodes", wrap(7, &flood(1))),
        ("attributes", wrap(7, &wrap(1, &flood(5)))),
        ("deep", wrap(7, &deep)),
        ("behind", behind),
        ("names", wrap(7, &wrap(1, &flood(1)))),
        ("imports", flood(8)),
    ];
    for (name, mut bytes) in cases {
        bytes.splice(0..0, [0x08, 0x08]);
        let path = dir.path().join(name).with_extension("onnx");
        std::fs::write(&path, bytes).unwrap();
        let limited = "ulimit -v 1048576; exec \"$0\" inspect \"$1\"";
        let done = std::process::Command::new("sh")
            .args(["-c", limited])
            .arg(assert_cmd::cargo::cargo_bin("onnx-bnnprune"))
            .arg(&path)
            .output()
            .unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{name}: {stderr}");
        assert!(
            stderr.contains("refused before decoding"),
            "{name}: {stderr}"
        );
    }
}

#[test]
fn shapes_and_lengths_that_lie_are_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    for dims in [
        vec![i64::MAX, i64::MAX],
        vec![-3, 2],
        vec![3, 2, 1 << 40],
        vec![0, i64::MAX],
        vec![1 << 32, 1 << 32],
        vec![3, 3],
        vec![],
    ] {
        let mut model = small();
        graph(&mut model).initializer[0].dims.clone_from(&dims);
        save(&model, &path).unwrap();
        // Looking at it says what it can; pruning it must not invent data.
        tool().arg("inspect").arg(&path).assert().code(0);
        let (code, text) = checked(&path);
        assert!(code == 1 && text.contains("c1"), "{dims:?}: {text}");
    }
    for side in [1 << 40, i64::MAX] {
        let mut model = small();
        graph(&mut model).input[0] = sized("x", &[1, side as usize]);
        save(&model, &path).unwrap();
        refused(&path, &["m.onnx", "'x'", "too large"]);
    }
}

fn checked(path: &Path) -> (i32, String) {
    let done = tool().arg("check").arg(path).output().unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
    )
}

#[test]
fn cycles_and_missing_tensors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let mut model = small();
    graph(&mut model).node[0].input[0] = "gemm3".into();
    save(&model, &path).unwrap();
    refused(&path, &["m.onnx", "'gemm3'", "cycle"]);
    graph(&mut model).node[0].input[0] = "nowhere".into();
    save(&model, &path).unwrap();
    refused(&path, &["m.onnx", "'nowhere'", "nothing produces"]);
    // Subgraphs as deep as the decoder goes, and deeper.
    for depth in [20, 60] {
        let mut inner = small().graph.unwrap().encode_to_vec();
        for _ in 0..depth {
            inner = wrap(1, &wrap(5, &wrap(6, &inner)));
        }
        let mut bytes = vec![0x08, 0x08];
        bytes.extend(wrap(7, &inner));
        bytes.extend(wrap(8, &[0x10, 17]));
        std::fs::write(&path, bytes).unwrap();
        let code = if depth < 30 { 0 } else { 2 };
        tool().arg("inspect").arg(&path).assert().code(code);
    }
}

#[test]
fn external_data_stay_in_the_folder_and_apart() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    std::fs::write(dir.path().join("secret"), [0; 64]).unwrap();
    std::fs::write(models.join("w"), [0; 64]).unwrap();
    let path = models.join("m.onnx");
    let absolute = dir.path().join("secret");
    let mut cases = vec![
        (vec![("location", "../secret")], "outside"),
        (vec![("location", absolute.to_str().unwrap())], "outside"),
        (vec![("location", "sub/../../secret")], "outside"),
        (vec![("location", "")], "no location"),
        (vec![("location", "missing")], "cannot be opened"),
        (vec![("location", ".")], "plain file"),
        (vec![("location", "w"), ("offset", "-1")], "not a number"),
        (
            vec![("location", "w"), ("offset", "60"), ("length", "24")],
            "60 to 84",
        ),
        (
            vec![
                ("location", "w"),
                ("offset", "18446744073709551615"),
                ("length", "9"),
            ],
            "64 bytes",
        ),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, models.join("link")).unwrap();
        std::os::unix::fs::symlink("..", models.join("up")).unwrap();
        cases.push((vec![("location", "link")], "through a link"));
        cases.push((vec![("location", "up/secret")], "through a link"));
        cases.push((vec![("location", "fifo")], "plain file"));
        let made = std::process::Command::new("mkfifo")
            .arg(models.join("fifo"))
            .status();
        assert!(made.unwrap().success());
    }
    for (fields, words) in cases {
        let mut model = small();
        external(&mut model, 0, &fields);
        save(&model, &path).unwrap();
        refused(&path, &["m.onnx", "'c1'", words]);
    }
    // Two tensors: the same bytes, side by side, overlapping.
    let both = |second: &[(&str, &str)]| {
        let mut model = small();
        external(
            &mut model,
            0,
            &[("location", "w"), ("offset", "0"), ("length", "24")],
        );
        external(&mut model, 1, second);
        save(&model, &path).unwrap();
    };
    both(&[("location", "w"), ("offset", "24"), ("length", "8")]);
    assert!(Model::load(&path).is_ok());
    both(&[("location", "./w"), ("offset", "16"), ("length", "8")]);
    refused(&path, &["m.onnx", "'c2'", "overlap"]);
}

#[test]
fn two_hundred_mutants_and_no_panic() {
    let models = crate::mutants::seeds(&fixture("dialects"), 1 << 20);
    let mut reached = [0usize; 4];
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..200 {
        let bytes = crate::mutants::mutant(&models, seed);
        match crate::mutants::drive(&bytes, dir.path()) {
            Ok(stage) => reached[stage as usize] += 1,
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    // They are no test if none of them gets anywhere.
    assert!(reached.iter().all(|&n| n > 0), "{reached:?}");
}

/// Found by `examples/mutate.rs`: a tensor of 50 million elements, computed again and again.
#[test]
fn computed_tensors_of_any_declared_size_take_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let start = std::time::Instant::now();
    for name in ["box.script.onnx", "where_ge.script.onnx"] {
        let mut model = Model::load(&fixture("dialects").join(name)).unwrap().proto;
        graph(&mut model).input[0] = sized("x", &[1, 3, 1 << 20, 8]);
        let name = graph(&mut model).node[0].input[0].clone();
        graph(&mut model).input[0].name = Some(name);
        crate::mutants::drive(&model.encode_to_vec(), dir.path()).unwrap();
    }
    assert!(start.elapsed().as_secs() < 20);
}

/// What is no ONNX by its first bytes is called what it is.
#[test]
fn files_of_other_kinds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let kinds: [(&[u8], &str); 5] = [
        (
            b"\x20\x00\x00\x00ORTM\xff\xff\xff",
            "ONNX Runtime's own format",
        ),
        (b"PK\x03\x04\xff\xff\xff\xff", "a zip archive"),
        (b"\x1f\x8b\x08\x00\xff\xff", "compressed by gzip"),
        (b"{\"irVersion\": \"8\"}", "JSON"),
        (b"ir_version: 8\nproducer_name: \"x\"", "a text of protobuf"),
    ];
    for (bytes, word) in kinds {
        std::fs::write(&path, bytes).unwrap();
        refused(&path, &["m.onnx", word, "not an ONNX file"]);
    }
    std::fs::write(&path, b"\x08\x08\xff\xff").unwrap();
    refused(&path, &["m.onnx", "was it copied or downloaded completely"]);
}
