//! Curves as SVG within a page.

use plotters::prelude::*;

use super::PageError;

/// Colours of curves, in the order in which they are taken: apart in hue and in lightness, for light
/// and for dark pages.
const SERIES: [(RGBColor, &str); 7] = [
    (RGBColor(11, 92, 173), "#6cb6ff"),
    (RGBColor(194, 65, 12), "#ff9d5c"),
    (RGBColor(15, 118, 110), "#4fd1c5"),
    (RGBColor(126, 34, 206), "#c9a2ff"),
    (RGBColor(138, 109, 0), "#e3c04d"),
    (RGBColor(190, 24, 93), "#ff8fb8"),
    (RGBColor(71, 85, 105), "#a7b4c2"),
];
const GRID: RGBColor = RGBColor(213, 219, 225);
const TEXT: RGBColor = RGBColor(87, 96, 106);
const FONT: &str = "sans-serif";
/// The size of a plot that has the whole width: on narrow screens it is moved to and fro.
pub(super) const WIDE: (u32, u32) = (760, 280);
/// The size of one of two side by side.
pub(super) const SMALL: (u32, u32) = (400, 230);

/// What tells a curve from others, beside its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A line.
    Line,
    /// A broken line.
    Dashes,
    /// Points that are joined.
    Dots,
    /// Rings joined by a broken line.
    Rings,
}

impl Mark {
    /// For one of many curves of points: with its colour, unlike all others'.
    pub(super) fn of_points(curve: usize) -> Self {
        match (curve / SERIES.len()).is_multiple_of(2) {
            true => Self::Dots,
            false => Self::Rings,
        }
    }
}

/// A curve.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// Its name.
    pub name: String,
    /// Which colour it has.
    pub colour: usize,
    pub mark: Mark,
    /// Its points; those that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
    /// What each may be off by, up and down; empty: nothing is known of that.
    pub errors: Vec<f64>,
}

impl Curve {
    pub(super) fn new(
        name: &str,
        colour: usize,
        mark: Mark,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let points = points.into_iter();
        Self {
            name: name.to_owned(),
            colour,
            mark,
            points: points
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .collect(),
            errors: Vec::new(),
        }
    }

    fn colour(&self) -> RGBColor {
        SERIES[self.colour % SERIES.len()].0
    }

    /// What stands for it in a legend.
    pub(super) fn key(&self) -> String {
        let colour = hex(self.colour());
        let dashes = match self.mark {
            Mark::Dashes | Mark::Rings => r#" stroke-dasharray="4 3""#,
            Mark::Line | Mark::Dots => "",
        };
        let dot = match self.mark {
            Mark::Dots => format!(r#"<circle cx="15" cy="6" r="3.5" fill="{colour}"/>"#),
            Mark::Rings => format!(
                r#"<circle cx="15" cy="6" r="3.5" fill="none" stroke="{colour}" stroke-width="2"/>"#
            ),
            Mark::Line | Mark::Dashes => String::new(),
        };
        format!(
            r#"<svg class="plot key" viewBox="0 0 30 12" aria-hidden="true"><line x1="1" y1="6" x2="29" y2="6" stroke="{colour}" stroke-width="2.5"{dashes}/>{dot}</svg>"#
        )
    }
}

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Whole numbers.
    Whole,
    /// Fractions, shown as per cent.
    Share,
    /// Any numbers from 0 up.
    Number,
}

impl Scale {
    fn text(self, value: f64, step: f64) -> String {
        match self {
            // Between whole numbers there is nothing to name.
            Self::Whole if (value - value.round()).abs() > 1e-6 => String::new(),
            Self::Whole => format!("{value:.0}"),
            Self::Share if step < 0.01 => format!("{:.1} %", 100.0 * value),
            Self::Share => format!("{:.0} %", 100.0 * value),
            // As many digits as tell one tick from the next.
            Self::Number if step < 0.01 => {
                let digits = (-step.log10()).ceil().clamp(3.0, 9.0) as usize;
                format!("{value:.digits$}")
            }
            Self::Number if step < 1.0 => format!("{value:.2}"),
            Self::Number => format!("{value:.0}"),
        }
    }
}

/// A plot of curves.
#[derive(Debug, Clone)]
pub(super) struct Plot<'a> {
    /// What it shows, for who cannot see it.
    pub label: &'a str,
    /// Width and height, in pixels.
    pub size: (u32, u32),
    pub x: (&'a str, Scale),
    pub y: (&'a str, Scale),
    pub curves: &'a [Curve],
    /// Places where something begins.
    pub breaks: &'a [f64],
    /// A level to hold curves against.
    pub level: Option<f64>,
}

impl Plot<'_> {
    /// The plot as an SVG element; nothing where there are no points.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub(super) fn svg(&self) -> Result<String, PageError> {
        let points = || self.curves.iter().flat_map(|c| &c.points);
        if points().next().is_none() {
            return Ok(String::new());
        }
        let x = range(points().map(|p| p.0), self.x.1);
        let low_high = self.curves.iter().flat_map(|c| {
            let error = |i: usize| c.errors.get(i).copied().unwrap_or(0.0);
            let ends = c.points.iter().enumerate();
            ends.flat_map(move |(i, p)| [p.1 - error(i), p.1 + error(i)])
        });
        let y = range(low_high.chain(self.level), self.y.1);
        let mut svg = String::new();
        self.draw(&mut svg, x, y)
            .map_err(|e| PageError::Plot(e.to_string()))?;
        Ok(self.framed(&svg))
    }

    fn draw(
        &self,
        svg: &mut String,
        x: (f64, f64),
        y: (f64, f64),
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(38)
            .y_label_area_size(58)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let marks = |size: u32, each: u32| usize::try_from((size / each).clamp(3, 10)).unwrap_or(5);
        let (columns, rows) = (marks(self.size.0, 70), marks(self.size.1, 45));
        let step = |(low, high): (f64, f64), n: usize| (high - low) / n as f64;
        let columns = match self.x.1 {
            // Between whole numbers there is nothing to mark.
            Scale::Whole => columns.min((x.1 - x.0) as usize + 1),
            Scale::Share | Scale::Number => columns,
        };
        let style = (FONT, 13).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(columns)
            .y_labels(rows)
            .x_label_formatter(&|v| self.x.1.text(*v, step(x, columns)))
            .y_label_formatter(&|v| self.y.1.text(*v, step(y, rows)))
            .x_desc(self.x.0)
            .y_desc(self.y.0)
            .label_style(style.clone())
            .axis_desc_style(style)
            .draw()?;
        for &at in self.breaks {
            let ends = [(at, y.0), (at, y.1)];
            chart.draw_series(DashedLineSeries::new(ends, 2, 4, TEXT.stroke_width(1)))?;
        }
        if let Some(level) = self.level {
            let ends = [(x.0, level), (x.1, level)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, TEXT.stroke_width(1)))?;
        }
        for curve in self.curves {
            let points = || curve.points.iter().copied();
            let stroke = curve.colour().stroke_width(2);
            match curve.mark {
                Mark::Dashes | Mark::Rings => {
                    chart.draw_series(DashedLineSeries::new(points(), 5, 3, stroke))?;
                }
                Mark::Line | Mark::Dots => {
                    chart.draw_series(LineSeries::new(points(), stroke))?;
                }
            }
            // A line of one point is none.
            if matches!(curve.mark, Mark::Dots | Mark::Rings) || curve.points.len() == 1 {
                let style = match curve.mark {
                    Mark::Rings => stroke,
                    _ => curve.colour().filled(),
                };
                chart.draw_series(points().map(|p| Circle::new(p, 3, style)))?;
            }
            let bars = points().zip(&curve.errors).filter(|(_, e)| **e > 0.0);
            let bar = |((x, y), e): ((f64, f64), &f64)| {
                PathElement::new([(x, y - e), (x, y + e)], curve.colour().stroke_width(1))
            };
            chart.draw_series(bars.map(bar))?;
        }
        root.present()
    }

    /// The drawing in an element that takes the width it is given, and says what it shows.
    fn framed(&self, svg: &str) -> String {
        let inner = svg.split_once('>').map_or("", |(_, rest)| rest);
        let (width, height) = self.size;
        let wide = if self.size == WIDE { " large" } else { "" };
        let label = askama::filters::escape(self.label, askama::filters::Html);
        let label = label.map_or(String::new(), |l| l.to_string());
        format!(
            r#"<svg class="plot{wide}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{inner}"#
        )
    }
}

/// A legend of curves; those of one name count as one.
pub(super) fn legend(curves: &[Curve]) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for curve in curves.iter().filter(|c| !c.points.is_empty()) {
        if !entries.iter().any(|(_, name)| *name == curve.name) {
            entries.push((curve.key(), curve.name.clone()));
        }
    }
    entries
}

/// The least range that shows all values with some room.
fn range(values: impl Iterator<Item = f64>, scale: Scale) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
    let room = match scale {
        Scale::Whole => 0.3,
        Scale::Share => (0.08 * (high - low)).max(0.005),
        Scale::Number => (0.08 * (high - low)).max(1e-3),
    };
    match scale {
        Scale::Whole => (low - room, high + room),
        Scale::Share => ((low - room).max(-0.01), (high + room).min(1.01)),
        Scale::Number => ((low - room).max(0.0), high + room),
    }
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Style rules that give plots the page's colours: what a drawing says of a colour is overruled.
pub(super) fn style() -> String {
    let mut style = String::new();
    let rule = |colour: RGBColor, to: &str| {
        let hex = hex(colour);
        format!(".plot [stroke=\"{hex}\"]{{stroke:{to}}}.plot [fill=\"{hex}\"]{{fill:{to}}}")
    };
    style += &rule(GRID, "var(--rule)");
    style += &rule(TEXT, "var(--soft)");
    style += "@media screen and (prefers-color-scheme: dark){";
    for (light, dark) in SERIES {
        style += &rule(light, dark);
    }
    style + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(curves: &[Curve]) -> String {
        Plot {
            label: "a \"label\" <b>",
            size: (340, 200),
            x: ("epoch", Scale::Whole),
            y: ("loss", Scale::Number),
            curves,
            breaks: &[1.5],
            level: Some(0.4),
        }
        .svg()
        .unwrap()
    }

    #[test]
    fn a_plot_is_an_element_of_its_own() {
        let curve = Curve::new(
            "x",
            0,
            Mark::Line,
            [(1.0, 0.5), (2.0, f64::NAN), (3.0, 0.25)],
        );
        assert_eq!(curve.points.len(), 2);
        let svg = plot(&[curve]);
        assert!(svg.starts_with("<svg class=\"plot\"") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("http") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("#0B5CAD") && style().contains("[stroke=\"#0B5CAD\"]"));
        assert_eq!(plot(&[]), "");
    }

    #[test]
    fn many_curves_of_points_are_told_apart() {
        let key = |i| Curve::new("", i, Mark::of_points(i), []).key();
        let keys: std::collections::BTreeSet<String> = (0..14).map(key).collect();
        assert_eq!(keys.len(), 14);
    }

    #[test]
    fn one_value_has_a_range_too() {
        for scale in [Scale::Whole, Scale::Share, Scale::Number] {
            let (low, high) = range([0.5].into_iter(), scale);
            assert!(low < 0.5 && high > 0.5, "{scale:?}");
        }
        assert_eq!(Scale::Whole.text(2.5, 0.5), "");
        assert_eq!(Scale::Share.text(0.125, 0.005), "12.5 %");
    }

    #[test]
    fn ticks_of_small_steps_differ() {
        let text = |value| Scale::Number.text(value, 0.0005);
        assert_eq!([text(0.0005), text(0.001)], ["0.0005", "0.0010"]);
        assert_eq!(Scale::Number.text(0.25, 0.05), "0.25");
    }
}
