//! Plots side by side, under one legend.

use askama::Template;

use super::PageError;
use super::plot::{Curve, legend};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<ul class="legend">
{%- for (key, name) in legend %}
<li>{{ key|safe }}{{ name }}</li>
{%- endfor %}
</ul>
<div class="charts{% if plots.len() == 3 %} three{% endif %}">
{%- for (plot, caption) in plots %}
<figure>{{ plot|safe }}<figcaption>{{ caption }}</figcaption></figure>
{%- endfor %}
</div>
{%- if !note.is_empty() %}
<p class="soft">{{ note }}</p>
{%- endif %}"#
)]
struct Charts {
    legend: Vec<(String, String)>,
    plots: Vec<(String, &'static str)>,
    note: &'static str,
}

/// Plots with their captions, whose curves are those of `curves`, and what is said of all of them.
///
/// # Errors
/// If they cannot be rendered.
pub(super) fn shown(
    curves: &[Curve],
    plots: Vec<(String, &'static str)>,
    note: &'static str,
) -> Result<Option<String>, PageError> {
    let charts = Charts {
        legend: legend(curves),
        plots,
        note,
    };
    Ok(Some(charts.render()?))
}
