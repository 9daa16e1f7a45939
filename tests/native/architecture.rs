//! The direction of imports that `docs/architecture.md` promises.

use std::fs;
use std::path::{Path, PathBuf};

/// Each may use what stands before it, never what stands behind.
const ORDER: [&str; 8] = [
    "bnn_kernels",
    "ops",
    "network",
    "engine",
    "training",
    "subsidiary",
    "pipeline",
    "cli",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let tests =
            path.ends_with("tests") || path.ends_with("tests.rs") || path.ends_with("testing.rs");
        if path.is_dir() && !tests {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && !tests {
            found.push(path);
        }
    }
    found
}

/// A file's code without the tests at its end and without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .map(|l| l.split("//").next().unwrap_or(l));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_points_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for (place, module) in ORDER.iter().enumerate().skip(1) {
        for path in sources(&root.join(module)) {
            read += 1;
            let code = code(&path);
            for above in &ORDER[place + 1..] {
                for crate_name in ["crate", "onnx_bnnprune"] {
                    let import = format!("{crate_name}::{above}::");
                    assert!(
                        !code.contains(&import),
                        "{} uses {above}, which stands above {module}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(read > 60, "only {read} files were found");
}

#[test]
fn the_kernels_know_nothing_of_networks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/bnn-kernels");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("onnx") && !manifest.contains("ndarray"));
    for path in sources(&root.join("src")) {
        assert!(!code(&path).contains("onnx"), "{}", path.display());
    }
}
