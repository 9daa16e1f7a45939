//! What was pruned of each layer.

use askama::Template;

use crate::page::words::{change, left};
use crate::page::{PageError, Section};
use crate::report::{LayerReport, Report, Totals, bytes, grouped, short};

pub(super) const SECTION: Section<Report> = Section {
    id: "layers",
    title: "Layers",
    body,
};

struct Row<'a> {
    layer: &'a LayerReport,
    filters: String,
    left: String,
    macs: String,
    bytes: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<div class="scroll" role="group" aria-label="Table of layers" tabindex="0">
<table>
<caption><span>Every layer with weights, in the order in which they run. MACs: multiply-accumulates of one image; bytes: as the file stores the weights.</span></caption>
<thead><tr><th scope="col">Layer</th><th scope="col">Kind</th><th scope="col" class="n">Filters</th><th scope="col">Share left</th><th scope="col" class="n">MACs</th><th scope="col" class="n">Bytes</th>{% if reasons %}<th scope="col">Why not more</th>{% endif %}</tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row" class="name">{{ row.layer.name }}</th><td class="nw">{{ row.layer.kind }}</td><td class="n">{{ row.filters }}</td><td class="wide"><span class="bar" role="img" aria-label="{{ row.left }} % of its filters are left"><span style="width:{{ row.left }}%"></span></span></td><td class="n">{{ row.macs }}</td><td class="n">{{ row.bytes }}</td>
{%- if reasons %}<td class="words">{% if row.layer.masked_but_kept > 0 %}{{ row.layer.masked_but_kept }} masked but kept. {% endif %}{% if let Some(reason) = row.layer.reason %}{{ reason }}{% endif %}</td>{% endif %}</tr>
{%- endfor %}
</tbody>
<tfoot><tr><th scope="row">Total</th><td>binary</td><td class="n">{{ filters }}</td><td></td><td class="n">{{ macs }}</td><td class="n">{{ bytes }}</td>{% if reasons %}<td></td>{% endif %}</tr></tfoot>
</table>
</div>"#
)]
struct Layers<'a> {
    rows: Vec<Row<'a>>,
    reasons: bool,
    filters: String,
    macs: String,
    bytes: String,
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    if report.layers.is_empty() {
        return Ok(None);
    }
    let rows = report.layers.iter().map(|layer| {
        let cost = |said: String| match layer.is_counted() {
            true => said,
            false => String::new(),
        };
        Row {
            filters: change(layer.filters as u64, layer.kept as u64, grouped),
            left: left(layer.filters as u64, layer.kept as u64),
            macs: cost(change(layer.macs_before, layer.macs_after, short)),
            bytes: cost(change(layer.bytes_before, layer.bytes_after, bytes)),
            layer,
        }
    });
    let t: &Totals = &report.totals;
    let layers = Layers {
        rows: rows.collect(),
        reasons: report.layers.iter().any(|l| l.reason.is_some()),
        filters: change(t.filters as u64, t.kept as u64, grouped),
        macs: change(t.macs_before, t.macs_after, short),
        bytes: change(t.bytes_before, t.bytes_after, bytes),
    };
    Ok(Some(layers.render()?))
}
