//! Values that are computed when they are first asked for, and shared by tasks.

use std::sync::OnceLock;

/// The value of `cell`, computed now if nobody has.
///
/// Unlike [`OnceLock::get_or_init`] it holds no lock while it computes: while a task waits for others of
/// its own work, its thread takes up any task there is, and that may ask for the same value. Several may
/// compute it then; all get the first.
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
            // Miri is some thousand times slower.
            let (rounds, count) = if cfg!(miri) {
                (3u64, 30u64)
            } else {
                (200, 1000)
            };
            for round in 0..rounds {
                let cell = OnceLock::new();
                let sum = || (0..count).into_par_iter().map(|i| i ^ round).sum::<u64>();
                let found: Vec<u64> = (0..64)
                    .into_par_iter()
                    .map(|_| *get_or_compute(&cell, sum))
                    .collect();
                assert!(found.iter().all(|&f| f == sum()));
            }
        });
    }
}
