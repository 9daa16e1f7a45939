//! What CI asks of `check`: exit codes, JUnit, annotations, baselines, dynamic sizes.

use std::path::Path;

use crate::checked::{check, externalise, graph, node, small};
use crate::common::{fixture, network, tool};
use crate::graphs::{Builder, sized};
use onnx_bnnprune::onnx::{Model, save};

#[test]
fn the_fixtures_are_good_and_counted() {
    let done = tool().args(["check", "fixtures"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{text}");
    let row = text
        .lines()
        .find(|l| l.contains("digits_vgg.onnx"))
        .unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    // fixtures/README.md: three binary layers of 40, 48 and 64 filters; 219,935 bytes.
    assert_eq!(cells[1..4], ["17", "3", "152"], "{row}");
    assert!(text.contains(" models checked, 0 bad"), "{text}");
    // QONNX has operators that no runtime knows: it was lowered.
    let row = text
        .lines()
        .find(|l| l.contains("brevitas_dense.qonnx"))
        .unwrap();
    assert!(row.trim_end().ends_with("good"), "{row}");
}

#[test]
fn bad_usage_and_a_missing_runtime_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    crate::common::refused(
        tool().args(["check", "no/such/folder"]),
        2,
        &["no/such/folder"],
    );
    crate::common::refused(tool().arg("check").arg(dir.path()), 2, &["no .onnx file"]);
    let mut c = tool();
    c.arg("check").arg(network("vgg"));
    crate::common::refused(c.args(["--ort-lib", "no/such.so"]), 3, &["no/such.so"]);
    tool().arg("check").assert().code(2);
    let mut c = tool();
    c.arg("check")
        .arg(network("vgg"))
        .args(["--baseline", "no/such.json"]);
    crate::common::refused(&mut c, 2, &["no/such.json"]);
}

#[test]
fn dynamic_sizes_are_filled_in_or_given() {
    use onnx_bnnprune::onnx::proto::tensor_shape_proto::{Dimension, dimension};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    // [N, 3, side, side] into 12 * 12 * 3 features: only side 12 fits.
    let mut b = Builder::new(&[3, 12, 12]);
    let flat = b.node("Flatten", &["x"], vec![]);
    let w = b.weight(&[432, 2], vec![0.1; 864]);
    let y = b.node("MatMul", &[&flat, &w], vec![]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 2]));
    use onnx_bnnprune::onnx::proto::type_proto::Value::TensorType;
    let kind = graph(&mut model).input[0].r#type.as_mut().unwrap();
    let Some(TensorType(tensor)) = &mut kind.value else {
        panic!("the input is a tensor");
    };
    for dim in &mut tensor.shape.as_mut().unwrap().dim[2..] {
        *dim = Dimension {
            value: Some(dimension::Value::DimParam("side".into())),
            ..Dimension::default()
        };
    }
    save(&model, &path).unwrap();
    let (code, json) = check(&path, &[]);
    let message = json["models"][0]["problems"][0]["message"]
        .as_str()
        .unwrap();
    assert!(
        code == 1 && message.contains("--dim NAME=SIZE"),
        "{message}"
    );
    let (code, json) = check(&path, &["--dim", "side=12"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(json["models"][0]["summary"]["macs"], 864);
    // Sizes that are not of the only file are mistakes; of several files each may have others.
    for (wrong, message) in [
        (["--dim", "height=12"], "no input has a free dimension"),
        (
            ["--input-shape", "image=1,3,12,12"],
            "there is no such input",
        ),
        (["--input-shape", "x=1,1,12,12"], "the file declares"),
    ] {
        let (code, json) = check(&path, &wrong);
        let said = json["models"][0]["problems"][0]["message"].to_string();
        assert!(code == 1 && said.contains(message), "{said}");
    }
    let other = crate::common::network("vgg");
    tool()
        .arg("check")
        .args([&path, &other])
        .args(["--dim", "side=12"])
        .assert()
        .success();
    tool()
        .arg("check")
        .arg(&path)
        .args(["--dim", "side=0"])
        .assert()
        .code(2);
}

#[test]
fn junit_is_well_formed_and_counts_failures() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    std::fs::copy(network("vgg"), dir.path().join("good.onnx")).unwrap();
    let mut model = small();
    // Characters that XML reserves or forbids.
    node(&mut model, "Relu").name = Some("<a & \"b\">\u{1}".into());
    node(&mut model, "Relu").input = vec!["nowhere".into()];
    save(&model, &dir.path().join("bad.onnx")).unwrap();
    tool()
        .arg("check")
        .arg(dir.path())
        .arg("-q")
        .arg("--junit")
        .arg(&junit)
        .assert()
        .code(1);
    let text = std::fs::read_to_string(&junit).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
    let suite = &report.test_suites[0];
    let [bad, good] = &suite.test_cases[..] else {
        panic!("{text}");
    };
    assert!(bad.name.as_str().ends_with("bad.onnx") && good.name.as_str().ends_with("good.onnx"));
    let quick_junit::TestCaseStatus::NonSuccess { message, .. } = &bad.status else {
        panic!("{text}");
    };
    let message = message.as_ref().unwrap().as_str();
    assert!(
        message.contains(r#"node '<a & "b">\u{1}'"#) && message.contains("nowhere"),
        "{message}"
    );
    assert!(matches!(
        good.status,
        quick_junit::TestCaseStatus::Success { .. }
    ));
}

#[test]
fn github_annotates_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.onnx");
    let mut model = small();
    node(&mut model, "Relu").input = vec!["nowhere".into()];
    save(&model, &path).unwrap();
    let run = |actions: &str| {
        let mut c = tool();
        c.arg("check").arg(&path).env("GITHUB_ACTIONS", actions);
        String::from_utf8(c.output().unwrap().stdout).unwrap()
    };
    let line = run("true")
        .lines()
        .find(|l| l.starts_with("::error "))
        .unwrap()
        .to_owned();
    assert!(
        line.contains("bad.onnx,title=") && line.contains("::node 'relu1': reads 'nowhere'"),
        "{line}"
    );
    assert!(!run("").contains("::error"));
}

/// A file is the one that was pinned, from whatever folder and however it is named.
#[test]
fn a_baseline_holds_however_its_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir_all(models.join("a")).unwrap();
    for name in ["a/m.onnx", "n.onnx"] {
        std::fs::copy(network("vgg"), models.join(name)).unwrap();
    }
    let ran = |folder: &Path, arguments: &[&str]| {
        let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
        c.current_dir(folder).arg("check").args(arguments);
        let done = c.output().unwrap();
        (
            done.status.code(),
            String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap(),
        )
    };
    let base = dir.path().join("base.json");
    let base = base.to_str().unwrap();
    let pinned = ran(dir.path(), &["models", "--write-baseline", base]);
    assert_eq!(pinned.0, Some(0), "{}", pinned.1);
    // Another network in place of one.
    std::fs::copy(network("nin"), models.join("a/m.onnx")).unwrap();
    let whole = models.to_str().unwrap();
    for (folder, named) in [
        (dir.path(), "models"),
        (dir.path(), "./models/a/../a"),
        (dir.path(), whole),
        (&models, "a"),
        (&models, "../models"),
        (&models.join("a"), "."),
    ] {
        let (code, said) = ran(folder, &[named, "--baseline", base]);
        assert_eq!(code, Some(1), "{named}: {said}");
        assert!(said.contains("not pinned; restore"), "{named}: {said}");
        assert!(!said.contains("is not pinned in"), "{named}: {said}");
    }
    // A name that is pinned at two levels is that of the level at which the baseline lies.
    std::fs::copy(network("nin"), dir.path().join("n.onnx")).unwrap();
    let two = dir.path().join("two.json");
    let two = two.to_str().unwrap();
    let pinned = ran(
        dir.path(),
        &["n.onnx", "models/n.onnx", "--write-baseline", two],
    );
    assert_eq!(pinned.0, Some(0), "{}", pinned.1);
    let (code, said) = ran(&models, &["n.onnx", "--baseline", two]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("not pinned"), "{said}");
    // What is gone is missed where it was.
    std::fs::copy(network("vgg"), models.join("a/m.onnx")).unwrap();
    std::fs::remove_file(models.join("n.onnx")).unwrap();
    for (folder, named, code) in [
        (dir.path(), whole, 1),
        (&models, ".", 1),
        (dir.path(), "models/a", 0),
    ] {
        let (found, said) = ran(folder, &[named, "--baseline", base]);
        assert_eq!(found, Some(code), "{named}: {said}");
        assert_eq!(said.contains("but not there"), code == 1, "{said}");
    }
}

#[test]
fn a_baseline_passes_what_is_no_worse_and_names_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let (models, baseline) = (dir.path().join("models"), dir.path().join("baseline.json"));
    let path = models.join("m.onnx");
    std::fs::create_dir(&models).unwrap();
    std::fs::copy(network("vgg"), &path).unwrap();
    let base = baseline.to_str().unwrap();
    let (code, _) = check(&models, &["--write-baseline", base]);
    assert_eq!(code, 0);
    let key = path.to_str().unwrap().to_owned();
    let pins = crate::common::json(&baseline);
    let pin = &pins["models"][&key];
    assert_eq!(pins["format"], "onnx-bnnprune-baseline/1");
    assert_eq!(pin["layers"]["/conv2/Conv"], 48);
    assert_eq!(pin["bytes"], 219_935);
    assert!(pin["macs"].as_u64().unwrap() > 1_900_000);
    assert_eq!(check(&models, &["--baseline", base]).0, 0);
    // Fewer filters, bytes and MACs are no regression.
    let masks = dir.path().join("masks.json");
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[1, 2, 3])]);
    let prune = |out: &Path| {
        let mut c = tool();
        c.arg(network("vgg"))
            .arg(out)
            .arg("--masks")
            .arg(&masks)
            .arg("-q");
        c.assert().code(0);
    };
    prune(&path);
    let (code, json) = check(&models, &["--baseline", base]);
    assert_eq!(code, 0, "{json}");
    let smaller = dir.path().join("smaller.json");
    assert_eq!(
        check(&models, &["--write-baseline", smaller.to_str().unwrap()]).0,
        0
    );
    // Back to the larger one.
    std::fs::copy(network("vgg"), &path).unwrap();
    let failed = |base: &Path, words: &[&str]| {
        let (code, json) = check(&models, &["--baseline", base.to_str().unwrap()]);
        assert_eq!(code, 1, "{json}");
        let text = json["models"].to_string();
        for w in words {
            assert!(text.contains(w), "{w} in {text}");
        }
    };
    failed(
        &smaller,
        &[
            "has 40 filters, pinned are 37",
            "219935 bytes",
            "multiply-accumulates",
            "--write-baseline",
        ],
    );
    // A layer that is no longer binary; another file; a file gone.
    std::fs::copy(fixture("digits_float.onnx"), &path).unwrap();
    failed(
        &baseline,
        &[
            "has 0 binary layers, pinned are 3",
            "/conv3/Conv",
            "no binary layer any more",
        ],
    );
    std::fs::copy(network("nin"), &path).unwrap();
    failed(&baseline, &["/block1/conv/Conv", "not pinned"]);
    std::fs::rename(&path, models.join("other.onnx")).unwrap();
    failed(
        &baseline,
        &[
            "m.onnx",
            "pinned in the baseline but not there",
            "is not pinned",
        ],
    );
    // A bad file keeps a baseline from being written.
    std::fs::write(models.join("bad.onnx"), b"x").unwrap();
    let unwritten = dir.path().join("unwritten.json");
    assert_eq!(
        check(&models, &["--write-baseline", unwritten.to_str().unwrap()]).0,
        1
    );
    assert!(!unwritten.exists());
    std::fs::write(&baseline, "{\"format\": \"other/2\", \"models\": {}}").unwrap();
    let mut c = tool();
    c.arg("check").arg(&models).args(["--baseline", base]);
    crate::common::refused(&mut c, 2, &["baseline.json", "other/2"]);
}

#[test]
fn external_data_in_the_folder_are_read_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let mut model = small();
    let data = graph(&mut model).initializer[0].raw_data.clone().unwrap();
    std::fs::write(dir.path().join("w.data"), &data).unwrap();
    externalise(&mut model, "w.data", &[("offset", "0"), ("length", "24")]);
    save(&model, &path).unwrap();
    let (code, json) = check(&path, &[]);
    assert_eq!(code, 0, "{json}");
    let bytes = std::fs::metadata(&path).unwrap().len() + 24;
    assert_eq!(json["models"][0]["summary"]["bytes"], bytes);
    assert!(Model::load(&path).is_ok());
}
