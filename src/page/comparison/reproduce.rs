//! What it takes to get the same table again.

use crate::page::{PageError, Section, reproduce};
use crate::report::ComparisonReport;

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "reproduce",
    title: "Reproduce",
    body,
};

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let facts = vec![
        ("Model", report.model.clone()),
        ("Images", report.data.clone()),
    ];
    reproduce::body(&report.run, &report.version, "", facts, Vec::new())
}
