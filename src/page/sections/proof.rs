//! Before and after in all figures, and the proof that they are of the same network.

use askama::Template;

use crate::page::words::{change, count, saving, shares, signed};
use crate::page::{PageError, Section};
use crate::report::{Report, bytes, grouped, largest_difference, percent, short};
use crate::verify::Verification;

pub(super) const SECTION: Section<Report> = Section {
    id: "proof",
    title: "Proof",
    body,
};

struct Row {
    name: &'static str,
    change: String,
    saving: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<div class="scroll" role="group" aria-label="Before and after" tabindex="0">
<table>
<thead><tr><th scope="col">Of the whole model</th><th scope="col" class="n">Before → after</th><th scope="col" class="n">Change</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row">{{ row.name }}</th><td class="n">{{ row.change }}</td><td class="n">{{ row.saving }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- if !found.is_empty() %}
<h3>Verification</h3>
<p>{{ verdict }}</p>
<div class="scroll" role="group" aria-label="Verification" tabindex="0">
<table><thead><tr><th scope="col">What was found</th><th scope="col">Value</th></tr></thead><tbody>
{%- for (name, value) in found %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</tbody></table>
</div>
{%- endif %}
{%- if !details.is_empty() %}
<details><summary>What changed in the model ({{ all }} lines{% if all > details.len() %}, of which the first {{ details.len() }} stand here{% endif %})</summary>
<ul>
{%- for line in details %}
<li>{{ line }}</li>
{%- endfor %}
</ul></details>
{%- endif %}"#
)]
struct Proof<'a> {
    rows: Vec<Row>,
    verdict: &'static str,
    found: Vec<(&'static str, String)>,
    details: &'a [String],
    all: usize,
}

/// Of many lines, so many are shown.
const MOST: usize = 500;

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let verdict = match (report.passed(), report.only_converts()) {
        (true, true) => "Passed: the model as it came and as it was written give the same outputs.",
        (true, false) => {
            "Passed: the masked model, in which removed filters are zero, and the pruned one, from which they are gone, give the same outputs."
        }
        (false, _) => "Failed: the two models give different outputs. Nothing was written.",
    };
    let proof = Proof {
        rows: rows(report),
        verdict,
        found: report
            .verification
            .as_ref()
            .map_or(Vec::new(), |v| found(report, v)),
        details: report.details.get(..MOST).unwrap_or(&report.details),
        all: report.details.len(),
    };
    Ok(Some(proof.render()?))
}

fn rows(report: &Report) -> Vec<Row> {
    let t = &report.totals;
    let row = |name, before: u64, after: u64, write: fn(u64) -> String| Row {
        name,
        change: change(before, after, write),
        saving: saving(before, after),
    };
    let mut rows = vec![
        row("Binary filters", t.filters as u64, t.kept as u64, grouped),
        row("Multiply-accumulates", t.macs_before, t.macs_after, short),
        row(
            "Binary operations",
            t.binary_ops_before,
            t.binary_ops_after,
            short,
        ),
        row(
            "Bit operations",
            t.bits_before.operations,
            t.bits_after.operations,
            short,
        ),
        row("Parameters", t.params_before, t.params_after, grouped),
        row("Bytes of weights", t.bytes_before, t.bytes_after, bytes),
        row(
            "Bytes of weights as bits",
            t.bits_before.weights.div_ceil(8),
            t.bits_after.weights.div_ceil(8),
            bytes,
        ),
    ];
    if let Some(output) = &report.output {
        rows.push(row(
            "Bytes of the file",
            report.input.bytes,
            output.bytes,
            bytes,
        ));
    }
    if let Some(l) = &report.latency_ms {
        rows.push(Row {
            name: "Latency of an image (median)",
            change: match l.before == l.after {
                true => format!("{:.3} ms", l.before),
                false => format!("{:.3} → {:.3} ms", l.before, l.after),
            },
            saving: match l.before == l.after {
                true => String::new(),
                false => signed(100.0 * (l.ratio - 1.0), 1) + " %",
            },
        });
    }
    if let Some(a) = &report.accuracy {
        let points = |before: f64, after: f64| signed(100.0 * (after - before), 2) + " points";
        rows.push(Row {
            name: "Accuracy (top-1)",
            change: shares(a.before, a.after),
            saving: points(a.before, a.after),
        });
        if let (Some(before), Some(after)) = (a.top5_before, a.top5_after) {
            rows.push(Row {
                name: "Accuracy (top-5)",
                change: shares(before, after),
                saving: points(before, after),
            });
        }
    }
    rows
}

fn found(report: &Report, v: &Verification) -> Vec<(&'static str, String)> {
    let mut found = vec![
        ("Runtime", format!("{} {}", v.runtime, v.runtime_version)),
        ("Samples", count(v.samples)),
        ("Largest difference of an output", largest_difference(v)),
    ];
    if v.ties > 0 {
        found.push(("Samples explained by ties", count(v.ties)));
    }
    if v.not_compared > 0 {
        let what = "Samples on which the reference gives no finite number";
        found.push((what, count(v.not_compared)));
    }
    if let Some(agreement) = v.top1_agreement {
        found.push(("Same top-1 class, both models", percent(agreement)));
    }
    if let Some(agreement) = report.agreement {
        let name = match report.is_of_random_inputs() {
            true => "Same top-1 class as the original, of random inputs",
            false => "Same top-1 class as the original",
        };
        found.push((name, percent(agreement)));
    }
    if let Some(a) = &report.accuracy {
        found.push((
            "Images that accuracy was measured on",
            format!("{} of {}", count(a.samples), a.source),
        ));
    }
    if let Some(form) = &report.form {
        found.push((
            "Form written",
            format!("{} ({} layers)", form.name, form.layers.len()),
        ));
        for (name, why) in &form.left {
            found.push(("Not in that form", format!("{name}: {why}")));
        }
    }
    if let Some(normal) = &report.normalised {
        let words = format!(
            "{} thresholds, {} divisions, {} layers as they were",
            normal.thresholds.len(),
            normal.divided.len(),
            normal.unchanged.len()
        );
        found.push(("Integer form", words));
    }
    found
}
