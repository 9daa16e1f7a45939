//! Progress bars with time left, on stderr.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onnx_bnnprune::progress::Observer;

/// Set by Ctrl-C.
pub static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    CANCELLED.load(Ordering::Relaxed)
}

/// Draws a bar for each phase; plain notes where stderr is not a terminal.
pub struct Terminal {
    bar: Mutex<ProgressBar>,
    quiet: bool,
}

impl Terminal {
    /// With bars, or without if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            bar: Mutex::new(ProgressBar::hidden()),
            quiet,
        }
    }

    fn bar(&self) -> ProgressBar {
        match self.bar.lock() {
            Ok(bar) => bar.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    fn set(&self, new: ProgressBar) {
        if let Ok(mut bar) = self.bar.lock() {
            *bar = new;
        }
    }

    fn print(&self, text: &str) {
        self.bar().suspend(|| eprintln!("{text}"));
    }
}

impl Observer for Terminal {
    fn begin(&self, what: &str, total: u64) {
        if self.quiet {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
        let style = "{prefix} [{bar:28}] {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        self.set(bar);
    }

    fn advance(&self, done: u64) {
        self.bar().inc(done);
    }

    fn detail(&self, text: &str) {
        self.bar().set_message(text.to_owned());
    }

    fn end(&self) {
        self.bar().finish_and_clear();
        self.set(ProgressBar::hidden());
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    fn warn(&self, text: &str) {
        self.print(&format!("warning: {text}"));
    }

    fn cancelled(&self) -> bool {
        interrupted()
    }
}
