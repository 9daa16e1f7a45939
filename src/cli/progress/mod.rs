//! Progress and messages on stderr: bars with the time left on a terminal, now and then a line elsewhere.

mod lines;
mod log;
mod pace;

use std::fmt::Write;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::args::MessageArgs;
use crate::printable::{printable, printable_line};
use crate::progress::Observer;
use crate::screen::{Layout, Role};

use lines::Lines;
pub use log::Log;
use pace::Pace;

/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(250);

/// A process that learns along with the first one, which says what there is to say.
pub struct Follower(pub Arc<AtomicBool>);

impl Observer for Follower {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a user sees of a run while it works.
pub struct Terminal {
    bar: Mutex<ProgressBar>,
    /// In place of bars where stderr is no terminal.
    lines: Option<Lines>,
    pace: Arc<Pace>,
    layout: Layout,
    quiet: bool,
    verbose: bool,
    log: Option<Log>,
    stop: Arc<AtomicBool>,
}

impl Terminal {
    /// Says what `messages` asks for, and to the log, if there is one. `stop` is set when the user wants to
    /// stop.
    pub fn new(messages: &MessageArgs, log: Option<Log>, stop: Arc<AtomicBool>) -> Self {
        let stderr = stderr();
        let pace = Arc::<Pace>::default();
        let lines = (!stderr.is_terminal() && !messages.quiet).then(|| Lines::new(&pace));
        Self {
            bar: Mutex::new(ProgressBar::hidden()),
            lines,
            pace,
            layout: Layout::of_stderr(&stderr),
            quiet: messages.quiet,
            verbose: messages.verbose,
            log,
            stop,
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

    /// Prints above the bar.
    fn print(&self, text: &str) {
        // A pipe that nobody reads any more is no reason to stop.
        let _ = self
            .bar()
            .suspend(|| stderr().lock().write_all(text.as_bytes()));
    }

    fn log(&self, kind: &str, text: &str) {
        if let Some(log) = &self.log {
            log.add(kind, text);
        }
    }

    fn draw(&self, what: &str, total: u64) {
        let target = ProgressDrawTarget::stderr_with_hz(8);
        let bar = match total {
            0 => ProgressBar::with_draw_target(None, target),
            total => ProgressBar::with_draw_target(Some(total), target),
        };
        let pace = Arc::clone(&self.pace);
        let left = move |state: &ProgressState, to: &mut dyn Write| {
            // Nowhere to report a failure to; the bar is drawn again soon.
            let _ = match pace.left([state.pos(), state.len().unwrap_or(0)], state.elapsed()) {
                Some(left) => write!(to, ", {:#} left", HumanDuration(left)),
                None => Ok(()),
            };
        };
        // In a narrow terminal the message gives way, not the line.
        let style = match total {
            0 => "{spinner} {prefix}  {elapsed} gone  {wide_msg}",
            _ => "{prefix} [{bar:20}] {percent:>3} %  {elapsed} gone{left}  {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.with_key("left", left).progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        self.set(bar);
    }
}

impl Observer for Terminal {
    fn begin(&self, what: &str, total: u64) {
        self.log("begin", what);
        if self.quiet {
            return;
        }
        self.pace.restart();
        match &self.lines {
            Some(lines) => lines.begin(what, total),
            None => self.draw(what, total),
        }
    }

    fn advance(&self, done: u64) {
        let bar = self.bar();
        let elapsed = match &self.lines {
            Some(lines) => lines.advance(done),
            None => bar.elapsed(),
        };
        self.pace.advance(done, elapsed);
        bar.inc(done);
    }

    fn detail(&self, text: &str) {
        self.log("detail", text);
        if self.verbose {
            self.print(&self.layout.line(&printable_line(text)));
        }
        if let Some(lines) = &self.lines {
            lines.detail(text);
        }
        self.bar().set_message(printable(text).into_owned());
    }

    fn end(&self) {
        if let Some(lines) = &self.lines {
            lines.end();
        }
        self.bar().finish_and_clear();
        self.set(ProgressBar::hidden());
    }

    fn note(&self, text: &str) {
        self.log("note", text);
        if !self.quiet {
            self.print(&self.layout.line(&printable_line(text)));
        }
    }

    fn warn(&self, text: &str) {
        self.log("warning", text);
        let text = printable_line(text);
        self.print(&self.layout.remark(Role::Warning, "warning", &text));
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
