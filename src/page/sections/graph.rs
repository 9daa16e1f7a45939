//! The network from input to output, before and after.

use askama::Template;

use crate::page::words::change;
use crate::page::{PageError, Section};
use crate::report::{GraphItem, GraphPlace, LayerReport, Report, grouped};

pub(super) const SECTION: Section<Report> = Section {
    id: "graph",
    title: "Network",
    body,
};

/// Streams beside the main way that are drawn, at most; the words name all.
const LANES: usize = 8;

struct Row<'a> {
    classes: String,
    lanes: Vec<&'static str>,
    name: &'a str,
    what: String,
    /// Width of the box and of what is left of it, in per cent.
    size: Option<(String, String)>,
    beside: String,
    then: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<figure>
<ol class="way">
{%- for row in rows %}
<li class="{{ row.classes }}">{% if lanes > 0 %}<span class="lanes" aria-hidden="true">{% for lane in row.lanes %}<span class="lane {{ lane }}"></span>{% endfor %}</span>{% endif %}<span class="spine" aria-hidden="true"></span><div class="what"><span class="name">{{ row.name }}</span> {{ row.what }}
{%- if let Some((width, left)) = row.size %}<span class="size" aria-hidden="true"><span style="width:{{ width }}%"><span style="width:{{ left }}%"></span></span></span>{% endif %}
{%- if !row.beside.is_empty() %}<div class="soft">{{ row.beside }}</div>{% endif %}
{%- if !row.then.is_empty() %}<div class="soft">then {{ row.then }}</div>{% endif %}</div></li>
{%- endfor %}
</ol>
<figcaption>Top to bottom as the network runs. A box is as wide as its layer has filters, its filled part what is left of them; binary layers are blue. Lines on the left are streams that go around layers{% if hidden %} (of more than {{ lanes }} at a time only so many are drawn){% endif %}.</figcaption>
</figure>
{%- if !operators.is_empty() %}
<details>
<summary>Operators before and after</summary>
<div class="scroll" role="group" aria-label="Operators before and after" tabindex="0">
<table><thead><tr><th scope="col">Operator</th><th scope="col" class="n">Nodes</th></tr></thead><tbody>
{%- for (op, nodes) in operators %}
<tr><th scope="row" class="name">{{ op }}</th><td class="n">{{ nodes }}</td></tr>
{%- endfor %}
</tbody></table></div>
</details>
{%- endif %}"#
)]
struct Way<'a> {
    rows: Vec<Row<'a>>,
    lanes: usize,
    hidden: bool,
    operators: Vec<(&'a str, String)>,
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let Some(pictures) = report.pictures.as_ref().filter(|p| !p.graph.is_empty()) else {
        return Ok(None);
    };
    let items = &pictures.graph;
    let Lanes { cells, hidden } = Lanes::of(items);
    let widest = report.layers.iter().map(|l| l.filters).max().unwrap_or(1);
    let rows = items.iter().enumerate().map(|(at, item)| {
        let layer = match item.place {
            GraphPlace::Layer(index) => report.layers.get(index),
            _ => None,
        };
        let share =
            |part: usize, of: usize| format!("{:.1}", 100.0 * part as f64 / of.max(1) as f64);
        Row {
            classes: classes(items, at, layer),
            lanes: cells.get(at).cloned().unwrap_or_default(),
            name: &item.name,
            what: what(&item.place, layer),
            size: layer.map(|l| (share(l.filters, widest), share(l.kept, l.filters))),
            beside: beside(items, at),
            then: item.then.join(", "),
        }
    });
    let nodes = |before: usize, after: usize| change(before as u64, after as u64, grouped);
    let operators = pictures.operators.iter();
    let way = Way {
        rows: rows.collect(),
        lanes: cells.first().map_or(0, Vec::len),
        hidden,
        operators: operators
            .map(|(op, before, after)| (op.as_str(), nodes(*before, *after)))
            .collect(),
    };
    Ok(Some(way.render()?))
}

fn what(place: &GraphPlace, layer: Option<&LayerReport>) -> String {
    match (place, layer) {
        (_, Some(layer)) => format!(
            "{}, {} filters",
            layer.kind,
            change(layer.filters as u64, layer.kept as u64, grouped)
        ),
        (GraphPlace::Input, _) => "input".to_owned(),
        (GraphPlace::Output, _) => "output".to_owned(),
        (GraphPlace::Join(op), _) => op.clone(),
        (GraphPlace::Layer(_), None) => "layer".to_owned(),
    }
}

fn classes(items: &[GraphItem], at: usize, layer: Option<&LayerReport>) -> String {
    let mut classes = match (&items[at].place, layer) {
        (_, Some(layer)) if layer.binary => "layer binary".to_owned(),
        (GraphPlace::Layer(_), _) => "layer float".to_owned(),
        (GraphPlace::Join(_), _) => "join".to_owned(),
        _ => "end".to_owned(),
    };
    if at == 0 {
        classes += " first";
    } else if !items[at].sources.contains(&(at - 1)) {
        // It does not read what stands above it.
        classes += " apart";
    }
    let read = items
        .get(at + 1)
        .is_some_and(|next| next.sources.contains(&at));
    if !read {
        classes += " last";
    }
    classes
}

/// What a place reads beside the one above it, in words.
fn beside(items: &[GraphItem], at: usize) -> String {
    let name = |&source: &usize| items.get(source).map_or("", |i| i.name.as_str()).to_owned();
    let others = items[at].sources.iter().filter(|&&s| s + 1 != at);
    let names: Vec<String> = others.map(name).collect();
    match (names.is_empty(), items[at].sources.len() > names.len()) {
        (true, _) => String::new(),
        (false, true) => format!("and the stream of {}", names.join(", ")),
        (false, false) => format!("reads {}", names.join(", ")),
    }
}

/// Streams that go around what stands between, each in a lane of its own.
struct Lanes {
    /// Of each row, what each lane shows: the outermost first.
    cells: Vec<Vec<&'static str>>,
    /// Whether some streams found no lane.
    hidden: bool,
}

impl Lanes {
    fn of(items: &[GraphItem]) -> Self {
        // A stream goes from a place to the last one that reads it from afar.
        let mut streams: Vec<(usize, usize, Vec<usize>)> = Vec::new();
        let mut readers_of: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
        for (to, item) in items.iter().enumerate() {
            for &from in &item.sources {
                if let Some(readers) = readers_of.get_mut(from).filter(|_| to > from + 1) {
                    readers.push(to);
                }
            }
        }
        for (from, readers) in readers_of.into_iter().enumerate() {
            if let Some(&last) = readers.last() {
                streams.push((from, last, readers));
            }
        }
        // The first free lane, counted from the right.
        let mut busy: Vec<usize> = Vec::new();
        let mut placed = Vec::new();
        let mut hidden = false;
        for (from, to, readers) in streams {
            let free = busy.iter().position(|&until| until <= from);
            let lane = match free {
                Some(lane) => lane,
                None if busy.len() < LANES => {
                    busy.push(0);
                    busy.len() - 1
                }
                None => {
                    hidden = true;
                    continue;
                }
            };
            busy[lane] = to;
            placed.push((lane, from, to, readers));
        }
        let count = busy.len();
        let mut cells = vec![vec![""; count]; items.len()];
        for (lane, from, to, readers) in placed {
            let column = count - 1 - lane;
            for (row, cells) in cells.iter_mut().enumerate().take(to + 1).skip(from) {
                let turns = row == from || readers.contains(&row);
                cells[column] = match (row == from, row == to) {
                    // One stream ends where the next one in its lane begins.
                    (true, _) if cells[column].starts_with("reach") => "both turn",
                    (true, _) => "leave turn",
                    (_, true) => "reach turn",
                    _ if turns => "both turn",
                    _ => "pass",
                };
                if turns {
                    for over in cells.iter_mut().skip(column + 1) {
                        *over = crossed(over);
                    }
                }
            }
        }
        Self { cells, hidden }
    }
}

/// A lane that a turn of another one crosses.
fn crossed(cell: &'static str) -> &'static str {
    match cell {
        "" => "over",
        "pass" => "pass over",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(sources: &[usize]) -> GraphItem {
        GraphItem {
            place: GraphPlace::Join("Add".to_owned()),
            name: String::new(),
            sources: sources.to_vec(),
            then: Vec::new(),
        }
    }

    #[test]
    fn a_chain_needs_no_lane() {
        let lanes = Lanes::of(&[item(&[]), item(&[0]), item(&[1])]);
        assert!(lanes.cells.iter().all(Vec::is_empty));
    }

    #[test]
    fn streams_around_layers_share_a_lane_one_after_the_other() {
        // 0 → 1 → 2(+0) → 3 → 4(+2)
        let lanes = Lanes::of(&[
            item(&[]),
            item(&[0]),
            item(&[0, 1]),
            item(&[2]),
            item(&[2, 3]),
        ]);
        let column: Vec<&str> = lanes.cells.iter().map(|row| row[0]).collect();
        let expected = ["leave turn", "pass", "both turn", "pass", "reach turn"];
        assert_eq!(column, expected);
    }

    #[test]
    fn streams_side_by_side_have_a_lane_each() {
        let lanes = Lanes::of(&[
            item(&[]),
            item(&[0]),
            item(&[1]),
            item(&[0, 2]),
            item(&[1, 3]),
        ]);
        assert_eq!(lanes.cells[0].len(), 2);
        assert_eq!(lanes.cells[2], ["pass", "pass"]);
        assert!(!lanes.hidden);
    }
}
