//! The direction of imports that `docs/architecture.md` promises.

use std::fs;
use std::path::{Path, PathBuf};

/// Every module. Each may use what stands before it, never what stands behind.
const ORDER: [&str; 34] = [
    "arrays",
    "bisection",
    "printable",
    "progress",
    "stopwatch",
    "files",
    "distributed",
    "checkpoint",
    "data",
    "screen",
    "output",
    "onnx",
    "operators",
    "graph",
    "recognize",
    "sizes",
    "qonnx",
    "normalise",
    "forms",
    "runnable",
    "verify",
    "ops",
    "rewrite",
    "network",
    "engine",
    "training",
    "subsidiary",
    "synthesis",
    "report",
    "check",
    "page",
    "error",
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
        } else if path.extension().is_some_and(|e| e == "rs") && !tests && !only_for_tests(&path) {
            found.push(path);
        }
    }
    found
}

/// Whether the module around a file has it for tests alone.
fn only_for_tests(path: &Path) -> bool {
    let around = fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
    let name = path.file_stem().unwrap().to_string_lossy();
    around.contains(&format!("#[cfg(test)]\nmod {name};"))
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

/// The top modules that code names, `depth` modules below the crate's root.
fn named(code: &str, depth: usize) -> Vec<String> {
    let word = |text: &str| -> String {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    // From the root, or up to it.
    let roots = ["crate::", "onnx_bnnprune::", &"super::".repeat(depth)];
    let mut found = Vec::new();
    for root in roots.iter().filter(|root| !root.is_empty()) {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c)) {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => found.push(word(rest)),
                // What stands in braces, at their own level.
                Some(list) => {
                    let mut level = 0;
                    let mut item = String::new();
                    for c in list.chars() {
                        level += i32::from(c == '{') - i32::from(c == '}');
                        if (c == ',' && level == 0) || level < 0 {
                            found.push(word(item.trim_start()));
                            item.clear();
                        } else {
                            item.push(c);
                        }
                        if level < 0 {
                            break;
                        }
                    }
                }
            }
        }
    }
    found
}

#[test]
fn imports_are_read_in_whatever_way_they_are_written() {
    let code = "use crate::{engine::{Plan, run}, graph, ops as o};\nuse super::super::cli::Host;\n\
                let x = crate::verify::verify();";
    assert_eq!(named(code, 2), ["engine", "graph", "ops", "verify", "cli"]);
    assert_eq!(named("use super::cli::Host; use a::crate_::b;", 1), ["cli"]);
}

/// Nothing points up, and so there is no circle of modules.
#[test]
fn nothing_points_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for path in sources(&root) {
        let inside: Vec<String> = path
            .strip_prefix(&root)
            .unwrap()
            .with_extension("")
            .components()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .filter(|name| name != "mod")
            .collect();
        let module = &inside[0];
        // The library's root and the program name all of them.
        if ["lib", "main"].contains(&&module[..]) {
            continue;
        }
        let place = ORDER.iter().position(|m| m == module);
        let place = place.unwrap_or_else(|| panic!("{module} has no place in the order"));
        read += 1;
        for name in named(&code(&path), inside.len()) {
            let above = ORDER.iter().position(|m| *m == name);
            assert!(
                above.is_none_or(|above| above <= place),
                "{} uses {name}, which stands above {module}",
                path.display()
            );
        }
    }
    assert!(read > 300, "only {read} files were found");
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
