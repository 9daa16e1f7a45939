//! Activations of frozen layers, kept in memory or on disk or computed again: the output is the same.

use std::path::Path;

use crate::common::{few_digits, fixture, json, network, tool};

/// A run's masks and output, what it kept in memory and on disk, and its stderr.
#[derive(Debug)]
struct Run {
    files: [Vec<u8>; 2],
    kept: (u64, u64),
    stderr: String,
}

fn run(name: &str, extra: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let at = |file: &str| dir.path().join(file);
    let mut command = tool();
    command.arg(network(name)).arg(at("o.onnx"));
    // A third of the images, as bytes are compared, not what was learned.
    command.arg("--data").arg(fixture("digits_test.npz"));
    command.arg("--val").arg(few_digits());
    command.args(["--mask-epochs", "2", "--main-epochs", "1"]);
    command.args(["--final-epochs", "1", "--max-drop", "none"]);
    command.args(["--seed", "7", "--threads", "2"]).args(extra);
    command.arg("--save-masks").arg(at("m.json"));
    command.arg("--report").arg(at("r.json"));
    let done = command.assert().success();
    let cache = &json(&at("r.json"))["activation_cache"];
    let bytes = |key| cache[key].as_u64().unwrap();
    Run {
        files: ["m.json", "o.onnx"].map(|file| std::fs::read(at(file)).unwrap()),
        kept: (bytes("memory_bytes"), bytes("disk_bytes")),
        stderr: String::from_utf8_lossy(&done.get_output().stderr).into_owned(),
    }
}

const DISK: [&str; 2] = ["--cache-mb", "0"];
const NONE: [&str; 4] = ["--cache-mb", "0", "--cache-disk-mb", "0"];

#[test]
fn memory_disk_and_computing_again_give_the_same_bytes() {
    for name in ["vgg", "resnet"] {
        let memory = run(name, &[]);
        let disk = run(name, &DISK);
        let none = run(name, &NONE);
        assert!(memory.files == disk.files, "{name}: memory and disk");
        assert!(memory.files == none.files, "{name}: with and without");
        assert!(memory.kept.0 > 0, "{name}");
        assert_eq!(memory.kept.1, 0, "{name}");
        assert_eq!(disk.kept, (0, memory.kept.0), "{name}");
        assert_eq!(none.kept, (0, 0), "{name}");
    }
}

#[test]
fn views_of_varied_images_are_kept_and_give_the_same_bytes() {
    let with = |extra: &[&str]| {
        let varied = ["--flip", "--crop-padding", "1"];
        run("vgg", &[&varied, extra].concat())
    };
    let views = ["--views", "2"];
    let memory = with(&views);
    let disk = with(&[&views[..], &DISK].concat());
    let none = with(&[&views[..], &NONE].concat());
    assert!(memory.files == disk.files, "memory and disk");
    assert!(memory.files == none.files, "kept or computed again");
    assert_eq!((memory.kept.1, disk.kept), (0, (0, memory.kept.0)));
    let free = with(&[]);
    assert_eq!(free.kept, (0, 0));
    assert!(memory.files != free.files, "the option does nothing");
}

#[test]
fn a_folder_that_cannot_be_used_is_a_warning_and_changes_nothing() {
    let folder = "target/no such folder";
    assert!(!Path::new(folder).exists());
    let broken = run("vgg", &[&DISK[..], &["--cache-dir", folder]].concat());
    assert_eq!(broken.kept, (0, 0));
    let warned = broken.stderr.matches("cannot be kept").count();
    assert_eq!(warned, 1, "{}", broken.stderr);
    assert!(broken.stderr.contains(folder), "{}", broken.stderr);
    assert!(broken.files == run("vgg", &NONE).files);
    // Nothing is written where there is room in memory.
    let unused = run("vgg", &["--cache-dir", folder]);
    assert!(unused.kept.0 > 0, "{}", unused.stderr);
    assert!(!unused.stderr.contains("warning"), "{}", unused.stderr);
}

/// In a shell that limits the size of files: all that the disk has room for.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_gets_full_is_a_warning_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let home = tempfile::tempdir().unwrap();
    let quick_job = |out: &Path| {
        let mut c = tool();
        c.arg(network("vgg")).arg(out);
        c.arg("--data").arg(fixture("digits_train.npz"));
        c.arg("--val").arg(fixture("digits_test.npz"));
        c.args(["--mask-epochs", "1", "--main-epochs", "1"]);
        c.args(["--final-epochs", "1", "--max-drop", "none"]);
        c
    };
    let quick = quick_job(&out);
    let command = std::process::Command::new("sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // 512 bytes each: enough for the output, not for what the first stage keeps.
        .args(["-c", "ulimit -f 500 && exec \"$@\"", "sh"])
        .arg(quick.get_program())
        .args(quick.get_args())
        // ONNX Runtime keeps a database in the user's cache, which grows beyond that limit.
        .env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .args(["--seed", "7", "--cache-dir"])
        .arg(dir.path())
        .args(DISK)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&command.stderr);
    assert!(command.status.success(), "{stderr}");
    assert_eq!(stderr.matches("cannot be kept").count(), 1, "{stderr}");
    let [full, none] = [out, dir.path().join("none.onnx")];
    let mut again = quick_job(&none);
    again.args(["--seed", "7"]).args(NONE).assert().success();
    assert!(std::fs::read(&full).unwrap() == std::fs::read(&none).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_part_of_the_images_for_each_stage_is_kept_alone_and_gives_the_same_bytes() {
    let with = |extra: &[&str]| run("vgg", &[&["--stage-images", "150"], extra].concat());
    let memory = with(&[]);
    assert!(memory.files == with(&NONE).files, "with and without");
    let all = run("vgg", &[]);
    assert!(memory.files != all.files, "the option does nothing");
    assert!(0 < memory.kept.0 && memory.kept.0 < all.kept.0 / 2);
    // As many as there are, or more, are all of them.
    let more = run("vgg", &["--stage-images", "1000000"]);
    assert!(more.files == all.files);
}
