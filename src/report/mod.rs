//! What a run says of itself: JSON with stable keys, and a table for the terminal.

mod bits;
mod comparison;
mod evaluation;
mod figures;
mod form;
mod inspect;
mod inspected;
#[cfg(test)]
mod json_schema;
mod pictures;
mod plan;
mod run;
mod schema;
mod table;
mod text;
mod training;
mod verification;

pub use bits::BitsReport;
pub use comparison::{ComparisonReport, ComparisonRow, MethodMeans, UNPRUNED};
pub use evaluation::{ClassEntry, ConfusedEntry, Evaluation, LatencyEntry};
pub use inspect::{GroupEntry, Inspection, InspectionTotals, LayerEntry};
pub use pictures::{FilterSigns, GraphItem, GraphPlace, Pictures};
pub use plan::{Figures, LearningPlan, PlanReport, StagePlan};
pub use run::RunReport;
pub use schema::{
    AccuracyReport, BudgetReport, FileReport, FormReport, LatencyReport, LayerReport,
    NormalisedReport, Report, Totals,
};
pub use table::render;
pub(crate) use text::{as_written, bytes, grouped, percent, short};
pub use training::{TrainAccuracy, TrainReport};
pub(crate) use verification::largest_difference;
pub use verification::render_verification;
