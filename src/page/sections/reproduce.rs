//! What it takes to get the same result again.

use crate::page::{PageError, Section, reproduce};
use crate::report::Report;

pub(super) const SECTION: Section<Report> = Section {
    id: "reproduce",
    title: "Reproduce",
    body,
};

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let mut facts = reproduce::files(&report.input, report.output.as_ref());
    facts.push(("Seed", report.seed.to_string()));
    let mut settings = Vec::new();
    for (name, value) in &report.settings {
        reproduce::flat(name, value, &mut settings);
    }
    let (run, version) = (&report.run, &report.version);
    reproduce::body(run, version, reproduce::SAME_BYTES, facts, settings)
}
