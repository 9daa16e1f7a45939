//! The report for the terminal: one table, then the figures that matter in a line each.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets};

use super::schema::{BudgetReport, LatencyReport, LayerReport, Report};
use super::text::{bytes, change, figure, grouped, percent, saving, short, shortened};
use super::verification;
use super::{form, plan};
use crate::printable::printable;
use crate::subsidiary::JUDGE_IMAGES;

/// Widest layer name in the table.
const NAME_WIDTH: usize = 24;

/// Writes the report for people: plain text without colour, at most 100 columns wide unless a file's name is longer.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    if !report.layers.is_empty() {
        text.push_str(&layer_table(report).to_string());
        text.push('\n');
    }
    let removed = report.totals.filters.saturating_sub(report.totals.kept);
    if removed == 0 && !report.only_converts() {
        text.push('\n');
        text.push_str(&nothing_pruned(report));
    }
    text.push('\n');
    for (label, value) in figures(report) {
        text.push_str(&figure(label, &value));
    }
    for note in &report.notes {
        text.push_str(&format!("note: {}\n", printable(note)));
    }
    for warning in &report.warnings {
        text.push_str(&format!("warning: {}\n", printable(warning)));
    }
    text
}

/// An empty table with a rule above, below, and under the header.
pub(crate) fn ruled(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        // The width depends on the content alone: the same run prints the same text everywhere.
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn layer_table(report: &Report) -> Table {
    let mut table = ruled(&["layer", "filters", "MACs", "binary operations", "bytes"]);
    for layer in &report.layers {
        let name = printable(&layer.name);
        let name = match layer.binary {
            true => shortened(&name, NAME_WIDTH),
            false => format!("{} (float)", shortened(&name, NAME_WIDTH - 8)),
        };
        table.add_row(row(
            name,
            filters(layer),
            change(layer.macs_before, layer.macs_after, short),
            change(layer.binary_ops_before, layer.binary_ops_after, short),
            change(layer.bytes_before, layer.bytes_after, bytes),
        ));
    }
    let totals = &report.totals;
    let sum = |of: fn(&LayerReport) -> u64| report.layers.iter().map(of).sum::<u64>();
    table.add_row(row(
        "total (filters: binary)".into(),
        change(totals.filters as u64, totals.kept as u64, grouped),
        change(totals.macs_before, totals.macs_after, short),
        change(totals.binary_ops_before, totals.binary_ops_after, short),
        change(
            sum(|layer| layer.bytes_before),
            sum(|layer| layer.bytes_after),
            bytes,
        ),
    ));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: String, filters: String, macs: String, binary: String, bytes: String) -> Vec<Cell> {
    [name, filters, macs, binary, bytes].map(Cell::new).into()
}

/// Filters before and after, and how many were masked but could not be cut.
fn filters(layer: &LayerReport) -> String {
    let text = change(layer.filters as u64, layer.kept as u64, grouped);
    match layer.masked_but_kept {
        0 => text,
        masked => format!("{text} ({masked} masked)"),
    }
}

/// Nothing pruned is a result that must not be overlooked.
fn nothing_pruned(report: &Report) -> String {
    let mut text = String::from(match report.plan {
        None => "NOTHING WAS PRUNED: no binary filter was removed.\n",
        Some(_) => "NOTHING WOULD BE PRUNED: no binary filter can be removed.\n",
    });
    let binary: Vec<&LayerReport> = report.layers.iter().filter(|layer| layer.binary).collect();
    if binary.is_empty() {
        text.push_str("  The model has no binary layer (weights and inputs ±1).\n");
    }
    for layer in binary {
        let reason = layer.reason.as_deref().unwrap_or("every filter is in use");
        let (name, reason) = (printable(&layer.name), printable(reason));
        text.push_str(&format!("  {name}: {reason}\n"));
    }
    text
}

/// The lines under the table: label and value.
fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let totals = &report.totals;
    let pruned = format!(
        "{} of {} binary filters ({})",
        grouped(totals.filters.saturating_sub(totals.kept) as u64),
        grouped(totals.filters as u64),
        percent(totals.pruned_ratio)
    );
    let mut lines = match report.plans_learning() || report.only_converts() {
        true => Vec::new(),
        false => vec![("filters pruned", pruned)],
    };
    if let Some(plan) = &report.plan {
        lines.extend(plan::lines(report, plan));
    }
    if totals.masked_but_kept > 0 {
        lines.push((
            "masked, kept",
            format!("{} (see `reason` in the report)", totals.masked_but_kept),
        ));
    }
    lines.push((
        "operations",
        change(totals.macs_before, totals.macs_after, short)
            + &saving(totals.macs_before, totals.macs_after),
    ));
    lines.push((
        "weights",
        change(totals.bytes_before, totals.bytes_after, bytes)
            + &saving(totals.bytes_before, totals.bytes_after),
    ));
    let (before, after) = (totals.bits_before, totals.bits_after);
    lines.push((
        "as bits",
        change(before.weights.div_ceil(8), after.weights.div_ceil(8), bytes)
            + " (1 bit for each binary weight, without scales)",
    ));
    lines.push((
        "bit operations",
        change(before.operations, after.operations, short)
            + &saving(before.operations, after.operations),
    ));
    lines.push((
        "parameters",
        change(totals.params_before, totals.params_after, grouped)
            + &saving(totals.params_before, totals.params_after),
    ));
    if let Some(output) = &report.output {
        let (before, after) = (report.input.bytes, output.bytes);
        lines.push((
            "file",
            change(before, after, bytes) + &saving(before, after),
        ));
    }
    if let Some(normal) = &report.normalised {
        let found = &normal.verification;
        lines.push((
            "normalised",
            format!(
                "{} thresholds, {} divisions, {} as they were; {} of {} samples differ from the original by ties",
                normal.thresholds.len(),
                normal.divided.len(),
                normal.unchanged.len(),
                grouped(found.ties as u64),
                grouped(found.samples as u64),
            ),
        ));
    }
    if let Some(form) = &report.form {
        lines.extend(form::lines(form));
    }
    if let Some(verification) = &report.verification {
        let models = match report.only_converts() {
            true => "original and written agree on ",
            false => "masked and pruned agree on ",
        };
        lines.extend(verification::lines(verification, models));
    }
    if let Some(agreement) = report.agreement {
        lines.push((
            "like the original",
            format!("{} (the same top-1 class)", percent(agreement)),
        ));
    }
    if let Some(accuracy) = &report.accuracy {
        let learned = !report.stages.is_empty();
        let masked = match accuracy.after_masking.filter(|_| !learned) {
            Some(a) => format!("masked {}, ", percent(a)),
            None => String::new(),
        };
        lines.push((
            "accuracy",
            format!(
                "before {}, {masked}after {}",
                percent(accuracy.before),
                percent(accuracy.after)
            ),
        ));
        let samples = grouped(accuracy.samples as u64);
        lines.push((
            "measured on",
            format!("{samples} images of {}", accuracy.source),
        ));
        if let Some(a) = accuracy.after_masking.filter(|_| learned) {
            lines.push((
                "after last mask",
                format!(
                    "{}, before its retraining (native network, {} images)",
                    percent(a),
                    grouped(accuracy.samples.min(JUDGE_IMAGES) as u64)
                ),
            ));
        }
    }
    if let Some(budget) = &report.budget {
        lines.push(("budget", budget_line(budget)));
    }
    if let Some(latency) = &report.latency_ms {
        lines.push(("latency", latency_line(latency)));
    }
    let disk = report.activation_cache.map_or(0, |c| c.disk_bytes);
    let parts = [
        (report.peak_memory_bytes, "memory"),
        (Some(disk).filter(|&bytes| bytes > 0), "disk"),
    ];
    let part = |(bytes, of): (Option<u64>, _)| {
        bytes.map(|bytes| format!("{} MiB of {of}", grouped(bytes >> 20)))
    };
    let parts: Vec<String> = parts.into_iter().filter_map(part).collect();
    let most = match parts.is_empty() {
        true => String::new(),
        false => format!(", {} at most", parts.join(" and ")),
    };
    lines.push(("time", format!("{:.1} s{most}", report.seconds)));
    lines
}

/// What pruning may cost, and cost.
fn budget_line(budget: &BudgetReport) -> String {
    let points = |share: f64| format!("{:.2} points", 100.0 * share);
    let measure = &budget.measure;
    let change = match budget.drop {
        d if d > 0.0 => format!("{measure} fell by {}", points(d)),
        d if d < 0.0 => format!("{measure} rose by {}", points(-d)),
        _ => format!("{measure} is as it was"),
    };
    let met = if budget.met { "met" } else { "NOT MET" };
    let most = points(budget.max_drop);
    format!("{met}: {change}, at most {most} may go (--max-drop)")
}

/// Latencies before and after, and how many times as fast that is.
fn latency_line(latency: &LatencyReport) -> String {
    let LatencyReport { before, after, .. } = latency;
    match before == after {
        true => format!("{before:.3} ms: the model is unchanged"),
        false => format!(
            "before {before:.3} ms, after {after:.3} ms ({:.2} times as fast)",
            before / after
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{AccuracyReport, FileReport, Totals};
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
        ]));
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
        let text = render(&learned);
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
        let text = render(&report(vec![blocked]));
        assert!(text.contains("NOTHING WAS PRUNED"), "{text}");
        assert!(
            text.contains("/2/Conv: its channels end in Softmax"),
            "{text}"
        );
        let none = render(&report(vec![layer("/2/Conv", false, 64, 64)]));
        assert!(none.contains("no binary layer"), "{none}");
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
