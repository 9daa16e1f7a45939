//! Changes models at random, takes each through checking, loading, recognition, inspection, masks and
//! elimination, and counts panics and hangs.
//!
//! ```text
//! cargo run --release --no-default-features --example mutate -- [COUNT [SEED [FOLDER]]]
//! ```
//!
//! Exit code 1 if a mutant made the tool panic or took longer than ten seconds, or the process more
//! than a gibibyte; the seed that it prints gives the same mutant again (`-- 1 SEED`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../tests/mutants/mod.rs"]
mod mutants;

use mutants::{Stage, drive, mutant, seeds};

/// Longer than this is a hang.
const LONGEST: Duration = Duration::from_secs(10);
/// More than this in KiB, all mutants taken together, is too much.
const MOST_MEMORY: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default| arguments.get(k).map_or(default, |a| a.parse().unwrap());
    let (count, first) = (number(0, 10_000u64), number(1, 0));
    let fixtures = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = arguments.get(2).map_or_else(fixtures, PathBuf::from);
    let models = seeds(&folder, 1 << 20);
    // A panic is counted, not printed at length.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let folder = tempfile::tempdir().unwrap();
    let current = watch();
    let (mut bad, mut slowest, mut stages) = (0u64, (Duration::ZERO, 0), [0usize; 4]);
    let start = Instant::now();
    for seed in first..first.saturating_add(count) {
        let bytes = mutant(&models, seed);
        current.store(seed, Ordering::Relaxed);
        let begin = Instant::now();
        let outcome = drive(&bytes, folder.path());
        let taken = begin.elapsed();
        slowest = slowest.max((taken, seed));
        match outcome {
            Ok(stage) => stages[stage as usize] += 1,
            Err(why) => {
                bad += 1;
                println!("seed {seed}: panic: {why}");
            }
        }
        if taken > LONGEST {
            bad += 1;
            println!("seed {seed}: took {:.1} s", taken.as_secs_f64());
        }
    }
    let of = |stage: Stage| stages[stage as usize];
    println!(
        "{count} mutants of {} models in {:.0} s: {} not readable, {} broken graphs, {} declined, {} eliminated; {bad} bad",
        models.len(),
        start.elapsed().as_secs_f64(),
        of(Stage::Refused),
        of(Stage::Read),
        of(Stage::Indexed),
        of(Stage::Eliminated),
    );
    println!(
        "slowest: {:.2} s (seed {})",
        slowest.0.as_secs_f64(),
        slowest.1
    );
    if let Some(peak) = peak_memory() {
        println!("peak memory: {} MiB", peak >> 10);
        bad += u64::from(peak > MOST_MEMORY);
    }
    ExitCode::from(u8::from(bad > 0))
}

/// Ends the process, naming the seed, if one mutant never comes back; the seed is set by the caller.
fn watch() -> Arc<AtomicU64> {
    let current = Arc::new(AtomicU64::new(u64::MAX));
    let watched = Arc::clone(&current);
    std::thread::spawn(move || {
        loop {
            let before = watched.load(Ordering::Relaxed);
            std::thread::sleep(10 * LONGEST);
            if watched.load(Ordering::Relaxed) == before && before != u64::MAX {
                println!("seed {before}: hangs");
                std::process::exit(1);
            }
        }
    });
    current
}

/// The process's largest resident set in KiB, where the system says.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
