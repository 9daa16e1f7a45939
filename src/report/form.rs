//! The form that a model was written in, for the terminal.

use super::schema::FormReport;

/// What is in the form, and what is not, a line each.
pub(super) fn lines(form: &FormReport) -> Vec<(&'static str, String)> {
    let left = form.left.iter();
    let left = left.map(|(name, why)| ("", format!("{name} is as it was: {why}")));
    std::iter::once(("form", form_line(form)))
        .chain(left)
        .collect()
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
