//! Findings for people: a table of files, then a line for each finding.

use super::finding::Severity;
use super::stages::FileReport;
use crate::report::{bytes, grouped, short};
use crate::screen::{Column, Role, Screen, Table, Text};

/// Shortest name of a file in the table.
const NAME_WIDTH: usize = 20;

/// Reports for people.
pub fn render(reports: &[FileReport]) -> Screen {
    let mut table = Table::ruled([
        Column::text("file").shrinks_to(NAME_WIDTH),
        Column::number("opset").leaves(0),
        Column::number("binary layers").leaves(3),
        Column::number("filters").leaves(1),
        Column::number("MACs").leaves(2),
        Column::number("bytes").leaves(4),
        Column::text("result"),
    ]);
    for report in reports {
        table.row(row(report));
    }
    let mut screen = Screen::default();
    screen.table(table);
    for report in reports {
        for finding in report.findings() {
            let role = match finding.severity {
                Severity::Error => Role::Bad,
                _ => Role::Warning,
            };
            let text = format!("{}: {finding}", report.path);
            screen.remark(role, finding.severity.name(), text);
        }
    }
    let bad = reports.iter().filter(|r| !r.passed).count();
    let models = if reports.len() == 1 {
        "model"
    } else {
        "models"
    };
    let role = if bad == 0 { Role::Good } else { Role::Bad };
    let said = Text::from(format!("{} {models} checked, ", reports.len()));
    screen.line(said.and(role, format!("{bad} bad")));
    screen
}

fn row(report: &FileReport) -> [Text; 7] {
    let model = report.summary.as_ref();
    let layers = model.and_then(|m| m.layers.as_ref());
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let result = match (report.problems.len(), report.notes.len()) {
        (0, 0) => Text::of(Role::Good, "good"),
        (0, n) => {
            let good = Text::of(Role::Good, "good").and_plain(", ");
            good.and(Role::Warning, counted(n, "warning"))
        }
        (n, _) => Text::of(Role::Bad, counted(n, "error")),
    };
    let of_model = |f: fn(&super::ModelSummary) -> String| model.map_or(String::new(), f);
    let of_layers = |f: fn(&super::LayerSummary) -> String| layers.map_or(String::new(), f);
    [
        report.path.as_str().into(),
        of_model(|m| m.opset.to_string()).into(),
        of_layers(|l| l.binary_layers.to_string()).into(),
        of_layers(|l| grouped(l.binary_filters as u64)).into(),
        of_layers(|l| short(l.macs)).into(),
        of_model(|m| bytes(m.bytes)).into(),
        result,
    ]
}
