//! `inspect`, `eval`, `verify`, and being interrupted.

use crate::common::{fixture, network, tool};
use crate::graphs::Builder;
use onnx_bnnprune::data::Augment;
use onnx_bnnprune::onnx::{Model, Tensor, save};
use onnx_bnnprune::pipeline::{DataSource, View, load_all_images};
use onnx_bnnprune::progress::Observer;

#[test]
fn inspect_lists_layers_binarisers_and_groups() {
    let of = |name: &str| -> serde_json::Value {
        let out = tool()
            .arg("inspect")
            .arg(network(name))
            .arg("--json")
            .output();
        serde_json::from_slice(&out.unwrap().stdout).unwrap()
    };
    let resnet = of("resnet");
    let group = |layer: &str| {
        let groups = resnet["groups"].as_array().unwrap().iter();
        let mut with = groups.filter(|g| g["layers"].as_array().unwrap().contains(&layer.into()));
        with.next().unwrap()["id"].as_u64().unwrap()
    };
    // Both ends of a shortcut are one stream; the inner convolution stands alone.
    assert_eq!(group("/stem/conv/Conv"), group("/block1/conv2/Conv"));
    assert_ne!(group("/block1/conv1/Conv"), group("/block1/conv2/Conv"));
    let folded = of("folded");
    let layers = folded["layers"].as_array().unwrap();
    let seen: Vec<(&str, i64)> = layers
        .iter()
        .filter(|l| l["binary"] == true)
        .map(|l| {
            (
                l["binarizer"].as_str().unwrap(),
                l["zero"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("clip-sign", 0), ("where-ge", 1), ("cast-ge", 1)]);
    for l in layers {
        for key in [
            "name", "op", "filters", "inputs", "kernel", "weights", "group",
        ] {
            assert!(!l[key].is_null(), "{key} of {l}");
        }
        assert!(l["prunable"] == true || l["reason"].is_string(), "{l}");
    }
    let vgg = of("vgg");
    assert_eq!(vgg["opset"], 17);
    assert_eq!(vgg["layers"][1]["weights"], "latent (mean |W|)");
    assert_eq!(vgg["layers"][1]["scale"], "per-filter");
}

#[test]
fn eval_measures_what_the_fixture_was_measured_at() {
    let out = tool()
        .arg("eval")
        .arg(network("vgg"))
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .arg("--json")
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["samples"], 450);
    // fixtures/README.md: 98.89 %.
    assert!((found["accuracy"].as_f64().unwrap() - 0.9889).abs() < 0.003);
    assert!(found["latency_ms"].as_f64().unwrap() > 0.0);
    // Five mistakes, each of them in the list and off the diagonal of the matrix.
    let number = |v: &serde_json::Value| v.as_u64().unwrap();
    let sum = |key: &str, field: &str| -> u64 {
        let entries = found[key].as_array().unwrap();
        entries.iter().map(|e| number(&e[field])).sum()
    };
    assert_eq!(sum("classes", "samples"), 450);
    assert_eq!(
        sum("classes", "samples") - sum("classes", "correct"),
        sum("confused", "count")
    );
    let matrix = found["confusion"].as_array().unwrap();
    for c in found["confused"].as_array().unwrap() {
        let place = |key: &str| c[key].as_str().unwrap().parse::<usize>().unwrap();
        assert_eq!(matrix[place("class")][place("predicted")], c["count"]);
    }
    let trace: u64 = (0..10).map(|k| number(&matrix[k][k])).sum();
    assert_eq!(
        trace,
        (found["accuracy"].as_f64().unwrap() * 450.0).round() as u64
    );
    let time = |key: &str| found["latency"][key].as_f64().unwrap();
    assert!(time("min") <= time("median") && time("median") <= time("p95"));
    assert!(time("p95") <= time("max"));
}

#[test]
fn more_threads_than_a_machine_can_share_are_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let data = fixture("digits_test.npz");
    let runs: [&[&str]; 2] = [&["eval"], &[]];
    for run in runs {
        let mut c = tool();
        c.args(run).arg(network("vgg"));
        match run {
            [] => c.arg(dir.path().join("out.onnx")),
            _ => c.arg("--data").arg(&data),
        };
        let done = c.args(["--threads", "100000"]).output().unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(0), "{stderr}");
        assert!(
            stderr.contains("would only wait for each other"),
            "{stderr}"
        );
    }
}

#[test]
fn eval_names_classes_and_says_how_latency_was_measured() {
    let run = |more: &[&str]| {
        let mut c = tool();
        c.arg("eval").arg(network("vgg")).arg("--data");
        c.arg(fixture("digits_png"));
        let done = c.args(more).output().unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        (
            done.status.code(),
            String::from_utf8(done.stdout).unwrap() + &stderr,
        )
    };
    let more = [
        "--threads",
        "1",
        "--batch",
        "4",
        "--runs",
        "7",
        "--warm-up",
        "2",
    ];
    let (code, text) = run(&more);
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "4 images (median); 95 % within",
        "7 runs after 2 to warm up, 1 thread",
        "weakest class",
    ] {
        assert!(text.contains(words), "'{words}' is not in {text}");
    }
    let (_, json) = run(&[&more[..], &["--json"]].concat());
    let json: serde_json::Value =
        serde_json::from_str(json.split_inclusive("\n}\n").next().unwrap()).unwrap();
    assert_eq!(json["latency"]["runs"], 7);
    assert_eq!(json["threads"], 1);
    assert_eq!(json["classes"].as_array().unwrap().len(), 10);
    assert_eq!(json["classes"][3]["class"], "3");
    assert_eq!(run(&["--runs", "0"]).0, Some(2));
}

#[test]
fn eval_says_when_images_are_not_read_as_the_model_was_trained_with_them() {
    let warned = |args: &[&str]| {
        let mut c = tool();
        c.arg("eval").arg(network("vgg")).arg("--data");
        c.arg(fixture("digits_test.npz"))
            .args(["--runs", "1"])
            .args(args);
        let done = c.output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        said
    };
    let right = warned(&[]);
    assert!(!right.contains("warning"), "{right}");
    let wrong = warned(&["--mean", "0.9", "--std", "0.05"]);
    assert!(
        wrong.contains("warning") && wrong.contains("neither --mean nor --std"),
        "{wrong}"
    );
}

/// Two exporters call things otherwise.
#[test]
fn verify_takes_other_names_by_place_and_another_order_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one.onnx"), dir.path().join("other.onnx"));
    let write = |path: &std::path::Path, input: &str, outputs: [&str; 2], change: f32| {
        let mut b = Builder::new(&[3]);
        let c = b.weight(&[3], vec![0.5, -1.0, 2.0 + change]);
        let mut model = {
            let sum = b.node("Add", &["x", &c], vec![]);
            let difference = b.node("Sub", &["x", &c], vec![]);
            b.model(&[&sum, &difference])
        };
        let graph = model.graph.as_mut().unwrap();
        graph.input[0].name = Some(input.to_owned());
        for (node, output) in graph.node.iter_mut().zip(["sum", "difference"]) {
            node.input[0] = input.to_owned();
            let named = outputs[usize::from(output == "difference")];
            node.output[0] = named.to_owned();
        }
        for (value, name) in graph.output.iter_mut().zip(outputs) {
            value.name = Some(name.to_owned());
        }
        save(&model, path).unwrap();
        model
    };
    let compared = || {
        let done = tool().arg("verify").args([&one, &other]).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    write(&one, "x", ["sum", "difference"], 0.0);
    write(&other, "images", ["out.0", "out.1"], 0.0);
    let (code, said) = compared();
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "input 'x' is called 'images'",
        "output 'difference' is called 'out.1'",
    ] {
        assert!(said.contains(words), "{said}");
    }
    // Other names do not hide another function.
    write(&other, "images", ["out.0", "out.1"], 0.1);
    assert_eq!(compared().0, Some(1));
    let mut model = write(&other, "x", ["sum", "difference"], 0.0);
    model.graph.as_mut().unwrap().output.reverse();
    save(&model, &other).unwrap();
    let (code, said) = compared();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("in another order"), "{said}");
    // Which of these is which?
    write(&other, "x", ["difference", "rest"], 0.0);
    let (code, said) = compared();
    assert_eq!(code, Some(1));
    assert!(said.contains("differ in their outputs"), "{said}");
}

#[test]
fn verify_accepts_the_same_and_refuses_another_function() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let bias = tensors
        .iter_mut()
        .find(|t| t.name().contains("classifier.bias"))
        .unwrap();
    let Tensor::F32(mut values) = Tensor::from_proto(bias).unwrap() else {
        panic!("the bias is f32");
    };
    values[[3]] += 0.01;
    *bias = Tensor::F32(values).to_proto(bias.name());
    save(&model, &wrong).unwrap();
    for data in [None, Some(fixture("digits_test.npz"))] {
        let verify = |candidate: &std::path::Path| {
            let mut c = tool();
            c.arg("verify").arg(network("vgg")).arg(candidate);
            if let Some(data) = &data {
                c.arg("--data").arg(data);
            }
            c.assert()
        };
        verify(&network("vgg")).code(0);
        verify(&wrong).code(1);
    }
}

#[test]
fn a_candidate_that_does_not_run_or_has_other_outputs_is_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let candidate = dir.path().join("candidate.onnx");
    let verify = || {
        let mut c = tool();
        c.arg("verify").arg(network("vgg")).arg(&candidate);
        c
    };
    crate::common::write_refused(&candidate);
    let words = ["candidate.onnx: ONNX Runtime cannot load", "nonsense"];
    crate::common::refused(&mut verify(), 1, &words);
    let json = verify().arg("--json").output().unwrap();
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["passed"], false);
    assert!(json["failures"][0].as_str().unwrap().contains("nonsense"));
    // One output more.
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let mut second = graph.output[0].clone();
    second.name = Some("second".to_owned());
    let mut node = graph.node.last().unwrap().clone();
    node.name = Some("second".to_owned());
    node.output = vec!["second".to_owned()];
    graph.node.push(node);
    graph.output.push(second);
    save(&model, &candidate).unwrap();
    let words = ["candidate.onnx", "differ in their outputs", "second"];
    crate::common::refused(&mut verify(), 1, &words);
    // Another shape.
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    for t in &mut graph.initializer {
        if t.name().contains("classifier") {
            let nine: Vec<usize> = (0..9).collect();
            let tensor = Tensor::from_proto(t).unwrap();
            *t = tensor.select(0, &nine).unwrap().to_proto(t.name());
        }
    }
    graph.output[0].r#type = None;
    save(&model, &candidate).unwrap();
    let words = ["candidate.onnx", "[64, 10]", "[64, 9]"];
    crate::common::refused(&mut verify(), 1, &words);
}

/// Counts how often images are read.
#[derive(Default)]
struct Reads(std::sync::atomic::AtomicUsize);

impl Observer for Reads {
    fn begin(&self, what: &str, _: u64) {
        assert_eq!(what, "reading images");
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn images_to_measure_on_are_read_once_and_all_of_them_are_used() {
    let path = network("vgg");
    let model = Model::load(&path).unwrap();
    let view = View::new(&path, &model.proto).unwrap();
    let source = DataSource {
        synthetic: None,
        data: fixture("digits_png"),
        val: None,
        val_split: Some(0.1),
        classes: None,
        scale: None,
        mean: Vec::new(),
        std: Vec::new(),
        channels: None,
        resize: None,
        crop: None,
        augment: Augment::default(),
        images_mb: None,
        skip_bad: false,
    };
    let reads = Reads::default();
    let images = load_all_images(&path, &view, &source, &reads).unwrap();
    assert_eq!(reads.0.into_inner(), 1);
    assert!(images.train_indices.is_empty());
    let all: Vec<usize> = (0..images.val_set().len()).collect();
    assert_eq!(images.val_indices, all);
    assert!(!all.is_empty());
}

/// Starts the tool, presses Ctrl-C after some seconds; exit code and stderr.
#[cfg(unix)]
fn interrupted(command: &mut std::process::Command) -> (Option<i32>, String) {
    let child = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let done = child.wait_with_output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[cfg(unix)]
fn command() -> std::process::Command {
    std::process::Command::new(assert_cmd::cargo::cargo_bin("onnx-bnnprune"))
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut command = command();
    command
        .arg(network("vgg"))
        .arg(&out)
        .arg("--data")
        .arg(fixture("digits_train.npz"))
        // Hours, if nobody stops it.
        .args(["--mask-epochs", "100000"]);
    let (code, stderr) = interrupted(&mut command);
    assert_eq!(code, Some(130), "{stderr}");
    let words = "interrupted; nothing was written; with --checkpoint DIR";
    assert!(stderr.contains(words), "{stderr}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn eval_and_verify_stop_when_interrupted() {
    use ndarray::{Array1, Array4};
    let dir = tempfile::tempdir().unwrap();
    let many = dir.path().join("many.npz");
    // Enough for half a minute.
    let count = 1_500_000;
    let file = std::fs::File::create(&many).unwrap();
    let mut npz = ndarray_npy::NpzWriter::new(std::io::BufWriter::new(file));
    npz.add_array("x", &Array4::<u8>::zeros((count, 1, 8, 8)))
        .unwrap();
    npz.add_array("y", &Array1::<i64>::zeros(count)).unwrap();
    npz.finish().unwrap();
    let mut eval = command();
    eval.arg("eval").arg(network("vgg"));
    let mut verify = command();
    verify.arg("verify").args([network("vgg"), network("vgg")]);
    for command in [&mut eval, &mut verify] {
        let (code, stderr) = interrupted(command.arg("--data").arg(&many));
        assert_eq!(code, Some(130), "{stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
    }
}

/// It gives the same numbers, but the program that runs 32 images at a time stops there.
#[test]
fn verify_refuses_what_runs_samples_one_by_one_only() {
    let flat = |rows: i64| {
        let mut b = crate::graphs::Builder::new(&[2, 3]);
        let shape = b.ints(&[rows, 6]);
        let y = b.node("Reshape", &["x", &shape], vec![]);
        b.model(&[&y])
    };
    let dir = tempfile::tempdir().unwrap();
    let [free, baked] = [("free.onnx", -1), ("baked.onnx", 1)].map(|(name, rows)| {
        let path = dir.path().join(name);
        save(&flat(rows), &path).unwrap();
        path
    });
    let mut c = tool();
    c.arg("verify").arg(&free).arg(&baked);
    let out = c.assert().code(1).get_output().clone();
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("one sample at a time"), "{said}");
    tool()
        .arg("verify")
        .arg(&baked)
        .arg(&free)
        .assert()
        .success();
    tool()
        .arg("verify")
        .arg(&baked)
        .arg(&baked)
        .assert()
        .success();
}

#[test]
fn a_number_below_0_is_a_value() {
    let mut c = tool();
    c.arg(network("vgg"))
        .arg("o.onnx")
        .args(["--ratio", "-0.1"]);
    let out = c.assert().code(2).get_output().clone();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("-0.1") && said.contains("--ratio"), "{said}");
    assert!(!said.contains("unexpected argument"), "{said}");
}
