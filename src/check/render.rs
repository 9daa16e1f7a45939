//! Findings for the terminal: a table of files, then a line for each finding.

use comfy_table::CellAlignment;

use super::stages::FileReport;
use crate::printable::printable;
use crate::report::{bytes, grouped, ruled, short};

/// Writes reports for people.
pub fn render(reports: &[FileReport]) -> String {
    let mut table = ruled(&[
        "file",
        "opset",
        "binary layers",
        "filters",
        "MACs",
        "bytes",
        "result",
    ]);
    for report in reports {
        table.add_row(row(report));
    }
    for column in table.column_iter_mut().skip(1).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{table}\n");
    for report in reports {
        for finding in report.findings() {
            let severity = finding.severity.name();
            text += &format!("{severity}: {}: {finding}\n", printable(&report.path));
        }
    }
    let bad = reports.iter().filter(|r| !r.passed).count();
    let models = if reports.len() == 1 {
        "model"
    } else {
        "models"
    };
    text += &format!("{} {models} checked, {bad} bad\n", reports.len());
    text
}

fn row(report: &FileReport) -> [String; 7] {
    let model = report.summary.as_ref();
    let layers = model.and_then(|m| m.layers.as_ref());
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let result = match (report.problems.len(), report.notes.len()) {
        (0, 0) => "good".to_owned(),
        (0, n) => format!("good, {}", counted(n, "warning")),
        (n, _) => counted(n, "error"),
    };
    let of_model = |f: fn(&super::ModelSummary) -> String| model.map_or(String::new(), f);
    let of_layers = |f: fn(&super::LayerSummary) -> String| layers.map_or(String::new(), f);
    [
        printable(&report.path).into_owned(),
        of_model(|m| m.opset.to_string()),
        of_layers(|l| l.binary_layers.to_string()),
        of_layers(|l| grouped(l.binary_filters as u64)),
        of_layers(|l| short(l.macs)),
        of_model(|m| bytes(m.bytes)),
        result,
    ]
}
