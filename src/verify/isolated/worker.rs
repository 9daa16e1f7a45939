//! The worker's side: a process that runs one model.

use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::protocol::{Answer, Payload, Request, receive, send, shapes, tensors};
use crate::verify::runtime::{NamedTensors, Runtime, RuntimeError, Session, SessionOptions};

/// How long the runtime's own clearing up may take once nobody waits for this process any more.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a runtime may take to be loaded before this process ends all the same.
const LOADING: Duration = Duration::from_secs(5);
/// How long ONNX Runtime's threads take to start: with 1.32 a quarter of the processes crashed that loaded it
/// and ended at once, none after a tenth of a second.
const SETTLING: Duration = Duration::from_millis(250);

/// A worker's whole life: says whether it has the runtime that `open` gives, then answers requests
/// that come on `input` with answers on `output`.
///
/// Ends the process when `input` is closed, whatever the runtime does at that time: whoever asked
/// is gone.
///
/// # Errors
/// If a request cannot be read or an answer cannot be written.
pub fn serve(
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    let (sender, requests) = mpsc::channel();
    let (opened, open_since) = mpsc::channel::<Instant>();
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        while let Ok(Some(request)) = receive::<Request>(&mut input, u64::MAX) {
            if sender.send(request).is_err() {
                break;
            }
        }
        // A process that ends while the runtime is loaded, or soon after, crashes.
        if let Ok(since) = open_since.recv_timeout(LOADING) {
            drop(Settling(since));
        }
        end();
    });
    // It may have been loaded and refused.
    let mut settling = Settling(Instant::now());
    let runtime = match open() {
        Ok(runtime) => {
            settling.0 = Instant::now();
            // Nobody may wait for it.
            let _ = opened.send(settling.0);
            runtime
        }
        Err(e) => return send(&mut output, &failed(e), &Payload::NONE),
    };
    let ready = Answer::Ready {
        name: runtime.name().to_owned(),
        version: runtime.version().to_owned(),
    };
    send(&mut output, &ready, &Payload::NONE)?;
    let mut worker = Worker {
        runtime,
        session: None,
    };
    for (request, bytes) in requests {
        let (answer, outputs) = match worker.answer(request, bytes) {
            Ok(answered) => answered,
            Err(e) => (failed(e), Vec::new()),
        };
        send(&mut output, &answer, &Payload::Tensors(&outputs))?;
    }
    Ok(())
}

/// A runtime that was loaded at that time. Whoever lets go of it, to end, waits until its threads have started.
struct Settling(Instant);

impl Drop for Settling {
    fn drop(&mut self) {
        std::thread::sleep(SETTLING.saturating_sub(self.0.elapsed()));
    }
}

/// Ends this process, even if a runtime that is busy keeps it from ending in good order.
fn end() {
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(FAREWELL);
        std::process::abort()
    });
    std::process::exit(1)
}

fn failed(e: RuntimeError) -> Answer {
    match e {
        RuntimeError::Missing(reason) => Answer::Missing(reason),
        RuntimeError::Load { reason, .. } => Answer::CannotLoad(reason),
        RuntimeError::Run { reason, .. } => Answer::CannotRun(reason),
        other => Answer::Other(other.to_string()),
    }
}

struct Worker {
    runtime: Box<dyn Runtime>,
    session: Option<Box<dyn Session>>,
}

impl Worker {
    fn answer(
        &mut self,
        request: Request,
        bytes: Vec<u8>,
    ) -> Result<(Answer, NamedTensors), RuntimeError> {
        let no_outputs = |answer| Ok((answer, Vec::new()));
        match request {
            Request::Load {
                optimization,
                threads,
                memory,
            } => {
                limit(memory)?;
                let options = SessionOptions {
                    optimization,
                    threads,
                };
                let session = self.runtime.load(&bytes, &options)?;
                let loaded = Answer::Loaded {
                    inputs: session.inputs().to_vec(),
                    outputs: session.outputs().to_vec(),
                };
                self.session = Some(session);
                no_outputs(loaded)
            }
            Request::TryOut { seed, memory } => {
                limit(memory)?;
                no_outputs(Answer::Tried(self.runtime.try_out(&bytes, seed)?))
            }
            Request::Run { inputs } => {
                let inputs = tensors(inputs, &bytes).ok_or_else(garbled)?;
                drop(bytes);
                let outputs = self.session()?.run(&inputs)?;
                let shapes = shapes(&outputs);
                Ok((Answer::Ran { outputs: shapes }, outputs))
            }
            Request::Time {
                inputs,
                warm_up,
                runs,
            } => {
                let inputs = tensors(inputs, &bytes).ok_or_else(garbled)?;
                no_outputs(Answer::Timed(self.session()?.time(&inputs, warm_up, runs)?))
            }
        }
    }

    fn session(&mut self) -> Result<&mut dyn Session, RuntimeError> {
        let none = || RuntimeError::Interface("no model was loaded".to_owned());
        Ok(&mut **self.session.as_mut().ok_or_else(none)?)
    }
}

fn garbled() -> RuntimeError {
    RuntimeError::Interface("inputs arrived with other sizes than announced".to_owned())
}

/// Limits this process's data (heap, stacks, private mappings) to that many MiB, for good, and
/// leaves no core file behind. Does nothing where the system has no such limit (Windows).
fn limit(mebibytes: u64) -> Result<(), RuntimeError> {
    #[cfg(unix)]
    {
        use rlimit::Resource;
        let set = || -> io::Result<()> {
            let (_, most) = Resource::DATA.get()?;
            let limit = mebibytes.saturating_mul(1 << 20).min(most);
            Resource::DATA.set(limit, limit)?;
            Resource::CORE.set(0, 0)
        };
        set().map_err(|e| RuntimeError::Interface(format!("--memory {mebibytes}: {e}")))
    }
    #[cfg(not(unix))]
    {
        let _ = mebibytes;
        Ok(())
    }
}
