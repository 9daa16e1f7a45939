//! Several processes of `mpirun` that learn one network: real ones, of the system's MPI.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{few_digits, fixture, network};

/// So many processes of the tool.
fn processes(count: usize) -> Command {
    let mut c = Command::new("mpirun");
    c.current_dir(env!("CARGO_MANIFEST_DIR"))
        // Machines that run tests have few cores, and often one user.
        .args(["--oversubscribe", "-n", &count.to_string()])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .arg(env!("CARGO_BIN_EXE_onnx-bnnprune"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    c
}

struct Job {
    dir: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prune(&self, count: usize) -> Command {
        let mut c = processes(count);
        c.arg(network("vgg"))
            .arg(self.at("out.onnx"))
            .arg("--save-masks")
            .arg(self.at("masks.json"))
            .arg("--data")
            .arg(few_digits())
            .arg("--val")
            .arg(fixture("digits_test.npz"))
            .args(["--ratio", "0.3", "--mask-epochs", "1", "--main-epochs", "1"])
            .args(["--stage-images", "300"])
            .args([
                "--final-epochs",
                "2",
                "--max-drop",
                "none",
                "--threads",
                "1",
            ]);
        c
    }

    /// The same with checkpoints.
    fn saved(&self, count: usize) -> Command {
        let mut c = self.prune(count);
        c.args(["--checkpoint-every", "0.05", "--checkpoint"])
            .arg(self.at("saved"));
        c
    }

    fn written(&self) -> [Vec<u8>; 2] {
        ["out.onnx", "masks.json"].map(|name| std::fs::read(self.at(name)).unwrap())
    }
}

fn text(done: &Output) -> String {
    let all = [&done.stdout[..], &done.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn succeeds(mut command: Command) -> String {
    let done = command.output().expect("mpirun: see scripts/setup_mpi.sh");
    assert!(done.status.success(), "{}", text(&done));
    text(&done)
}

#[test]
fn any_number_of_processes_writes_the_same_bytes() {
    let one = Job::new();
    succeeds(one.prune(1));
    for count in [2, 3, 4] {
        let job = Job::new();
        let said = succeeds(job.prune(count));
        assert!(job.written() == one.written(), "{count} processes");
        assert_eq!(said.matches("verification").count(), 1, "{said}");
    }
}

#[test]
fn training_as_it_is_is_shared_too() {
    let train = |count: usize| {
        let job = Job::new();
        let mut c = processes(count);
        c.arg("train")
            .arg(network("nin"))
            .arg(job.at("out.onnx"))
            .arg("--data")
            .arg(few_digits())
            .args(["--epochs", "2", "--threads", "1"]);
        succeeds(c);
        std::fs::read(job.at("out.onnx")).unwrap()
    };
    assert!(train(1) == train(3));
}

/// The processes that another one has started.
fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let list = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

fn waits(child: Child) -> Output {
    let begun = Instant::now();
    let done = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{}", text(&done));
    done
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_that_dies_ends_the_others_and_any_number_goes_on() {
    let whole = Job::new();
    succeeds(whole.prune(1));
    let job = Job::new();
    let done = signalled_once_saved(&job, job.saved(3), "-9");
    assert!(!done.status.success());
    goes_on(&job, job.saved(2), &whole);
}

/// A run whose last process gets a signal as soon as there is a checkpoint.
#[cfg(target_os = "linux")]
fn signalled_once_saved(job: &Job, mut run: Command, signal: &str) -> Output {
    let child = run.spawn().unwrap();
    let begun = Instant::now();
    while !job.at("saved/checkpoint.bin").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let last = *children(child.id()).last().expect("processes of mpirun");
    let sent = Command::new("kill")
        .args([signal, &last.to_string()])
        .status();
    assert!(sent.unwrap().success());
    waits(child)
}

/// Continues what left nothing but a checkpoint, up to the bytes of a whole run.
#[cfg(target_os = "linux")]
fn goes_on(job: &Job, run: Command, whole: &Job) {
    assert!(!job.at("out.onnx").exists());
    let said = succeeds(run);
    assert!(said.contains("continuing from"), "{said}");
    assert!(job.written() == whole.written());
}

#[test]
#[cfg(target_os = "linux")]
fn one_that_is_asked_to_stop_stops_all_with_what_was_learned() {
    let whole = Job::new();
    succeeds(whole.prune(1));
    let job = Job::new();
    let done = signalled_once_saved(&job, job.saved(3), "-INT");
    assert_eq!(done.status.code(), Some(130), "{}", text(&done));
    let said = text(&done);
    assert_eq!(said.matches("interrupted").count(), 1, "{said}");
    goes_on(&job, job.saved(2), &whole);
}

#[test]
fn what_is_wrong_is_said_once() {
    let job = Job::new();
    for (arguments, words) in [
        (
            vec!["inspect", "fixtures/digits_vgg.onnx"],
            "without mpirun",
        ),
        (
            vec!["fixtures/digits_vgg.onnx", "OUT"],
            "nothing is learned here",
        ),
        (
            vec![
                "fixtures/digits_vgg.onnx",
                "OUT",
                "--data",
                "no/such/folder",
            ],
            "no/such/folder",
        ),
    ] {
        let out = job.at("out.onnx");
        let given = arguments.iter().map(|a| match *a {
            "OUT" => out.as_os_str(),
            a => a.as_ref(),
        });
        let done = waits(processes(3).args(given).spawn().unwrap());
        assert_eq!(done.status.code(), Some(2), "{}", text(&done));
        let own = text(&done);
        let own: Vec<&str> = own
            .lines()
            .filter(|l| l.starts_with("onnx-bnnprune:"))
            .collect();
        assert!(own.iter().all(|l| l.contains(words)), "{own:?}");
        // A command that is not shared does not ask who the others are, and mpirun ends them at the first error.
        let most = if arguments[0] == "inspect" { 3 } else { 1 };
        assert!((1..=most).contains(&own.len()), "{own:?}");
    }
}
