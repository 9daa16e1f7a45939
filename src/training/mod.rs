//! What training needs beside gradients: losses, optimisers, and running statistics.

pub mod loss;
pub mod optimizer;
mod running_statistics;
#[cfg(test)]
mod tests;

pub use optimizer::{Optimizer, Schedule, Update};
pub use running_statistics::{UnfoldError, reestimate_running_statistics, unfold_batch_norms};
