//! What looked wrong while ways were compared.

use crate::page::{PageError, Section, said};
use crate::report::ComparisonReport;

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "attention",
    title: "What to know",
    body,
};

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    said::list(said::each("warned", "Warning:", &report.warnings))
}
