//! `verify`: what is equal, what is a tie, what is a fault.

#[path = "../common/mod.rs"]
mod common;
#[path = "../graphs/mod.rs"]
mod graphs;
#[path = "../pairs/mod.rs"]
mod pairs;

mod equal;
mod faults;
mod judge;
mod operators;
mod runtime;
