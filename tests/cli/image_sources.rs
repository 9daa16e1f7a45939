//! Where images may come from: folders, shards, CIFAR's and MNIST's files, in memory or not; and damaged ones.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::common::{fixture, json, network, refused, tool};

/// The digits as a folder for each class, `count` of each.
fn folder(dir: &Path, count: usize) -> PathBuf {
    let root = dir.join("images");
    for class in fs::read_dir(fixture("digits_png")).unwrap() {
        let class = class.unwrap().path();
        let to = root.join(class.file_name().unwrap());
        fs::create_dir_all(&to).unwrap();
        let mut files: Vec<PathBuf> = fs::read_dir(class)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for file in files.into_iter().take(count) {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    root
}

/// A short run that learns from `data`, with more options; the model that it wrote.
fn learned(dir: &Path, data: &Path, more: &[&str]) -> Vec<u8> {
    let out = dir.join("out.onnx");
    let mut run = tool();
    run.arg(network("vgg")).arg(&out).arg("--data").arg(data);
    run.arg("--val").arg(fixture("digits_test.npz"));
    run.args([
        "--mask-epochs=1",
        "--main-epochs=1",
        "--final-epochs=1",
        "--max-drop=none",
        "-q",
    ]);
    run.args(["--batch-size=16", "--ratio=0.3"]);
    run.args(more).assert().success();
    fs::read(out).unwrap()
}

#[test]
fn images_in_their_files_give_the_bytes_of_images_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path(), 12);
    for varied in [
        &["--flip", "--crop-padding=1", "--colour-jitter=0.2"][..],
        &[],
    ] {
        let in_memory = learned(dir.path(), &data, varied);
        let streamed = learned(dir.path(), &data, &[varied, &["--images-mb=0"]].concat());
        assert!(in_memory == streamed, "{varied:?}");
        let one = learned(
            dir.path(),
            &data,
            &[varied, &["--images-mb=0", "--threads=1"]].concat(),
        );
        assert!(in_memory == one, "{varied:?}");
    }
    // A random part is another image.
    let parts = learned(dir.path(), &data, &["--random-crop=0.5"]);
    assert!(parts != learned(dir.path(), &data, &[]));
    assert!(parts == learned(dir.path(), &data, &["--random-crop=0.5", "--threads=1"]));
}

#[test]
fn an_archive_beyond_memory_gives_the_bytes_of_one_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let packed = fixture("digits_train.npz");
    let varied = ["--flip", "--crop-padding=1", "--random-crop=0.5"];
    let streamed = [&varied[..], &["--images-mb=0", "--threads=1"]].concat();
    assert!(learned(dir.path(), &packed, &varied) == learned(dir.path(), &packed, &streamed));
    // There has to be room for what is unpacked.
    let mut run = tool();
    run.arg(network("vgg"))
        .arg(dir.path().join("other.onnx"))
        .arg("--data")
        .arg(&packed)
        .arg("--images-mb=0")
        .env("TMPDIR", dir.path().join("missing"));
    refused(&mut run, 2, &["digits_train.npz", "missing", "TMPDIR"]);
}

#[test]
fn shards_give_the_bytes_of_folders() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path(), 4);
    let expected = learned(dir.path(), &data, &[]);
    // As folders of classes in one archive, and as WebDataset's pairs in two.
    let folders = dir.path().join("digits.tar");
    let shards = dir.path().join("shards");
    fs::create_dir(&shards).unwrap();
    let mut one = tar::Builder::new(fs::File::create(&folders).unwrap());
    let halves = ["a.tar", "b.tar"].map(|name| fs::File::create(shards.join(name)).unwrap());
    let mut halves = halves.map(tar::Builder::new);
    for class in 0..10 {
        let mut files: Vec<PathBuf> = fs::read_dir(data.join(class.to_string()))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for (i, file) in files.iter().enumerate() {
            one.append_path_with_name(file, format!("set/{class}/{i}.png"))
                .unwrap();
            let half = &mut halves[class / 5];
            half.append_path_with_name(file, format!("{class:03}{i:03}.png"))
                .unwrap();
            let mut header = tar::Header::new_gnu();
            let text = class.to_string();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            half.append_data(
                &mut header,
                format!("{class:03}{i:03}.cls"),
                text.as_bytes(),
            )
            .unwrap();
        }
    }
    one.finish().unwrap();
    halves.iter_mut().for_each(|half| half.finish().unwrap());
    assert!(learned(dir.path(), &folders, &[]) == expected);
    assert!(learned(dir.path(), &shards, &[]) == expected);
    assert!(learned(dir.path(), &shards, &["--images-mb=0"]) == expected);
    // Cut off in its middle.
    let bytes = fs::read(&folders).unwrap();
    let cut = dir.path().join("cut.tar");
    fs::write(&cut, &bytes[..bytes.len() / 2 + 100]).unwrap();
    let mut run = tool();
    run.arg(network("vgg"))
        .arg(dir.path().join("o.onnx"))
        .arg("--data")
        .arg(&cut);
    refused(&mut run, 2, &["cut.tar"]);
}

#[test]
fn idx_and_cifar_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    // The digits' own pixels, as MNIST's files hold them.
    let images = dir.path().join("train-images-idx3-ubyte");
    let labels = dir.path().join("train-labels-idx1-ubyte.gz");
    let (mut pixels, mut classes) = (
        vec![0u8, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0, 0, 8],
        Vec::new(),
    );
    for class in 0..10u8 {
        for i in 0..4 {
            let file = fixture(&format!("digits_png/{class}/{i:02}.png"));
            pixels.extend(image::open(file).unwrap().into_luma8().into_raw());
            classes.push(class);
        }
    }
    fs::write(&images, &pixels).unwrap();
    let mut packed = flate2::write::GzEncoder::new(
        fs::File::create(&labels).unwrap(),
        flate2::Compression::fast(),
    );
    packed.write_all(&[0, 0, 8, 1, 0, 0, 0, 40]).unwrap();
    packed.write_all(&classes).unwrap();
    packed.finish().unwrap();
    let expected = learned(dir.path(), &folder(dir.path(), 4), &[]);
    assert!(learned(dir.path(), &images, &[]) == expected);
    let mut eval = tool();
    let done = eval
        .args(["eval", "--runs=1", "--json"])
        .arg(network("vgg"))
        .arg("--data")
        .arg(&images)
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(
        found["accuracy"].as_f64().unwrap() > 0.9 && found["samples"] == 40,
        "{found}"
    );
    pixels.pop();
    fs::write(&images, &pixels).unwrap();
    let mut run = tool();
    run.arg("eval")
        .arg(network("vgg"))
        .arg("--data")
        .arg(&images);
    refused(
        &mut run,
        2,
        &["train-images-idx3-ubyte", "40 images of 8x8"],
    );

    // CIFAR's: the label, then three planes of 32x32.
    let batches = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&batches).unwrap();
    let rows: Vec<u8> = (0..20u8)
        .flat_map(|i| {
            std::iter::once(i % 10)
                .chain((0..3072).map(move |p| i.wrapping_mul(7).wrapping_add((p / 5) as u8)))
        })
        .collect();
    fs::write(batches.join("data_batch_1.bin"), &rows).unwrap();
    fs::write(
        batches.join("batches.meta.txt"),
        "plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n",
    )
    .unwrap();
    let mut eval = tool();
    let model = fixture("cifar10/nin_w50.onnx");
    let done = eval
        .args(["eval", "--runs=1", "--json"])
        .arg(model)
        .arg("--data")
        .arg(&batches)
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["samples"], 20);
    assert_eq!(found["classes"][3]["class"], "cat");
    fs::write(batches.join("data_batch_2.bin"), &rows[..3000]).unwrap();
    let mut run = tool();
    run.arg("eval")
        .arg(fixture("cifar10/nin_w50.onnx"))
        .arg("--data")
        .arg(&batches);
    refused(&mut run, 2, &["data_batch_2.bin", "3000 bytes"]);
}

#[test]
fn every_damaged_image_is_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path(), 12);
    let good = fs::read(data.join("0/00.png")).unwrap();
    let damage: [(&str, Vec<u8>); 6] = [
        ("0/01.png", Vec::new()),
        ("1/02.png", good[..good.len() / 2].to_vec()),
        ("2/03.png", b"GIF89a and so on".to_vec()),
        ("3/04.png", vec![0; 500]),
        ("5/05.png", [&good[..40], &[9; 30], &good[70..]].concat()),
        ("7/06.png", fs::read(fixture("digits_vgg.onnx")).unwrap()),
    ];
    for (name, bytes) in &damage {
        fs::write(data.join(name), bytes).unwrap();
    }
    let mut names: Vec<&str> = damage.iter().map(|(name, _)| *name).collect();
    #[cfg(unix)]
    {
        // A link that leads nowhere, and one to a folder that holds it, of which nothing is read twice.
        fs::remove_file(data.join("8/07.png")).unwrap();
        std::os::unix::fs::symlink("nowhere.png", data.join("8/07.png")).unwrap();
        std::os::unix::fs::symlink("..", data.join("8/back")).unwrap();
        names.push("8/07.png");
    }
    let bad = format!("{} of 120 images", names.len());
    for memory in ["--images-mb=0", "--images-mb=100"] {
        let mut run = tool();
        run.arg(network("vgg"))
            .arg(dir.path().join("o.onnx"))
            .arg("--data")
            .arg(&data)
            .arg(memory);
        let words: Vec<&str> = names.iter().copied().chain([&*bad, "--skip-bad"]).collect();
        refused(&mut run, 2, &words);
        let report = dir.path().join("r.json");
        let report_option = format!("--report={}", report.display());
        learned(dir.path(), &data, &[memory, "--skip-bad", &report_option]);
        let skipped = json(&report)["skipped_images"].clone();
        let skipped: Vec<&str> = skipped
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s.as_str().unwrap())
            .collect();
        assert_eq!(skipped.len(), names.len(), "{skipped:?}");
        for name in &names {
            assert!(
                skipped.iter().any(|s| s.contains(name)),
                "{name}: {skipped:?}"
            );
        }
    }
}

/// It can be read, and may be right where the others are wrong.
#[test]
fn an_image_of_another_size_is_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path(), 4);
    let small = image::RgbImage::new(5, 5);
    small.save(data.join("9/07.png")).unwrap();
    let mut run = tool();
    run.arg(network("vgg")).arg(dir.path().join("o.onnx"));
    run.arg("--data").arg(&data).arg("--skip-bad");
    refused(&mut run, 2, &["9/07.png", "image is 5x5"]);
}

#[test]
fn sets_that_are_not_what_they_seem_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let eval = |data: &Path, words: &[&str]| {
        let mut run = tool();
        run.arg("eval").arg(network("vgg")).arg("--data").arg(data);
        refused(&mut run, 2, words);
    };
    // Sizes whose product is 0 in 64 bits.
    let idx = dir.path().join("x-idx3-ubyte");
    let side = (1u32 << 30).to_be_bytes();
    fs::write(&idx, [&[0, 0, 8, 3][..], &side, &side, &side].concat()).unwrap();
    eval(&idx, &["x-idx3-ubyte", "has other bytes"]);
    // Shards beside classes.
    let data = folder(dir.path(), 2);
    fs::write(data.join("test.tar"), [0; 1024]).unwrap();
    eval(&data, &["images", "holds .tar shards"]);
    // A batch that is missing.
    let cifar = dir.path().join("cifar");
    fs::create_dir(&cifar).unwrap();
    for i in [1, 3] {
        fs::write(cifar.join(format!("data_batch_{i}.bin")), [0; 3073]).unwrap();
    }
    eval(&cifar, &["data_batch_2.bin", "is missing"]);
    // Arrays that hold no colours.
    let flat = dir.path().join("flat.npz");
    let mut npz = ndarray_npy::NpzWriter::new(fs::File::create(&flat).unwrap());
    npz.add_array("x", &ndarray::Array4::<u8>::zeros((20, 1, 8, 8)))
        .unwrap();
    npz.finish().unwrap();
    let mut run = tool();
    run.arg("eval")
        .arg(network("vgg"))
        .arg("--data")
        .arg(&flat)
        .arg("--skip-bad");
    refused(&mut run, 2, &["--skip-bad is for images in files"]);
}

#[test]
fn an_image_that_turns_bad_ends_the_run_and_the_checkpoint_stays() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path(), 12);
    let (out, kept) = (dir.path().join("out.onnx"), dir.path().join("kept"));
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
    run.arg(network("vgg")).arg(&out).arg("--data").arg(&data);
    run.arg("--val").arg(fixture("digits_test.npz"));
    run.args([
        "--images-mb=0",
        "--mask-epochs=30",
        "--final-epochs=400",
        "--max-drop=none",
        "--flip",
    ]);
    run.arg("--checkpoint")
        .arg(&kept)
        .arg("--checkpoint-every=0");
    run.stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let child = run.spawn().unwrap();
    let began = std::time::Instant::now();
    while !kept.join("checkpoint.bin").exists() {
        assert!(began.elapsed().as_secs() < 120, "no checkpoint");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fs::write(data.join("4/03.png"), b"gone bad").unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("4/03.png") && said.contains("neither a PNG nor a JPEG"),
        "{said}"
    );
    assert!(kept.join("checkpoint.bin").exists() && !out.exists());
}

#[test]
fn options_that_images_do_not_allow_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    for (option, words) in [
        ("--random-crop=1.5", "above 0 and below 1"),
        ("--colour-jitter=0", "above 0 and below 1"),
    ] {
        let mut run = tool();
        run.arg(network("vgg"))
            .arg(&out)
            .args(["--data", "fixtures/digits_train.npz", option]);
        let done = run.output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(
            done.status.code() == Some(2) && said.contains(words),
            "{said}"
        );
    }
    let mut run = tool();
    run.arg(network("vgg")).arg(&out).args(["--skip-bad"]);
    refused(&mut run, 2, &["--skip-bad has no effect here"]);
}
