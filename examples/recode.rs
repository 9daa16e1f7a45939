//! Reads models and writes them again from what was understood, not from the bytes that were read.
//!
//! ```text
//! cargo run --release --example recode -- MODEL...
//! ```
//!
//! One line for each: `same`, `different` or `unreadable`, a tab, the path, and for what cannot be
//! read why. Files with external data come back with their weights inline, so these are different.

use std::path::Path;
use std::process::ExitCode;

use onnx_bnnprune::onnx::{Model, save};

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.onnx");
    for path in std::env::args().skip(1) {
        match Model::load_any_opset(Path::new(&path)) {
            Err(e) => println!("unreadable\t{path}\t{}", e.kind()),
            Ok(model) => {
                // `save` encodes anew; `Model::save_edited` would copy.
                save(&model.proto, &copy).unwrap();
                let same = std::fs::read(&copy).unwrap() == model.bytes;
                println!("{}\t{path}", if same { "same" } else { "different" });
            }
        }
    }
    ExitCode::SUCCESS
}
