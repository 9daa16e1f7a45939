//! The caller's side: a worker, what it is asked, and how it ends.

use std::io::{BufReader, Read};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::protocol::{Answer, Payload, Request, receive, send};
use super::{Limits, Program};
use crate::verify::environment;
use crate::verify::runtime::RuntimeError;

/// How often it is asked whether the user wants to stop.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a worker that has closed its output may take to end.
const END: Duration = Duration::from_secs(5);
/// Bytes of a worker's complaints that are kept.
const MAX_COMPLAINT: usize = 1 << 12;

/// A worker process. It is killed when this is dropped.
pub(super) struct Process {
    /// The runtime's name.
    pub(super) runtime: &'static str,
    child: Child,
    /// The pipe stays open as long as the worker is wanted: it ends with it.
    requests: Option<ChildStdin>,
    answers: Receiver<(Answer, Vec<u8>)>,
    complaint: Option<JoinHandle<String>>,
    limits: Limits,
    /// Memory that it may use in MiB; 0 before it has a model.
    memory: u64,
    stop: Arc<AtomicBool>,
    /// How it came to its end, if it has.
    end: Option<String>,
}

impl Process {
    /// Starts `program`; `runtime` is what errors call what it runs.
    pub(super) fn start(
        program: &Program,
        limits: Limits,
        runtime: &'static str,
    ) -> Result<Self, RuntimeError> {
        let mut command = environment::command(&program.path);
        command
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let died = |reason: String| RuntimeError::Died { runtime, reason };
        let mut child = command
            .spawn()
            .map_err(|e| died(format!("{} cannot be started: {e}", program.path.display())))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            let _ = child.kill();
            return Err(died("has no pipes".to_owned()));
        };
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            // What a worker holds is limited, so what it sends is.
            while let Ok(Some(answer)) = receive(&mut stdout, u64::MAX) {
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            runtime,
            child,
            requests: Some(stdin),
            answers,
            complaint: Some(std::thread::spawn(move || last_line(stderr))),
            limits,
            memory: 0,
            stop: Arc::clone(&program.stop),
            end: None,
        })
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// [`RuntimeError::Died`] if there is none within the limits, else what the worker says.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        payload: &Payload<'_>,
    ) -> Result<(Answer, Vec<u8>), RuntimeError> {
        if let Request::Load { memory, .. } | Request::TryOut { memory, .. } = request {
            self.memory = *memory;
        }
        let mut requests = self.requests.take();
        let answer = std::thread::scope(|scope| {
            let pipe = requests.as_mut();
            // A worker that does not read keeps whoever writes to it waiting. Fails where it is gone,
            // which the answer shows.
            let writer = pipe.map(|pipe| scope.spawn(|| send(pipe, request, payload)));
            let answer = self.answer_within(time_for(request, self.limits.time));
            // It has read all of the request by now, or is dead, or answers what it was not asked.
            let start = Instant::now();
            while writer.as_ref().is_some_and(|w| !w.is_finished()) {
                if start.elapsed() >= END {
                    let _ = self.child.kill();
                }
                std::thread::yield_now();
            }
            answer
        });
        self.requests = requests;
        answer
    }

    /// Waits for the next answer.
    pub(super) fn answer(&mut self) -> Result<(Answer, Vec<u8>), RuntimeError> {
        self.answer_within(self.limits.time)
    }

    fn answer_within(&mut self, most: Duration) -> Result<(Answer, Vec<u8>), RuntimeError> {
        if let Some(end) = &self.end {
            return Err(self.died(end.clone()));
        }
        let start = Instant::now();
        let (answer, bytes) = loop {
            match self.answers.recv_timeout(PAUSE) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.how_it_ended();
                    self.end = Some(how.clone());
                    return Err(self.died(how));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    let _ = self.child.kill();
                    self.end = Some("was stopped".to_owned());
                    // Whoever stopped it knows: this text is never shown.
                    return Err(RuntimeError::Interface("interrupted".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= most => {
                    let _ = self.child.kill();
                    let seconds = self.limits.time.as_secs_f64();
                    let how = format!("did not finish within {seconds} s (--timeout)");
                    self.end = Some(how.clone());
                    return Err(self.died(how));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let runtime = self.runtime;
        match answer {
            Answer::Missing(reason) => Err(RuntimeError::Missing(reason)),
            Answer::CannotLoad(reason) => Err(RuntimeError::Load { runtime, reason }),
            Answer::CannotRun(reason) => Err(RuntimeError::Run { runtime, reason }),
            Answer::Other(reason) => Err(RuntimeError::Interface(reason)),
            answer => Ok((answer, bytes)),
        }
    }

    /// The error of an answer to another question.
    pub(super) fn confused(&self) -> RuntimeError {
        self.died("did not answer what it was asked".to_owned())
    }

    fn died(&self, reason: String) -> RuntimeError {
        RuntimeError::Died {
            runtime: self.runtime,
            reason,
        }
    }

    /// Waits for the end of a worker whose output has ended, and says how it came.
    fn how_it_ended(&mut self) -> String {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if start.elapsed() < END => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) => {
                    let _ = self.child.kill();
                    break "stopped answering".to_owned();
                }
                Ok(Some(status)) => break describe(&status),
                Err(e) => break e.to_string(),
            }
        };
        let complaint = self.complaint.take().and_then(|c| c.join().ok());
        let complaint = complaint.filter(|text| !text.is_empty());
        let why = complaint.map_or(status.clone(), |text| format!("{status}: {text}"));
        match self.memory {
            0 => why,
            memory => format!("{why}; it may use {memory} MiB (--memory)"),
        }
    }
}

/// How long a request may take where a model's loading, and each run of it, may take `limit`.
fn time_for(request: &Request, limit: Duration) -> Duration {
    match request {
        Request::Time { warm_up, runs, .. } => {
            let runs = warm_up.saturating_add(*runs).max(1);
            limit.saturating_mul(u32::try_from(runs).unwrap_or(u32::MAX))
        }
        _ => limit,
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A runtime that clears up at its end would only take time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line of what a process wrote, cut to a readable length. Reads to the end: a process
/// whose complaints nobody reads would wait for ever.
fn last_line(mut from: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 1 << 12];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        kept.extend(buffer.get(..n).unwrap_or_default());
        let excess = kept.len().saturating_sub(MAX_COMPLAINT);
        kept.drain(..excess);
    }
    let text = String::from_utf8_lossy(&kept);
    // Of a panic the hint at the end says nothing.
    let says = |line: &&str| !line.is_empty() && !line.starts_with("note: run with");
    let last = text.lines().map(str::trim).rfind(says);
    last.unwrap_or_default().chars().take(200).collect()
}

/// How a process ended, to follow its name: `was killed by signal 11 (segmentation fault)`.
fn describe(status: &ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            let name = match signal {
                2 => " (interrupt)",
                4 => " (illegal instruction)",
                6 => " (abort)",
                8 => " (arithmetic error)",
                9 => " (kill; did the system run out of memory?)",
                11 => " (segmentation fault)",
                15 => " (termination)",
                _ => "",
            };
            return format!("was killed by signal {signal}{name}");
        }
    }
    match status.code() {
        Some(code) => format!("ended with code {code}"),
        None => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_its_time() {
        let limit = Duration::from_secs(2);
        let time = Request::Time {
            inputs: Vec::new(),
            warm_up: 1,
            runs: 3,
        };
        assert_eq!(time_for(&time, limit), 4 * limit);
        let run = Request::Run { inputs: Vec::new() };
        assert_eq!(time_for(&run, limit), limit);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_worker_that_does_not_read_is_not_waited_for() {
        let program = Program {
            path: "/bin/sleep".into(),
            arguments: vec!["60".into()],
            loads: "sleep".to_owned(),
            stop: Arc::default(),
        };
        let limits = Limits {
            time: Duration::from_millis(300),
            memory: None,
        };
        let mut process = Process::start(&program, limits, "sleep").unwrap();
        let model = vec![0; 16 << 20];
        let request = Request::TryOut { seed: 0, memory: 1 };
        let asked = process.ask(&request, &Payload::Bytes(&model));
        let error = asked.err().map(|e| e.to_string()).unwrap_or_default();
        // Who waits for all to be read hears of a broken pipe instead, when the sleeper ends.
        assert!(error.contains("did not finish within 0.3 s"), "{error}");
    }
}
