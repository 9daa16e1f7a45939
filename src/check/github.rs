//! Findings as annotations of a pull request: GitHub's workflow commands.

use super::stages::FileReport;
use crate::printable::printable;

/// A line for each finding, as GitHub Actions reads them from a step's output.
pub fn annotations(reports: &[FileReport]) -> String {
    let mut text = String::new();
    for report in reports {
        for finding in report.findings() {
            text += &format!(
                "::{} file={},title=onnx-bnnprune check ({})::{}\n",
                finding.severity.name(),
                property(&report.path),
                finding.rule,
                message(&finding.to_string())
            );
        }
    }
    text
}

fn message(text: &str) -> String {
    // No line end is left, which would be %0A.
    printable(text).replace('%', "%25")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        let report = FileReport::failed(Path::new("a,b:c.onnx"), "read", "100 % of\nit: bad");
        assert_eq!(
            annotations(&[report]),
            "::error file=a%2Cb%3Ac.onnx,title=onnx-bnnprune check (read)::100 %25 of it: bad\n"
        );
    }
}
