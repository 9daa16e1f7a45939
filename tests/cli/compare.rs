//! `compare`: ways of choosing filters side by side.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{fixture, json, network, refused, tool};
use crate::page::Page;

fn compare(dir: &Path, options: &[&str]) -> Command {
    let [data, val] = ["digits_train.npz", "digits_test.npz"].map(fixture);
    compare_on(dir, [data.as_ref(), val.as_ref()], options)
}

fn compare_on(dir: &Path, [data, val]: [&Path; 2], options: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
    c.current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("compare")
        .arg(network("vgg"))
        .arg("--data")
        .arg(data)
        .arg("--val")
        .arg(val)
        .arg("--report")
        .arg(dir.join("report.json"))
        .arg("--html")
        .arg(dir.join("page.html"))
        .args([
            "--mask-epochs",
            "1",
            "--main-epochs",
            "1",
            "--final-epochs",
            "1",
        ])
        .args(["--ratios", "0.25", "--seeds", "1"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    c
}

#[test]
fn each_method_is_held_against_the_unpruned_network_retrained_alike() {
    let dir = tempfile::tempdir().unwrap();
    let done = compare(dir.path(), &["--methods", "subsidiary,random,magnitude"])
        .output()
        .unwrap();
    let (text, errors) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{errors}");
    for word in [
        "unpruned",
        "subsidiary",
        "random",
        "magnitude",
        "as it came: 98.89 %",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let report = json(&dir.path().join("report.json"));
    let rows = report["rows"].as_array().unwrap();
    let methods: Vec<&str> = rows.iter().map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["unpruned", "subsidiary", "random", "magnitude"]);
    for row in rows {
        let gone = row["pruned_ratio"].as_f64().unwrap();
        match row["method"] == "unpruned" {
            true => assert_eq!(gone, 0.0),
            false => assert!((0.25..0.27).contains(&gone), "{row}"),
        }
        assert!(row["accuracy_after"].as_f64().unwrap() > 0.5, "{row}");
    }
    let page = Page::read(&dir.path().join("page.html"));
    page.loads_nothing();
    assert_eq!(page.sections(), ["plots", "table", "runs", "reproduce"]);
    assert_eq!(page.select("#plots svg[role=img]").len(), 3);
    let legend = page.texts("#plots .legend li");
    assert_eq!(legend, ["unpruned", "subsidiary", "random", "magnitude"]);
    let accuracy = |row: &serde_json::Value| {
        format!("{:.2} %", 100.0 * row["accuracy_after"].as_f64().unwrap())
    };
    let shown = page.texts("#table tbody td:nth-child(4)");
    assert_eq!(shown, rows.iter().map(accuracy).collect::<Vec<_>>());
    assert_eq!(page.select("#runs tbody tr").len(), 4);
    assert!(page.texts("#reproduce code")[0].contains("compare"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    let options = [
        "--methods",
        "random",
        "--checkpoint",
        saved.to_str().unwrap(),
    ];
    let mut child = compare(dir.path(), &options).spawn().unwrap();
    let begun = Instant::now();
    while !saved.join("rows.json").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no row");
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(2));
    }
    let stop = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let first = json(&saved.join("rows.json"))["rows"][0].clone();
    // With other options the rows would mean something else.
    let other = compare(dir.path(), &[&options[..], &["--main-lr", "0.01"]].concat())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--main-lr") && said.contains("0.01 now"),
        "{said}"
    );
    // The images count, not what they are called.
    let [data, val] = ["digits_train.npz", "digits_test.npz"].map(fixture);
    let exchanged = compare_on(dir.path(), [val.as_ref(), data.as_ref()], &options)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&exchanged.stderr);
    assert_eq!(exchanged.status.code(), Some(2), "{said}");
    assert!(said.contains("the images (SHA-256)"), "{said}");
    let moved = dir.path().join("moved.npz");
    std::fs::copy(&data, &moved).unwrap();
    let done = compare_on(dir.path(), [&moved, val.as_ref()], &options)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    assert!(
        !errors.contains("1 of 2") && errors.contains("2 of 2"),
        "{errors}"
    );
    let report = json(&dir.path().join("report.json"));
    assert_eq!(report["rows"].as_array().unwrap().len(), 2);
    assert_eq!(report["rows"][0], first);
    assert!(!saved.join("rows.json").exists());
}

#[test]
fn two_comparisons_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    std::fs::create_dir(&saved).unwrap();
    let lock = std::fs::File::create(saved.join("lock")).unwrap();
    lock.lock().unwrap();
    let options = ["--methods=random", "--checkpoint", saved.to_str().unwrap()];
    let done = compare(dir.path(), &options).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("another run"), "{said}");
}

#[test]
fn what_makes_no_comparison_is_refused() {
    let mut c = tool();
    c.arg("compare").arg(network("vgg"));
    refused(&mut c, 2, &["compare needs --data"]);
    let mut c = tool();
    c.arg("compare").arg(network("vgg")).arg("--data");
    c.arg(fixture("digits_train.npz"))
        .args(["--methods", "none"]);
    refused(&mut c, 2, &["the unpruned network is always compared with"]);
    for (options, why) in [
        (&["--only", "random:0.3"][..], "METHOD:SHARE:SEED"),
        (&["--only", "best:0.3:0"][..], "METHOD:SHARE:SEED"),
        (&["--only", "unpruned:0.3:0"][..], "unpruned:0:SEED"),
        (&["--only", "random:0.3:0", "--seeds", "2"][..], "--seeds"),
        (
            &["--save-config", "fixtures/digits_vgg.onnx"][..],
            "--save-config would overwrite IN",
        ),
        // Before the first run, which could be done.
        (
            &["--ratios", "0.3,0.9", "--keep", "/conv3/*"][..],
            "--ratio",
        ),
    ] {
        let mut c = tool();
        c.arg("compare").arg(network("vgg")).arg("--data");
        c.arg(fixture("digits_train.npz")).args(options);
        let done = c.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
