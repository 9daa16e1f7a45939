//! What it takes to get the same table again.

use askama::Template;

use crate::page::sections::{command, machine};
use crate::page::{PageError, Section};
use crate::report::ComparisonReport;

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "reproduce",
    title: "Reproduce",
    body,
};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{%- if !command.is_empty() %}
<pre tabindex="0"><code>{{ command }}</code></pre>
{%- endif %}
<div class="scroll" role="group" aria-label="Files and machine" tabindex="0">
<table><thead><tr><th scope="col">What</th><th scope="col">Value</th></tr></thead><tbody>
{%- for (name, value) in facts %}
<tr><th scope="row" class="nw">{{ name }}</th><td class="name">{{ value }}</td></tr>
{%- endfor %}
</tbody></table>
</div>"#
)]
struct Reproduce {
    command: String,
    facts: Vec<(&'static str, String)>,
}

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let mut facts = vec![
        ("Model", report.model.clone()),
        ("Images", report.data.clone()),
    ];
    facts.extend(machine(&report.run, &report.version));
    let reproduce = Reproduce {
        command: command(&report.run.command),
        facts,
    };
    Ok(Some(reproduce.render()?))
}
