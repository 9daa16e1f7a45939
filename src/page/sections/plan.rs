//! What a dry run plans.

use askama::Template;

use crate::page::words::{count, time};
use crate::page::{PageError, Section};
use crate::report::{Figures, LearningPlan, Report};

pub(super) const SECTION: Section<Report> = Section {
    id: "plan",
    title: "Plan",
    body,
};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{%- if let Some(l) = learning %}
<p>{{ figures }}</p>
<dl class="cards">
<div><dt>Images</dt><dd class="big">{{ l.images|count }}</dd><dd class="soft">{% if l.stage_images < l.images %}{{ l.stage_images|count }} of them in each stage; {% endif %}{{ l.validation_images|count }} to validate on</dd></div>
<div><dt>Epochs</dt><dd class="big">{{ l.mask_epochs }} + {{ l.main_epochs }} a stage</dd><dd class="soft">of mask and of retraining; {{ l.final_epochs }} of the whole network at the end</dd></div>
<div><dt>Steps</dt><dd class="big">{{ l.steps|count }}</dd><dd class="soft">of {{ l.batch_size }} images</dd></div>
{%- if let Some(seconds) = l.seconds %}
<div><dt>Estimated time</dt><dd class="big">about {{ seconds|time }}</dd></div>
{%- endif %}
</dl>
<h3>Stages</h3>
<div class="scroll" role="group" aria-label="Stages planned" tabindex="0">
<table><thead><tr><th scope="col">Layers</th><th scope="col" class="n">Filters</th><th scope="col" class="n">Would stay</th></tr></thead><tbody>
{%- for stage in l.stages %}
<tr><th scope="row" class="name">{{ stage.layers.join(", ") }}</th><td class="n">{{ stage.filters|count }}</td><td class="n">{{ stage.kept|count }}</td></tr>
{%- endfor %}
</tbody></table></div>
{%- endif %}
{%- if !groups.is_empty() %}
<h3>Filters that can only be cut together</h3>
<ul>
{%- for group in groups %}
<li class="name">{{ group.join(", ") }}</li>
{%- endfor %}
</ul>
{%- endif %}"#
)]
struct Plan<'a> {
    learning: Option<&'a LearningPlan>,
    figures: &'static str,
    groups: &'a [Vec<String>],
}

mod filters {
    /// A count with commas.
    #[askama::filter_fn]
    pub(super) fn count(number: &usize, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(super::count(*number))
    }

    /// Seconds, minutes or hours.
    #[askama::filter_fn]
    pub(super) fn time(seconds: &f64, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(super::time(*seconds))
    }
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let Some(plan) = &report.plan else {
        return Ok(None);
    };
    let learning = plan.learning.as_ref();
    if learning.is_none() && plan.groups.is_empty() {
        return Ok(None);
    }
    let figures = match learning.map(|l| l.figures).unwrap_or_default() {
        Figures::Most => {
            "At most so many filters would go in all, and here the same share of each layer: how many, and of which layers more, learning will show."
        }
        Figures::Total => {
            "So many would go in all: which layers lose more of them and which less, learning will show."
        }
        Figures::Exact => "So many would go in each layer.",
    };
    let groups = &plan.groups;
    Ok(Some(
        Plan {
            learning,
            figures,
            groups,
        }
        .render()?,
    ))
}
