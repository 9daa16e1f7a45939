//! Nobody's code is run but ONNX Runtime's own.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{fifo, library};
use crate::common::{network, refused, tool};

/// The tool in a folder, without the variable that names the library.
fn in_folder(folder: &Path) -> assert_cmd::Command {
    let mut c = tool();
    c.current_dir(folder).env_remove("ORT_DYLIB_PATH");
    c
}

#[test]
fn a_library_in_the_current_folder_or_above_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("models/deep");
    std::fs::create_dir_all(&below).unwrap();
    // It would be taken if it were looked at: it is a whole library, and what it is called by.
    for folder in [
        ".onnxruntime",
        "models/.onnxruntime",
        "models/deep/.onnxruntime",
    ] {
        let folder = dir.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        symlink(library(), folder.join("libonnxruntime.so")).unwrap();
    }
    symlink(library(), below.join("libonnxruntime.so")).unwrap();
    let package = below.join("onnxruntime/capi");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(below.join("onnxruntime/__init__.py"), "open('ran', 'w')").unwrap();
    symlink(library(), package.join("libonnxruntime.so")).unwrap();
    // A Python of the folder's own, which would be run.
    let python = "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n";
    for name in ["python3", "bin/python3"] {
        let path = below.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, python).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    std::fs::copy(network("vgg"), below.join("m.onnx")).unwrap();
    // A Python that knows no packages at all, to come after those.
    let empty = tempfile::tempdir().unwrap();
    let path = format!("::.:bin:{}:{}", below.display(), empty.path().display());
    let mut c = in_folder(&below);
    c.args(["check", "m.onnx", "-q"]);
    c.env("PATH", path).env("LD_LIBRARY_PATH", ":.:");
    c.env("PYTHONPATH", &below);
    refused(&mut c, 3, &["onnxruntime", "--ort-lib"]);
    for name in ["ran", "bin/ran"] {
        assert!(!below.join(name).exists(), "{name}");
    }
    let mut c = in_folder(&below);
    c.args(["check", "m.onnx", "-q", "--ort-lib"])
        .arg(library());
    c.assert().code(0);
}

#[test]
fn a_file_that_is_no_onnx_runtime_is_a_missing_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("text.so"), "a text, ".repeat(1 << 18)).unwrap();
    std::fs::create_dir(at("folder.so")).unwrap();
    fifo(&at("fifo.so"));
    // Of another machine.
    let mut other = std::fs::read(library()).unwrap();
    other[18] ^= 0xff;
    std::fs::write(at("other.so"), other).unwrap();
    // Libraries that are none of this kind, made by whatever compiler there is.
    let sources = [
        ("none.so", "int other(void) { return 1; }"),
        ("null.so", "void *OrtGetApiBase(void) { return 0; }"),
        (
            "old.so",
            "static void *api(unsigned v) { return 0; } static const char *version(void) { return \"1.30.0\"; }
             static struct { void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
             void *OrtGetApiBase(void) { return &base; }",
        ),
        ("crash.so", "void *OrtGetApiBase(void) { return *(void **)8; }"),
        ("exit.so", "void _exit(int); void *OrtGetApiBase(void) { _exit(0); }"),
    ];
    let mut names = vec!["text.so", "folder.so", "fifo.so", "other.so", "missing.so"];
    for (name, source) in sources {
        let padded = format!("{source}\nchar padding[1 << 20] = {{1}};\n");
        std::fs::write(at("l.c"), padded).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(at(name))
            .arg(at("l.c"))
            .status();
        assert!(
            built
                .expect("a C compiler is what Rust links with")
                .success()
        );
        names.push(name);
    }
    for name in names {
        let mut c = tool();
        c.arg("check").arg(network("vgg")).arg("-q");
        c.arg("--ort-lib")
            .arg(at(name))
            .env_remove("ORT_DYLIB_PATH");
        refused(&mut c, 3, &["onnxruntime"]);
        if name == "null.so" || name == "old.so" {
            c.arg("--in-process");
            refused(&mut c, 3, &["is not ONNX Runtime", name]);
        }
    }
}

/// Without a word to ONNX Runtime 1.32 there would be a data base under the user's cache folder.
#[test]
fn telemetry_leaves_no_file_under_the_users_home() {
    for more in [&[][..], &["--in-process"]] {
        let home = tempfile::tempdir().unwrap();
        let mut c = tool();
        c.arg("check").arg(network("vgg")).arg("-q").args(more);
        c.env_remove("ORT_DISABLE_TELEMETRY");
        c.env("HOME", home.path())
            .env("XDG_CACHE_HOME", home.path().join("cache"));
        c.env("XDG_DATA_HOME", home.path().join("data"));
        c.assert().code(0);
        assert_eq!(
            std::fs::read_dir(home.path()).unwrap().count(),
            0,
            "{more:?}"
        );
    }
}
