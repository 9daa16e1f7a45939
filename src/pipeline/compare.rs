//! Ways of choosing filters side by side: the main job for each way, share and seed, and the unpruned
//! network retrained alike.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Budget, Choice, Job, Tuning, View, fit, given, images, load_model, run, written};
use crate::checkpoint::{self, Folder, Identity, Plan};
use crate::error::Error;
use crate::forms;
use crate::output;
use crate::progress::{Heard, Observer};
use crate::report::{AccuracyReport, ComparisonReport, ComparisonRow, Report, RunReport};
use crate::rewrite;
use crate::subsidiary::Selector;
use crate::verify::{Runtime, RuntimeError};

/// The file of the folder in which an interrupted comparison is kept.
const ROWS: &str = "rows.json";
/// The folder in there of the run under way.
const UNDER_WAY: &str = "run";

/// One run of a comparison.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What the table calls it.
    pub method: String,
    /// The share of filters that it is to prune.
    pub ratio: f64,
    /// The seed of everything random in it.
    pub seed: u64,
    /// How it chooses filters.
    pub selector: Selector,
}

impl Cell {
    fn label(&self) -> String {
        let share = 100.0 * self.ratio;
        format!("{}, {share:.0} %, seed {}", self.method, self.seed)
    }
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The job that all runs have in common; it writes nothing. Its choice and seed are each run's own.
    pub job: Job,
    /// Options of training that all runs have in common.
    pub tuning: Tuning,
    /// The runs, in order.
    pub cells: Vec<Cell>,
    /// Where runs that are done are kept, and continued from.
    pub folder: Option<Plan>,
}

/// Runs that are done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Of which comparison they are.
    identity: Identity,
    rows: Vec<ComparisonRow>,
    /// What they warned of.
    #[serde(default)]
    warnings: Vec<String>,
}

impl Kept {
    /// Keeps the warnings of a run: as they are where whoever watches was told, else with the run that they are of.
    fn hear(&mut self, cell: &Cell, report: &Report, heard: &Heard<'_>) {
        let told = heard.warnings_and(Vec::new());
        for warning in &report.warnings {
            let said = match told.contains(warning) {
                true => warning.clone(),
                false => format!("{}: {warning}", cell.label()),
            };
            if !self.warnings.contains(&said) {
                self.warnings.push(said);
            }
        }
    }
}

/// Runs a comparison, or the rest of it; `open` gives the runtime that verifies each run.
///
/// # Errors
/// As [`run`], for the first run that fails; what is done is kept, where there is a folder.
pub fn compare(
    comparison: &Comparison,
    mut open: impl FnMut() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
) -> Result<ComparisonReport, Error> {
    let heard = Heard::new(observer);
    let observer: &dyn Observer = &heard;
    let run_report = RunReport::beginning();
    // Held until the end: what runs leave there is of one comparison.
    let _folder = match &comparison.folder {
        Some(plan) => Some(Folder::open(&plan.folder)?),
        None => None,
    };
    let identity = prepared(comparison, observer)?;
    let mut kept = match &comparison.folder {
        Some(plan) => kept(&plan.folder, identity)?,
        None => Kept::default(),
    };
    let all = comparison.cells.len();
    for (i, cell) in comparison.cells.iter().enumerate() {
        if kept.rows.iter().any(|row| is_of(row, cell)) {
            continue;
        }
        observer.note(&format!("{} of {all}: {}", i + 1, cell.label()));
        let report = run(&comparison.job_of(cell), &mut open, observer)?;
        if !report.passed() {
            return Err(Error::Verification(format!(
                "{}: {} at seed {}: masked and pruned model differ",
                comparison.job.input.display(),
                cell.method,
                cell.seed
            )));
        }
        kept.rows.push(row(cell, &report));
        kept.hear(cell, &report, &heard);
        if let Some(plan) = &comparison.folder {
            let folder = plan.folder.join(UNDER_WAY);
            checkpoint::remove(&folder)?;
            save(&plan.folder, &kept)?;
        }
    }
    let asked = |row: &ComparisonRow| comparison.cells.iter().any(|cell| is_of(row, cell));
    let rows: Vec<ComparisonRow> = kept.rows.into_iter().filter(asked).collect();
    Ok(ComparisonReport {
        tool: "onnx-bnnprune".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: comparison.job.input.display().to_string(),
        data: comparison.job.source_path().display().to_string(),
        rows,
        warnings: heard.warnings_and(kept.warnings),
        run: run_report,
    })
}

impl Comparison {
    fn job_of(&self, cell: &Cell) -> Job {
        Job {
            output: None,
            budget: Budget::Unlimited,
            choice: Choice::Learn(Box::new(self.tuning_of(cell))),
            seed: cell.seed,
            checkpoint: self.folder.as_ref().map(|plan| Plan {
                folder: plan.folder.join(UNDER_WAY),
                ..plan.clone()
            }),
            ..self.job.clone()
        }
    }

    fn tuning_of(&self, cell: &Cell) -> Tuning {
        Tuning {
            selector: Some(cell.selector.clone()),
            ..self.tuning.clone()
        }
    }
}

/// Whether a row is that run's.
fn is_of(row: &ComparisonRow, cell: &Cell) -> bool {
    let same = (row.ratio - cell.ratio).abs() < 1e-9;
    row.method == cell.method && same && row.seed == cell.seed
}

fn row(cell: &Cell, report: &Report) -> ComparisonRow {
    let totals = &report.totals;
    // Without labels the original is right.
    let accuracy = report.accuracy.clone().unwrap_or_else(|| AccuracyReport {
        before: 1.0,
        after: report.agreement.unwrap_or_default(),
        ..AccuracyReport::default()
    });
    let left = |after: u64, before: u64| after as f64 / before.max(1) as f64;
    ComparisonRow {
        method: cell.method.clone(),
        ratio: cell.ratio,
        seed: cell.seed,
        pruned_ratio: totals.pruned_ratio,
        macs_left: left(totals.macs_after, totals.macs_before),
        bytes_left: left(totals.bytes_after, totals.bytes_before),
        accuracy_before: accuracy.before,
        accuracy_after_masking: accuracy.after_masking,
        accuracy_after: accuracy.after,
        agreement: report.agreement,
        seconds: report.seconds,
    }
}

/// Whether each run can have its share, which is to be known before the first; and of which comparison rows are: the
/// model, the images by what they show, and whatever else shapes a run but for what the cells say.
fn prepared(comparison: &Comparison, observer: &dyn Observer) -> Result<Identity, Error> {
    let job = &comparison.job;
    let model = load_model(&job.input, &job.sizes, job.source.as_ref())?;
    let opened = forms::unpack(&model.proto);
    let opened = opened.map_err(|e| written::form_error(&job.input, e))?;
    let view = View::new(&job.input, &opened)?;
    // Names instead of patterns.
    let job = &Job {
        keep: given::kept(job, &view)?,
        ..job.clone()
    };
    let costs = rewrite::cost(&view.graph, &view.facts, &view.layers).layers;
    for cell in &comparison.cells {
        let tuning = comparison.tuning_of(cell);
        // How many images there are does not matter here.
        let options = tuning.options_for(1, true, job);
        fit::reachable(&job.input, &view.subject(&costs), &options)?;
    }
    if comparison.folder.is_none() {
        return Ok(Identity::default());
    }
    let source = job
        .source
        .as_ref()
        .ok_or_else(|| Error::Usage("compare needs --data: images to learn from".to_owned()))?;
    let images = images::load_to_learn_from(&job.input, &view, source, job.seed, observer)?;
    super::identity::of_comparison(comparison, &model, &images)
}

/// Removes what is kept of a comparison that is done; rows of other runs than its own, of a larger comparison, stay
/// with all that is kept of that.
///
/// # Errors
/// What the system said.
pub fn forget(comparison: &Comparison, folder: &Path) -> Result<(), Error> {
    let own = |row: &ComparisonRow| comparison.cells.iter().any(|cell| is_of(row, cell));
    let text = fs::read_to_string(folder.join(ROWS)).unwrap_or_default();
    let kept: Option<Kept> = serde_json::from_str(&text).ok();
    if kept.is_some_and(|kept| !kept.rows.iter().all(own)) {
        return Ok(());
    }
    let under_way = folder.join(UNDER_WAY);
    checkpoint::remove(&under_way)?;
    // Whatever else is in there is not of this comparison.
    let _ = fs::remove_dir(&under_way);
    let path = folder.join(ROWS);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::unsuitable(&path, e.to_string()))
        }
        _ => Ok(()),
    }
}

fn kept(folder: &Path, identity: Identity) -> Result<Kept, Error> {
    let path = folder.join(ROWS);
    let unreadable = |why: String| Error::unsuitable(&path, why);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Kept {
                identity,
                ..Kept::default()
            });
        }
        Err(e) => return Err(unreadable(e.to_string())),
    };
    let kept: Kept = serde_json::from_str(&text)
        .map_err(|e| unreadable(format!("is not what this version keeps there: {e}")))?;
    match &checkpoint::differences(&kept.identity, &identity)[..] {
        [] => Ok(kept),
        differences => Err(unreadable(format!(
            "is of another comparison: {}; give another folder, or remove it",
            differences.join("; ")
        ))),
    }
}

fn save(folder: &Path, kept: &Kept) -> Result<(), Error> {
    let path: PathBuf = folder.join(ROWS);
    let text = serde_json::to_string_pretty(kept).unwrap_or_default();
    output::write(&path, text.as_bytes()).map_err(|e| Error::unsuitable(&path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subsidiary::{Amount, RULES};

    #[test]
    fn rows_of_other_runs_are_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let comparison = Comparison {
            job: Job::new(PathBuf::from("in.onnx"), Choice::Nothing),
            tuning: Tuning::default(),
            cells: vec![Cell {
                method: "random".to_owned(),
                ratio: 0.3,
                seed: 1,
                selector: Selector::Rule {
                    rule: RULES[0],
                    amount: Amount::Shared(0.3),
                },
            }],
            folder: None,
        };
        let row = |seed: u64| ComparisonRow {
            method: "random".to_owned(),
            ratio: 0.3,
            seed,
            ..ComparisonRow::default()
        };
        let mut kept = Kept {
            rows: vec![row(1), row(2)],
            ..Kept::default()
        };
        save(dir.path(), &kept).unwrap();
        forget(&comparison, dir.path()).unwrap();
        assert!(dir.path().join(ROWS).exists());
        kept.rows.truncate(1);
        save(dir.path(), &kept).unwrap();
        forget(&comparison, dir.path()).unwrap();
        assert!(!dir.path().join(ROWS).exists());
    }
}
