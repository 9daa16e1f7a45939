//! The result as JUnit XML.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Checked;

/// One test case for each file.
///
/// # Errors
/// If the text cannot be written as XML.
pub fn junit(checked: &[Checked]) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("onnx-bnnprune check");
    for file in checked {
        let status = match file.problems.first() {
            None => TestCaseStatus::success(),
            Some(first) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let lines = file.problems.iter();
                let lines: Vec<String> = lines
                    .map(|p| format!("{}: {}", p.check, p.message))
                    .collect();
                status
                    .set_type(first.check)
                    .set_message(first.message.as_str());
                status.set_description(lines.join("\n"));
                status
            }
        };
        let mut case = TestCase::new(file.path.display().to_string(), status);
        case.set_classname("onnx")
            .set_time(std::time::Duration::from_secs_f64(file.seconds.max(0.0)));
        if !file.notes.is_empty() {
            case.set_system_out(file.notes.join("\n"));
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("onnx-bnnprune");
    report.add_test_suite(suite);
    report.to_string()
}
