//! The extension module as Cargo built it, beside this test. An interpreter loads it in the tests written in Python.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

#[test]
fn the_library_is_the_module_that_python_imports() {
    let tests = std::env::current_exe().unwrap();
    let library = tests.with_file_name(format!("{DLL_PREFIX}_native{DLL_SUFFIX}"));
    let bytes = std::fs::read(&library).unwrap();
    let entry = b"PyInit__native";
    assert!(bytes.windows(entry.len()).any(|name| name == entry));
}
