//! Accuracy after each stage of learning, and the attempts to stay within the budget.

use askama::Template;

use crate::page::plot::{Curve, Mark, Plot, Scale, WIDE, legend};
use crate::page::words::{count, maybe, points};
use crate::page::{PageError, Section};
use crate::report::{BudgetReport, Report, percent};
use crate::subsidiary::StageReport;

pub(super) const SECTION: Section<Report> = Section {
    id: "stages",
    title: "Stages",
    body,
};

struct Row<'a> {
    stage: &'a StageReport,
    sensitivity: String,
    masked: String,
    random: String,
    retrained: String,
    flipped: String,
}

struct Try {
    pruned: String,
    drop: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Layers are pruned from the bottom up. In each stage a mask chooses filters of one layer (or of several that can only be cut together); then the network above is retrained around the gaps.</p>
{%- if !plot.is_empty() %}
<figure>
<ul class="legend">
{%- for (key, name) in legend %}
<li>{{ key|safe }}{{ name }}</li>
{%- endfor %}
</ul>
<div class="scroll" role="group" aria-label="Accuracy after each stage" tabindex="0">{{ plot|safe }}</div>
<figcaption>Accuracy on validation images after each stage, by the native network on at most 2,000 of them.{% if level %} The thin broken line is the model as it came.{% endif %}</figcaption>
</figure>
{%- endif %}
<details{% if open %} open{% endif %}>
<summary>Figures of each stage</summary>
<div class="scroll" role="group" aria-label="Figures of each stage" tabindex="0">
<table>
<thead><tr><th scope="col" class="n">Stage</th><th scope="col">Layers</th><th scope="col" class="n">Filters kept</th><th scope="col" class="n">Sensitivity</th><th scope="col" class="n">After the mask</th><th scope="col" class="n">Random masks</th><th scope="col" class="n">Retrained</th><th scope="col" class="n">Weights flipped</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><td class="n">{{ loop.index }}</td><th scope="row" class="name">{{ row.stage.layers.join(", ") }}</th><td class="n">{{ row.stage.kept }} of {{ row.stage.filters }}</td><td class="n">{{ row.sensitivity }}</td><td class="n">{{ row.masked }}</td><td class="n">{{ row.random }}</td><td class="n">{{ row.retrained }}</td><td class="n">{{ row.flipped }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
<p class="soft">Sensitivity: how far the outputs moved when a quarter of the filters was masked at random. Random masks: accuracy with as many filters masked at random. Weights flipped: share of the retrained binary weights whose sign changed.</p>
</details>
{%- if let Some(budget) = budget %}
<h3>Budget</h3>
<p>{{ verdict }}</p>
{%- if tries.len() > 1 %}
<div class="scroll" role="group" aria-label="Attempts" tabindex="0">
<table>
<caption><span>The networks that learning ended in, filters given back (or the network retrained) in between.</span></caption>
<thead><tr><th scope="col" class="n">Attempt</th><th scope="col" class="n">Filters masked</th><th scope="col" class="n">Loss of {{ budget.measure }}</th></tr></thead>
<tbody>
{%- for t in tries %}
<tr><td class="n">{{ loop.index }}</td><td class="n">{{ t.pruned }}</td><td class="n">{{ t.drop }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- endif %}
{%- endif %}"#
)]
struct Stages<'a> {
    plot: String,
    legend: Vec<(String, String)>,
    level: bool,
    open: bool,
    rows: Vec<Row<'a>>,
    budget: Option<&'a BudgetReport>,
    verdict: String,
    tries: Vec<Try>,
}

/// Up to so many stages their table is open.
const FEW: usize = 12;

fn body(report: &Report) -> Result<Option<String>, PageError> {
    if report.stages.is_empty() {
        return Ok(None);
    }
    let curves = curves(&report.stages);
    let level = report.accuracy.as_ref().map(|a| a.before);
    let plot = Plot {
        label: "Accuracy after each stage; the table below has the figures",
        size: WIDE,
        x: ("stage", Scale::Whole),
        y: ("", Scale::Share),
        curves: &curves,
        breaks: &[],
        level,
    };
    let row = |stage| Row {
        stage,
        sensitivity: stage
            .sensitivity
            .map_or_else(|| "–".to_owned(), |s| format!("{s:.4}")),
        masked: maybe(stage.after_masking),
        random: maybe(stage.random_after_masking),
        retrained: maybe(stage.after_retraining),
        flipped: percent(stage.flipped_weights),
    };
    let stages = Stages {
        plot: plot.svg()?,
        legend: legend(&curves),
        level: level.is_some(),
        open: report.stages.len() <= FEW,
        rows: report.stages.iter().map(row).collect(),
        budget: report.budget.as_ref(),
        verdict: report.budget.as_ref().map_or(String::new(), verdict),
        tries: tries(report.budget.as_ref()),
    };
    Ok(Some(stages.render()?))
}

fn curves(stages: &[StageReport]) -> [Curve; 3] {
    let curve = |name, colour, mark, of: fn(&StageReport) -> Option<f64>| {
        let numbered = (1u32..).zip(stages);
        Curve::new(
            name,
            colour,
            mark,
            numbered.filter_map(|(n, s)| Some((f64::from(n), of(s)?))),
        )
    };
    [
        curve("after retraining", 0, Mark::Dots, |s| s.after_retraining),
        curve("right after the mask", 1, Mark::Dots, |s| s.after_masking),
        curve("after random masks of that size", 6, Mark::Dashes, |s| {
            s.random_after_masking
        }),
    ]
}

fn verdict(budget: &BudgetReport) -> String {
    let change = match budget.drop {
        d if d > 0.0 => format!("fell by {}", points(d)),
        d if d < 0.0 => format!("rose by {}", points(-d)),
        _ => "is as it was".to_owned(),
    };
    format!(
        "{}: {} {change}, at most {} may go (--max-drop).",
        if budget.met { "Met" } else { "Not met" },
        budget.measure,
        points(budget.max_drop)
    )
}

fn tries(budget: Option<&BudgetReport>) -> Vec<Try> {
    let attempts = budget.into_iter().flat_map(|b| &b.attempts);
    attempts
        .map(|a| Try {
            pruned: count(a.pruned),
            drop: points(a.drop),
        })
        .collect()
}
