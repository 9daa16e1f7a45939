//! The sections of a comparison's page, a file each.

mod attention;
mod plots;
mod reproduce;
mod runs;
mod table;

use super::Section;
use crate::report::ComparisonReport;

/// All of them, in their order.
pub(super) const ALL: &[Section<ComparisonReport>] = &[
    attention::SECTION,
    plots::SECTION,
    table::SECTION,
    runs::SECTION,
    reproduce::SECTION,
];
