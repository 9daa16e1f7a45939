//! Each way at each share: means over seeds.

use askama::Template;

use crate::page::words::{signed, time};
use crate::page::{PageError, Section};
use crate::report::{ComparisonReport, MethodMeans, percent};

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "table",
    title: "Means over seeds",
    body,
};

struct Row<'a> {
    of: &'a MethodMeans,
    gone: String,
    masked: String,
    after: String,
    against: String,
    macs: String,
    bytes: String,
    time: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<div class="scroll" role="group" aria-label="Table of means" tabindex="0">
<table>
<caption><span>± is the standard error of the mean. Masked: right after the last mask. Against unpruned: points of accuracy more or less than the unpruned network retrained alike with the same seed.</span></caption>
<thead><tr><th scope="col">Method</th><th scope="col" class="n">Filters removed</th><th scope="col" class="n">Masked</th><th scope="col" class="n">Retrained</th><th scope="col" class="n">Against unpruned</th><th scope="col" class="n">MACs left</th><th scope="col" class="n">Bytes left</th><th scope="col" class="n">Time</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row">{{ row.of.method }}</th><td class="n">{{ row.gone }}</td><td class="n">{{ row.masked }}</td><td class="n">{{ row.after }}</td><td class="n">{{ row.against }}</td><td class="n">{{ row.macs }}</td><td class="n">{{ row.bytes }}</td><td class="n">{{ row.time }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>"#
)]
struct Table<'a> {
    rows: Vec<Row<'a>>,
}

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let means = report.means();
    let with_error = |(mean, error): (f64, Option<f64>)| match error {
        Some(error) => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * error),
        None => percent(mean),
    };
    let row = |of| {
        let m: &MethodMeans = of;
        Row {
            of,
            gone: percent(m.gone),
            masked: m.masked.map_or_else(|| "–".to_owned(), with_error),
            after: with_error(m.accuracy),
            against: match m.against {
                Some((mean, Some(e))) => format!("{} ± {:.2}", signed(100.0 * mean, 2), 100.0 * e),
                Some((mean, None)) => signed(100.0 * mean, 2),
                None => "–".to_owned(),
            },
            macs: percent(m.macs_left),
            bytes: percent(m.bytes_left),
            time: time(m.seconds),
        }
    };
    let rows = means.iter().map(row).collect();
    Ok(Some(Table { rows }.render()?))
}
