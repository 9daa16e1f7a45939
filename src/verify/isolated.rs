//! A runtime that tries models in processes of their own, within limits of time and memory: what
//! kills such a process is an error about the model, and the caller goes on.
//!
//! The library starts no process that it was not given: [`Isolated`] takes the worker's command
//! line, and a worker is any program that calls [`serve`].

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::runtime::{Runtime, RuntimeError, Session, SessionOptions};
use super::trial::Trial;

/// What the line with the answer begins with: a runtime may print lines of its own.
const MARK: &str = "onnx-bnnprune-answer ";
/// Longest answer and longest text of errors that are read.
const MAX_ANSWER: u64 = 64 << 20;
/// Longest request line.
const MAX_REQUEST: u64 = 1 << 16;

/// What a worker may use for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its answer.
    pub time: Duration,
    /// Mebibytes of data: heap, stacks and private mappings. `None`: 4 GiB and four times the
    /// model's bytes. Enforced on Unix only.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            memory: None,
        }
    }
}

impl Limits {
    /// The limit of memory for a model of that many bytes, in MiB.
    fn memory_for(&self, model: usize) -> u64 {
        let size = model as u64 >> 20;
        self.memory
            .unwrap_or_else(|| size.saturating_mul(4).saturating_add(4096))
    }
}

/// A runtime whose [`Runtime::try_out`] happens in a worker process, one for each model.
///
/// Sessions of [`Runtime::load`] live in this process: they are for models that were tried.
pub struct Isolated {
    inner: Box<dyn Runtime>,
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: Limits,
}

/// What a worker is told in front of the model's bytes, as a line of JSON.
#[derive(Serialize, Deserialize)]
struct Request {
    bytes: u64,
    seed: u64,
    /// In MiB.
    memory: u64,
}

/// What a worker says.
#[derive(Serialize, Deserialize)]
enum Answer {
    Tried(Trial),
    Missing(String),
    Load(String),
    Run(String),
    Other(String),
}

impl Isolated {
    /// `inner`'s models are tried by `program`, which must [`serve`] the same runtime.
    pub fn new(
        inner: Box<dyn Runtime>,
        program: PathBuf,
        arguments: Vec<OsString>,
        limits: Limits,
    ) -> Self {
        Self {
            inner,
            program,
            arguments,
            limits,
        }
    }

    fn died(&self, reason: impl Into<String>) -> RuntimeError {
        RuntimeError::Died {
            runtime: self.inner.name(),
            reason: reason.into(),
        }
    }

    fn start(&self) -> Result<Child, RuntimeError> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| self.died(format!("{} cannot be started: {e}", self.program.display())))
    }

    fn accept(&self, answer: Answer) -> Result<Trial, RuntimeError> {
        let runtime = self.inner.name();
        match answer {
            Answer::Tried(trial) => Ok(trial),
            Answer::Missing(reason) => Err(RuntimeError::Missing(reason)),
            Answer::Load(reason) => Err(RuntimeError::Load { runtime, reason }),
            Answer::Run(reason) => Err(RuntimeError::Run { runtime, reason }),
            Answer::Other(reason) => Err(RuntimeError::Interface(reason)),
        }
    }
}

impl Runtime for Isolated {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    fn load(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError> {
        self.inner.load(model, options)
    }

    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        let memory = self.limits.memory_for(model.len());
        let request = Request {
            bytes: model.len() as u64,
            seed,
            memory,
        };
        let mut child = self.start()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(self.died("has no pipes"));
        };
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            // Fails where the worker is gone, which the answer shows. The pipe stays open as long as
            // the answer is wanted: a worker ends with it.
            let writer = scope.spawn(move || {
                let _ = send(&mut stdin, &request, model);
                stdin
            });
            let complaint = scope.spawn(move || last_line(stderr));
            scope.spawn(move || sender.send(read_answer(stdout)));
            let answer = receiver.recv_timeout(self.limits.time);
            if !matches!(answer, Ok(None)) {
                // It has answered, or never will; if it ended meanwhile, so much the better.
                let _ = child.kill();
            }
            let status = child.wait();
            drop(writer.join());
            let complaint = complaint.join().unwrap_or_default();
            match answer {
                Ok(Some(answer)) => self.accept(answer),
                Err(RecvTimeoutError::Timeout) => Err(self.died(format!(
                    "did not finish within {} s (--timeout)",
                    self.limits.time.as_secs_f64()
                ))),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                    let mut why = status.map_or_else(|e| e.to_string(), |s| describe(&s));
                    if !complaint.is_empty() {
                        why = format!("{why}: {complaint}");
                    }
                    Err(self.died(format!("{why}; it may use {memory} MiB (--memory)")))
                }
            }
        })
    }
}

fn send(to: &mut impl Write, request: &Request, model: &[u8]) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, request)?;
    to.write_all(b"\n")?;
    to.write_all(model)?;
    to.flush()
}

fn read_answer(from: impl Read) -> Option<Answer> {
    let lines = BufReader::new(from.take(MAX_ANSWER)).lines();
    let answer = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix(MARK)?.to_owned()))?;
    serde_json::from_str(&answer).ok()
}

/// The last line of what a process wrote, cut to a readable length.
fn last_line(from: impl Read) -> String {
    let lines = BufReader::new(from.take(MAX_ANSWER)).split(b'\n');
    let texts = lines
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).trim().to_owned());
    let last = texts.filter(|line| !line.is_empty()).last();
    last.unwrap_or_default().chars().take(200).collect()
}

/// How a process ended, to follow its name: `was killed by signal 11 (segmentation fault)`.
pub fn describe(status: &ExitStatus) -> String {
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

/// A worker's whole life: reads a request and a model from `input`, limits this process's memory,
/// tries the model in the runtime that `open` gives and writes the answer.
///
/// Ends the process when `input` is closed before the answer: whoever asked is gone.
///
/// # Errors
/// If the request cannot be read or the answer cannot be written.
pub fn serve(
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> std::io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = String::new();
    input.by_ref().take(MAX_REQUEST).read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    let mut model = Vec::new();
    input.by_ref().take(request.bytes).read_to_end(&mut model)?;
    limit_memory(request.memory)?;
    std::thread::spawn(move || {
        if !matches!(input.read(&mut [0]), Ok(n) if n > 0) {
            std::process::exit(1);
        }
    });
    let answer = match open().and_then(|runtime| runtime.try_out(&model, request.seed)) {
        Ok(trial) => Answer::Tried(trial),
        Err(RuntimeError::Missing(reason)) => Answer::Missing(reason),
        Err(RuntimeError::Load { reason, .. }) => Answer::Load(reason),
        Err(RuntimeError::Run { reason, .. }) => Answer::Run(reason),
        Err(other) => Answer::Other(other.to_string()),
    };
    writeln!(output, "{MARK}{}", serde_json::to_string(&answer)?)?;
    output.flush()
}

/// Limits this process's data (heap, stacks, private mappings) to that many MiB, for good, and
/// leaves no core file behind. Does nothing where the system has no such limit (Windows).
///
/// # Errors
/// If the system refuses.
pub fn limit_memory(mebibytes: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use rlimit::Resource;
        let (_, most) = Resource::DATA.get()?;
        let limit = mebibytes.saturating_mul(1 << 20).min(most);
        Resource::DATA.set(limit, limit)?;
        Resource::CORE.set(0, 0)?;
    }
    #[cfg(not(unix))]
    let _ = mebibytes;
    Ok(())
}
