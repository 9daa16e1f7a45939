//! What it takes to train the same network again.

use crate::page::{PageError, Section, reproduce};
use crate::report::{TrainReport, as_written};

pub(super) const SECTION: Section<TrainReport> = Section {
    id: "reproduce",
    title: "Reproduce",
    body,
};

fn body(report: &TrainReport) -> Result<Option<String>, PageError> {
    let facts = reproduce::files(&report.input, Some(&report.output));
    let mut settings = Vec::new();
    for (name, value) in [
        ("", as_written(&report.options)),
        ("data", as_written(&report.data)),
    ] {
        reproduce::flat(name, &value.unwrap_or_default(), &mut settings);
    }
    let (run, version) = (&report.run, &report.version);
    reproduce::body(run, version, reproduce::SAME_BYTES, facts, settings)
}
