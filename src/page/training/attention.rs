//! What to know of a training run.

use crate::page::{PageError, Section, said};
use crate::report::TrainReport;

pub(super) const SECTION: Section<TrainReport> = Section {
    id: "attention",
    title: "What to know",
    body,
};

fn body(report: &TrainReport) -> Result<Option<String>, PageError> {
    said::list(said::each("noted", "Note:", &report.notes))
}
