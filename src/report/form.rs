//! The form that a model was written in, for people.

use super::schema::FormReport;
use crate::screen::Screen;

/// What is in the form, and what is not, a line each.
pub(super) fn show(form: &FormReport, screen: &mut Screen) {
    screen.figure("form", form_line(form));
    for (name, why) in &form.left {
        screen.figure("", format!("{name} is as it was: {why}"));
    }
}

/// The form written, and whether it computes the same.
fn form_line(form: &FormReport) -> String {
    let layers = match form.layers.len() {
        0 => String::new(),
        1 => ", 1 layer".to_owned(),
        n => format!(", {n} layers"),
    };
    let same = match (form.max_abs_diff.is_empty(), form.identical()) {
        (true, _) => String::new(),
        (false, true) => "; outputs equal to the bit at each level of optimisation".to_owned(),
        (false, false) => {
            let most = form.max_abs_diff.values().fold(0.0f64, |m, &d| m.max(d));
            format!("; outputs differ by at most {most:.1e}")
        }
    };
    format!("{}{layers}{same}", form.name)
}
