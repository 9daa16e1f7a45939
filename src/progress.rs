//! How a long job tells its caller where it is, and how the caller stops it.

/// Receives progress. Every method may be called from the thread that runs the job.
pub trait Observer: Sync {
    /// A phase of `total` steps begins; 0: of which nobody knows how long it is.
    fn begin(&self, what: &str, total: u64);
    /// `done` more steps of the phase are done.
    fn advance(&self, done: u64);
    /// The phase's current sub-phase, in a few words.
    fn detail(&self, text: &str);
    /// The phase has ended.
    fn end(&self);
    /// Something a user should read.
    fn note(&self, text: &str);
    /// Something that looks wrong but does not stop the job.
    fn warn(&self, text: &str);
    /// Whether to stop as soon as possible.
    fn cancelled(&self) -> bool;
}

/// A phase of unknown length, which ends with this value.
pub struct Phase<'a>(&'a dyn Observer);

impl<'a> Phase<'a> {
    /// Begins it.
    pub fn begin(observer: &'a dyn Observer, what: &str) -> Self {
        observer.begin(what, 0);
        Self(observer)
    }
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn detail(&self, _: &str) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}
