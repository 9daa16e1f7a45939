//! Masks and elimination stay under three times the file's size in memory (without a runtime, whose
//! own needs are another matter).
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use onnx_bnnprune::onnx::{Model, save};
use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};

/// Says to a second run of this test, in a process of its own, where the model is.
const FOLDER: &str = "ONNX_BNNPRUNE_TEST_MEMORY";
/// What a process takes that does nothing yet.
const BASE: u64 = 16 << 20;

#[test]
fn elimination_takes_less_than_three_times_the_file() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return measured(&PathBuf::from(folder));
    }
    let dir = tempfile::tempdir().unwrap();
    let (model, masks) = crate::graphs::large(384);
    save(&model, &dir.path().join("large.onnx")).unwrap();
    masks.save(&dir.path().join("masks.json")).unwrap();
    let own = std::env::current_exe().unwrap();
    let name = concat!(
        module_path!(),
        "::elimination_takes_less_than_three_times_the_file"
    );
    let name = name.split_once("::").map_or(name, |(_, test)| test);
    let done = Command::new(own)
        .args(["--exact", name])
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&done.stdout);
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
}

fn measured(folder: &Path) {
    let path = folder.join("large.onnx");
    let file = std::fs::metadata(&path).unwrap().len();
    let masks = FilterMasks::load(&folder.join("masks.json")).unwrap();
    let model = Model::load(&path).unwrap();
    let masked = apply_masks(&model.proto, &masks, Removal::Drop).unwrap();
    let pruned = eliminate(&masked.model).unwrap();
    assert!(pruned.layers.iter().any(|l| l.kept.len() < 384));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|l| l.trim().strip_suffix(" kB")).unwrap();
    let peak = peak.parse::<u64>().unwrap() << 10;
    assert!(
        peak < 3 * file + BASE,
        "{peak} bytes for a file of {file}: {:.2} times",
        peak as f64 / file as f64
    );
}
