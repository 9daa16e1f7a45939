//! What a verification found, for people.

use super::text::{grouped, percent};
use crate::screen::{Role, Screen, Text};
use crate::verify::{OutputStats, Verification};

/// What a verification found: a line each.
pub fn render_verification(found: &Verification) -> Screen {
    let mut screen = Screen::default();
    show(found, "", &mut screen);
    screen
}

/// How far outputs lie apart, where no number may say it.
pub(crate) fn largest_difference(found: &Verification) -> String {
    let number = format!("{:.2e}", found.max_abs_diff);
    match found.non_finite_differs {
        true => format!("NaN or infinity against another value; {number} elsewhere"),
        false => number,
    }
}

/// Adds the lines; `models` begins what is said of their agreement.
pub(super) fn show(found: &Verification, models: &str, screen: &mut Screen) {
    let verdict = match found.passed {
        true => Text::of(Role::Good, "passed").and_plain(": the models agree"),
        false => Text::of(Role::Bad, "FAILED").and_plain(": the models differ"),
    };
    let runtime = format!(
        " in {} {} on {} samples",
        found.runtime,
        found.runtime_version,
        grouped(found.samples as u64)
    );
    screen.figure("verification", verdict.and_plain(runtime));
    let ties = match found.ties {
        0 => String::new(),
        1 => " (1 sample explained by a tie)".to_owned(),
        n => format!(" ({n} samples explained by ties)"),
    };
    let difference = largest_difference(found);
    screen.figure("largest difference", format!("{difference}{ties}"));
    // Each output by itself, where there are several.
    let several = found.outputs.iter().filter(|_| found.outputs.len() > 1);
    several.for_each(|output| screen.figure("", of_output(output)));
    if let Some(agreement) = found.top1_agreement {
        screen.figure("top-1 agreement", format!("{models}{}", percent(agreement)));
    }
    if found.not_compared > 0 {
        let count = grouped(found.not_compared as u64);
        let text = format!("{count} samples on which the reference gives no finite number");
        screen.figure("not compared", text);
    }
    for note in &found.tie_notes {
        screen.figure("", note.as_str());
    }
    for failure in &found.failures {
        screen.figure("", failure.as_str());
    }
    for note in &found.notes {
        screen.note(note.as_str());
    }
}

fn of_output(o: &OutputStats) -> String {
    format!(
        "'{}' differs by at most {:.2e} (mean {:.2e}, values up to {:.2e}), on {} samples beyond the tolerance",
        o.name, o.max_abs_diff, o.mean_abs_diff, o.max_abs, o.beyond
    )
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
        let text = render_verification(&found).to_string();
        assert!(
            text.contains("largest difference  NaN or infinity against another value"),
            "{text}"
        );
    }
}
