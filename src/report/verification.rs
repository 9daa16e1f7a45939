//! What a comparison found, for the terminal.

use super::text::{figure, grouped, percent};
use crate::verify::{OutputStats, Verification};

/// What a verification found, for the terminal: a line each.
pub fn render_verification(found: &Verification) -> String {
    let figures = lines(found, "").into_iter();
    figures
        .map(|(label, value)| figure(label, &value))
        .collect()
}

/// The lines; `models` begins what is said of their agreement.
pub(super) fn lines(found: &Verification, models: &str) -> Vec<(&'static str, String)> {
    let verdict = match found.passed {
        true => "passed: the models agree",
        false => "FAILED: the models differ",
    };
    let ties = match found.ties {
        0 => String::new(),
        1 => " (1 sample explained by a tie)".to_owned(),
        n => format!(" ({n} samples explained by ties)"),
    };
    let mut lines = vec![
        (
            "verification",
            format!(
                "{verdict} in {} {} on {} samples",
                found.runtime,
                found.runtime_version,
                grouped(found.samples as u64)
            ),
        ),
        (
            "largest difference",
            match found.non_finite_differs {
                true => format!(
                    "NaN or infinity against another value; {:.2e} elsewhere{ties}",
                    found.max_abs_diff
                ),
                false => format!("{:.2e}{ties}", found.max_abs_diff),
            },
        ),
    ];
    lines.extend(output_lines(&found.outputs));
    if let Some(agreement) = found.top1_agreement {
        lines.push(("top-1 agreement", format!("{models}{}", percent(agreement))));
    }
    if found.not_compared > 0 {
        let count = grouped(found.not_compared as u64);
        lines.push((
            "not compared",
            format!("{count} samples on which the reference gives no finite number"),
        ));
    }
    for note in &found.tie_notes {
        lines.push(("", note.clone()));
    }
    for failure in &found.failures {
        lines.push(("", failure.clone()));
    }
    lines
}

/// Each output by itself, where there are several.
fn output_lines(outputs: &[OutputStats]) -> Vec<(&'static str, String)> {
    let several = if outputs.len() > 1 { outputs } else { &[] };
    let line = |o: &OutputStats| {
        let text = format!(
            "'{}' differs by at most {:.2e} (mean {:.2e}, values up to {:.2e}), on {} samples beyond the tolerance",
            o.name, o.max_abs_diff, o.mean_abs_diff, o.max_abs, o.beyond
        );
        ("", text)
    };
    several.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_against_a_number_is_no_difference_of_zero() {
        let found = Verification {
            samples: 3,
            non_finite_differs: true,
            ..Verification::default()
        };
        let text = render_verification(&found);
        assert!(
            text.contains("largest difference  NaN or infinity against another value"),
            "{text}"
        );
    }
}
