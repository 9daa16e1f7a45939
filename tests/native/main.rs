//! Import, recognition and the native network; the direction of imports.

#[path = "../common/mod.rs"]
mod common;
#[path = "../graphs/mod.rs"]
mod graphs;

mod architecture;
mod costs;
mod dialects;
mod engine;
mod operators;
mod recognize;
