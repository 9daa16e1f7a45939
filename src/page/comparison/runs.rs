//! Each run.

use askama::Template;

use crate::page::words::{maybe, time};
use crate::page::{PageError, Section};
use crate::report::{ComparisonReport, ComparisonRow, percent};

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "runs",
    title: "Each run",
    body,
};

struct Row<'a> {
    of: &'a ComparisonRow,
    cells: [String; 6],
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<details>
<summary>{{ rows.len() }} runs</summary>
<div class="scroll" role="group" aria-label="Table of runs" tabindex="0">
<table>
<thead><tr><th scope="col">Method</th><th scope="col" class="n">Asked for</th><th scope="col" class="n">Seed</th><th scope="col" class="n">Filters removed</th><th scope="col" class="n">Accuracy</th><th scope="col" class="n">Like the original</th><th scope="col" class="n">MACs left</th><th scope="col" class="n">Bytes left</th><th scope="col" class="n">Time</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row">{{ row.of.method }}</th><td class="n">{{ row.of.ratio }}</td><td class="n">{{ row.of.seed }}</td>{% for cell in row.cells %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
</details>"#
)]
struct Runs<'a> {
    rows: Vec<Row<'a>>,
}

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let row = |of| {
        let r: &ComparisonRow = of;
        Row {
            of,
            cells: [
                percent(r.pruned_ratio),
                percent(r.accuracy_after),
                maybe(r.agreement),
                percent(r.macs_left),
                percent(r.bytes_left),
                time(r.seconds),
            ],
        }
    };
    let rows = report.rows.iter().map(row).collect();
    Ok(Some(Runs { rows }.render()?))
}
