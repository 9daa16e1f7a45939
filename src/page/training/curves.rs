//! Learning curves of a training run.

use crate::page::plot::{Curve, Mark, Plot, SMALL, Scale};
use crate::page::{PageError, Section, charts};
use crate::report::TrainReport;
use crate::subsidiary::EpochReport;

pub(super) const SECTION: Section<TrainReport> = Section {
    id: "curves",
    title: "Learning curves",
    body,
};

fn body(report: &TrainReport) -> Result<Option<String>, PageError> {
    let points = |of: fn(&EpochReport) -> Option<f64>| -> Vec<(f64, f64)> {
        let all = (1u32..).zip(&report.epochs);
        all.filter_map(|(number, epoch)| Some((f64::from(number), of(epoch)?)))
            .collect()
    };
    let training = "training images";
    let losses = [Curve::new(
        training,
        2,
        Mark::Line,
        points(|e| Some(f64::from(e.loss))),
    )];
    let shares = [
        Curve::new(training, 2, Mark::Line, points(|e| e.training_accuracy)),
        Curve::new("validation images", 3, Mark::Dots, points(|e| e.accuracy)),
    ];
    if report.epochs.is_empty() {
        return Ok(None);
    }
    let plot = |label, scale, curves: &[Curve], level| {
        Plot {
            label,
            size: SMALL,
            x: ("epoch", Scale::Whole),
            y: ("", scale),
            curves,
            breaks: &[],
            level,
        }
        .svg()
    };
    let mut plots = vec![(
        plot("Loss, epoch by epoch", Scale::Number, &losses, None)?,
        "Mean loss of each epoch, on training images as they passed by",
    )];
    if shares.iter().any(|curve| !curve.points.is_empty()) {
        let level = report.accuracy.as_ref().map(|a| a.before);
        plots.push((
            plot("Accuracy, epoch by epoch", Scale::Share, &shares, level)?,
            match level {
                Some(_) => "Accuracy; the thin broken line is the model as it came",
                None => "Accuracy on training images",
            },
        ));
    }
    charts::shown(&shares, plots, "")
}
