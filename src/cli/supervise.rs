//! Whole commands in a child process: what crashes a runtime, or takes all memory or time, ends the
//! child, and this process says which model it was.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use onnx_bnnprune::error::Error;
use onnx_bnnprune::verify::{describe, limit_memory};

use super::Printed;
use super::args::LimitArgs;
use super::progress::{CANCELLED, interrupted};

/// How often the child is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs `command`, which works on `models`, in a child process with this one's arguments.
///
/// The child's output and exit code are this process's. On Ctrl-C, or if this process is gone, its
/// standard input ends, and it stops at the next batch.
pub fn supervised(
    limits: &LimitArgs,
    models: &[&Path],
    command: impl FnOnce() -> Printed,
) -> Printed {
    if limits.supervised {
        follow_parent();
        if let Some(mebibytes) = limits.memory {
            limit_memory(mebibytes)
                .map_err(|e| Error::Usage(format!("--memory {mebibytes}: {e}")))?;
        }
        return command();
    }
    if limits.in_process {
        return command();
    }
    let status = run(limits).map_err(|reason| about(models, &reason))?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // What a panic ends with, which no command does.
        Some(101) | None => Err(about(models, &format!("the process {}", describe(&status)))),
        Some(code) => Ok((String::new(), code)),
    }
}

fn run(limits: &LimitArgs) -> Result<ExitStatus, String> {
    let start = Instant::now();
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--supervised")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut line = child.stdin.take();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if interrupted() {
            drop(line.take());
        }
        if let Some(most) = limits.timeout.filter(|&most| start.elapsed() > most) {
            let _ = child.kill();
            let _ = child.wait();
            let seconds = most.as_secs_f64();
            return Err(format!("not done within {seconds} s (--timeout)"));
        }
        std::thread::sleep(PAUSE);
    }
}

fn about(models: &[&Path], reason: &str) -> Error {
    if interrupted() {
        return Error::Interrupted;
    }
    match models {
        [] => Error::Usage(reason.to_owned()),
        [model] => Error::unsuitable(model, reason),
        [model, others @ ..] => {
            let others: Vec<String> = others.iter().map(|m| m.display().to_string()).collect();
            Error::unsuitable(model, format!("or {}: {reason}", others.join(", ")))
        }
    }
}

/// Stops this process, as Ctrl-C would, when standard input ends.
fn follow_parent() {
    std::thread::spawn(|| {
        let mut rest = [0];
        while matches!(std::io::stdin().read(&mut rest), Ok(n) if n > 0) {}
        CANCELLED.store(true, Ordering::Relaxed);
    });
}
