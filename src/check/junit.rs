//! Findings as a JUnit file, which every CI system shows.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use thiserror::Error;

use super::finding::Finding;
use super::stages::FileReport;
use crate::printable::printable;

/// Why the file cannot be written as XML.
#[derive(Debug, Error)]
#[error("the JUnit report cannot be written: {0}")]
pub struct JunitError(#[from] quick_junit::SerializeError);

/// One test suite with a test case for each file; warnings are its output.
///
/// # Errors
/// If the XML writer fails.
pub fn junit(reports: &[FileReport]) -> Result<String, JunitError> {
    let mut suite = TestSuite::new("onnx-bnnprune check");
    for report in reports {
        suite.add_test_case(case(report));
    }
    let mut all = Report::new("onnx-bnnprune");
    all.add_test_suite(suite);
    // The outermost element has no such attribute in the schema that viewers go by, and nothing is
    // ever skipped.
    Ok(all.to_string()?.replacen(" skipped=\"0\"", "", 1))
}

fn case(report: &FileReport) -> TestCase {
    let lines = |findings: &[Finding]| -> String {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    };
    let status = match report.problems.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(first.rule).set_message(first.to_string());
            status.set_description(lines(&report.problems));
            status
        }
    };
    // XML has no form for most control characters, nor for U+FFFE.
    let mut case = TestCase::new(printable(&report.path), status);
    case.set_classname("onnx-bnnprune.check");
    if let Ok(taken) = std::time::Duration::try_from_secs_f64(report.seconds) {
        case.set_time(taken);
    }
    if !report.notes.is_empty() {
        case.set_system_out(lines(&report.notes));
    }
    case
}
