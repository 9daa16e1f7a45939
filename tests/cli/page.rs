//! `--html`: the report as a page.

use std::collections::BTreeSet;
use std::path::Path;

use scraper::{ElementRef, Html, Selector};

use crate::common::{fixture, json, network, quick, refused, tool};

/// A page, parsed as a browser does.
pub struct Page {
    text: String,
    html: Html,
}

impl Page {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let html = Html::parse_document(&text);
        assert!(html.errors.is_empty(), "{:?}", html.errors);
        Self { text, html }
    }

    pub fn select(&self, selector: &str) -> Vec<ElementRef<'_>> {
        let selector = Selector::parse(selector).unwrap();
        self.html.select(&selector).collect()
    }

    /// The texts of elements, without space around them.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let text = |e: ElementRef<'_>| e.text().collect::<String>().trim().to_owned();
        self.select(selector).into_iter().map(text).collect()
    }

    pub fn sections(&self) -> Vec<String> {
        let id = |e: ElementRef<'_>| e.attr("id").unwrap().to_owned();
        self.select("main > section").into_iter().map(id).collect()
    }

    /// Nothing comes from elsewhere, nothing runs, and everything that is pointed at is there, once.
    pub fn loads_nothing(&self) {
        let mut ids = BTreeSet::new();
        let all = self.select("*");
        for element in &all {
            let name = element.value().name();
            let known = [
                "script", "iframe", "object", "embed", "form", "base", "video",
            ];
            assert!(!known.contains(&name), "{name}");
            if let Some(id) = element.attr("id") {
                assert!(ids.insert(id), "{id} stands twice");
            }
        }
        for element in &all {
            for (name, value) in element.value().attrs() {
                assert!(!name.starts_with("on"), "{name}={value}");
                assert!(
                    !value.contains("url(") && !value.contains("javascript:"),
                    "{value}"
                );
                match name {
                    "src" | "srcset" => assert!(value.starts_with("data:image/png;"), "{value}"),
                    "href" if value.starts_with('#') => {
                        assert!(ids.contains(&value[1..]), "{value}")
                    }
                    "href" => assert!(
                        ["data:,", "https://crates.io/crates/onnx-bnnprune"].contains(&value),
                        "{value}"
                    ),
                    "aria-labelledby" => assert!(ids.contains(value), "{value}"),
                    _ => assert!(!value.contains("http"), "{name}={value}"),
                }
            }
        }
        let style = self.texts("style").concat();
        assert!(!style.contains("@import") && !style.contains("url(") && !style.contains("http"));
        assert!(style.contains("prefers-color-scheme: dark") && style.contains("@media print"));
        assert_eq!(
            self.text.matches("http").count(),
            1 + self.text.matches("http-equiv").count()
        );
        // What a reader that does not see goes by.
        assert_eq!(self.select("h1").len(), 1);
        assert_eq!(
            self.select("html[lang=en], main#main, a.skip[href='#main']")
                .len(),
            3
        );
        for picture in self.select("img, svg:not([aria-hidden])") {
            let said = picture.attr("alt").or(picture.attr("aria-label"));
            assert!(said.is_some_and(|s| s.len() > 10), "{}", picture.html());
        }
        assert_eq!(
            self.select("table").len(),
            self.select("table > thead").len()
        );
        assert_eq!(
            self.select("thead th").len(),
            self.select("thead th[scope=col]").len()
        );
    }
}

fn percent(share: &serde_json::Value) -> String {
    format!("{:.2} %", 100.0 * share.as_f64().unwrap())
}

#[test]
fn a_page_has_the_figures_of_the_report_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let job = |out: &str| {
        let mut c = quick(&network("vgg"), &at(out));
        // Of so many, each layer loses some.
        c.args(["--ratio", "0.5"]);
        c
    };
    job("out.onnx")
        .arg("--html")
        .arg(at("page.html"))
        .arg("--report")
        .arg(at("report.json"))
        .assert()
        .success();
    let (page, report) = (Page::read(&at("page.html")), json(&at("report.json")));
    page.loads_nothing();
    let sections = page.sections();
    for id in [
        "figures",
        "layers",
        "stages",
        "curves",
        "filters",
        "graph",
        "proof",
        "time",
        "reproduce",
    ] {
        assert!(sections.iter().any(|s| s == id), "{id}: {sections:?}");
    }
    assert_eq!(page.texts("nav li").len(), sections.len());
    let (totals, accuracy) = (&report["totals"], &report["accuracy"]);
    let gone = totals["filters"].as_u64().unwrap() - totals["kept"].as_u64().unwrap();
    let v = &report["verification"];
    let headline = format!(
        "Done. {gone} of 152 binary filters removed; accuracy {} → {}; verified in ONNX Runtime {} on 400 images.",
        percent(&accuracy["before"]),
        percent(&accuracy["after"]),
        v["runtime_version"].as_str().unwrap()
    );
    assert_eq!(page.texts(".headline"), [headline]);
    let layers = report["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(page.texts("#layers tbody th"), names);
    let filters = |l: &serde_json::Value| match l["filters"] == l["kept"] {
        true => l["kept"].to_string(),
        false => format!("{} → {}", l["filters"], l["kept"]),
    };
    let shown = page.texts("#layers tbody td:nth-child(3)");
    assert_eq!(shown, layers.iter().map(filters).collect::<Vec<_>>());
    // A plot of all stages, one of the whole run, two of each stage, two of the end.
    assert_eq!(page.select("main svg[role=img]").len(), 1 + 1 + 2 * 3 + 2);
    let stages = report["stages"].as_array().unwrap();
    let retrained: Vec<String> = stages
        .iter()
        .map(|s| percent(&s["after_retraining"]))
        .collect();
    assert_eq!(page.texts("#stages tbody td:nth-child(7)"), retrained);
    assert_eq!(page.select("#filters img").len(), 3);
    let rows = page.texts("#graph .way .name");
    assert_eq!(rows[1..=layers.len()], names);
    let command = page.texts("#reproduce code").concat();
    assert!(command.starts_with("onnx-bnnprune ") && command.contains("--ratio 0.5"));
    let facts = page.texts("#reproduce td").join("\n");
    for fact in ["started", "processor", "system"] {
        let fact = report["run"][fact].as_str().unwrap();
        assert!(!fact.is_empty() && facts.contains(fact), "{fact}: {facts}");
    }
    assert!(facts.contains(report["output"]["sha256"].as_str().unwrap()));
    // The page is about the model; it does not change it.
    job("again.onnx").assert().success();
    let read = |name| std::fs::read(at(name)).unwrap();
    assert!(read("out.onnx") == read("again.onnx"));
}

#[test]
fn names_are_text() {
    use onnx_bnnprune::onnx::Model;
    const NAME: &str = "<script>alert(\"1\")</script>&amp;'\u{1b}[31m";
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut model = Model::load(&network("resnet")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let mut renamed = 0;
    for node in &mut graph.node {
        if ["Conv", "Add"].contains(&node.op_type()) {
            renamed += 1;
            node.name = Some(format!("{NAME}{renamed}"));
        }
    }
    onnx_bnnprune::onnx::save(&model, &at("in \"<b>.onnx")).unwrap();
    tool()
        .current_dir(dir.path())
        .args(["in \"<b>.onnx", "out.onnx", "--html", "page.html"])
        .assert()
        .success();
    let page = Page::read(&at("page.html"));
    page.loads_nothing();
    assert_eq!(page.texts("h1"), ["in \"<b>.onnx"]);
    // What cannot be seen is shown as an escape, all else as it is.
    let shown = NAME.replace('\u{1b}', "\\u{1b}");
    let names = page.texts("#layers tbody th");
    assert!(names.iter().any(|n| *n == format!("{shown}1")), "{names:?}");
    let ways = page.texts("#graph .way .name");
    assert!(ways.iter().filter(|n| n.starts_with(&shown)).count() >= 5);
    // Streams go around layers, and joins say which.
    assert!(!page.select("#graph .lane.leave").is_empty());
    let beside = page.texts("#graph .way .join .soft");
    assert!(
        beside.iter().any(|b| b.starts_with("and the stream of")),
        "{beside:?}"
    );
    assert!(!page.text.contains('\u{1b}'));
}

#[test]
fn a_plan_and_a_network_that_lost_too_much_have_pages_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let job = |page: &str| {
        let mut c = tool();
        c.arg(network("vgg")).arg(at("out.onnx")).arg("--data");
        c.arg(fixture("digits_train.npz"))
            .arg("--html")
            .arg(at(page));
        c
    };
    job("plan.html").arg("--dry-run").assert().success();
    let plan = Page::read(&at("plan.html"));
    plan.loads_nothing();
    assert!(plan.texts(".headline")[0].starts_with("A plan. At most"));
    assert_eq!(plan.select("#plan tbody tr").len(), 3);
    assert_eq!(plan.select("#filters img").len(), 3);
    let mut ruinous = job("bad.html");
    ruinous.args(["--ratio", "0.8", "--mask-epochs", "1", "--main-epochs", "0"]);
    ruinous.args(["--final-epochs", "0"]);
    refused(&mut ruinous, 1, &["--max-drop"]);
    let bad = Page::read(&at("bad.html"));
    bad.loads_nothing();
    assert!(bad.texts(".headline.bad")[0].starts_with("Not written."));
    assert!(bad.texts("#attention .failed")[0].contains("--max-drop"));
    assert!(!at("out.onnx").exists());
}

#[test]
fn training_and_conversion_have_pages_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut train = tool();
    train.arg("train").arg(network("vgg")).arg(at("t.onnx"));
    for (option, file) in [("--data", "digits_train.npz"), ("--val", "digits_test.npz")] {
        train.arg(option).arg(fixture(file));
    }
    train.args(["--epochs", "2", "--lr", "1e-4", "--report"]);
    train.arg(at("r.json")).arg("--html").arg(at("t.html"));
    let done = train.assert().success().get_output().stdout.clone();
    let said = String::from_utf8(done).unwrap();
    for file in ["t.onnx", "r.json (--report)", "t.html (--html)"] {
        assert!(said.contains(file), "{said}");
    }
    let (page, report) = (Page::read(&at("t.html")), json(&at("r.json")));
    page.loads_nothing();
    assert_eq!(
        page.sections(),
        ["figures", "curves", "reproduce"],
        "{report}"
    );
    let after = percent(&report["accuracy"]["after"]);
    let headline = &page.texts(".headline")[0];
    assert!(
        headline.contains("2 epochs") && headline.contains(&after),
        "{headline}"
    );
    assert_eq!(page.select("#curves svg[role=img]").len(), 2);
    assert!(page.texts("#reproduce code")[0].starts_with("onnx-bnnprune train"));
    assert!(page.texts("#reproduce details")[0].contains("0.0001"));
    let mut convert = tool();
    convert.arg("convert").arg(network("vgg")).arg(at("p.onnx"));
    convert.args(["--to", "packed", "-q", "--html"]);
    convert.arg(at("p.html")).assert().success();
    let page = Page::read(&at("p.html"));
    page.loads_nothing();
    assert!(page.texts(".headline")[0].contains("packed form"));
}

#[test]
fn a_page_on_standard_output_is_alone_there() {
    let dir = tempfile::tempdir().unwrap();
    let done = tool()
        .arg(network("vgg"))
        .arg(dir.path().join("o.onnx"))
        .args(["-q", "--html", "-"])
        .output()
        .unwrap();
    assert!(done.status.success());
    let page = String::from_utf8(done.stdout).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(String::from_utf8_lossy(&done.stderr).contains("filters pruned"));
}
