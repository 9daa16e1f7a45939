//! Masks and elimination through the library, without a runtime: what they cost.
//!
//! ```text
//! cargo run --release --example eliminate -- IN.onnx MASKS.json OUT.onnx
//! ```
//!
//! Prints the seconds of each step and, on Linux, the most memory that was resident so far.
//! Nothing is verified: the tool itself does that.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use onnx_bnnprune::onnx::{Model, save};
use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};

/// Runs a step and prints what it took.
fn step<T, E>(name: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let result = run();
    let seconds = start.elapsed().as_secs_f64();
    match peak_memory() {
        Some(bytes) => println!(
            "{name:12}{seconds:8.3} s   peak {:.0} MB",
            bytes as f64 / 1e6
        ),
        None => println!("{name:12}{seconds:8.3} s"),
    }
    result
}

/// The most bytes of this process that were ever resident, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, masks, output] = &paths[..] else {
        return Err("usage: eliminate IN.onnx MASKS.json OUT.onnx".into());
    };
    let masks = FilterMasks::load(masks)?;
    let model = step("read", || Model::load(input))?;
    let masked = step("mask", || apply_masks(&model.proto, &masks, Removal::Drop))?;
    // The masked model has weights of its own.
    drop(model);
    let pruned = step("eliminate", || eliminate(&masked.model))?;
    drop(masked);
    step("write", || save(&pruned.model, output))?;
    let bytes = |path| std::fs::metadata(path).map(|m| m.len());
    println!("{} bytes, {} before", bytes(output)?, bytes(input)?);
    Ok(())
}
