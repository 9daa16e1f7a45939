//! What a run says of itself: JSON with stable keys, and a table for the terminal.

mod schema;
mod table;
mod text;

pub use schema::{AccuracyReport, FileReport, LatencyReport, LayerReport, Report, Totals};
pub use table::render;
