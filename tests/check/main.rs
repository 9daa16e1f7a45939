//! `check`: good files, broken ones, and its output for CI.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;
#[path = "../graphs/mod.rs"]
mod graphs;

mod broken;
mod ci;
mod files;
mod right;
