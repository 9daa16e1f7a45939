//! Progress bars with time left, on stderr.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
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
    /// What the present phase had done when it began: an earlier run's part of it.
    before: Arc<AtomicU64>,
    quiet: bool,
}

/// What comes so soon after the beginning was done before.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The time left at the mean pace so far. The pace of late would jump: steps differ, and between them
/// there is work of other kinds.
fn time_left(state: &ProgressState, before: u64) -> Option<Duration> {
    let done = state.pos().checked_sub(before).filter(|&done| done > 0)?;
    let left = state.len()?.saturating_sub(state.pos());
    Some(state.elapsed().mul_f64(left as f64 / done as f64))
}

impl Terminal {
    /// With bars, or without if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            bar: Mutex::new(ProgressBar::hidden()),
            before: Arc::default(),
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
        self.before.store(0, Ordering::Relaxed);
        let before = Arc::clone(&self.before);
        let left = move |state: &ProgressState, to: &mut dyn Write| {
            // Nowhere to report a failure to; the bar is drawn again soon.
            let _ = match time_left(state, before.load(Ordering::Relaxed)) {
                Some(left) => write!(to, ", {:#} left", HumanDuration(left)),
                None => Ok(()),
            };
        };
        let style = "{prefix} [{bar:28}] {percent:>3} %  {elapsed} gone{left}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.with_key("left", left).progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        self.set(bar);
    }

    fn advance(&self, done: u64) {
        let bar = self.bar();
        if bar.elapsed() < AT_ONCE {
            self.before.fetch_add(done, Ordering::Relaxed);
        }
        bar.inc(done);
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
