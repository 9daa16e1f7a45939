//! The ±1 filters themselves, those that went dimmed.

use askama::Template;

use crate::page::bits::{PALETTE, Picture, picture};
use crate::page::words::count;
use crate::page::{PageError, Section};
use crate::report::{FilterSigns, LayerReport, Report};

pub(super) const SECTION: Section<Report> = Section {
    id: "filters",
    title: "Filters",
    body,
};

/// Up to so many layers their filters are open.
const FEW: usize = 8;

struct Layer<'a> {
    of: &'a FilterSigns,
    picture: Picture,
    weights: String,
    kept: usize,
    left_out: Option<String>,
    gone: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Each block is a filter, each small square in it its kernel on one input channel, each dot a weight of +1 or −1, as the model came.</p>
<ul class="legend">
{%- for (colour, name) in legend %}
<li><span class="swatch" style="background:{{ colour }}"></span>{{ name }}</li>
{%- endfor %}
</ul>
<details{% if open %} open{% endif %}>
<summary>{{ layers.len() }} binary {% if layers.len() == 1 %}layer{% else %}layers{% endif %}</summary>
{%- for layer in layers %}
<h3 class="name">{{ layer.of.layer }}</h3>
<figure>
<img class="bits" src="{{ layer.picture.address }}" width="{{ layer.picture.width }}" height="{{ layer.picture.height }}" decoding="async" alt="The {{ layer.of.filters }} filters of {{ layer.of.layer }}, {{ layer.kept }} kept and {{ layer.of.filters - layer.kept }} removed">
<figcaption>{{ layer.kept }} of {{ layer.of.filters }} filters kept; each has {{ layer.weights }} weights.{% if let Some(text) = layer.left_out %} {{ text }}{% endif %}{% if !layer.gone.is_empty() %} Removed: {{ layer.gone }}.{% endif %}</figcaption>
</figure>
{%- endfor %}
</details>"#
)]
struct Filters<'a> {
    legend: Vec<(String, &'static str)>,
    layers: Vec<Layer<'a>>,
    open: bool,
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let Some(pictures) = report.pictures.as_ref().filter(|p| !p.filters.is_empty()) else {
        return Ok(None);
    };
    let mut layers = Vec::new();
    for of in &pictures.filters {
        // Which filters would go is not known before learning.
        let known = report.layers.iter().filter(|_| !report.plans_learning());
        let mut of_name = known.filter(|l| l.name == of.layer);
        layers.push(shown(of, of_name.next())?);
    }
    let names = ["+1, kept", "−1, kept", "+1, removed", "−1, removed"];
    let colour = |c: &[u8; 4]| {
        let [r, g, b, a] = *c;
        format!("rgba({r},{g},{b},{:.2})", f64::from(a) / 255.0)
    };
    let filters = Filters {
        legend: PALETTE.iter().skip(1).map(colour).zip(names).collect(),
        open: layers.len() <= FEW,
        layers,
    };
    Ok(Some(filters.render()?))
}

fn shown<'a>(of: &'a FilterSigns, layer: Option<&LayerReport>) -> Result<Layer<'a>, PageError> {
    let pruned: &[usize] = layer.map_or(&[], |l| &l.pruned);
    let [height, width] = of.kernel;
    Ok(Layer {
        of,
        picture: picture(of, pruned)?,
        weights: match (height, width) {
            (1, 1) => count(of.inputs),
            _ => format!("{} × {height} × {width}", count(of.inputs)),
        },
        kept: of.filters.saturating_sub(pruned.len()),
        left_out: (of.shown < of.inputs).then(|| {
            format!(
                "Only the first {} of its {} input channels are shown.",
                count(of.shown),
                count(of.inputs)
            )
        }),
        gone: ranges(pruned),
    })
}

/// Ascending numbers, those in a row as ranges: `1, 4–6`.
fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => parts.push((n, n)),
        }
    }
    let text = |&(a, b): &(usize, usize)| match b - a {
        0 => a.to_string(),
        1 => format!("{a}, {b}"),
        _ => format!("{a}–{b}"),
    };
    parts.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_in_a_row_are_ranges() {
        assert_eq!(super::ranges(&[1, 3, 4, 7, 8, 9]), "1, 3, 4, 7–9");
        assert_eq!(super::ranges(&[]), "");
    }
}
