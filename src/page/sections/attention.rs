//! What the user should know, with what to do about it.

use askama::Template;

use crate::page::words::points;
use crate::page::{PageError, Section};
use crate::report::Report;

pub(super) const SECTION: Section<Report> = Section {
    id: "attention",
    title: "What to know",
    body,
};

struct Line {
    class: &'static str,
    word: &'static str,
    text: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<ul class="said">
{%- for line in lines %}
<li class="{{ line.class }}"><b>{{ line.word }}</b> {{ line.text }}</li>
{%- endfor %}
</ul>"#
)]
struct Attention {
    lines: Vec<Line>,
}

/// Of many, so many are listed.
const MOST: usize = 200;

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let mut lines = Vec::new();
    let mut add = |class, word, text: String| lines.push(Line { class, word, text });
    if let Some(v) = report.verification.as_ref().filter(|v| !v.passed) {
        for failure in &v.failures {
            add("failed", "Failed:", failure.clone());
        }
        let remedy = "Masked and pruned model must compute the same. That they do not is a fault of the tool: please report it with the model; --keep NAME of the layers concerned leaves them as they are.";
        add("failed", "What to do:", remedy.to_owned());
    }
    if let Some(b) = report.budget.as_ref().filter(|b| !b.met) {
        add(
            "failed",
            "Failed:",
            format!(
                "{} falls by {}, and {} may go. Prune less (--ratio, --alpha), train longer (--final-epochs), give more images, or allow more (--max-drop).",
                b.measure,
                points(b.drop),
                points(b.max_drop)
            ),
        );
    }
    let nothing = report.totals.kept == report.totals.filters && !report.only_converts();
    if nothing {
        let text = "No binary filter was removed: the table of layers says of each why.";
        add("warned", "Warning:", text.to_owned());
    }
    for (class, word, said) in [
        ("warned", "Warning:", &report.warnings),
        ("noted", "Note:", &report.notes),
    ] {
        for line in said.iter().take(MOST) {
            add(class, word, line.clone());
        }
        if said.len() > MOST {
            let more = format!("{} more are in the JSON report.", said.len() - MOST);
            add(class, word, more);
        }
    }
    match lines.is_empty() {
        true => Ok(None),
        false => Ok(Some(Attention { lines }.render()?)),
    }
}
