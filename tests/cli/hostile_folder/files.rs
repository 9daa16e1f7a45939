//! Files that are no files, that are larger than they look, and links.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use onnx_bnnprune::onnx::save;

use super::external::{everywhere, outside};
use super::fifo;
use crate::common::{fixture, network, quick, refused, tool};

#[test]
fn pipes_and_devices_are_refused_at_once_wherever_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (vgg, out) = (network("vgg"), at("out.onnx"));
    let images = at("images/0");
    std::fs::create_dir_all(&images).unwrap();
    let start = Instant::now();
    for kind in ["a named pipe", "a device"] {
        let make = |path: &Path| {
            let _ = std::fs::remove_file(path);
            match kind {
                "a device" => symlink("/dev/zero", path).unwrap(),
                _ => fifo(path),
            }
        };
        for name in [
            "m.onnx",
            "d.npz",
            "masks.json",
            "classes",
            "images/0/a.png",
            "baseline",
        ] {
            make(&at(name));
        }
        let words = |name: &'static str| [name, kind];
        refused(tool().arg("inspect").arg(at("m.onnx")), 2, &words("m.onnx"));
        refused(tool().arg(at("m.onnx")).arg(&out), 2, &words("m.onnx"));
        let main = |option: &str, name: &str| {
            let mut c = tool();
            c.arg(&vgg).arg(&out).arg(option).arg(at(name)).arg("-q");
            c
        };
        refused(&mut main("--data", "d.npz"), 2, &words("d.npz"));
        refused(&mut main("--data", "images"), 2, &words("a.png"));
        refused(&mut main("--masks", "masks.json"), 2, &words("masks.json"));
        let mut c = main("--classes", "classes");
        c.arg("--data").arg(fixture("digits_png"));
        refused(&mut c, 2, &words("classes"));
        let mut c = tool();
        c.arg("check")
            .arg(&vgg)
            .arg("--baseline")
            .arg(at("baseline"));
        refused(&mut c, 2, &words("baseline"));
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// Exit code and errors of the tool, which may have 1 GiB of addresses.
fn within_a_gibibyte(arguments: &[&Path]) -> (Option<i32>, String) {
    let done = Command::new("sh")
        .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$@\""])
        .arg(assert_cmd::cargo::cargo_bin("onnx-bnnprune"))
        .args(arguments)
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn a_small_tensor_in_a_huge_file_costs_its_own_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let data = std::fs::File::create(dir.path().join("data")).unwrap();
    data.set_len(3 << 30).unwrap();
    let mut t = outside("data");
    // Without a length it is what the shape needs, not the rest of the file.
    t.external_data.pop();
    let (_, m) = everywhere(&t).remove(0);
    save(&m, &path).unwrap();
    let (code, stderr) = within_a_gibibyte(&["inspect".as_ref(), &path]);
    assert_eq!(code, Some(0), "{stderr}");
    // A tensor of holes is no tensor.
    t.dims = vec![700 << 20];
    let (_, m) = everywhere(&t).remove(0);
    save(&m, &path).unwrap();
    let (code, stderr) = within_a_gibibyte(&["inspect".as_ref(), &path]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("holes"), "{stderr}");
}

#[test]
fn npz_bombs_are_refused_before_they_are_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("bomb.npz"), dir.path().join("out.onnx"));
    let vgg = network("vgg");
    // Zeros: images of another size than the model's; of its size, but as no images pack;
    // more of them than the header says.
    for (shape, mebibytes, word) in [
        ("(1, 16384, 15360)", 240, "save x in that size"),
        ("(20971520, 8, 8)", 1280, "are no images"),
        ("(5, 8, 8)", 200, "truncated or corrupt"),
    ] {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let packed = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(1));
        zip.start_file("x.npy", packed).unwrap();
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..mebibytes {
            zip.write_all(&zeros).unwrap();
        }
        zip.finish().unwrap();
        let start = Instant::now();
        let data: &[&Path] = &[&vgg, &out, "--data".as_ref(), &path];
        let (code, stderr) = within_a_gibibyte(data);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains("bomb.npz") && stderr.contains(word),
            "{stderr}"
        );
        assert!(start.elapsed() < Duration::from_secs(3), "{shape}");
    }
}

#[test]
fn links_in_a_checkpoint_folder_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("run")).unwrap();
    std::fs::write(at("precious"), "precious").unwrap();
    symlink(at("precious"), at("run/checkpoint.tmp")).unwrap();
    let run = || {
        let mut c = quick(&network("vgg"), &at("out.onnx"));
        c.args(["--max-share", "0.1", "--checkpoint-every", "0", "-q"]);
        c.arg("--checkpoint").arg(at("run"));
        c
    };
    symlink(at("precious"), at("run/lock")).unwrap();
    refused(&mut run(), 2, &["run", "'lock' in it is no plain file"]);
    std::fs::remove_file(at("run/lock")).unwrap();
    run().assert().code(0);
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
    // Nothing stays behind.
    assert_eq!(std::fs::read_dir(at("run")).unwrap().count(), 0);
}
