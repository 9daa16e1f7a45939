//! A folder that somebody else has filled cannot run code, read or write outside itself, or take
//! more than the stated memory and time.
#![cfg(target_os = "linux")]

mod common;
mod graphs;

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{fixture, network, refused, tool};
use graphs::{Attr, Builder, sized};
use onnx_bnnprune::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataLocation,
};
use onnx_bnnprune::onnx::{Model, save};

/// The library that the tests run with.
fn library() -> PathBuf {
    let runtime = std::env::var_os("ORT_DYLIB_PATH").expect("scripts/test.sh sets ORT_DYLIB_PATH");
    let path = Path::new(&runtime).canonicalize().unwrap();
    match path.is_dir() {
        true => path.join("libonnxruntime.so"),
        false => path,
    }
}

/// The tool in a folder, without the variable that names the library.
fn in_folder(folder: &Path) -> assert_cmd::Command {
    let mut c = tool();
    c.current_dir(folder).env_remove("ORT_DYLIB_PATH");
    c
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// x `[1, 3]`, and y: what `body` makes of it.
fn model(body: impl FnOnce(&mut Builder) -> String) -> ModelProto {
    let mut b = Builder::new(&[3]);
    let y = body(&mut b);
    let mut model = b.model(&[]);
    model
        .graph
        .as_mut()
        .unwrap()
        .output
        .push(sized(&y, &[1, 3]));
    model
}

#[test]
fn a_library_in_the_current_folder_or_above_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("models/deep");
    std::fs::create_dir_all(&below).unwrap();
    // It would be taken if it were looked at: it is a whole library, and what it is called by.
    for folder in [
        ".onnxruntime",
        "models/.onnxruntime",
        "models/deep/.onnxruntime",
    ] {
        let folder = dir.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        symlink(library(), folder.join("libonnxruntime.so")).unwrap();
    }
    symlink(library(), below.join("libonnxruntime.so")).unwrap();
    let package = below.join("onnxruntime/capi");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(below.join("onnxruntime/__init__.py"), "open('ran', 'w')").unwrap();
    symlink(library(), package.join("libonnxruntime.so")).unwrap();
    // A Python of the folder's own, which would be run.
    let python = "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n";
    for name in ["python3", "bin/python3"] {
        let path = below.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, python).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    std::fs::copy(network("vgg"), below.join("m.onnx")).unwrap();
    // A Python that knows no packages at all, to come after those.
    let empty = tempfile::tempdir().unwrap();
    let path = format!("::.:bin:{}:{}", below.display(), empty.path().display());
    let mut c = in_folder(&below);
    c.args(["check", "m.onnx", "-q"]);
    c.env("PATH", path).env("LD_LIBRARY_PATH", ":.:");
    c.env("PYTHONPATH", &below);
    refused(&mut c, 3, &["onnxruntime", "--ort-lib"]);
    for name in ["ran", "bin/ran"] {
        assert!(!below.join(name).exists(), "{name}");
    }
    let mut c = in_folder(&below);
    c.args(["check", "m.onnx", "-q", "--ort-lib"])
        .arg(library());
    c.assert().code(0);
}

#[test]
fn a_file_that_is_no_onnx_runtime_is_a_missing_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("text.so"), "a text, ".repeat(1 << 18)).unwrap();
    std::fs::create_dir(at("folder.so")).unwrap();
    fifo(&at("fifo.so"));
    // Of another machine.
    let mut other = std::fs::read(library()).unwrap();
    other[18] ^= 0xff;
    std::fs::write(at("other.so"), other).unwrap();
    // Libraries that are none of this kind, made by whatever compiler there is.
    let sources = [
        ("none.so", "int other(void) { return 1; }"),
        ("null.so", "void *OrtGetApiBase(void) { return 0; }"),
        (
            "old.so",
            "static void *api(unsigned v) { return 0; } static const char *version(void) { return \"1.30.0\"; }
             static struct { void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
             void *OrtGetApiBase(void) { return &base; }",
        ),
        ("crash.so", "void *OrtGetApiBase(void) { return *(void **)8; }"),
        ("exit.so", "void _exit(int); void *OrtGetApiBase(void) { _exit(0); }"),
    ];
    let mut names = vec!["text.so", "folder.so", "fifo.so", "other.so", "missing.so"];
    for (name, source) in sources {
        let padded = format!("{source}\nchar padding[1 << 20] = {{1}};\n");
        std::fs::write(at("l.c"), padded).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(at(name))
            .arg(at("l.c"))
            .status();
        assert!(
            built
                .expect("a C compiler is what Rust links with")
                .success()
        );
        names.push(name);
    }
    for name in names {
        let mut c = tool();
        c.arg("check").arg(network("vgg")).arg("-q");
        c.arg("--ort-lib")
            .arg(at(name))
            .env_remove("ORT_DYLIB_PATH");
        refused(&mut c, 3, &["onnxruntime"]);
        if name == "null.so" || name == "old.so" {
            c.arg("--in-process");
            refused(&mut c, 3, &["is not ONNX Runtime", name]);
        }
    }
}

/// External data of `w`, in `location`.
fn outside(location: &str) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        name: Some("w".to_owned()),
        dims: vec![3],
        data_type: Some(1),
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location), entry("length", "12")],
        ..TensorProto::default()
    }
}

fn constant(attribute: AttributeProto) -> NodeProto {
    NodeProto {
        op_type: Some("Constant".to_owned()),
        output: vec!["k".to_owned()],
        attribute: vec![attribute],
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// A model that holds `t` in each of the places where a tensor can be.
fn everywhere(t: &TensorProto) -> Vec<(&'static str, ModelProto)> {
    let plain = || model(|b| b.node("Relu", &["x"], vec![]));
    let value = || AttributeProto {
        t: Some(t.clone()),
        ..attribute("value", AttributeType::Tensor)
    };
    let sparse = |values: bool| SparseTensorProto {
        values: Some(if values {
            t.clone()
        } else {
            TensorProto::default()
        }),
        indices: Some(if values {
            TensorProto::default()
        } else {
            t.clone()
        }),
        dims: vec![9],
    };
    let graph = || GraphProto {
        initializer: vec![t.clone()],
        ..GraphProto::default()
    };
    let with_node = |a: AttributeProto| {
        let mut m = plain();
        m.graph.as_mut().unwrap().node.push(constant(a));
        m
    };
    let function = |f: FunctionProto| {
        let mut m = plain();
        m.functions.push(FunctionProto {
            name: Some("F".to_owned()),
            domain: Some("local".to_owned()),
            output: vec!["k".to_owned()],
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
            ..f
        });
        m
    };
    let mut initializer = plain();
    let inner = initializer.graph.as_mut().unwrap();
    inner.initializer.push(t.clone());
    let mut sparse_initializer = plain();
    let inner = sparse_initializer.graph.as_mut().unwrap();
    inner.sparse_initializer.push(sparse(true));
    let body = |a: AttributeProto| FunctionProto {
        node: vec![constant(a)],
        ..FunctionProto::default()
    };
    vec![
        ("initializer", initializer),
        ("sparse initializer", sparse_initializer),
        ("attribute", with_node(value())),
        (
            "tensors",
            with_node(AttributeProto {
                tensors: vec![t.clone()],
                ..attribute("values", AttributeType::Tensors)
            }),
        ),
        (
            "sparse values",
            with_node(AttributeProto {
                sparse_tensor: Some(sparse(true)),
                ..attribute("sparse_value", AttributeType::SparseTensor)
            }),
        ),
        (
            "sparse indices",
            with_node(AttributeProto {
                sparse_tensors: vec![sparse(false)],
                ..attribute("sparse_values", AttributeType::SparseTensors)
            }),
        ),
        (
            "subgraph",
            with_node(AttributeProto {
                g: Some(graph()),
                ..attribute("body", AttributeType::Graph)
            }),
        ),
        (
            "subgraphs",
            with_node(AttributeProto {
                graphs: vec![graph()],
                ..attribute("bodies", AttributeType::Graphs)
            }),
        ),
        ("function", function(body(value()))),
        (
            "subgraph of a function",
            function(body(AttributeProto {
                g: Some(graph()),
                ..attribute("body", AttributeType::Graph)
            })),
        ),
        (
            "default of a function",
            function(FunctionProto {
                attribute_proto: vec![value()],
                ..FunctionProto::default()
            }),
        ),
    ]
}

#[test]
fn external_data_are_read_from_the_models_folder_alone_wherever_a_tensor_is() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, [7; 64]).unwrap();
    let path = models.join("m.onnx");
    for location in ["../secret", secret.to_str().unwrap()] {
        for (place, m) in everywhere(&outside(location)) {
            save(&m, &path).unwrap();
            let error = Model::load(&path).expect_err(place).to_string();
            assert!(
                error.contains("outside the model's folder"),
                "{place}: {error}"
            );
            let mut c = tool();
            c.current_dir(dir.path()).arg("check").arg(&path).arg("-q");
            let done = c.output().unwrap();
            assert_eq!(done.status.code(), Some(1), "{place}");
            let text = String::from_utf8(done.stdout).unwrap();
            assert!(
                text.contains("outside the model's folder"),
                "{place}: {text}"
            );
        }
    }
    std::fs::write(models.join("data"), [7; 12]).unwrap();
    for (place, m) in everywhere(&outside("data")) {
        save(&m, &path).unwrap();
        let loaded = Model::load(&path).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(loaded.external_files.len(), 1, "{place}");
        let location = b"location";
        let bytes = prost::Message::encode_to_vec(&loaded.proto);
        assert!(
            !bytes.windows(location.len()).any(|w| w == location),
            "{place}"
        );
    }
}

#[test]
fn a_hub_cache_of_links_is_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (
        dir.path().join("blobs"),
        dir.path().join("snapshots/a/onnx"),
    );
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    let (_, m) = everywhere(&outside("model.data")).remove(0);
    save(&m, &blobs.join("0a1b")).unwrap();
    std::fs::write(blobs.join("2c3d"), [0; 12]).unwrap();
    symlink("../../../blobs/0a1b", snapshot.join("model.onnx")).unwrap();
    symlink("../../../blobs/2c3d", snapshot.join("model.data")).unwrap();
    let path = snapshot.join("model.onnx");
    tool().arg("inspect").arg(&path).assert().code(0);
    // Elsewhere is still elsewhere.
    std::fs::write(dir.path().join("secret"), [0; 12]).unwrap();
    std::fs::remove_file(snapshot.join("model.data")).unwrap();
    symlink("../../../secret", snapshot.join("model.data")).unwrap();
    refused(
        tool().arg("inspect").arg(&path),
        2,
        &["model.onnx", "through a link"],
    );
}

#[test]
fn pipes_and_devices_are_refused_at_once_wherever_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (vgg, out) = (network("vgg"), at("out.onnx"));
    let images = at("images/0");
    std::fs::create_dir_all(&images).unwrap();
    let start = Instant::now();
    for kind in ["a named pipe", "a device"] {
        let make = |path: &Path| {
            let _ = std::fs::remove_file(path);
            match kind {
                "a device" => symlink("/dev/zero", path).unwrap(),
                _ => fifo(path),
            }
        };
        for name in [
            "m.onnx",
            "d.npz",
            "masks.json",
            "classes",
            "images/0/a.png",
            "baseline",
        ] {
            make(&at(name));
        }
        let words = |name: &'static str| [name, kind];
        refused(tool().arg("inspect").arg(at("m.onnx")), 2, &words("m.onnx"));
        refused(tool().arg(at("m.onnx")).arg(&out), 2, &words("m.onnx"));
        let main = |option: &str, name: &str| {
            let mut c = tool();
            c.arg(&vgg).arg(&out).arg(option).arg(at(name)).arg("-q");
            c
        };
        refused(&mut main("--data", "d.npz"), 2, &words("d.npz"));
        refused(&mut main("--data", "images"), 2, &words("a.png"));
        refused(&mut main("--masks", "masks.json"), 2, &words("masks.json"));
        let mut c = main("--classes", "classes");
        c.arg("--data").arg(fixture("digits_png"));
        refused(&mut c, 2, &words("classes"));
        let mut c = tool();
        c.arg("check")
            .arg(&vgg)
            .arg("--baseline")
            .arg(at("baseline"));
        refused(&mut c, 2, &words("baseline"));
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// Exit code and errors of the tool, which may have 1 GiB of addresses.
fn within_a_gibibyte(arguments: &[&Path]) -> (Option<i32>, String) {
    let done = Command::new("sh")
        .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$@\""])
        .arg(assert_cmd::cargo::cargo_bin("onnx-bnnprune"))
        .args(arguments)
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn a_small_tensor_in_a_huge_file_costs_its_own_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let data = std::fs::File::create(dir.path().join("data")).unwrap();
    data.set_len(3 << 30).unwrap();
    let mut t = outside("data");
    // Without a length it is what the shape needs, not the rest of the file.
    t.external_data.pop();
    let (_, m) = everywhere(&t).remove(0);
    save(&m, &path).unwrap();
    let (code, stderr) = within_a_gibibyte(&["inspect".as_ref(), &path]);
    assert_eq!(code, Some(0), "{stderr}");
    // A tensor of holes is no tensor.
    t.dims = vec![700 << 20];
    let (_, m) = everywhere(&t).remove(0);
    save(&m, &path).unwrap();
    let (code, stderr) = within_a_gibibyte(&["inspect".as_ref(), &path]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("holes"), "{stderr}");
}

#[test]
fn npz_bombs_are_refused_before_they_are_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("bomb.npz"), dir.path().join("out.onnx"));
    let vgg = network("vgg");
    // 1.25 GiB of zeros: images of another size than the model's; of its size, but as no images pack;
    // more of them than the header says.
    for (shape, word) in [
        ("(5, 16384, 16384)", "save x in that size"),
        ("(20971520, 8, 8)", "are no images"),
        ("(5, 8, 8)", "truncated or corrupt"),
    ] {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let packed = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(1));
        zip.start_file("x.npy", packed).unwrap();
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        let zeros = vec![0; 1 << 20];
        let size: usize = if shape.starts_with("(5,") { 200 } else { 1280 };
        for _ in 0..size {
            zip.write_all(&zeros).unwrap();
        }
        zip.finish().unwrap();
        let start = Instant::now();
        let data: &[&Path] = &[&vgg, &out, "--data".as_ref(), &path];
        let (code, stderr) = within_a_gibibyte(data);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains("bomb.npz") && stderr.contains(word),
            "{stderr}"
        );
        assert!(start.elapsed() < Duration::from_secs(3), "{shape}");
    }
}

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
    save(&graphs::endless::endless(), &path).unwrap();
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
fn links_in_a_checkpoint_folder_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("run")).unwrap();
    std::fs::write(at("precious"), "precious").unwrap();
    symlink(at("precious"), at("run/checkpoint.tmp")).unwrap();
    let run = || {
        let mut c = common::quick(&network("vgg"), &at("out.onnx"));
        c.args(["--max-share", "0.1", "--checkpoint-every", "0", "-q"]);
        c.arg("--checkpoint").arg(at("run"));
        c
    };
    symlink(at("precious"), at("run/lock")).unwrap();
    refused(&mut run(), 2, &["run", "'lock' in it is no plain file"]);
    std::fs::remove_file(at("run/lock")).unwrap();
    run().assert().code(0);
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
    // Nothing stays behind.
    assert_eq!(std::fs::read_dir(at("run")).unwrap().count(), 0);
}

/// Without a word to ONNX Runtime 1.32 there would be a data base under the user's cache folder.
#[test]
fn telemetry_leaves_no_file_under_the_users_home() {
    for more in [&[][..], &["--in-process"]] {
        let home = tempfile::tempdir().unwrap();
        let mut c = tool();
        c.arg("check").arg(network("vgg")).arg("-q").args(more);
        c.env_remove("ORT_DISABLE_TELEMETRY");
        c.env("HOME", home.path())
            .env("XDG_CACHE_HOME", home.path().join("cache"));
        c.env("XDG_DATA_HOME", home.path().join("data"));
        c.assert().code(0);
        assert_eq!(
            std::fs::read_dir(home.path()).unwrap().count(),
            0,
            "{more:?}"
        );
    }
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
