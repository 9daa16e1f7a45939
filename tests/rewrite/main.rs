//! Masks and elimination: operators, graphs, shapes, forms; the pruned model computes what the masked one does.

#[path = "../common/mod.rs"]
mod common;
#[path = "../graphs/mod.rs"]
mod graphs;

mod border;
mod bounds;
mod declined;
mod elimination;
mod layers;
mod learned;
mod normalise;
mod operators;
mod opsets;
mod packing;
mod property;
mod qonnx_old;
mod random_graphs;
mod residual;
mod rules;
mod shapes;
