//! Learning curves: of each mask, of each retraining, and of the whole network at the end.

use askama::Template;

use crate::page::plot::{Curve, Mark, Plot, SMALL, Scale, WIDE, legend};
use crate::page::{PageError, Section};
use crate::report::Report;
use crate::subsidiary::{EpochReport, StageReport};

pub(super) const SECTION: Section<Report> = Section {
    id: "curves",
    title: "Learning curves",
    body,
};

/// Up to so many stages their curves are open.
const FEW: usize = 8;
/// Where stages begin is marked if they are no more than these.
const MOST_MARKED: usize = 20;

struct Stage {
    number: usize,
    name: String,
    loss: String,
    shares: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{%- if !overall.is_empty() %}
<figure>
<ul class="legend">
{%- for (key, name) in loss_legend %}
<li>{{ key|safe }}{{ name }}</li>
{%- endfor %}
</ul>
<div class="scroll" role="group" aria-label="Loss over the whole run" tabindex="0">{{ overall|safe }}</div>
<figcaption>Loss of each epoch over the whole run{% if marked %}; a new stage begins at each vertical line{% endif %}. Losses of different phases are not of the same network.</figcaption>
</figure>
{%- endif %}
{%- if !last_loss.is_empty() %}
<h3>The whole network, at the end</h3>
<ul class="legend">
{%- for (key, name) in last_legend %}
<li>{{ key|safe }}{{ name }}</li>
{%- endfor %}
</ul>
<div class="charts">
<figure>{{ last_loss|safe }}<figcaption>Mean loss of each epoch{% if restarts %}; after each vertical line filters had been given back{% endif %}</figcaption></figure>
{%- if !last_shares.is_empty() %}
<figure>{{ last_shares|safe }}<figcaption>Accuracy, on training images as they passed by and on validation images{% if level %}; the thin broken line is the model as it came{% endif %}</figcaption></figure>
{%- endif %}
</div>
{%- endif %}
{%- if !stages.is_empty() %}
<details{% if open %} open{% endif %}>
<summary>Each stage: its mask, then its retraining</summary>
<ul class="legend">
{%- for (key, name) in stage_legend %}
<li>{{ key|safe }}{{ name }}</li>
{%- endfor %}
</ul>
{%- for stage in stages %}
<h3>Stage {{ stage.number }}: <span class="name">{{ stage.name }}</span></h3>
<div class="charts">
<figure>{{ stage.loss|safe }}<figcaption>Mean loss of each epoch; that of the mask with its regulariser</figcaption></figure>
{%- if !stage.shares.is_empty() %}
<figure>{{ stage.shares|safe }}<figcaption>Accuracy on training images, and share of filters kept</figcaption></figure>
{%- endif %}
</div>
{%- endfor %}
</details>
{%- endif %}"#
)]
struct Curves {
    overall: String,
    marked: bool,
    loss_legend: Vec<(String, String)>,
    last_loss: String,
    last_shares: String,
    last_legend: Vec<(String, String)>,
    restarts: bool,
    level: bool,
    open: bool,
    stages: Vec<Stage>,
    stage_legend: Vec<(String, String)>,
}

const MASK: &str = "mask";
const RETRAINING: &str = "retraining";
const WHOLE: &str = "whole network";

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let last = &report.final_retraining;
    let learned = |s: &StageReport| !s.mask_epochs.is_empty() || !s.retraining.is_empty();
    if last.is_empty() && !report.stages.iter().any(learned) {
        return Ok(None);
    }
    let (all, mut breaks) = overall(report);
    if breaks.len() > MOST_MARKED {
        breaks.clear();
    }
    let level = report.accuracy.as_ref().map(|a| a.before);
    let restarts = restarts(last);
    let last_loss = [Curve::new(
        WHOLE,
        2,
        Mark::Line,
        numbered(last, 0, |e| Some(f64::from(e.loss))),
    )];
    let last_shares = [
        Curve::new(
            "training images",
            2,
            Mark::Line,
            numbered(last, 0, |e| e.training_accuracy),
        ),
        Curve::new(
            "validation images",
            3,
            Mark::Dots,
            numbered(last, 0, |e| e.accuracy),
        ),
    ];
    let last_legend = match last_shares.iter().all(|c| c.points.is_empty()) {
        true => Vec::new(),
        false => legend(&last_shares),
    };
    let mut stages = Vec::new();
    let mut names = Vec::new();
    for (number, stage) in (1..).zip(&report.stages) {
        if !learned(stage) {
            continue;
        }
        let (losses, shares) = of_stage(stage);
        names.extend(losses.iter().chain(&shares).cloned());
        stages.push(Stage {
            number,
            name: stage.layers.join(", "),
            loss: small("Loss of stage", number, Scale::Number, &losses)?,
            shares: small(
                "Accuracy and share kept in stage",
                number,
                Scale::Share,
                &shares,
            )?,
        });
    }
    let curves = Curves {
        overall: Plot {
            label: "Loss of each epoch over the whole run",
            size: WIDE,
            x: ("epoch of the run", Scale::Whole),
            y: ("", Scale::Number),
            curves: &all,
            breaks: &breaks,
            level: None,
        }
        .svg()?,
        marked: !breaks.is_empty(),
        loss_legend: legend(&all),
        last_loss: last_plot(
            "Loss at the end",
            Scale::Number,
            &last_loss,
            &restarts,
            None,
        )?,
        last_shares: last_plot(
            "Accuracy at the end",
            Scale::Share,
            &last_shares,
            &restarts,
            level,
        )?,
        last_legend,
        restarts: !restarts.is_empty(),
        level: level.is_some(),
        open: stages.len() <= FEW,
        stages,
        stage_legend: legend(&names),
    };
    Ok(Some(curves.render()?))
}

/// Points of some epochs, the first of which is number `before` + 1.
fn numbered<E>(epochs: &[E], before: usize, of: fn(&E) -> Option<f64>) -> Vec<(f64, f64)> {
    let all = epochs.iter().enumerate();
    all.filter_map(|(i, e)| Some(((before + i + 1) as f64, of(e)?)))
        .collect()
}

/// All losses of a run in a row, and where stages begin.
fn overall(report: &Report) -> (Vec<Curve>, Vec<f64>) {
    let (mut curves, mut breaks) = (Vec::new(), Vec::new());
    let mut before = 0;
    for stage in &report.stages {
        if before > 0 {
            breaks.push(before as f64 + 0.5);
        }
        let mask = numbered(&stage.mask_epochs, before, |e| Some(f64::from(e.loss)));
        before += stage.mask_epochs.len();
        let main = numbered(&stage.retraining, before, |e| Some(f64::from(e.loss)));
        before += stage.retraining.len();
        curves.push(Curve::new(MASK, 1, Mark::Line, mask));
        curves.push(Curve::new(RETRAINING, 0, Mark::Line, main));
    }
    let last = &report.final_retraining;
    if before > 0 && !last.is_empty() {
        breaks.push(before as f64 + 0.5);
    }
    let whole = numbered(last, before, |e| Some(f64::from(e.loss)));
    curves.push(Curve::new(WHOLE, 2, Mark::Line, whole));
    (curves, breaks)
}

/// Losses of a stage, and shares.
fn of_stage(stage: &StageReport) -> ([Curve; 2], [Curve; 3]) {
    let (mask, main) = (&stage.mask_epochs, &stage.retraining);
    let m = mask.len();
    (
        [
            Curve::new(
                MASK,
                1,
                Mark::Line,
                numbered(mask, 0, |e| Some(f64::from(e.loss))),
            ),
            Curve::new(
                RETRAINING,
                0,
                Mark::Line,
                numbered(main, m, |e| Some(f64::from(e.loss))),
            ),
        ],
        [
            Curve::new(
                MASK,
                1,
                Mark::Line,
                numbered(mask, 0, |e| e.training_accuracy),
            ),
            Curve::new(
                RETRAINING,
                0,
                Mark::Line,
                numbered(main, m, |e| e.training_accuracy),
            ),
            Curve::new(
                "share of filters kept",
                6,
                Mark::Dashes,
                numbered(mask, 0, |e| Some(e.kept)),
            ),
        ],
    )
}

/// Before which epochs the learning rate rose again: a new attempt began there.
fn restarts(epochs: &[EpochReport]) -> Vec<f64> {
    let pairs = epochs.windows(2).enumerate();
    let rises = pairs.filter(|(_, pair)| match pair {
        [a, b] => b.learning_rate > 2.0 * a.learning_rate,
        _ => false,
    });
    rises.map(|(i, _)| i as f64 + 1.5).collect()
}

fn small(what: &str, number: usize, scale: Scale, curves: &[Curve]) -> Result<String, PageError> {
    Plot {
        label: &format!("{what} {number}, epoch by epoch"),
        size: SMALL,
        x: ("epoch", Scale::Whole),
        y: ("", scale),
        curves,
        breaks: &[],
        level: None,
    }
    .svg()
}

fn last_plot(
    label: &str,
    scale: Scale,
    curves: &[Curve],
    breaks: &[f64],
    level: Option<f64>,
) -> Result<String, PageError> {
    Plot {
        label: &format!("{label}, epoch by epoch"),
        size: SMALL,
        x: ("epoch", Scale::Whole),
        y: ("", scale),
        curves,
        breaks,
        level,
    }
    .svg()
}
