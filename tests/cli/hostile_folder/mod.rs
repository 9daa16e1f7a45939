//! A folder that somebody else has filled cannot run code, read or write outside itself, or take
//! more than the stated memory and time.
#![cfg(target_os = "linux")]

mod external;
mod files;
mod library;
mod runs;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::graphs::{Builder, sized};
use onnx_bnnprune::onnx::proto::ModelProto;

/// The library that the tests run with.
pub fn library() -> PathBuf {
    let runtime = std::env::var_os("ORT_DYLIB_PATH").expect("scripts/test.sh sets ORT_DYLIB_PATH");
    let path = Path::new(&runtime).canonicalize().unwrap();
    match path.is_dir() {
        true => path.join("libonnxruntime.so"),
        false => path,
    }
}

/// Makes a named pipe.
pub fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// x `[1, 3]`, and y: what `body` makes of it.
pub fn model(body: impl FnOnce(&mut Builder) -> String) -> ModelProto {
    let mut b = Builder::new(&[3]);
    let y = body(&mut b);
    let mut model = b.model(&[]);
    model
        .graph
        .as_mut()
        .unwrap()
        .output
        .push(sized(&y, &[1, 3]));
    model
}
