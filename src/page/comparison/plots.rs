//! Accuracy against what is left.

use crate::page::plot::{Curve, Mark, Plot, SMALL, Scale};
use crate::page::{PageError, Section, charts};
use crate::report::{ComparisonReport, MethodMeans};

pub(super) const SECTION: Section<ComparisonReport> = Section {
    id: "plots",
    title: "Accuracy against size",
    body,
};

/// What is said of all plots.
const NOTE: &str = "Points are means over seeds, bars their standard errors where there are several; the thin broken line is the model as it came. Up and to the right is better: more removed, and more kept of the accuracy.";

fn body(report: &ComparisonReport) -> Result<Option<String>, PageError> {
    let means = report.means();
    if means.is_empty() {
        return Ok(None);
    }
    type X = fn(&MethodMeans) -> f64;
    let axes: [(&'static str, &'static str, X); 3] = [
        (
            "filters removed",
            "Accuracy against the share of binary filters removed",
            |m| m.gone,
        ),
        (
            "MACs removed",
            "Accuracy against the share of multiply-accumulates removed",
            |m| 1.0 - m.macs_left,
        ),
        (
            "bytes removed",
            "Accuracy against the share of bytes of weights removed",
            |m| 1.0 - m.bytes_left,
        ),
    ];
    let mut plots = Vec::new();
    let mut shown = Vec::new();
    for (x, label, of) in axes {
        let curves = curves(&means, of);
        let svg = Plot {
            label,
            size: SMALL,
            x: (x, Scale::Share),
            y: ("", Scale::Share),
            curves: &curves,
            breaks: &[],
            level: report.as_it_came(),
        }
        .svg()?;
        plots.push((svg, label));
        shown = curves;
    }
    charts::shown(&shown, plots, NOTE)
}

/// A curve a method, its points from left to right.
fn curves(means: &[MethodMeans], x: fn(&MethodMeans) -> f64) -> Vec<Curve> {
    let mut methods: Vec<&str> = Vec::new();
    for m in means {
        if !methods.contains(&m.method.as_str()) {
            methods.push(&m.method);
        }
    }
    let curve = |(colour, method): (usize, &&str)| {
        let mut points: Vec<(f64, &MethodMeans)> = means
            .iter()
            .filter(|m| m.method == **method)
            .map(|m| (x(m), m))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut curve = Curve::new(
            method,
            colour,
            Mark::of_points(colour),
            points.iter().map(|(x, m)| (*x, m.accuracy.0)),
        );
        curve.errors = points
            .iter()
            .map(|(_, m)| m.accuracy.1.unwrap_or(0.0))
            .collect();
        curve
    };
    methods.iter().enumerate().map(curve).collect()
}
