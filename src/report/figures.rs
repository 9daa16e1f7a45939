//! The lines under the table: label and value.

use super::schema::{
    AccuracyReport, BudgetReport, LatencyReport, NormalisedReport, Report, Totals,
};
use super::text::{bytes, change, grouped, percent, saved, short};
use super::{form, plan, verification};
use crate::screen::{Role, Screen, Text};
use crate::subsidiary::JUDGE_IMAGES;

/// Adds what a run comes down to.
pub(super) fn figures(report: &Report, screen: &mut Screen) {
    let totals = &report.totals;
    if !report.plans_learning() && !report.only_converts() {
        let pruned = format!(
            "{} of {} binary filters ({})",
            grouped(totals.filters.saturating_sub(totals.kept) as u64),
            grouped(totals.filters as u64),
            percent(totals.pruned_ratio)
        );
        screen.figure("filters pruned", Text::of(Role::Strong, pruned));
    }
    if let Some(plan) = &report.plan {
        plan::show(report, plan, screen);
    }
    costs(totals, screen);
    if let Some(output) = &report.output {
        screen.figure("file", saved(report.input.bytes, output.bytes, bytes));
    }
    if let Some(normal) = &report.normalised {
        screen.figure("normalised", normalised(normal));
    }
    if let Some(form) = &report.form {
        form::show(form, screen);
    }
    if let Some(verification) = &report.verification {
        let models = match report.only_converts() {
            true => "original and written agree on ",
            false => "masked and pruned agree on ",
        };
        verification::show(verification, models, screen);
    }
    if let Some(agreement) = report.agreement {
        let of = match report.is_of_random_inputs() {
            true => ", of random inputs",
            false => "",
        };
        let text = format!("{} (the same top-1 class{of})", percent(agreement));
        screen.figure("like the original", text);
    }
    if let Some(accuracy) = &report.accuracy {
        accuracies(accuracy, !report.stages.is_empty(), screen);
    }
    if let Some(budget) = &report.budget {
        screen.figure("budget", budget_line(budget));
    }
    if let Some(latency) = &report.latency_ms {
        screen.figure("latency", latency_line(latency));
    }
    screen.figure("time", time_line(report));
}

/// What one sample costs, before and after.
fn costs(totals: &Totals, screen: &mut Screen) {
    if totals.masked_but_kept > 0 {
        let text = format!("{} (see `reason` in the report)", totals.masked_but_kept);
        screen.figure("masked, kept", text);
    }
    let t = totals;
    screen.figure("operations", saved(t.macs_before, t.macs_after, short));
    screen.figure("weights", saved(t.bytes_before, t.bytes_after, bytes));
    let (before, after) = (t.bits_before, t.bits_after);
    let weights = change(before.weights.div_ceil(8), after.weights.div_ceil(8), bytes);
    screen.figure(
        "as bits",
        weights + " (1 bit for each binary weight, without scales)",
    );
    screen.figure(
        "bit operations",
        saved(before.operations, after.operations, short),
    );
    screen.figure(
        "parameters",
        saved(t.params_before, t.params_after, grouped),
    );
}

fn normalised(normal: &NormalisedReport) -> String {
    let found = &normal.verification;
    format!(
        "{} thresholds, {} divisions, {} as they were; {} of {} samples differ from the original by ties",
        normal.thresholds.len(),
        normal.divided.len(),
        normal.unchanged.len(),
        grouped(found.ties as u64),
        grouped(found.samples as u64),
    )
}

fn accuracies(accuracy: &AccuracyReport, learned: bool, screen: &mut Screen) {
    let masked = match accuracy.after_masking.filter(|_| !learned) {
        Some(a) => format!("masked {}, ", percent(a)),
        None => String::new(),
    };
    let text = Text::from(format!(
        "before {}, {masked}after ",
        percent(accuracy.before)
    ));
    screen.figure("accuracy", text.and(Role::Strong, percent(accuracy.after)));
    let samples = grouped(accuracy.samples as u64);
    screen.figure(
        "measured on",
        format!("{samples} images of {}", accuracy.source),
    );
    if let Some(a) = accuracy.after_masking.filter(|_| learned) {
        let images = grouped(accuracy.samples.min(JUDGE_IMAGES) as u64);
        let text = format!(
            "{}, before its retraining (native network, {images} images)",
            percent(a)
        );
        screen.figure("after last mask", text);
    }
}

/// What pruning may cost, and cost.
fn budget_line(budget: &BudgetReport) -> Text {
    let points = |share: f64| format!("{:.2} points", 100.0 * share);
    let measure = &budget.measure;
    let change = match budget.drop {
        d if d > 0.0 => format!("{measure} fell by {}", points(d)),
        d if d < 0.0 => format!("{measure} rose by {}", points(-d)),
        _ => format!("{measure} is as it was"),
    };
    let met = match budget.met {
        true => Text::of(Role::Good, "met"),
        false => Text::of(Role::Bad, "NOT MET"),
    };
    let most = points(budget.max_drop);
    met.and_plain(format!(": {change}, at most {most} may go (--max-drop)"))
}

/// Latencies before and after, and how many times as fast that is.
fn latency_line(latency: &LatencyReport) -> String {
    let LatencyReport { before, after, .. } = latency;
    match before == after {
        true => format!("{before:.3} ms: the model is unchanged"),
        false => format!(
            "before {before:.3} ms, after {after:.3} ms ({:.2} times as fast)",
            before / after
        ),
    }
}

/// What the run took.
fn time_line(report: &Report) -> String {
    let disk = report.activation_cache.map_or(0, |c| c.disk_bytes);
    let parts = [
        (report.peak_memory_bytes, "memory"),
        (Some(disk).filter(|&bytes| bytes > 0), "disk"),
    ];
    let part = |(bytes, of): (Option<u64>, _)| {
        bytes.map(|bytes| format!("{} MiB of {of}", grouped(bytes >> 20)))
    };
    let parts: Vec<String> = parts.into_iter().filter_map(part).collect();
    let most = match parts.is_empty() {
        true => String::new(),
        false => format!(", {} at most", parts.join(" and ")),
    };
    format!("{:.1} s{most}", report.seconds)
}
