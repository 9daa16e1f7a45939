//! How a long job tells its caller where it is, and how the caller stops it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Receives progress. Every method may be called from the thread that runs the job.
pub trait Observer: Sync {
    /// Who hears of what this one does not take up itself; `None`: nobody does.
    fn behind(&self) -> Option<&dyn Observer> {
        None
    }

    /// A phase of `total` steps begins; 0: of which nobody knows how long it is.
    fn begin(&self, what: &str, total: u64) {
        self.behind().into_iter().for_each(|o| o.begin(what, total));
    }

    /// `done` more steps of the phase are done.
    fn advance(&self, done: u64) {
        self.behind().into_iter().for_each(|o| o.advance(done));
    }

    /// The phase's current sub-phase, in a few words.
    fn detail(&self, text: &str) {
        self.behind().into_iter().for_each(|o| o.detail(text));
    }

    /// The phase has ended.
    fn end(&self) {
        self.behind().into_iter().for_each(Observer::end);
    }

    /// Something a user should read.
    fn note(&self, text: &str) {
        self.behind().into_iter().for_each(|o| o.note(text));
    }

    /// Something that looks wrong but does not stop the job.
    fn warn(&self, text: &str) {
        self.behind().into_iter().for_each(|o| o.warn(text));
    }

    /// Whether to stop as soon as possible.
    fn cancelled(&self) -> bool {
        self.behind().is_some_and(Observer::cancelled)
    }
}

/// A phase, which ends with this value.
pub struct Phase<'a>(&'a dyn Observer);

impl<'a> Phase<'a> {
    /// Begins one of unknown length.
    pub fn begin(observer: &'a dyn Observer, what: &str) -> Self {
        Self::of(observer, what, 0)
    }

    /// Begins one of so many steps.
    pub fn of(observer: &'a dyn Observer, what: &str, total: u64) -> Self {
        observer.begin(what, total);
        Self(observer)
    }
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Passes everything on, a warning only once, and keeps the warnings.
pub struct Heard<'a> {
    observer: &'a dyn Observer,
    warnings: Mutex<Vec<String>>,
}

impl<'a> Heard<'a> {
    /// Nothing is heard yet.
    pub fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            warnings: Mutex::default(),
        }
    }

    /// The warnings so far, and behind them those of `others` that are not among them.
    pub fn warnings_and(&self, others: Vec<String>) -> Vec<String> {
        let mut all = self.kept().clone();
        for other in others {
            if !all.contains(&other) {
                all.push(other);
            }
        }
        all
    }

    fn kept(&self) -> MutexGuard<'_, Vec<String>> {
        // A list of texts is whole whenever a thread ends.
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Heard<'_> {
    fn behind(&self) -> Option<&dyn Observer> {
        Some(self.observer)
    }

    fn warn(&self, text: &str) {
        let mut kept = self.kept();
        if !kept.iter().any(|said| said == text) {
            kept.push(text.to_owned());
            drop(kept);
            self.observer.warn(text);
        }
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
