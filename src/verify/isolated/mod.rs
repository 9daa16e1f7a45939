//! A runtime that runs each model in a process of its own, within limits of time and memory: what
//! kills such a process is an error about the model, and the caller goes on.
//!
//! The library starts no process that it was not given: [`Isolated`] takes the worker's command
//! line, and a worker is any program that calls [`serve`].

mod process;
mod protocol;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ndarray::ArrayD;

use super::library::REMEDY;
use super::runtime::{NamedTensors, Runtime, RuntimeError, Session, SessionOptions, TensorInfo};
use super::trial::Trial;
use process::Process;
use protocol::{Answer, Payload, Request, shapes, tensors};

pub use worker::serve;

/// What a worker may use for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To load the model, and for each run of it on a batch.
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

/// A program that calls [`serve`].
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is; absolute, since it is started in another folder.
    pub path: PathBuf,
    /// What makes it a worker.
    pub arguments: Vec<OsString>,
    /// What it loads, as messages call it: a runtime, or the shared library of one.
    pub loads: String,
    /// Set when the user wants to stop: a worker that is busy is then killed.
    pub stop: Arc<AtomicBool>,
}

/// A runtime whose models live in worker processes, one for each model.
pub struct Isolated {
    program: Program,
    limits: Limits,
    name: &'static str,
    version: String,
    /// A worker that has no model yet.
    spare: Mutex<Option<Process>>,
}

impl Isolated {
    /// A runtime that `program` has.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] if it does not have it, or comes to its end when it loads it.
    pub fn open(program: Program, limits: Limits) -> Result<Self, RuntimeError> {
        let started = start(&program, limits, "the runtime");
        let (process, name, version) = started.map_err(|e| match e {
            // Before it has a model, only the runtime itself can be to blame.
            RuntimeError::Died { reason, .. } => RuntimeError::Missing(format!(
                "{}: is no runtime, or a broken one: the process that loads it {reason}; {REMEDY}",
                program.loads
            )),
            e => e,
        })?;
        Ok(Self {
            program,
            limits,
            name,
            version,
            spare: Mutex::new(Some(process)),
        })
    }

    fn process(&self) -> Result<Process, RuntimeError> {
        // A panic leaves nothing half done that this lock protects.
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        match spare.take() {
            Some(process) => Ok(process),
            None => {
                drop(spare);
                let started = start(&self.program, self.limits, self.name);
                // No model is to blame, nor the runtime, which has worked.
                let absent = |reason| {
                    RuntimeError::Missing(format!(
                        "{}: a further process for it {reason}; is there memory for one?",
                        self.program.loads
                    ))
                };
                match started {
                    Ok((process, ..)) => Ok(process),
                    Err(RuntimeError::Died { reason, .. }) => Err(absent(reason)),
                    Err(e) => Err(e),
                }
            }
        }
    }
}

/// A worker that is ready, its runtime's name and version.
fn start(
    program: &Program,
    limits: Limits,
    name: &'static str,
) -> Result<(Process, &'static str, String), RuntimeError> {
    let mut process = Process::start(program, limits, name)?;
    match process.answer() {
        Ok((Answer::Ready { name, version }, _)) => {
            process.runtime = match name.as_str() {
                "tract" => "tract",
                _ => super::ort::NAME,
            };
            Ok((process.runtime, version)).map(|(name, version)| (process, name, version))
        }
        Ok(_) => Err(process.confused()),
        Err(e) => Err(e),
    }
}

impl Runtime for Isolated {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn load(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError> {
        let mut process = self.process()?;
        let request = Request::Load {
            optimization: options.optimization,
            threads: options.threads,
            memory: self.limits.memory_for(model.len()),
        };
        match process.ask(&request, &Payload::Bytes(model))? {
            (Answer::Loaded { inputs, outputs }, _) => Ok(Box::new(IsolatedSession {
                process,
                inputs,
                outputs,
            })),
            _ => Err(process.confused()),
        }
    }

    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        let mut process = self.process()?;
        let memory = self.limits.memory_for(model.len());
        let request = Request::TryOut { seed, memory };
        match process.ask(&request, &Payload::Bytes(model))? {
            (Answer::Tried(trial), _) => Ok(trial),
            _ => Err(process.confused()),
        }
    }
}

/// A model in a worker.
struct IsolatedSession {
    process: Process,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Session for IsolatedSession {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        let request = Request::Run {
            inputs: shapes(inputs),
        };
        match self.process.ask(&request, &Payload::Tensors(inputs))? {
            (Answer::Ran { outputs }, bytes) => {
                tensors(outputs, &bytes).ok_or_else(|| self.process.confused())
            }
            _ => Err(self.process.confused()),
        }
    }

    fn time(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
        warm_up: usize,
        runs: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        let request = Request::Time {
            inputs: shapes(inputs),
            warm_up,
            runs,
        };
        match self.process.ask(&request, &Payload::Tensors(inputs))? {
            (Answer::Timed(times), _) => Ok(times),
            _ => Err(self.process.confused()),
        }
    }
}
