//! What `compare` says: each run, and means over seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunReport;
use super::text::percent;
use crate::screen::{Column, Role, Screen, Table, Text};

/// A comparison as JSON; keys are a contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparisonReport {
    /// Always `onnx-bnnprune`.
    pub tool: String,
    /// The tool's version.
    pub version: String,
    /// The model that was pruned.
    pub model: String,
    /// The images that it learned from.
    pub data: String,
    /// Each run, in order.
    pub rows: Vec<ComparisonRow>,
    /// What looked wrong; of a comparison that was continued, in its last part.
    pub warnings: Vec<String>,
    /// Which run it was: command, time, machine.
    pub run: RunReport,
}

/// One run. Shares and accuracies are fractions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparisonRow {
    /// How filters were chosen; `unpruned`: none were, and the network was retrained alike.
    pub method: String,
    /// The share that was asked for.
    pub ratio: f64,
    /// The seed.
    pub seed: u64,
    /// Binary filters that are gone.
    pub pruned_ratio: f64,
    /// Multiply-accumulates that are left.
    pub macs_left: f64,
    /// Bytes of weights that are left.
    pub bytes_left: f64,
    /// Accuracy of the model as it came, in the runtime; without labels accuracies are agreement with
    /// that model.
    pub accuracy_before: f64,
    /// Right after the last mask, before its retraining: by the native network on at most 2,000 images.
    pub accuracy_after_masking: Option<f64>,
    /// At the end, in the runtime.
    pub accuracy_after: f64,
    /// Share of images that the original and the result classify alike.
    pub agreement: Option<f64>,
    /// Time of the run.
    pub seconds: f64,
}

/// A mean, and its standard error where there are several values.
fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
    (mean, error)
}

/// A method at a share: means over seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodMeans {
    /// How filters were chosen.
    pub method: String,
    /// Share of binary filters that are gone.
    pub gone: f64,
    /// Accuracy right after the last mask, with its standard error where there are several seeds.
    pub masked: Option<(f64, Option<f64>)>,
    /// Accuracy at the end, likewise.
    pub accuracy: (f64, Option<f64>),
    /// By how much that is better than the unpruned network retrained alike with the same seed.
    pub against: Option<(f64, Option<f64>)>,
    /// Share of multiply-accumulates that are left.
    pub macs_left: f64,
    /// Share of bytes of weights that are left.
    pub bytes_left: f64,
    /// Time of a run.
    pub seconds: f64,
}

impl ComparisonReport {
    /// Each method at each share, in the order of the first runs.
    pub fn means(&self) -> Vec<MethodMeans> {
        let mut kinds: Vec<(&str, f64)> = Vec::new();
        for row in &self.rows {
            let kind = (row.method.as_str(), row.ratio);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mean_of = |(method, ratio)| self.mean_of(method, ratio);
        kinds.into_iter().map(mean_of).collect()
    }

    fn mean_of(&self, method: &str, ratio: f64) -> MethodMeans {
        let of_kind = |r: &&ComparisonRow| r.method == method && r.ratio == ratio;
        let rows: Vec<&ComparisonRow> = self.rows.iter().filter(of_kind).collect();
        let each =
            |of: fn(&ComparisonRow) -> f64| -> Vec<f64> { rows.iter().map(|r| of(r)).collect() };
        let some = |values: Vec<f64>| (!values.is_empty()).then(|| mean(&values));
        let masked = rows.iter().filter_map(|r| r.accuracy_after_masking);
        let against = rows.iter().filter_map(|r| self.against_unpruned(r));
        MethodMeans {
            method: method.to_owned(),
            gone: mean(&each(|r| r.pruned_ratio)).0,
            masked: some(masked.collect()),
            accuracy: mean(&each(|r| r.accuracy_after)),
            against: some(against.collect()).filter(|_| method != UNPRUNED),
            macs_left: mean(&each(|r| r.macs_left)).0,
            bytes_left: mean(&each(|r| r.bytes_left)).0,
            seconds: mean(&each(|r| r.seconds)).0,
        }
    }

    /// For people: a line for each method and share, means over seeds with their standard errors.
    pub fn render(&self) -> Screen {
        let mut table = Table::ruled([
            Column::text("method"),
            Column::number("filters gone"),
            Column::number("masked").leaves(3),
            Column::number("retrained"),
            Column::number("- unpruned"),
            Column::number("MACs left").leaves(2),
            Column::number("bytes left").leaves(1),
            Column::number("time").leaves(0),
        ]);
        for means in self.means() {
            table.row(line(&means));
        }
        let before = self.as_it_came().unwrap_or_default();
        let mut screen = Screen::default();
        screen.table(table);
        screen.blank();
        screen.line(format!(
            "the model as it came: {}; masked: right after the last mask, retrained: at the end",
            percent(before)
        ));
        for warning in &self.warnings {
            screen.warning(warning.as_str());
        }
        screen
    }

    /// Accuracy of the model as it came: the mean over seeds, each of which may judge by other images.
    pub fn as_it_came(&self) -> Option<f64> {
        let by_seed = self.rows.iter().map(|r| (r.seed, r.accuracy_before));
        let by_seed: BTreeMap<u64, f64> = by_seed.collect();
        let values: Vec<f64> = by_seed.into_values().collect();
        (!values.is_empty()).then(|| mean(&values).0)
    }

    /// By how much a run is better than the unpruned network retrained alike with its seed.
    fn against_unpruned(&self, row: &ComparisonRow) -> Option<f64> {
        let alike = |r: &&ComparisonRow| r.method == UNPRUNED && r.seed == row.seed;
        let unpruned = self.rows.iter().find(alike)?;
        Some(row.accuracy_after - unpruned.accuracy_after)
    }
}

/// A mean in per cent.
fn shown((mean, error): (f64, Option<f64>)) -> String {
    match error {
        Some(error) => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * error),
        None => percent(mean),
    }
}

/// A method at a share, over all seeds.
fn line(m: &MethodMeans) -> [Text; 8] {
    let against = match m.against {
        None => String::new(),
        Some((mean, Some(error))) => format!("{:+.2} ± {:.2}", 100.0 * mean, 100.0 * error),
        Some((mean, None)) => format!("{:+.2}", 100.0 * mean),
    };
    [
        m.method.as_str().into(),
        percent(m.gone).into(),
        m.masked.map_or(String::new(), shown).into(),
        Text::of(Role::Strong, shown(m.accuracy)),
        against.into(),
        percent(m.macs_left).into(),
        percent(m.bytes_left).into(),
        format!("{:.0} s", m.seconds).into(),
    ]
}

/// The method of the unpruned network.
pub const UNPRUNED: &str = "unpruned";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, ratio: f64, seed: u64, after: f64) -> ComparisonRow {
        ComparisonRow {
            method: method.into(),
            ratio,
            seed,
            pruned_ratio: ratio,
            accuracy_before: 0.7,
            accuracy_after: after,
            ..ComparisonRow::default()
        }
    }

    #[test]
    fn seeds_are_pooled_and_held_against_their_own_unpruned_network() {
        let report = ComparisonReport {
            rows: vec![
                row("unpruned", 0.0, 0, 0.70),
                row("unpruned", 0.0, 1, 0.72),
                row("random", 0.5, 0, 0.60),
                row("random", 0.5, 1, 0.64),
            ],
            ..ComparisonReport::default()
        };
        let text = report.render().to_string();
        assert!(text.contains("62.00 ± 2.00 %"), "{text}");
        assert!(text.contains("-9.00 ± 1.00"), "{text}");
        assert!(text.contains("as it came: 70.00 %"), "{text}");
    }
}
