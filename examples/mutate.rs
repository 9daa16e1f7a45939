//! Changes models at random, takes each through reading, recognition and elimination, and counts
//! panics.
//!
//! ```text
//! cargo run --release --no-default-features --example mutate -- [COUNT [SEED [FOLDER]]]
//! ```
//!
//! Exit code 1 if a mutant made the tool panic or took longer than ten seconds; the seed that it
//! prints gives the same mutant again (`-- 1 SEED`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../tests/mutants/mod.rs"]
mod mutants;

use mutants::{Stage, drive, mutant, seeds};

/// Longer than this is a hang.
const LONGEST: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default| arguments.get(k).map_or(default, |a| a.parse().unwrap());
    let (count, first) = (number(0, 10_000u64), number(1, 0));
    let fixtures = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = arguments.get(2).map_or_else(fixtures, PathBuf::from);
    let models = seeds(&folder, 1 << 20);
    // A panic is counted, not printed at length.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let (mut bad, mut slowest, mut stages) = (0, (Duration::ZERO, 0), [0usize; 4]);
    let start = Instant::now();
    for seed in first..first.saturating_add(count) {
        let bytes = mutant(&models, seed);
        let begin = Instant::now();
        let outcome = drive(&bytes);
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
        println!("peak memory: {peak}");
    }
    ExitCode::from(u8::from(bad > 0))
}

/// The process's largest resident set, where the system says.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
