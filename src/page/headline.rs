//! The first sentence: what a stranger has to know.

use super::Verdict;
use super::words::{count, points, shares};
use crate::report::{ComparisonReport, Figures, Report, TrainReport, percent};

/// Of a run.
pub(super) fn of_report(report: &Report) -> (Verdict, String) {
    let totals = &report.totals;
    let removed = totals.filters.saturating_sub(totals.kept);
    let of = format!(
        "{} of {} binary filters",
        count(removed),
        count(totals.filters)
    );
    if let Some(plan) = &report.plan {
        let words = match plan.learning.as_ref().map(|l| l.figures) {
            Some(Figures::Most) => {
                format!("At most {of} would be removed; nothing was trained or written.")
            }
            _ => format!("{of} would be removed; nothing was trained or written."),
        };
        return (Verdict::Planned, words);
    }
    let samples = match report.is_of_random_inputs() {
        true => "random inputs",
        false => "images",
    };
    if let Some(v) = report.verification.as_ref().filter(|v| !v.passed) {
        let words = format!(
            "Without {of} the network computes something else: it failed verification in {} {} on {} {samples}.",
            v.runtime,
            v.runtime_version,
            count(v.samples)
        );
        return (Verdict::Failed, words);
    }
    if let Some(budget) = report.budget.as_ref().filter(|b| !b.met) {
        let words = format!(
            "Without {of} {} falls by {}, more than the {} that may go.",
            budget.measure,
            points(budget.drop),
            points(budget.max_drop)
        );
        return (Verdict::Failed, words);
    }
    let mut words = match (report.only_converts(), removed) {
        (true, _) => format!(
            "Written in {} form, nothing removed",
            report.form.as_ref().map_or("another", |f| f.name.as_str())
        ),
        (false, 0) => "No binary filter was removed".to_owned(),
        (false, _) => format!("{of} removed"),
    };
    match (&report.accuracy, report.agreement) {
        (Some(a), _) => words += &format!("; accuracy {}", shares(a.before, a.after)),
        (None, Some(agreement)) => {
            let of = match report.is_of_random_inputs() {
                true => " of random inputs",
                false => "",
            };
            words += &format!("; {}{of} answered like the original", percent(agreement));
        }
        (None, None) => {}
    }
    if let Some(v) = &report.verification {
        words += &format!(
            "; verified in {} {} on {} {samples}",
            v.runtime,
            v.runtime_version,
            count(v.samples)
        );
    }
    (Verdict::Done, words + ".")
}

/// Of a comparison.
pub(super) fn of_comparison(report: &ComparisonReport) -> String {
    let mut methods: Vec<&str> = report.rows.iter().map(|r| r.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    let others = methods.iter().filter(|m| **m != "unpruned").count();
    let best = report
        .means()
        .into_iter()
        .filter(|m| m.method != "unpruned")
        .max_by(|a, b| a.accuracy.0.total_cmp(&b.accuracy.0));
    let mut words = format!(
        "{} {} of choosing filters, {} runs",
        count(others),
        if others == 1 { "way" } else { "ways" },
        count(report.rows.len())
    );
    let before = report.as_it_came();
    if let (Some(before), Some(best)) = (before, best) {
        words += &format!(
            "; the model as it came has {}, and at best {} with {} of its filters gone ({})",
            percent(before),
            percent(best.accuracy.0),
            percent(best.gone),
            best.method
        );
    }
    words + "."
}

/// Of a training run.
pub(super) fn of_training(report: &TrainReport) -> String {
    let epochs = report.epochs.len();
    let mut words = format!(
        "Trained for {} {}",
        count(epochs),
        if epochs == 1 { "epoch" } else { "epochs" }
    );
    if let Some(a) = &report.accuracy {
        words += &format!(
            "; accuracy {} on {} images in {} {}",
            shares(a.before, a.after),
            count(a.samples),
            report.runtime,
            report.runtime_version
        );
    }
    words + "."
}
