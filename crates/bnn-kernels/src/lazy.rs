//! What is computed once and shared by tasks.

use std::sync::OnceLock;

/// The value of `cell`, computed now if nobody has. No lock is held meanwhile: while a task waits for
/// parts of its own work, its thread takes up other tasks, which may come here too. Several may compute
/// the value then, and all get the first.
pub fn get_or_compute<T>(cell: &OnceLock<T>, compute: impl FnOnce() -> T) -> &T {
    if let Some(value) = cell.get() {
        return value;
    }
    let value = compute();
    cell.get_or_init(|| value)
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn tasks_that_compute_with_tasks_do_not_wait_for_each_other() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8);
        pool.build().unwrap().install(|| {
            for round in 0..200u64 {
                let cell = OnceLock::new();
                let sum = || (0..1000u64).into_par_iter().map(|i| i ^ round).sum::<u64>();
                let found: Vec<u64> = (0..64)
                    .into_par_iter()
                    .map(|_| *get_or_compute(&cell, sum))
                    .collect();
                assert!(found.iter().all(|&f| f == sum()));
            }
        });
    }
}
