//! Progress bars with time left, on stderr.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::printable::{printable, printable_line};
use crate::progress::Observer;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Draws a bar for each phase; plain notes where stderr is not a terminal.
pub struct Terminal {
    bar: Mutex<ProgressBar>,
    pace: Arc<Pace>,
    quiet: bool,
    stop: Arc<AtomicBool>,
}

/// What comes so soon after the beginning was done before.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Less than this share of a phase says nothing of its pace.
const LEAST_SHARE: u64 = 200;

/// Where the present phase's pace is measured from: what came until its first step was done by an
/// earlier run, or is work of another kind.
#[derive(Default)]
struct Pace {
    done: AtomicU64,
    /// In milliseconds; 0 before that step.
    since: AtomicU64,
}

impl Pace {
    fn restart(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }

    fn advance(&self, done: u64, elapsed: Duration) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.done.fetch_add(done, Ordering::Relaxed);
            if elapsed >= AT_ONCE {
                let now = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                self.since.store(now, Ordering::Relaxed);
            }
        }
    }

    /// The time left at the mean pace so far. The pace of late would jump: steps differ, and between
    /// them there is work of other kinds.
    fn left(&self, [position, total]: [u64; 2], elapsed: Duration) -> Option<Duration> {
        let since = Some(self.since.load(Ordering::Relaxed)).filter(|&since| since > 0)?;
        let done = position.saturating_sub(self.done.load(Ordering::Relaxed));
        if done == 0 || done < total / LEAST_SHARE {
            return None;
        }
        let gone = elapsed.saturating_sub(Duration::from_millis(since));
        Some(gone.mul_f64(total.saturating_sub(position) as f64 / done as f64))
    }
}

impl Terminal {
    /// With bars, or without if `quiet`. `stop` is set when the user wants to stop.
    pub fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            bar: Mutex::new(ProgressBar::hidden()),
            pace: Arc::default(),
            quiet,
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

    fn print(&self, text: &str) {
        let line = printable_line(text);
        self.bar().suspend(|| eprintln!("{line}"));
    }
}

impl Observer for Terminal {
    fn begin(&self, what: &str, total: u64) {
        if self.quiet {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
        self.pace.restart();
        let pace = Arc::clone(&self.pace);
        let left = move |state: &ProgressState, to: &mut dyn Write| {
            // Nowhere to report a failure to; the bar is drawn again soon.
            let _ = match pace.left([state.pos(), total], state.elapsed()) {
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
        self.pace.advance(done, bar.elapsed());
        bar.inc(done);
    }

    fn detail(&self, text: &str) {
        self.bar().set_message(printable(text).into_owned());
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
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_by_the_pace_of_what_this_run_has_done() {
        let seconds = Duration::from_secs;
        let pace = Pace::default();
        // Four hundred of a thousand were done before; the first step comes late.
        pace.advance(400, Duration::from_millis(3));
        assert_eq!(pace.left([400, 1000], seconds(1)), None);
        pace.advance(1, seconds(20));
        assert_eq!(pace.left([401, 1000], seconds(20)), None);
        pace.advance(2, seconds(22));
        assert_eq!(pace.left([403, 1000], seconds(22)), None, "too little");
        pace.advance(97, seconds(118));
        assert_eq!(pace.left([500, 1000], seconds(119)), Some(seconds(500)));
        pace.restart();
        assert_eq!(pace.left([1, 1000], seconds(2)), None);
    }
}
