//! The sections of the page of a training run, a file each.

mod attention;
mod curves;
mod figures;
mod reproduce;

use super::Section;
use crate::report::TrainReport;

/// All of them, in their order.
pub(super) const ALL: &[Section<TrainReport>] = &[
    figures::SECTION,
    attention::SECTION,
    curves::SECTION,
    reproduce::SECTION,
];
