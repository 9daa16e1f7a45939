//! The report for people: one table, then the figures that matter in a line each.

use super::figures::figures;
use super::schema::{LayerReport, Report};
use super::text::{bytes, changed, grouped, short, shortened};
use crate::screen::{Column, Role, Screen, Table, Text};

/// Shortest layer name in the table.
const NAME_WIDTH: usize = 16;
/// Names beyond that are cut: no terminal is that wide.
const LONGEST_NAME: usize = 24;

/// The report for people.
pub fn render(report: &Report) -> Screen {
    let mut screen = Screen::default();
    if !report.layers.is_empty() {
        screen.table(layer_table(report));
    }
    let removed = report.totals.filters.saturating_sub(report.totals.kept);
    if removed == 0 && !report.only_converts() {
        screen.blank();
        nothing_pruned(report, &mut screen);
    }
    screen.blank();
    figures(report, &mut screen);
    for note in &report.notes {
        screen.note(note.as_str());
    }
    for warning in &report.warnings {
        screen.warning(warning.as_str());
    }
    screen
}

fn layer_table(report: &Report) -> Table {
    let mut table = Table::ruled([
        Column::text("layer").shrinks_to(NAME_WIDTH),
        Column::number("filters"),
        Column::number("MACs").leaves(1),
        Column::number("binary operations").leaves(0),
        Column::number("bytes").leaves(2),
    ]);
    for layer in &report.layers {
        let name = match layer.binary {
            true => shortened(&layer.name, LONGEST_NAME).into(),
            false => {
                Text::from(shortened(&layer.name, LONGEST_NAME - 8)).and(Role::Dim, " (float)")
            }
        };
        if !layer.is_counted() {
            table.row([name, filters(layer), "".into(), "".into(), "".into()]);
            continue;
        }
        table.row([
            name,
            filters(layer),
            changed(layer.macs_before, layer.macs_after, short),
            changed(layer.binary_ops_before, layer.binary_ops_after, short),
            changed(layer.bytes_before, layer.bytes_after, bytes),
        ]);
    }
    let totals = &report.totals;
    let sum = |of: fn(&LayerReport) -> u64| report.layers.iter().map(of).sum::<u64>();
    table.row([
        Text::of(Role::Strong, "total (filters: binary)"),
        changed(totals.filters as u64, totals.kept as u64, grouped),
        changed(totals.macs_before, totals.macs_after, short),
        changed(totals.binary_ops_before, totals.binary_ops_after, short),
        changed(
            sum(|layer| layer.bytes_before),
            sum(|layer| layer.bytes_after),
            bytes,
        ),
    ]);
    table
}

/// Filters before and after, and how many were masked but could not be cut.
fn filters(layer: &LayerReport) -> Text {
    let text = changed(layer.filters as u64, layer.kept as u64, grouped);
    match layer.masked_but_kept {
        0 => text,
        masked => text.and(Role::Warning, format!(" ({masked} masked)")),
    }
}

/// Nothing pruned is a result that must not be overlooked.
fn nothing_pruned(report: &Report, screen: &mut Screen) {
    let others = report.layers.iter().filter(|layer| !layer.binary);
    let others: usize = others.map(|layer| layer.filters - layer.kept).sum();
    let count = match others {
        1 => "1 filter".to_owned(),
        n => format!("{n} filters"),
    };
    let said = match (&report.plan, others) {
        (None, 0) => "NOTHING WAS PRUNED: no binary filter was removed.".to_owned(),
        (Some(_), 0) => "NOTHING WOULD BE PRUNED: no binary filter can be removed.".to_owned(),
        (None, _) => format!("NO BINARY FILTER WAS PRUNED, but {count} of other layers."),
        (Some(_), _) => format!("NO BINARY FILTER WOULD BE PRUNED, but {count} of other layers."),
    };
    screen.line(Text::of(Role::Bad, said));
    let binary: Vec<&LayerReport> = report.layers.iter().filter(|layer| layer.binary).collect();
    if binary.is_empty() {
        screen.item("The model has no binary layer (weights and inputs ±1).");
    }
    for layer in binary {
        let reason = layer.reason.as_deref().unwrap_or("every filter is in use");
        screen.item(format!("{}: {reason}", layer.name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{AccuracyReport, FileReport, LatencyReport, Totals};
    use super::*;
    use crate::subsidiary::{CacheUse, StageReport};
    use crate::verify::Verification;

    fn layer(name: &str, binary: bool, filters: usize, kept: usize) -> LayerReport {
        let ops = |n: usize| n as u64 * 1_048_576;
        LayerReport {
            name: name.into(),
            kind: if binary { "binary Conv" } else { "float Conv" }.into(),
            binary,
            filters,
            kept,
            pruned: (kept..filters).collect(),
            macs_before: ops(filters),
            macs_after: ops(kept),
            binary_ops_before: if binary { ops(filters) } else { 0 },
            binary_ops_after: if binary { ops(kept) } else { 0 },
            bytes_before: filters as u64 * 36_864,
            bytes_after: kept as u64 * 36_864,
            ..LayerReport::default()
        }
    }

    fn report(layers: Vec<LayerReport>) -> Report {
        Report {
            tool: "onnx-bnnprune".into(),
            input: FileReport {
                bytes: 4_000_000,
                ..FileReport::default()
            },
            output: Some(FileReport {
                bytes: 2_400_000,
                ..FileReport::default()
            }),
            totals: Totals {
                params_before: 1_000_000,
                params_after: 600_000,
                ..Totals::of(&layers)
            },
            layers,
            accuracy: Some(AccuracyReport {
                before: 0.6641,
                after_masking: Some(0.55),
                masked: 0.6702,
                after: 0.6702,
                top5_before: None,
                top5_after: None,
                samples: 10_000,
                source: "cifar/test".into(),
            }),
            verification: Some(Verification {
                runtime: "ONNX Runtime".into(),
                runtime_version: "1.20.0".into(),
                samples: 10_000,
                max_abs_diff: 1.9e-6,
                top1_agreement: Some(1.0),
                ties: 2,
                passed: true,
                failures: Vec::new(),
                ..Verification::default()
            }),
            agreement: Some(0.913),
            settings: serde_json::Map::from_iter([("data".to_owned(), "cifar".into())]),
            latency_ms: Some(LatencyReport {
                before: 1.234,
                after: 0.9,
                ratio: 0.73,
            }),
            seconds: 61.5,
            peak_memory_bytes: Some(445 << 20),
            activation_cache: Some(CacheUse {
                memory_bytes: 256 << 20,
                disk_bytes: 1_100 << 20,
            }),
            ..Report::default()
        }
    }

    #[test]
    fn a_report_is_a_table_and_figures_within_a_terminal() {
        let text = render(&report(vec![
            layer("/features/0/Conv", false, 64, 64),
            layer(
                "/features/layer2/layer2.0/shortcut/conv1/Conv",
                true,
                512,
                300,
            ),
            layer("/features/9/Conv", true, 128, 128),
        ]))
        .to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        assert!(text.contains("640 → 428"), "{text}");
        assert!(
            text.contains("212 of 640 binary filters (33.12 %)"),
            "{text}"
        );
        assert!(text.contains("1,000,000 → 600,000 (-40.0 %)"), "{text}");
        assert!(
            text.contains("passed: the models agree in ONNX Runtime 1.20.0"),
            "{text}"
        );
        assert!(
            text.contains("1.90e-6 (2 samples explained by ties)"),
            "{text}"
        );
        assert!(
            text.contains("top-1 agreement     masked and pruned agree on 100.00 %\n"),
            "{text}"
        );
        assert!(
            text.contains("like the original   91.30 % (the same top-1 class)\n"),
            "{text}"
        );
        assert!(
            text.contains("before 66.41 %, masked 55.00 %, after 67.02 %"),
            "{text}"
        );
        assert!(
            text.contains("61.5 s, 445 MiB of memory and 1,100 MiB of disk at most"),
            "{text}"
        );
        assert!(!text.contains("NOTHING"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_accuracy_after_the_last_mask_says_what_it_is_of() {
        let mut learned = report(vec![layer("/2/Conv", true, 64, 32)]);
        learned.stages = vec![StageReport::default()];
        let text = render(&learned).to_string();
        assert!(text.contains("before 66.41 %, after 67.02 %"), "{text}");
        assert!(
            text.contains(
                "after last mask     55.00 %, before its retraining (native network, 2,000 images)"
            ),
            "{text}"
        );
    }

    #[test]
    fn nothing_pruned_is_said_loudly_with_reasons() {
        let mut blocked = layer("/2/Conv", true, 64, 64);
        blocked.reason = Some("its channels end in Softmax".into());
        let text = render(&report(vec![blocked])).to_string();
        assert!(text.contains("NOTHING WAS PRUNED"), "{text}");
        assert!(
            text.contains("/2/Conv: its channels end in Softmax"),
            "{text}"
        );
        let none = render(&report(vec![layer("/2/Conv", false, 64, 64)])).to_string();
        assert!(none.contains("no binary layer"), "{none}");
        let other = render(&report(vec![layer("/2/Conv", false, 64, 40)])).to_string();
        assert!(other.contains("but 24 filters of other layers"), "{other}");
        assert!(!other.contains("NOTHING"), "{other}");
    }

    #[test]
    fn keys_are_stable() {
        let report = report(vec![layer("/2/Conv", true, 64, 32)]);
        let json = serde_json::to_value(&report).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let has = |value: &serde_json::Value, names: &str| {
            let keys = keys(value);
            for name in names.split(',') {
                assert!(keys.iter().any(|key| key == name), "{name} in {keys:?}");
            }
        };
        has(
            &json,
            "tool,version,input,output,layers,totals,accuracy,verification,agreement,latency_ms,settings,seed,seconds",
        );
        has(&json["input"], "path,sha256,bytes,opset");
        has(&json["layers"][0], "name,kind,filters,kept,pruned,reason");
        has(
            &json["totals"],
            "filters,kept,pruned_ratio,masked_but_kept,params_before,params_after,macs_before,macs_after",
        );
        has(
            &json["accuracy"],
            "before,after_masking,after,samples,source",
        );
        has(
            &json["verification"],
            "runtime,runtime_version,samples,max_abs_diff,top1_agreement,ties,passed",
        );
        has(&json["latency_ms"], "before,after,ratio");
        assert_eq!(json["totals"]["pruned_ratio"], 0.5);
    }
}
