//! Long runs: killed or stopped, then continued with the same command.
//!
//! `KILLED_RUNS=20 cargo test --release --test cli killed_runs` kills 20 runs instead of 3.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::common::{few_digits, fixture, json, network, refused};

/// Seed of the moments at which runs are killed.
const SEED: u64 = 20;

/// A job, and the folder that it writes to.
struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        self.at("saved/checkpoint.bin")
    }

    /// The command without `--checkpoint`.
    fn bare(&self, threads: &str, final_epochs: &str) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
        c.current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg(network("vgg"))
            .arg(self.at("out.onnx"))
            .arg("--save-masks")
            .arg(self.at("masks.json"))
            .arg("--report")
            .arg(self.at("report.json"))
            .arg("--data")
            .arg(fixture("digits_test.npz"))
            .arg("--val")
            .arg(few_digits())
            .args(["--ratio", "0.3", "--mask-epochs", "2", "--main-epochs", "2"])
            .args(["--stage-images", "330"])
            .args([
                "--final-epochs",
                final_epochs,
                "--seed",
                "3",
                "--max-drop",
                "none",
            ])
            .args(["--threads", threads])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        c
    }

    /// The command with a checkpoint at (almost) every batch.
    fn command(&self, threads: &str) -> Command {
        let mut c = self.bare(threads, "3");
        c.args(["--checkpoint-every", "0.05", "--checkpoint"])
            .arg(self.at("saved"));
        c
    }

    /// Runs it to the end; its stderr.
    fn finish(&self, mut command: Command) -> String {
        let done = command.output().unwrap();
        let stderr = text(&done);
        assert!(done.status.success(), "{stderr}");
        assert!(!self.checkpoint().exists());
        stderr
    }

    /// Starts it, and waits until it has learned for a moment.
    fn learning(&self, mut command: Command) -> Child {
        let child = command.spawn().unwrap();
        let begun = Instant::now();
        while !self.checkpoint().exists() {
            assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    /// What must not depend on interruptions: output, masks, and the report apart from
    /// times, threads and the output's name.
    fn outcome(&self) -> (Vec<u8>, Vec<u8>, serde_json::Value) {
        let mut report = json(&self.at("report.json"));
        let fields = report.as_object_mut().unwrap();
        for time in [
            "seconds",
            "latency_ms",
            "peak_memory_bytes",
            "run",
            "timings",
            "activation_cache",
        ] {
            assert!(fields.remove(time).is_some(), "{time}");
        }
        let settings = fields.get_mut("settings").and_then(|s| s.as_object_mut());
        assert!(settings.unwrap().remove("threads").is_some());
        let output = fields.get_mut("output").and_then(|o| o.as_object_mut());
        assert!(output.unwrap().remove("path").is_some());
        let notes = fields.get_mut("notes").and_then(|n| n.as_array_mut());
        if let Some(notes) = notes {
            notes.retain(|n| !n.as_str().unwrap().starts_with("continued from"));
        }
        let read = |name| std::fs::read(self.at(name)).unwrap();
        (read("out.onnx"), read("masks.json"), report)
    }
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// What an uninterrupted run without checkpoints gives, and how long it takes.
fn uninterrupted() -> &'static (Vec<u8>, Vec<u8>, serde_json::Value, Duration) {
    static ONCE: OnceLock<(Vec<u8>, Vec<u8>, serde_json::Value, Duration)> = OnceLock::new();
    ONCE.get_or_init(|| {
        let (run, begun) = (Run::new(), Instant::now());
        run.finish(run.bare("2", "3"));
        let took = begun.elapsed();
        let (out, masks, report) = run.outcome();
        (out, masks, report, took)
    })
}

fn assert_same(run: &Run) {
    let (out, masks, report, _) = uninterrupted();
    let now = run.outcome();
    assert!(now.0 == *out, "other bytes of the output");
    assert!(now.1 == *masks, "other masks");
    assert_eq!(now.2, *report);
}

/// A number in 0..1 (splitmix64).
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Kills each of `count` runs twice, at random moments, and lets it finish.
fn kill_and_continue(count: usize) {
    let took = uninterrupted().3;
    let mut state = SEED;
    let (mut kills, mut continued, mut in_training) = (0, 0, 0);
    for _ in 0..count {
        let run = Run::new();
        let mut killed = 0;
        while killed < 2 {
            let threads = ["1", "2"][killed];
            let mut child = run.command(threads).spawn().unwrap();
            std::thread::sleep(took.mul_f64(random(&mut state)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                killed += 1;
            }
            // One that was over too early begins anew.
            child.wait().unwrap();
        }
        kills += killed;
        let stderr = run.finish(run.command("2"));
        let from = stderr.lines().find(|l| l.starts_with("continuing from"));
        continued += usize::from(from.is_some());
        in_training += usize::from(from.is_some_and(|l| !l.contains("all layers are learned")));
        assert_same(&run);
    }
    println!("{count} runs, {kills} kills, {continued} continued, {in_training} in training");
    assert!(in_training > 0, "no run was killed in training");
}

#[test]
fn killed_runs_end_with_the_same_bytes() {
    let runs = std::env::var("KILLED_RUNS").map_or(Ok(3), |n| n.parse());
    kill_and_continue(runs.expect("KILLED_RUNS: a number"));
}

#[cfg(unix)]
fn stopped_by(signal: &str, child: Child) -> (ExitStatus, String) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
    let done = child.wait_with_output().unwrap();
    (done.status, text(&done))
}

#[cfg(unix)]
#[test]
fn a_stopped_run_says_how_to_go_on_and_does() {
    let run = Run::new();
    for signal in ["-INT", "-TERM"] {
        let child = run.learning(run.command("2"));
        std::thread::sleep(Duration::from_millis(200));
        let (status, stderr) = stopped_by(signal, child);
        assert_eq!(status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("run the same command again"), "{stderr}");
        assert!(stderr.contains("saved"), "{stderr}");
        assert!(!run.at("out.onnx").exists());
    }
    let stderr = run.finish(run.command("1"));
    assert!(stderr.contains("continuing from"), "{stderr}");
    assert_same(&run);
}

#[cfg(unix)]
#[test]
fn a_run_stopped_without_checkpoint_names_the_option() {
    let run = Run::new();
    // Long enough that it cannot be over before the signal.
    let child = run.bare("2", "5000").spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let (status, stderr) = stopped_by("-INT", child);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("nothing was written"), "{stderr}");
    assert!(stderr.contains("--checkpoint DIR"), "{stderr}");
    assert!(!run.at("out.onnx").exists() && !run.at("masks.json").exists());
}

/// The same job through `assert_cmd`, with further or other arguments.
fn again(run: &Run, model: &str, seed: &str, folder: &str) -> assert_cmd::Command {
    let mut c = crate::common::quick(&network(model), &run.at("out.onnx"));
    c.args(["--seed", seed, "--checkpoint"]).arg(run.at(folder));
    c
}

#[test]
fn what_does_not_fit_is_refused_with_what_differs() {
    let run = Run::new();
    let mut child = run.learning(run.command("2"));
    child.kill().unwrap();
    child.wait().unwrap();
    let good = std::fs::read(run.checkpoint()).unwrap();

    let seed = ["--seed 3 in the checkpoint, 4 now", "--ratio 0.3", "saved"];
    refused(&mut again(&run, "vgg", "4", "saved"), 2, &seed);
    let model = ["the model (SHA-256)", "in the checkpoint"];
    refused(&mut again(&run, "nin", "3", "saved"), 2, &model);
    assert_eq!(std::fs::read(run.checkpoint()).unwrap(), good);

    std::fs::write(run.checkpoint(), &good[..good.len() / 2]).unwrap();
    let damaged = ["checkpoint.bin", "damaged", "remove it"];
    refused(&mut again(&run, "vgg", "3", "saved"), 2, &damaged);

    let newer = "{\"format\":\"onnx-bnnprune-checkpoint/10\"}\n";
    std::fs::write(run.checkpoint(), newer).unwrap();
    let version = ["onnx-bnnprune-checkpoint/10", "version that wrote it"];
    refused(&mut again(&run, "vgg", "3", "saved"), 2, &version);
    assert!(!run.at("out.onnx").exists());
}

#[test]
fn a_folder_that_cannot_take_a_checkpoint_is_refused() {
    let run = Run::new();
    std::fs::write(run.at("file"), "mine").unwrap();
    let words = ["file", "cannot be used for checkpoints"];
    refused(&mut again(&run, "vgg", "3", "file"), 2, &words);
    assert_eq!(std::fs::read(run.at("file")).unwrap(), b"mine");
    // In the way of the temporary file: as good as a disk that is full.
    std::fs::create_dir_all(run.at("blocked/checkpoint.tmp")).unwrap();
    let words = ["blocked", "the checkpoint cannot be written"];
    refused(&mut again(&run, "vgg", "3", "blocked"), 2, &words);
    assert!(!run.at("out.onnx").exists());
}
