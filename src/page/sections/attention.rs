//! What the user should know, with what to do about it.

use crate::page::said::{self, Line};
use crate::page::words::points;
use crate::page::{PageError, Section};
use crate::report::Report;

pub(super) const SECTION: Section<Report> = Section {
    id: "attention",
    title: "What to know",
    body,
};

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let mut lines = Vec::new();
    let mut add = |class, word, text: String| lines.push(Line { class, word, text });
    if let Some(v) = report.verification.as_ref().filter(|v| !v.passed) {
        for failure in &v.failures {
            add("failed", "Failed:", failure.clone());
        }
        let remedy = "Masked and pruned model must compute the same. That they do not is a fault of the tool: please report it with the model; --keep NAME of the layers concerned leaves them as they are.";
        add("failed", "What to do:", remedy.to_owned());
    }
    if let Some(b) = report.budget.as_ref().filter(|b| !b.met) {
        add(
            "failed",
            "Failed:",
            format!(
                "{} falls by {}, and {} may go. Prune less (--ratio, --alpha), train longer (--final-epochs), give more images, or allow more (--max-drop).",
                b.measure,
                points(b.drop),
                points(b.max_drop)
            ),
        );
    }
    let nothing = report.totals.kept == report.totals.filters && !report.only_converts();
    if nothing {
        let text = "No binary filter was removed: the table of layers says of each why.";
        add("warned", "Warning:", text.to_owned());
    }
    lines.extend(said::each("warned", "Warning:", &report.warnings));
    lines.extend(said::each("noted", "Note:", &report.notes));
    said::list(lines)
}
