//! What training needs beside gradients: losses, optimisers, and running statistics.

pub mod loss;
pub mod optimizer;
mod running_statistics;
#[cfg(test)]
mod tests;

pub use optimizer::{Adam, OPTIMIZERS, Optimizer, OptimizerRule, Schedule, Sgd, Step};
pub use running_statistics::{RestoreError, reestimate_running_statistics, restore_norms};
