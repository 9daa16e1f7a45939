//! Where the seconds went.

use askama::Template;

use crate::page::words::time;
use crate::page::{PageError, Section};
use crate::report::Report;
use crate::stopwatch::Lap;

pub(super) const SECTION: Section<Report> = Section {
    id: "time",
    title: "Time",
    body,
};

struct Row {
    name: String,
    time: String,
    share: String,
    width: String,
}

struct Stage {
    number: usize,
    name: String,
    times: Vec<String>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Where the {{ total }} went.</p>
<div class="scroll" role="group" aria-label="Table of times" tabindex="0">
<table>
<thead><tr><th scope="col">Phase</th><th scope="col" class="n">Time</th><th scope="col" class="n">Share</th><td></td></tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row">{{ row.name }}</th><td class="n">{{ row.time }}</td><td class="n">{{ row.share }}</td><td class="wide"><span class="bar" aria-hidden="true"><span style="width:{{ row.width }}%"></span></span></td></tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- if !stages.is_empty() %}
<details>
<summary>Time of each stage</summary>
<div class="scroll" role="group" aria-label="Time of each stage" tabindex="0">
<table>
<thead><tr><th scope="col" class="n">Stage</th><th scope="col">Layers</th>{% for phase in phases %}<th scope="col" class="n">{{ phase }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for stage in stages %}
<tr><td class="n">{{ stage.number }}</td><th scope="row" class="name">{{ stage.name }}</th>{% for time in stage.times %}<td class="n">{{ time }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
</details>
{%- endif %}"#
)]
struct Times {
    total: String,
    rows: Vec<Row>,
    phases: Vec<String>,
    stages: Vec<Stage>,
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let laps = &report.timings;
    if laps.is_empty() {
        return Ok(None);
    }
    let all: f64 = laps.iter().map(|l| l.seconds).sum();
    let mut phases: Vec<(&str, f64)> = Vec::new();
    for lap in laps {
        match phases.iter_mut().find(|(name, _)| *name == lap.phase) {
            Some((_, seconds)) => *seconds += lap.seconds,
            None => phases.push((&lap.phase, lap.seconds)),
        }
    }
    let share = |seconds: f64| 100.0 * seconds / all.max(f64::MIN_POSITIVE);
    let rows = phases.iter().map(|&(name, seconds)| Row {
        name: capital(name),
        time: time(seconds),
        share: format!("{:.1} %", share(seconds)),
        width: format!("{:.1}", share(seconds).clamp(0.0, 100.0)),
    });
    let within: Vec<&str> = phases
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| laps.iter().any(|l| l.phase == *name && l.stage.is_some()))
        .collect();
    let stages = report
        .stages
        .iter()
        .enumerate()
        .map(|(index, stage)| Stage {
            number: index + 1,
            name: stage.layers.join(", "),
            times: within.iter().map(|name| of(laps, name, index)).collect(),
        });
    let times = Times {
        total: time(all),
        rows: rows.collect(),
        stages: match within.is_empty() {
            true => Vec::new(),
            false => stages.collect(),
        },
        phases: within.iter().map(|name| capital(name)).collect(),
    };
    Ok(Some(times.render()?))
}

fn of(laps: &[Lap], phase: &str, stage: usize) -> String {
    let found = laps
        .iter()
        .find(|l| l.phase == phase && l.stage == Some(stage));
    found.map_or_else(|| "–".to_owned(), |l| time(l.seconds))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}
