//! What looked wrong while ways were compared.

use askama::Template;

use crate::page::{PageError, Section};
use crate::report::ComparisonReport;

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "attention",
    title: "What to know",
    body,
};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<ul class="said">
{%- for text in warnings %}
<li class="warned"><b>Warning:</b> {{ text }}</li>
{%- endfor %}
</ul>"#
)]
struct Attention<'a> {
    warnings: &'a [String],
}

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let warnings = &report.warnings;
    match warnings.is_empty() {
        true => Ok(None),
        false => Ok(Some(Attention { warnings }.render()?)),
    }
}
