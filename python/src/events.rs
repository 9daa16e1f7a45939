//! What happens in a run, on its way from the thread that it happens in to the one that Python
//! waits in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use onnx_bnnprune::progress::Observer;
use pyo3::prelude::*;

/// As Python gets it: a kind (`begin`, `advance`, `detail`, `end`, `note`, `warn`), a text and a
/// number of steps.
#[derive(Debug, Clone, PartialEq, Eq, IntoPyObject)]
pub struct Event {
    kind: &'static str,
    text: String,
    steps: u64,
}

/// Events that have yet to be told, and whether to stop.
#[derive(Default)]
pub struct Relay {
    events: Mutex<Vec<Event>>,
    pub stop: Arc<AtomicBool>,
}

impl Relay {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        // A panic leaves nothing half done that this lock protects.
        self.events.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn push(&self, kind: &'static str, text: &str, steps: u64) {
        let mut events = self.events();
        match events.last_mut() {
            // Steps are small and many.
            Some(last) if kind == "advance" && last.kind == kind => last.steps += steps,
            Some(last) if kind == "detail" && last.kind == kind => last.text = text.to_owned(),
            _ => events.push(Event {
                kind,
                text: text.to_owned(),
                steps,
            }),
        }
    }

    /// What has happened since this was last called.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events())
    }

    /// Asks the run to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Observer for Relay {
    fn begin(&self, what: &str, total: u64) {
        self.push("begin", what, total);
    }

    fn advance(&self, done: u64) {
        self.push("advance", "", done);
    }

    fn detail(&self, text: &str) {
        self.push("detail", text, 0);
    }

    fn end(&self) {
        self.push("end", "", 0);
    }

    fn note(&self, text: &str) {
        self.push("note", text, 0);
    }

    fn warn(&self, text: &str) {
        self.push("warn", text, 0);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
