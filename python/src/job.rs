//! A run in a thread of its own, while Python's waits, hears of it and may stop it.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use onnx_bnnprune::cli::{self, Host, Installation, Outcome};
use onnx_bnnprune::distributed::Alone;
use onnx_bnnprune::error::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;

use crate::events::Relay;
use crate::failure::{Answer, panicked};

/// How often Python is told of events and asked for signals.
const PAUSE: Duration = Duration::from_millis(50);
/// As a process's first thread has it.
const STACK: usize = 8 << 20;

/// Runs a command.
pub fn run(
    py: Python<'_>,
    arguments: Vec<OsString>,
    installation: Installation,
    events: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    supervise(py, events, move |relay| {
        let host = Host {
            observer: relay,
            stop: Arc::clone(&relay.stop),
            installation: &installation,
            processes: &Alone,
        };
        cli::call(arguments, &host)
    })
}

/// Runs `work` in a thread of its own. Ctrl-C, and what `events` raises, stops it at the next batch:
/// once it has come to its end, that is raised.
pub fn supervise(
    py: Python<'_>,
    events: Option<Py<PyAny>>,
    work: impl FnOnce(&Relay) -> Result<Outcome, Error> + Send + 'static,
) -> PyResult<Answer> {
    let relay = Arc::new(Relay::default());
    let (sender, mut receiver) = mpsc::channel();
    let theirs = Arc::clone(&relay);
    let thread = std::thread::Builder::new()
        .name("onnx-bnnprune".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&theirs)));
            // Nobody is left to hear of it.
            let _ = sender.send(outcome);
        });
    let thread = thread.map_err(|e| PyRuntimeError::new_err(e.to_string()))?;
    let mut raised: Option<PyErr> = None;
    let outcome = loop {
        let receiver = &mut receiver;
        let received = py.detach(move || receiver.recv_timeout(PAUSE));
        let told = py.check_signals().and_then(|()| tell(py, &relay, &events));
        if let Err(error) = told {
            relay.stop();
            raised.get_or_insert(error);
        }
        match received {
            Ok(outcome) => break Some(outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    // It has nothing left to do.
    let _ = py.detach(|| thread.join());
    let answer = match outcome {
        Some(Ok(outcome)) => Answer::of(outcome),
        Some(Err(panic)) => panicked(&panic),
        None => return Err(PyRuntimeError::new_err("the run has vanished")),
    };
    match raised {
        None => Ok(answer),
        // Says whether a checkpoint was left.
        Some(error) if answer.interrupted() && error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            Err(PyKeyboardInterrupt::new_err(answer.message))
        }
        Some(error) => Err(error),
    }
}

fn tell(py: Python<'_>, relay: &Relay, events: &Option<Py<PyAny>>) -> PyResult<()> {
    let news = relay.take();
    match events {
        Some(events) if !news.is_empty() => events.call1(py, (news,)).map(drop),
        _ => Ok(()),
    }
}
