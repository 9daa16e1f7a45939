//! The sections of a run's page, a file each.

mod attention;
mod curves;
mod figures;
mod filters;
mod graph;
mod layers;
mod plan;
mod proof;
mod reproduce;
mod stages;
mod time;

use super::Section;
use crate::report::Report;

/// All of them, in their order.
pub(super) const ALL: &[Section<Report>] = &[
    figures::SECTION,
    attention::SECTION,
    plan::SECTION,
    layers::SECTION,
    stages::SECTION,
    curves::SECTION,
    filters::SECTION,
    graph::SECTION,
    proof::SECTION,
    time::SECTION,
    reproduce::SECTION,
];
