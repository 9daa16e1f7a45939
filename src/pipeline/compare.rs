//! Ways of choosing filters side by side: the main job for each way, share and seed, and the unpruned
//! network retrained alike.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::summary::hex;
use super::{Budget, Choice, Job, Tuning, run};
use crate::checkpoint::Plan;
use crate::error::Error;
use crate::onnx::Model;
use crate::output;
use crate::progress::Observer;
use crate::report::{AccuracyReport, ComparisonReport, ComparisonRow, Report, RunReport};
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
    identity: String,
    rows: Vec<ComparisonRow>,
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
    let run_report = RunReport::beginning();
    let identity = identity(comparison)?;
    let mut kept = match &comparison.folder {
        Some(plan) => kept(&plan.folder, &identity)?,
        None => Kept::default(),
    };
    kept.identity = identity;
    let all = comparison.cells.len();
    for (i, cell) in comparison.cells.iter().enumerate() {
        if kept.rows.iter().any(|row| is_of(row, cell)) {
            continue;
        }
        observer.note(&format!(
            "{} of {all}: {}, {:.0} %, seed {}",
            i + 1,
            cell.method,
            100.0 * cell.ratio,
            cell.seed
        ));
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
        if let Some(plan) = &comparison.folder {
            let folder = plan.folder.join(UNDER_WAY);
            crate::checkpoint::remove(&folder)?;
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
        run: run_report,
    })
}

impl Comparison {
    fn job_of(&self, cell: &Cell) -> Job {
        Job {
            output: None,
            budget: Budget::Unlimited,
            choice: Choice::Learn(Box::new(Tuning {
                selector: Some(cell.selector.clone()),
                ..self.tuning.clone()
            })),
            seed: cell.seed,
            checkpoint: self.folder.as_ref().map(|plan| Plan {
                folder: plan.folder.join(UNDER_WAY),
                ..plan.clone()
            }),
            ..self.job.clone()
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

/// Of which comparison rows are: the model, and whatever shapes a run but for what the cells say.
fn identity(comparison: &Comparison) -> Result<String, Error> {
    let model = Model::load(&comparison.job.input)?;
    let Comparison { job, tuning, .. } = comparison;
    // Paths and numbers, as they are shown.
    let shaping = (
        &job.source,
        &job.sizes,
        &job.keep,
        job.residual,
        job.normalise,
    );
    let version = env!("CARGO_PKG_VERSION");
    let shaping = format!(
        "{version} {shaping:?} {} {:?} {tuning:?}",
        job.round_to, job.removal
    );
    Ok(hex(&[&model.bytes[..], shaping.as_bytes()].concat()))
}

/// Removes what is kept of a comparison that is done.
///
/// # Errors
/// What the system said.
pub fn forget(folder: &Path) -> Result<(), Error> {
    crate::checkpoint::remove(&folder.join(UNDER_WAY))?;
    let path = folder.join(ROWS);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::unsuitable(&path, e.to_string()))
        }
        _ => Ok(()),
    }
}

fn kept(folder: &Path, identity: &str) -> Result<Kept, Error> {
    let path = folder.join(ROWS);
    let unreadable = |why: String| Error::unsuitable(&path, why);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(|e| Error::unsuitable(folder, e.to_string()))?;
            return Ok(Kept::default());
        }
        Err(e) => return Err(unreadable(e.to_string())),
    };
    let kept: Kept = serde_json::from_str(&text)
        .map_err(|e| unreadable(format!("is not what this tool keeps there: {e}")))?;
    match kept.identity == identity {
        true => Ok(kept),
        false => Err(unreadable(
            "is of a comparison of another model, or with other data or options; give another folder, or remove it"
                .to_owned(),
        )),
    }
}

fn save(folder: &Path, kept: &Kept) -> Result<(), Error> {
    let path: PathBuf = folder.join(ROWS);
    let text = serde_json::to_string_pretty(kept).unwrap_or_default();
    output::write(&path, text.as_bytes()).map_err(|e| Error::unsuitable(&path, e.to_string()))
}
